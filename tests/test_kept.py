"""Samples that are drawn once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces import cut

torch = pytest.importorskip("torch")

from training.kept import Kept  # noqa: E402
from training.patterns import Patterns  # noqa: E402
from training.samples import SegmenterSamples  # noqa: E402

THREE = ("anna/film-1.jpg", "anna/sitting-1.jpg", "ben/film-1.jpg")


def test_kept_samples_are_drawn_once_and_shared_by_what_is_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = SegmenterSamples(cut(*THREE), Patterns(), 64, 0), []
    draw_one = SegmenterSamples.__getitem__
    monkeypatch.setattr(SegmenterSamples, "__getitem__", lambda self, n: (asked.append(n), draw_one(self, n))[1])
    kept = Kept.under(tmp_path, data, 3)
    seen = [kept[n] for n in range(7)]
    assert asked == [0, 1, 2], "then from the beginning"
    assert all((seen[n][k] == draw_one(data, n % 3)[k]).all() for n in range(7) for k in ("image", "mask", "present"))
    assert (Kept.under(tmp_path, data, 5)[1]["image"] == seen[1]["image"]).all() and asked == [0, 1, 2]
    (kept.folder / "0.npz").write_bytes(b"half a fi")
    assert (kept[0]["image"] == seen[0]["image"]).all() and asked == [0, 1, 2, 0], "a damaged one is drawn again"
    changes = {"seed": 1, "size": 96, "faces": cut(*THREE[:2]), "patterns": Patterns(textures=(np.zeros((2, 2, 3), np.uint8),))}
    others = [replace(data, **{name: value}) for name, value in changes.items()]
    assert len({Kept.under(tmp_path, one, 3).folder for one in (data, *others)}) == 5
