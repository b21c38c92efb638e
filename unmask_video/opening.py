"""A film's beginning in which nobody can be masked: written while the film is searched, so that it is decoded once."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack

from unmask_video.encode import Writer
from unmask_video.frame import Frame
from unmask_video.signs import Signs

MUCH, HELD = 64 * 2**20, 160 * 2**20
"""Bytes of frames that wait until it is known whether somebody may be masked in them: from when on looks are waited for, and
most of them."""


class Opening:
    """Takes the frames of a film that is searched, and writes those before its first sign of a mask.

    Args:
        out: entered into `writing` when there is something to write.
        ended: no frames are taken, or no more.
    """

    written = 0
    """Frames."""
    began = 0.0
    """When the first was written, by `time.perf_counter`."""

    def __init__(self, out: Writer, writing: ExitStack, *, ended: bool) -> None:
        self.out, self.writing, self.ended = out, writing, ended
        self.held: deque[Frame] = deque()
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether much is held."""
        return self.bytes > MUCH

    def take(self, frame: Frame, signs: Signs, *, sure: bool) -> None:
        """The next frame; ends where it is not `sure` that all masks are seen. Raises CannotEncode, BadOption, BadEnvironment."""
        if self.ended:
            return
        self.held.append(frame)
        self.bytes += size(frame)
        while sure and self.held and signs.none_so_far(self.held[0]):
            self._write()
        if signs.seconds or not sure or self.bytes > HELD:
            self.end()

    def end(self) -> None:
        self.ended = True
        self.held.clear()
        self.bytes = 0

    def finish(self, signs: Signs) -> None:
        """Write what is held of a film in all of which nobody is masked."""
        while self.held and signs.none():
            self._write()
        self.end()

    def _write(self) -> None:
        if not self.written:
            self.writing.enter_context(self.out)
            self.began = time.perf_counter()
        frame = self.held.popleft()
        self.bytes -= size(frame)
        self.out.write(frame)
        self.written += 1


def size(frame: Frame) -> int:
    """Bytes of its planes."""
    return sum(plane.nbytes for plane in frame.planes)
