"""Cases to score fills on: bare faces that get a drawn mask, each with another photo of the person as reference.

Photos lie in a folder or a tar: `person/photo.jpg` or just `photo.jpg`. They are read one after the other, each
once; the pixels of no more than three are held at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import cv2
import numpy as np

from training.data import measure_face
from training.masks import MaskShape, lit
from training.photos import UTKFACE, Photos, decode
from training.references import NOBODY
from unmask_video import reference, segment, warp
from unmask_video.face import Face, FaceCrop, Guide, Mask, Reference, align, mean_face
from unmask_video.geometry import apply
from unmask_video.landmarks import Measure, onnx_backend
from unmask_video.picture import photo, sample

AGES = ((13, "under 13"), (30, "13-29"), (60, "30-59"), (1000, "60 and over"))
"""(first age above, name) of each age group."""
ORIGINS = ("White", "Black", "Asian", "Indian", "Others")
"""What UTKFace's races 0 to 4 are."""


@dataclass(frozen=True, eq=False)
class Case:
    """One masked face with its truth."""

    name: str
    crop: FaceCrop
    truth: np.ndarray
    """float32 [S, S, 3] RGB in 0..255: the bare crop."""
    alpha: np.ndarray
    """float32 [S, S] in 0..1: the drawn mask."""
    masks: dict[str, Mask]
    """"true": the drawn one, "predicted": what the product's segmenter makes of this crop."""
    reference: Reference
    guide: Guide
    """The reference, warped onto the crop."""

    @property
    def hole(self) -> np.ndarray:
        """bool [S, S]: more mask than face."""
        return self.alpha > 0.5


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo that shows a face."""

    name: str
    rgb: np.ndarray
    """uint8 [h, w, 3]."""
    landmarks: np.ndarray
    """float64 [468, 3] in its pixels."""


def groups(name: str) -> dict[str, str]:
    """Age group and origin of a photo whose name is one of UTKFace's; nothing of others."""
    told = UTKFACE.match(PurePosixPath(name).name)
    if not told:
        return {}
    age, race = map(int, told.groups())
    return {"age": next(group for above, group in AGES if age < above), "origin": ORIGINS[race]}


def surgical(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A light blue mask worn as it should be: picture uint8 [h, w, 3] and alpha float32 [h, w], at the photo's size."""
    shape = MaskShape(
        top=rng.uniform(0.15, 0.45), cheek=rng.uniform(0.25, 0.6), width=-0.05, jaw=1.03, chin=0.05, stand=0.04
    )
    (h, w), size = rgb.shape[:2], max(rgb.shape[:2])
    alpha = cv2.GaussianBlur(shape.cover(landmarks, size, rng), (0, 0), size / 500)[:h, :w]
    cloth = lit(np.full((h, w, 3), (160, 200, 225), np.float32), rgb, alpha, rng)
    return (rgb + (cloth - rgb) * alpha[..., None]).clip(0, 255).astype(np.uint8), alpha


def widened(rgb: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A photo, its edges repeated as far as the face's crop reaches past them, and where it lies therein, [x, y, 0].

    So masks are drawn whole on photos that end at the chin; else the crop would show them smeared.
    """
    corners = apply(align(landmarks, 1), np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
    left, top = np.maximum(np.ceil(-corners.min(0)), 0).astype(int)
    right, bottom = np.maximum(np.ceil(corners.max(0)) - rgb.shape[1::-1], 0).astype(int)
    return cv2.copyMakeBorder(rgb, top, bottom, left, right, cv2.BORDER_REPLICATE), np.array([left, top, 0])


@dataclass(frozen=True, eq=False)
class Cases:
    """Every photo masked in turn, always by the same masks; landmarks are found on the masked picture."""

    photos: Photos
    size: int = 256
    """Pixels of a crop, a multiple of 64."""
    references: bool = True
    """The person's previous photo is the reference; else, or if nobody has two photos, the mean face is."""
    skipped: Counter[str] = field(default_factory=Counter)
    """How many photos gave no case, by reason: counted on the way."""
    measure: Measure = field(default_factory=onnx_backend)
    segmenter: segment.Segment = field(default_factory=segment.unet)
    """What makes the predicted masks."""

    @property
    def paired(self) -> bool:
        """References are photos, not the mean face."""
        return self.references and self.photos.paired

    def __iter__(self) -> Iterator[Case]:
        """One case after the other. Each photo is read once; `skipped` starts anew."""
        self.skipped.clear()
        rng = np.random.default_rng(0)
        for names in self.photos.people:
            for shot, other in self.pairs(names) if self.paired else self.singles(names):
                case = self.case(shot, other, rng)
                if case is not None:
                    yield case

    def singles(self, names: Iterable[str]) -> Iterator[tuple[Shot, Reference]]:
        """Each photo that shows a face, with the mean face."""
        for shot in filter(None, map(self.shot, names)):
            yield shot, mean_face()

    def pairs(self, names: Iterable[str]) -> Iterator[tuple[Shot, Reference]]:
        """Each photo of a person that shows a face, with the one before it; before the first comes the last."""
        ahead, last = list(names), None
        while ahead and last is None:
            last = self.shot(ahead.pop())
        before = last
        for shot in filter(None, map(self.shot, ahead)):
            yield shot, as_reference(before)
            before = shot
        if before is not last:
            yield last, as_reference(before)
        elif last is not None:
            self.skipped["no other photo of the person"] += 1

    def shot(self, name: str) -> Shot | None:
        """A photo, read and measured."""
        try:
            rgb = decode(self.photos.read(name))
        except OSError:
            rgb = None
        if rgb is None:
            self.skipped["unreadable"] += 1
            return None
        landmarks = measure_face(photo(rgb), self.measure)
        if landmarks is None:
            self.skipped["no face found"] += 1
            return None
        return Shot(name, rgb, landmarks)

    def case(self, shot: Shot, other: Reference, rng: np.random.Generator) -> Case | None:
        """The photo with a mask; None where the face is not found any more."""
        (h, w), (bare, inset) = shot.rgb.shape[:2], widened(shot.rgb, shot.landmarks)
        masked, alpha = surgical(bare, shot.landmarks + inset, rng)
        frame, (x, y, _) = photo(masked), inset
        # Found on the photo alone: faces between repeated edges are missed more often.
        found = measure_face(photo(masked[y : y + h, x : x + w]), self.measure)
        if found is None:
            self.skipped["no face found once masked"] += 1
            return None
        face = Face(0, found + inset, 1.0)
        crop = warp.cut(frame, face, self.size)
        drawn = photo((alpha * 255).astype(np.uint8)[..., None].repeat(3, 2))
        hidden = sample(drawn, crop.crop_to_frame, self.size)[..., 1] / 255
        if not (hidden > 0.5).any():  # another face of the photo was found
            self.skipped["no face found once masked"] += 1
            return None
        truth = sample(photo(bare), crop.crop_to_frame, self.size)
        # The product's own decision whether there is a mask, of a film of one frame.
        ((_, ((_, predicted),)),) = segment.segment([(frame, [face])], self.segmenter, self.segmenter)
        masks = {"true": Mask(hidden, 1.0, True), "predicted": predicted}
        return Case(shot.name, crop, truth, hidden, masks, other, warp.guide(crop, other))


def as_reference(shot: Shot) -> Reference:
    return reference.aligned(shot.name, photo(shot.rgb), Face(0, shot.landmarks, 1.0), NOBODY)
