"""What networks learn from: sample n of a run is a function of the run's seed and n alone.

So workers may share the work in any way, and a run that goes on after a stop sees what an unbroken one
would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from torch.utils.data import Dataset, Sampler

from training.cameras import degrade, lamp, lens, sensor
from training.faces import Faces, person
from training.masks import decoy, draw
from training.patterns import Patterns
from training.references import as_reference, made_of
from unmask_video import inpaint, segment, warp
from unmask_video.face import UPPER, Face, Mask, Reference, mean_face
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert
from unmask_video.landmarks import Measure, onnx_backend, region_of_landmarks
from unmask_video.picture import photo, sample

Sample = dict[str, np.ndarray]
MASKED = 0.65
"""Share of masked faces that the segmenter sees."""
STRANGER, NONE = 0.05, 0.15
"""Shares of faces with a reference of the wrong person, and with none."""
LOST = 0.06
"""Mean distance of the upper face's landmarks from the true ones, in face heights, at which the product would have
noticed, by the detector's eyes, that FaceMesh found something else."""


@dataclass(frozen=True, eq=False)
class SegmenterSamples(Dataset):
    """image uint8 [3, S, S], mask uint8 [1, S, S], present float32: drawn masks, and faces without."""

    faces: Faces
    patterns: Patterns
    size: int
    seed: int

    def __getitem__(self, n: int) -> Sample:
        rng = np.random.default_rng([self.seed, n])
        index = int(rng.integers(len(self.faces.names)))
        return self.of_face(index, rng)

    def of_face(self, index: int, rng: np.random.Generator) -> Sample:
        image, landmarks = self.faces.images[index], self.faces.landmarks[index].astype(np.float64)
        present = rng.random() < MASKED
        if present:
            image, alpha = draw(image, landmarks, rng, self.patterns)
        else:
            image = decoy(image, landmarks, rng) if rng.random() < 0.5 else image
            alpha = np.zeros(image.shape[:2], np.float32)
        image, alpha = jitter(image, alpha, self.size, rng)
        return {"image": planes(degrade(image, rng)), "mask": planes(alpha * 255), "present": np.float32(present)}


@dataclass(frozen=True, eq=False)
class ShrunkSamples(SegmenterSamples):
    """The same, smaller; of faces without a drawn mask, what the segmenter says.

    So there may be faces among them that wear a mask of their own.
    """

    LEAST = segment.ON
    """Belief of the segmenter's from which on a mask is present."""

    def of_face(self, index: int, rng: np.random.Generator) -> Sample:
        large = SegmenterSamples(self.faces, self.patterns, segment.SIZE, self.seed).of_face(index, rng)
        image, mask, present = large["image"].transpose(1, 2, 0), large["mask"][0], large["present"] > 0
        if not present:
            alpha, belief = segment.verdict(image.astype(np.float32))
            mask, present = alpha * 255, belief >= self.LEAST
        small = [cv2.resize(p, (self.size, self.size), interpolation=cv2.INTER_AREA) for p in (image, mask)]
        return {"image": planes(small[0]), "mask": planes(small[1]), "present": np.float32(present)}


@dataclass(frozen=True, eq=False)
class SentrySamples(ShrunkSamples):
    """The same; the least sign of a mask counts."""

    LEAST = segment.LITTLE


@dataclass(frozen=True, eq=False)
class FillSamples(Dataset):
    """image, warped, reference, truth uint8 [3, S, S], hidden uint8 [1, S, S]: masked faces, as the product cuts them.

    points float32 [468, 5] say where in `truth` a point of the face is (x, y in sides of the crop), where in `warped`
    the same point is (x, y), and whether it is hidden and faces the camera (1, or 0).
    """

    faces: Faces
    patterns: Patterns
    size: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "partners", self.faces.partners())
        object.__setattr__(self, "people", np.array([person(n) for n in self.faces.names]))

    def __getitem__(self, n: int) -> Sample:
        rng = np.random.default_rng([self.seed, n])
        index = int(rng.integers(len(self.faces.names)))
        return self.of_face(index, self.reference(index, rng), rng)

    def of_face(self, index: int, reference: Reference, rng: np.random.Generator) -> Sample:
        bare, landmarks = self.faces.images[index], self.faces.landmarks[index].astype(np.float64)
        masked, alpha = draw(bare, landmarks, rng, self.patterns)
        seed = int(rng.integers(2**31))
        bare, masked = (lens(lamp(x, np.random.default_rng(seed)), np.random.default_rng(seed)) for x in (bare, masked))
        frame = photo(sensor(masked, rng))
        crop = warp.cut(frame, Face(0, measured(frame, landmarks), 1.0), self.size)
        truth = sample(photo(bare.clip(0, 255).astype(np.uint8)), crop.crop_to_frame, self.size)
        alpha = sample(photo(np.repeat(np.uint8(alpha * 255)[..., None], 3, 2)), crop.crop_to_frame, self.size)
        mask = Mask(seen_roughly(alpha[..., 1] / 255, rng), 1.0, True)
        painting = inpaint.tps(crop, mask, warp.guide(crop, reference))
        flat = cv2.resize(reference.image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        parts = {"image": crop.image, "warped": painting.at(self.size), "reference": flat, "truth": truth}
        parts["hidden"] = painting.hidden * 255
        true = apply(invert(crop.crop_to_frame), landmarks)
        points = self.points(true, *warp.place(reference.landmarks, crop.landmarks), painting.hidden)
        if rng.random() < 0.5:
            parts = {k: v[:, ::-1] for k, v in parts.items()}
            points[:, [0, 2]] = 1 - points[:, [0, 2]]
        return {k: planes(v) for k, v in parts.items()} | {"points": points}

    def points(self, true: np.ndarray, placed: np.ndarray, facing: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Of landmarks [468, 3] in the crop's pixels."""
        column, row = true[:, :2].astype(int).clip(0, self.size - 1).T
        counts = facing & (hidden[row, column] > 0.5)
        return np.column_stack([true[:, :2] / self.size, placed[:, :2] / self.size, counts]).astype(np.float32)

    def reference(self, index: int, rng: np.random.Generator) -> Reference:
        """Another photo of the person, or one made of this one; sometimes a stranger's, sometimes nobody's."""
        luck, others = rng.random(), self.partners[index]
        if luck < NONE:
            return mean_face()
        if luck < NONE + STRANGER:
            others = np.flatnonzero(self.people != self.people[index])
        if not len(others):
            return made_of(self.faces.images[index], self.faces.landmarks[index].astype(np.float64), rng)
        other = int(rng.choice(others))
        return as_reference(self.faces.images[other], self.faces.landmarks[other].astype(np.float64), rng)


def planes(picture: np.ndarray) -> np.ndarray:
    """[S, S] or [S, S, 3] in 0..255 -> uint8 [C, S, S]."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    return np.ascontiguousarray(picture.round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def jitter(image: np.ndarray, alpha: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The crop as a less sure alignment would cut it, at `size` px, half of them mirrored."""
    before = image.shape[0]
    angle, scale = rng.normal(0, 5), rng.uniform(0.85, 1.15) * size / before
    matrix = cv2.getRotationMatrix2D((before / 2, before / 2), angle, scale)
    matrix[:, 2] += size / 2 - before / 2 + rng.normal(0, 0.03, 2) * size
    moved = [cv2.warpAffine(a, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for a in (image, alpha)]
    return (moved[0][:, ::-1], moved[1][:, ::-1]) if rng.random() < 0.5 else (moved[0], moved[1])


def measured(frame: Frame, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [468, 3] as the product finds them on the masked face; the true ones where it finds nothing.

    Masks mislead FaceMesh: the jaw moves up, the nose moves about. What a network sees here, it learns to put right.
    """
    found = landmarks
    for _ in range(2):  # the second look, from where the first one led, is what tracking comes to
        ((found, _),) = facemesh()(frame, [region_of_landmarks(found)])
    away = np.linalg.norm((found - landmarks)[UPPER, :2], axis=1).mean()
    return found if away < LOST * np.linalg.norm(landmarks[152] - landmarks[10]) else landmarks


@cache
def facemesh() -> Measure:
    """Each process that makes samples opens its own."""
    return onnx_backend()


def seen_roughly(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask [S, S] as a segmenter would see it: its edge here and there a little too far in or out.

    Its intersection over union with the truth is .94 on average, as the segmenter's is.
    """
    size = alpha.shape[0]
    wobble = cv2.resize(rng.normal(0, 0.7, (12, 12)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), size * rng.uniform(0.002, 0.012))
    return ((soft - 0.5) * 3 + 0.5 + wobble.clip(-1, 1)).clip(0, 1)


class InOrder(Sampler[int]):
    """The numbers of one process's samples, from the first that nobody has seen: processes take turns at batches."""

    def __init__(self, *, first: int, steps: int, batch: int, rank: int = 0, processes: int = 1) -> None:
        self.first, self.steps, self.batch, self.rank, self.processes = first, steps, batch, rank, processes

    def __iter__(self) -> Iterator[int]:
        for step in range(self.steps):
            first = self.first + (step * self.processes + self.rank) * self.batch
            yield from range(first, first + self.batch)

    def __len__(self) -> int:
        return self.steps * self.batch
