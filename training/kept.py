"""Samples that are drawn once and learned from again and again: drawing takes longer than a small network does to learn."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch.utils.data import Dataset

from training.faces import Faces
from training.samples import FillSamples, Sample, SegmenterSamples


@dataclass(frozen=True, eq=False)
class Kept(Dataset):
    """The first `count` of `samples`, over and over; each is drawn when it is first asked for, by whichever run."""

    samples: SegmenterSamples | FillSamples
    count: int
    folder: Path

    @staticmethod
    def under(root: Path, samples: SegmenterSamples | FillSamples, count: int) -> Kept:
        """In a folder of `root` that only runs with the same faces, patterns, size and seed share."""
        told = (type(samples).__name__, samples.size, samples.seed, samples.patterns, samples.faces.names)
        key = hashlib.sha256(repr(told).encode() + samples.faces.landmarks.tobytes())
        folder = root / key.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return Kept(samples, count, folder)

    @property
    def faces(self) -> Faces:
        return self.samples.faces

    def __getitem__(self, n: int) -> Sample:
        path = self.folder / f"{n % self.count}.npz"
        try:
            with np.load(path) as kept:
                return dict(kept)
        except (OSError, ValueError, EOFError, BadZipFile):
            drawn = self.samples[n % self.count]
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as part:  # another run may read it meanwhile
            np.savez(part, **drawn)
        os.replace(part.name, path)
        return drawn
