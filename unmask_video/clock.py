"""When each picture is shown, and for how long, and which may be left out."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from unmask_video.frame import VideoInfo


class Picture(Protocol):
    """What is needed of a decoded picture; times in ticks."""

    pts: int | None
    dts: int | None
    duration: int | None


class Packet(Protocol):
    """What is needed of a packet."""

    pts: int | None
    """In ticks."""
    size: int
    """Bytes."""


P = TypeVar("P", bound=Picture)
Q = TypeVar("Q", bound=Packet)

REORDERED, MOST_BYTES = 32, 2**24
"""Packets that wait until all that are shown before them are known, H.264 and HEVC allow 16, and most that they may hold."""


class Clock:
    """Gives every picture a time stamp that is later than the one before, and a duration."""

    previous: int | None
    """The last time stamp given, in ticks."""
    count: int
    """How many were given."""

    def __init__(self, info: VideoInfo, *, end: int | None, warn: Callable[[str], None]) -> None:
        """`end`: where the last picture ends, in ticks; None if the container does not know."""
        self.previous = None
        self.count = 0
        self._step = round(1 / (info.average_rate * info.time_base)) if info.average_rate else 1
        self._end = end
        self._warn = warn

    def timed(self, pictures: Iterator[P]) -> Iterator[tuple[P, int, int]]:
        """Each picture with its time stamp and the ticks for which it is shown; 0 if unknown.

        The containers' own durations are steps between *decoded* pictures; with a variable rate and
        B-frames they belong to other pictures than those they stand beside.
        """
        held: tuple[P, int] | None = None
        for picture in pictures:
            pts = self._next(picture)
            if held is not None:
                yield *held, pts - held[1]
            held = picture, pts
        if held is not None:
            yield *held, self._last_duration(*held)

    def _last_duration(self, picture: P, pts: int) -> int:
        if self._end is not None and self._end > pts:
            return self._end - pts
        return picture.duration or 0

    def _next(self, picture: P) -> int:
        pts = stamp(picture)
        if pts is None:
            self._warn("frames without a time stamp were given the time at which the one before ends")
            pts = 0 if self.previous is None else self.previous + self._step
        if self.previous is not None and pts <= self.previous:
            self._warn("time stamps that stood still or ran backwards were moved on")
            pts = self.previous + 1
        self.previous = pts
        self.count += 1
        self._step = picture.duration or self._step
        return pts


class Skim:
    """Leaves out pictures that no other refers to, where that is allowed, but none whose number is a multiple of `step`.

    Nor any between two of these that are so many ticks `apart` or more, or of which the later one is not known yet.
    """

    left_out = 0
    """Pictures that nobody needs so far; a few of them others may refer to, so they came all the same."""

    def __init__(self, step: int, apart: int, allowed: Callable[[], bool]) -> None:
        self.step, self.apart, self.allowed = step, apart, allowed
        self.times: list[int] = []

    def known(self, packets: Iterator[Q]) -> Iterator[Q]:
        """The same packets, when all that are shown before them are known; an error of theirs comes after them all."""
        ahead: deque[Q] = deque()
        held = 0
        try:
            for packet in packets:
                ahead.append(packet)
                held += packet.size
                if packet.pts is not None:
                    insort(self.times, packet.pts)
                while len(ahead) > REORDERED or held > MOST_BYTES:
                    held -= ahead[0].size
                    yield ahead.popleft()
        except Exception:  # what came before it is whole
            yield from ahead
            raise
        yield from ahead

    def number(self, pts: int) -> int:
        """Of the picture shown at a time, in ticks."""
        return bisect_left(self.times, pts)

    def leaves_out(self, packet: Packet) -> bool:
        out = packet.pts is not None and self._needless(self.number(packet.pts)) and self.allowed()
        self.left_out += out
        return out

    def _needless(self, number: int) -> bool:
        before = number - number % self.step
        after = before + self.step
        return number > before and after < len(self.times) and self.times[after] - self.times[before] < self.apart


def stamp(picture: Picture) -> int | None:
    """The picture's own time stamp, or its packet's; in ticks."""
    return picture.dts if picture.pts is None else picture.pts
