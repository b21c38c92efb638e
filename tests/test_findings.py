"""What fuzzing has found, so that it is not found again."""

from __future__ import annotations

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
