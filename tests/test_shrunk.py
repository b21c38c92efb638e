"""Samples of small faces: drawn masks, and where none is drawn, the segmenter's word."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from faces import cut

pytest.importorskip("torch")

from training.patterns import Patterns  # noqa: E402
from training.samples import SegmenterSamples, SentrySamples, ShrunkSamples  # noqa: E402
from unmask_video import segment  # noqa: E402

THREE = ("anna/film-1.jpg", "anna/sitting-1.jpg", "ben/film-1.jpg")


@pytest.mark.parametrize(("kind", "least"), [(ShrunkSamples, segment.ON), (SentrySamples, segment.LITTLE)])
@pytest.mark.parametrize("present", [False, True])
def test_of_faces_without_a_mask_the_segmenter_says_what_they_wear(
    kind: type, least: float, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = np.float32(np.arange(segment.SIZE) < segment.SIZE / 2)[None].repeat(segment.SIZE, 0)
    monkeypatch.setattr(segment, "verdict", lambda crop: (left, least if present else 0.9 * least))
    large, data, told = SegmenterSamples(cut(*THREE), Patterns(), segment.SIZE, 0), kind(cut(*THREE), Patterns(), 64, 0), []
    for n in range(12):
        drawn, sample = large[n], data[n]
        assert sample["image"].shape == (3, 64, 64) and sample["mask"].shape == (1, 64, 64)
        assert sample["present"] == (drawn["present"] or present)
        mask = drawn["mask"][0] if drawn["present"] else left * 255
        assert np.abs(sample["mask"][0] - cv2.resize(mask, (64, 64), interpolation=cv2.INTER_AREA).astype(float)).max() <= 1
        told.append(drawn["present"])
    assert 0 < sum(told) < len(told)
