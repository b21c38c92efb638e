"""What fuzzing has found, so that it is not found again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unmask_video import BadOption, Options, warp
from unmask_video.face import CANONICAL

VALUES = ((1,), b"swift", "\0", float("nan"), [])


@pytest.mark.parametrize("option", ["model", "trim_end", "crf", "max_faces", "unmatched"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_no_kind_are_refused(option: str, value: object) -> None:
    with pytest.raises(BadOption):
        Options(**{option: value})


@pytest.mark.parametrize("option", ["encoder", "preset"])
def test_names_are_text(option: str) -> None:
    with pytest.raises(BadOption):
        Options(**{option: 1.5})


@pytest.mark.parametrize("flat", [(0,), (1,), (0, 1)])
def test_splines_through_points_on_a_line_are_numbers(flat: tuple[int, ...]) -> None:
    at = 30 + 20 * CANONICAL[warp.CONTROL, :2]
    at[:, flat] = 32.0
    field = warp.spline(at, at + 3, 64)
    assert np.isfinite(field).all()


def test_damage_does_not_hang_a_film_that_is_closed(tmp_path: Path) -> None:
    """Its decoder complained on threads of its own while it was freed, which waited for them."""
    film = Path(__file__).with_name("findings") / "hung-at-its-end.mp4"
    words = [sys.executable, "-m", "unmask_video", str(film), str(tmp_path / "out.mp4")]
    for _ in range(2):
        done = subprocess.run([*words, "--overwrite"], cwd=film.parents[2], capture_output=True, timeout=60)
        assert done.returncode in (0, 3), done.stderr
