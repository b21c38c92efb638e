"""A film in encoded pieces, which do not refer to each other: made in any order, by any process, and put together at the end."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

SEGMENT = 250
"""Frames of a piece: as much is done again after a stop, at most."""
TOLD = ("pts", "durations", "keys", "sizes")
"""Of each packet of a piece."""
TAIL = 8
"""Bytes at a piece's end that say how many before them tell of its packets."""


class Pieces:
    """The pieces in a folder, and where new ones begin.

    Args:
        folder: where they lie.
        begin: number of the first frame that is to be encoded.
        first: time stamp of the film's first frame, if that is not the first that comes.
        joins: they shall be put together once no more frames come.
    """

    def __init__(self, folder: Path, *, begin: int = 0, first: int | None = None, joins: bool = True) -> None:
        self.folder, self.begin, self.first, self.joins = folder, begin, first, joins
        self.pieces: list[dict[str, Any]] = []
        """What is told of the packets of each that is closed, from the film's start up to the first that is missing."""

    @property
    def frames(self) -> int:
        """In closed pieces."""
        return sum(len(piece["pts"]) for piece in self.pieces)

    def make(self) -> Path:
        """The folder, which is there from now on."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self.folder

    def save(self) -> None:
        """Called before a piece is closed."""

    def take_up(self) -> None:
        """Look which pieces there are."""
        self.pieces = []
        while (piece := self._read(len(self.pieces))) is not None:
            self.pieces.append(piece)
        self.begin = self.frames

    def has(self, number: int) -> bool:
        """Whether a piece is there, and whole."""
        return self._read(number) is not None

    def piece(self, number: int) -> Piece:
        """A new piece."""
        self.make()
        return Piece(self, self.path(number))

    def path(self, number: int) -> Path:
        return self.folder / piece_name(number)

    def packets(self) -> Iterator[tuple[int, int, bool, bytes]]:
        """Of all closed pieces, in the order in which they are decoded: pts, duration, whether a key frame, content."""
        for number, piece in enumerate(self.pieces):
            with self.path(number).open("rb") as data:
                for pts, duration, key, size in zip(*(piece[name] for name in TOLD), strict=True):
                    yield pts, duration, key, data.read(size)

    def _read(self, number: int) -> dict[str, Any] | None:
        """What a piece tells of its packets; None if there is none, or it is damaged."""
        try:
            with self.path(number).open("rb") as file:
                size = file.seek(-TAIL, os.SEEK_END)
                told = int.from_bytes(file.read(TAIL), "little")
                file.seek(size - told)
                piece = json.loads(file.read(told))
            numbers = np.array([piece[name] for name in TOLD], np.int64)  # all of one length, or it raises
            return piece if numbers.shape[1] and numbers[TOLD.index("sizes")].sum() == size - told else None
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
            return None


def piece_name(number: int) -> str:
    return f"piece-{number:06}"


class Piece:
    """An encoded piece that grows; it counts once it is closed, and then it is whole, whoever else made it, too."""

    def __init__(self, pieces: Pieces, path: Path) -> None:
        self.pieces, self.path = pieces, path
        self.part = path.with_name(f"{path.name}.part-{secrets.token_hex(4)}")
        self.data = self.part.open("wb")
        self.told: dict[str, Any] = {name: [] for name in TOLD}

    def add(self, *, pts: int, duration: int, key: bool, content: bytes) -> None:
        self.data.write(content)
        for name, value in zip(TOLD, (pts, duration, key, len(content)), strict=True):
            self.told[name].append(value)

    def drop(self) -> None:
        with suppress(OSError):  # it will not be finished, and its last bytes may find no room
            self.data.close()
        self.part.unlink(missing_ok=True)

    def close(self) -> None:
        told = json.dumps(self.told).encode()
        self.data.write(told + len(told).to_bytes(TAIL, "little"))
        self.data.flush()
        os.fsync(self.data.fileno())
        self.data.close()
        self.pieces.save()
        os.replace(self.part, self.path)
        self.pieces.pieces.append(self.told)


def decode_times(shown: list[int], durations: list[int]) -> list[int]:
    """When pictures are decoded that are shown at these times for so long, given in the order in which they are decoded.

    Pieces say it each for itself, and with a variable rate they would overlap. MP4 cuts a film off that is not decoded
    for as long as it is shown.
    """
    order = sorted(shown)
    rank = {pts: number for number, pts in enumerate(order)}
    delay = max(number - rank[pts] for number, pts in enumerate(shown))
    times = [order[0] - (order[delay] - order[number]) for number in range(delay)] + order[: len(order) - delay]
    lasts = max(pts + duration for pts, duration in zip(shown, durations, strict=True)) - order[0]
    return [min(times[0], times[-1] + durations[-1] - lasts), *times[1:]]
