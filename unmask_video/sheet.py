"""Moments of a film, before above and after below, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np

from unmask_video import decode
from unmask_video.errors import UnmaskError
from unmask_video.picture import bgr

WIDTH, QUALITY = 240, 75
"""Pixels of one moment, and of JPEG."""


def sheet(source: Path, target: Path, times: Sequence[float]) -> bytes:
    """JPEG; empty if no moment can be seen. Times are in seconds, as the films tell them."""
    columns = []
    for when in times:
        with suppress(UnmaskError, StopIteration, OSError):
            columns.append(np.vstack([_picture(path, when) for path in (source, target)]))
    if not columns:
        return b""
    height = min(len(column) for column in columns)
    there, data = cv2.imencode(".jpg", np.hstack([column[:height] for column in columns]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes() if there else b""


def _picture(path: Path, when: float) -> np.ndarray:
    """The film at a moment, in seconds of its own time, small."""
    with decode.open_video(path) as video, closing(video.frames(max(0.0, when - float(video.first_seconds)))) as frames:
        shown = bgr(next(frames))
    return cv2.resize(shown, (WIDTH, round(WIDTH * shown.shape[0] / shown.shape[1])), interpolation=cv2.INTER_AREA)
