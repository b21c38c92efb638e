"""Where a film showed a sign of a mask when it was searched, and where nobody in it can be masked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from unmask_video.face import Face, Mask
from unmask_video.frame import Frame
from unmask_video.segment import LITTLE

BEFORE, AFTER = 1, 2
"""Looks before and after a sign between which somebody may be masked. The last one before it showed none; one look, or
two between signs, may miss whom they should see."""


@dataclass
class Signs:
    """What the search of a film saw of masks."""

    clearest: float = 0.0
    """The greatest belief in one, 0..1."""
    seconds: list[float] = field(default_factory=list)
    """When there was a sign of one; in order once the search is over."""
    frames: int = 0
    """That were searched; 0: in none, or a mask may have gone by where data is damaged."""
    gap: float = 1.0
    """Most seconds from one look to the next."""
    looked: float = -inf
    """All looks up to this second are done."""

    def see(self, frame: Frame, belief: float) -> None:
        self.clearest = max(self.clearest, belief)
        if belief >= LITTLE:
            self.seconds.append(frame.time_seconds)

    def noted(self, segment: Callable[[Frame, Face], Mask]) -> Callable[[Frame, Face], Mask]:
        """The same, seen by this."""

        def seen(frame: Frame, face: Face) -> Mask:
            mask = segment(frame, face)
            self.see(frame, mask.belief)
            return mask

        return seen

    def look(self, second: float) -> None:
        """All looks up to this second are done."""
        self.looked = second

    def finish(self, frames: int) -> None:
        """So many were searched."""
        self.frames = frames
        self.seconds.sort()  # several threads look

    def none(self) -> bool:
        """True if nobody is masked in all of the film, for sure."""
        return self.frames > 0 and not self.seconds

    def none_near(self, frame: Frame) -> bool:
        """True if nobody is masked in a frame and around it, for sure."""
        now = frame.time_seconds
        after = bisect_left(self.seconds, now)
        near = self.seconds[max(after - 1, 0) : after + 1]
        return self.frames > 0 and not any(-AFTER <= (second - now) / self.gap <= BEFORE for second in near)

    def none_so_far(self, frame: Frame) -> bool:
        """The same while looks go on, of a frame before which there was no sign."""
        return not self.seconds and self.looked > frame.time_seconds + BEFORE * self.gap
