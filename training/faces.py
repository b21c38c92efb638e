"""Cut faces as training reads them: who is on them, which photos go together, and who is kept out."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

import numpy as np

HELD_OUT = 20
"""One person in so many is kept for evaluation, where no file of other faces is given for it."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Bare faces, as `training.data` cuts them."""

    names: tuple[str, ...]
    """`person/take-number.jpg` or `photo.jpg`: a folder is a person, a photo outside of one a person of its own."""
    images: np.ndarray
    """uint8 [N, S, S, 3] RGB."""
    landmarks: np.ndarray
    """float32 [N, 468, 3] in crop pixels."""

    @staticmethod
    def load(files: tuple[str | Path, ...]) -> Faces:
        """The faces of several files of `training.data`. Raises ValueError where one is something else."""
        parts = [_read(f) for f in files]
        names, images, landmarks = (np.concatenate(same) for same in zip(*parts, strict=True))
        return Faces(tuple(map(str, names)), images, landmarks)

    def keep(self, chosen: np.ndarray) -> Faces:
        """Those that are True in bool [N]."""
        names = tuple(n for n, c in zip(self.names, chosen, strict=True) if c)
        return Faces(names, self.images[chosen], self.landmarks[chosen])

    def split(self) -> tuple[Faces, Faces]:
        """(for training, held out) by person."""
        out = np.array([zlib.crc32(person(n).encode()) % HELD_OUT == 0 for n in self.names])
        return self.keep(~out), self.keep(out)

    def partners(self) -> list[np.ndarray]:
        """For each face the indices of the person's other photos, of another take where there is one."""
        shelf: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(self.names):
            shelf[person(name)].append(index)
        found = []
        for index, name in enumerate(self.names):
            others = [k for k in shelf[person(name)] if k != index]
            found.append(np.array([k for k in others if take(self.names[k]) != take(name)] or others, int))
        return found


def split(files: tuple[str, ...], held_out: str | None) -> tuple[Faces, Faces]:
    """(for training, held out); nobody is in both.

    Raises:
        ValueError: somebody is in both, or there are too few.
    """
    known, others = Faces.load(files), Faces.load((held_out,)) if held_out else None
    if others is None:
        known, others = known.split()
    elif both := {person(n) for n in known.names} & {person(n) for n in others.names}:
        raise ValueError(f"{len(both)} people of --held-out are in FACES too, {min(both)} first; leave them out of one")
    if not known.names or not others.names:
        raise ValueError("too few faces to keep some out; give more, or a file of others by --held-out")
    return known, others


def _read(file: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        with np.load(file) as stored:
            return stored["names"], stored["images"], stored["landmarks"]
    except (OSError, EOFError, KeyError, ValueError, AttributeError, TypeError, BadZipFile):
        raise ValueError(f"{file} holds no cut faces; make such a file by python -m training.data") from None


def person(name: str) -> str:
    """Who is on a photo."""
    folder = PurePosixPath(name).parent
    return name if folder == PurePosixPath(".") else str(folder)


def take(name: str) -> str:
    """The film or the sitting: what stands before the last dash."""
    return PurePosixPath(name).stem.rpartition("-")[0]
