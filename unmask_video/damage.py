"""libav decodes damaged data without an error, and only its log tells.

It is listened to for as long as a decoder is asked for something, and no longer: a thread of libav's that has something to say
waits for Python, and Python would wait for that thread where it ends a decoder or an encoder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av.logging

from unmask_video.container import READ_ERRORS

av.logging.set_skip_repeated(False)  # a film is read twice
LIBAV = logging.getLogger("libav")
LIBAV.propagate = False  # what matters is told in the report
LIBAV.addHandler(logging.NullHandler())
LISTENERS, CHANGING = [0], threading.Lock()


class Note(logging.Handler):
    """Keeps what those of some names say."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(logging.ERROR)
        self.names = names
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.removeprefix("libav.") in self.names:
            self.said.append(record.getMessage().strip())


@contextmanager
def complaints(*names: str) -> Iterator[list[str]]:
    """What the decoder and the demuxer of these names complain of meanwhile, while it grows."""
    note = Note(names)
    LIBAV.addHandler(note)
    _listen(1)
    try:
        yield note.said
    finally:
        _listen(-1)
        LIBAV.removeHandler(note)


def _listen(more: int) -> None:
    with CHANGING:
        LISTENERS[0] += more
        av.logging.set_level(av.logging.ERROR if LISTENERS[0] else None)


def heard(
    packets: Iterator[av.Packet], decode: Callable[[av.Packet], list[av.VideoFrame]], names: tuple[str, str]
) -> tuple[av.Packet | None, list[av.VideoFrame], list[str]]:
    """The next packet, or None at the end, its pictures, and what libav complained of meanwhile."""
    with complaints(*names) as said:
        try:
            packet = next(packets, None)
        except READ_ERRORS as error:
            return None, [], [*said, error.strerror]
        try:
            return packet, [] if packet is None else decode(packet), said
        except av.FFmpegError as error:
            return packet, [], [*said, error.strerror]


class Refused(Exception):
    """Data was damaged, and that is refused."""


@dataclass
class Damage:
    """What was wrong with a film's data."""

    strict: bool
    """None is taken."""
    found: dict[Fraction, str] = field(default_factory=dict)
    """About when, in seconds from the first frame, and what libav said to it."""

    def note(self, when: Fraction, why: str) -> None:
        """Raises Refused."""
        if self.strict:
            raise Refused(why)
        self.found.setdefault(max(when, Fraction(0)), why)

    def told(self, path: Path) -> list[str]:
        """A sentence, if there was any."""
        if not self.found:
            return []
        first, last = min(self.found), max(self.found)
        times = f"from {float(first):.2f} s to {float(last):.2f} s"
        where = f"near {float(first):.2f} s" if len(self.found) == 1 else f"in {len(self.found)} places {times}"
        why = self.found[first].rstrip(".")
        return [f"{path} is damaged {where} ({why}); pictures there are wrong or missing, all others are done"]
