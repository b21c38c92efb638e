"""What a first pass over a film found, in 16 kilobytes a face: who is filled in each frame, where, and from what.

With it any part of the film can be painted by itself, by any process that has the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unmask_video.errors import CannotDecode
from unmask_video.face import Face, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.journal import DAMAGED, write_whole
from unmask_video.pieces import SEGMENT
from unmask_video.turns import Turn

HEAD, PHOTOS = "table.json", "table-photos.npz"
QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 1)
NOBODY = -1
"""In place of a second photo."""


@dataclass(frozen=True, eq=False)
class Row:
    """A frame."""

    pts: int
    duration: int
    turns: list[Turn]


@dataclass
class TableWriter:
    """Takes a film's frames in order; the table counts once it is finished."""

    folder: Path
    frames: int = 0
    first: int = 0
    """Time stamp of the first frame."""
    photos: list[Reference] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)

    def add(self, frame: Frame, turns: list[Turn]) -> None:
        """Raises CannotEncode."""
        self.first = self.first if self.frames else frame.pts
        self.frames += 1
        self.waiting.append(Row(frame.pts, frame.duration, turns))
        if len(self.waiting) == SEGMENT:
            self._write()

    def finish(self, report: dict[str, Any]) -> None:
        """Raises CannotEncode."""
        if self.waiting:
            self._write()
        named = {f"{k}|{part}": getattr(photo, part) for k, photo in enumerate(self.photos) for part in PARTS}
        _save(self.folder / PHOTOS, named)
        head = {"frames": self.frames, "first": self.first, "names": [(p.name, p.person) for p in self.photos], "report": report}
        write_whole(self.folder / HEAD, json.dumps(head).encode())

    def _write(self) -> None:
        rows, self.waiting = self.waiting, []
        turns = [turn for row in rows for turn in row.turns]
        masks = [_packed(turn.mask.alpha) for turn in turns]
        _save(self.folder / rows_name((self.frames - 1) // SEGMENT), {
            "pts": np.array([row.pts for row in rows], np.int64),
            "durations": np.array([row.duration for row in rows], np.int64),
            "counts": np.array([len(row.turns) for row in rows], np.int32),
            "tracks": np.array([turn.face.track_id for turn in turns], np.int64),
            "landmarks": np.array([turn.face.landmarks for turn in turns], np.float64).reshape(-1, 468, 3),
            "sizes": np.array([len(mask) for mask in masks], np.int64),
            "masks": np.concatenate([np.zeros(0, np.uint8), *masks]),
            "shown": np.array([turn.mask.share for turn in turns], np.float64),
            "anew": np.array([turn.anew for turn in turns], bool),
            "photos": np.array([self._photos(turn) for turn in turns], np.float64).reshape(-1, 2, 2),
        })  # fmt: skip

    def _photos(self, turn: Turn) -> list[tuple[int, float]]:
        """Number and share of each photo."""
        for photo, _ in turn.photos:
            if not any(photo is known for known in self.photos):
                self.photos.append(photo)
        numbers = {id(photo): number for number, photo in enumerate(self.photos)}
        return [*((numbers[id(photo)], share) for photo, share in turn.photos), (NOBODY, 0.0)][:2]


PARTS = ("image", "landmarks", "identity")
"""Of a photo, beside its name and whose it is."""


class Table:
    """A finished table. Raises CannotDecode where it is damaged, or there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            head = json.loads((folder / HEAD).read_bytes())
            self.frames, self.first, self.report, self.names = (head[key] for key in ("frames", "first", "report", "names"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from None

    @property
    def pieces(self) -> int:
        return -(-self.frames // SEGMENT)

    @cached_property
    def photos(self) -> list[Reference]:
        stored = self._load(self.folder / PHOTOS)
        return [
            Reference(name, *(stored[f"{k}|{part}"] for part in PARTS), person) for k, (name, person) in enumerate(self.names)
        ]

    def times(self, begin: int, end: int) -> list[int]:
        """Time stamps of the frames in [begin, end), as far as there are."""
        last = -(-min(end, self.frames) // SEGMENT)
        stamps = [self._load(self.folder / rows_name(number))["pts"] for number in range(begin // SEGMENT, last)]
        return np.concatenate(stamps)[begin % SEGMENT :][: end - begin].tolist()

    def rows(self, begin: int) -> Iterator[Row]:
        """Of the frames from this on, read as they are asked for."""
        for number in range(begin // SEGMENT, self.pieces):
            stored = self._load(self.folder / rows_name(number))
            places = np.concatenate([[0], np.cumsum(stored["counts"])])
            for k in range(begin % SEGMENT if number == begin // SEGMENT else 0, len(stored["pts"])):
                turns = [self._turn(stored, m) for m in range(places[k], places[k + 1])]
                yield Row(int(stored["pts"][k]), int(stored["durations"][k]), turns)

    def _turn(self, stored: dict[str, np.ndarray], m: int) -> Turn:
        start = int(stored["sizes"][:m].sum())
        packed = stored["masks"][start : start + int(stored["sizes"][m])]
        alpha = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED).astype(np.float32) / 65535
        photos = [(self.photos[int(number)], float(share)) for number, share in stored["photos"][m] if number != NOBODY]
        face = Face(int(stored["tracks"][m]), stored["landmarks"][m].astype(np.float64), 1.0)
        return Turn(face, Mask(alpha, 1.0, True, float(stored["shown"][m])), photos, bool(stored["anew"][m]))

    def _load(self, path: Path) -> dict[str, np.ndarray]:
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return dict(stored)
        except DAMAGED as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> CannotDecode:
        return CannotDecode(f"what was found out about the film is missing or damaged in {self.folder} ({error}); begin anew")


def rows_name(number: int) -> str:
    """The file that tells of the frames of a piece."""
    return f"table-{number:06}.npz"


def _packed(alpha: np.ndarray) -> np.ndarray:
    """Finely enough that the film comes out as if it had been made in one go."""
    return cv2.imencode(".png", (alpha * 65535).round().clip(0, 65535).astype(np.uint16), QUICK)[1]


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    out = io.BytesIO()
    np.savez(out, **arrays)
    write_whole(path, out.getvalue())
