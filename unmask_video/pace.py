"""How often a film is looked at when it is searched, and at which of its frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from unmask_video.frame import Frame, VideoInfo
from unmask_video.picture import is_cut, small_grey

LONG, OFTEN = 60.0, 0.4
"""Seconds of a film up to which the moments are so many seconds apart at which it may be looked at."""
SELDOM, COPIED = 0.8, 1.2
"""Seconds from one look to the next, or a fourth more; where a film may be copied, looking at it is most of what it costs."""


@dataclass(frozen=True)
class Pace:
    """How often a film is looked at."""

    every: float
    """Least seconds from one moment that may be looked at to the next."""
    gap: float = 1.0
    """Seconds from one look to the next of the same shot within which moments may wait."""
    beat: int = 1
    """Moments are frames whose number is a multiple of this, unless that would be twice as long."""

    @staticmethod
    def of(info: VideoInfo, beat: int, *, copied: bool) -> Pace:
        """Of a film that may be `copied`, or not; no gap is longer than its own."""
        seconds = float(info.frame_count / info.average_rate) if info.average_rate else 0.0
        seldom = COPIED if copied else SELDOM
        every = OFTEN if seconds < LONG else seldom
        step = float(beat / info.average_rate) if info.average_rate else math.inf
        return Pace(every, max(1.25 * seldom, min(step * math.ceil(every / step), 2 * every)), beat)


def due(frames: Iterable[Frame], every: float, beat: int = 1) -> Iterator[tuple[Frame, int]]:
    """The frames that are looked at, and in which shot they are; see `Pace`."""
    next_time, shot, small = -np.inf, 0, None
    for frame in frames:
        last, small = small, small_grey(frame)
        shot += last is not None and is_cut(last, small)
        if frame.time_seconds >= next_time and (frame.index % beat == 0 or frame.time_seconds >= next_time + every):
            next_time = frame.time_seconds + every
            yield frame, shot
