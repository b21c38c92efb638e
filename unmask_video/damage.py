"""libav decodes damaged data without an error, and only its log tells: read here, for one reader at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av.logging

av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)  # a film is read twice
LIBAV = logging.getLogger("libav")
LIBAV.propagate = False  # what matters is told in the report
LIBAV.addHandler(logging.NullHandler())


@contextmanager
def complaints(*names: str) -> Iterator[list[str]]:
    """What the decoder and the demuxer of these names complain of, while it grows."""
    said: list[str] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.removeprefix("libav.") in names:
                said.append(record.getMessage().strip())

    note = Note(logging.ERROR)
    LIBAV.addHandler(note)
    try:
        yield said
    finally:
        LIBAV.removeHandler(note)


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
