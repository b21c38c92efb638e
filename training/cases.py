"""Cases to score fills on: bare faces that get a drawn mask, each with another photo of the person as reference.

Photos lie in a folder or a tar: `person/photo.jpg` or just `photo.jpg`. They are read one after the other, each
once; the pixels of no more than three are held at a time.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

import cv2
import numpy as np
from unmask_video import reference, segment, warp
from unmask_video.errors import BadOption
from unmask_video.face import Face, FaceCrop, Guide, Mask, Reference, align
from unmask_video.geometry import apply
from unmask_video.landmarks import Measure, onnx_backend
from unmask_video.picture import photo, sample

from training.data import measure_face
from training.faces import person
from training.masks import MaskShape, lit

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What the name of a photo ends in; other files are passed over."""
LARGEST = 1024
"""Most pixels along a side of a photo; larger ones are shrunk, for masks are drawn at four times the size."""
UTKFACE = re.compile(r"(\d{1,3})_[01]_([0-4])_\d+")
"""Names of UTKFace: age, gender, race, date. Its photos are of as many people, whatever their folder."""
AGES = ((13, "under 13"), (30, "13-29"), (60, "30-59"), (1000, "60 and over"))
"""(first age above, name) of each age group."""
ORIGINS = ("White", "Black", "Asian", "Indian", "Others")
"""What UTKFace's races 0 to 4 are."""
NOBODY = np.zeros(192, np.float32)
"""Identity is not compared here."""
BLOCK = bytes(512)
"""What the end of a tar begins with."""


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
class Photos:
    """The photos of a folder or a tar, unread."""

    people: tuple[tuple[str, ...], ...]
    """Names of the photos of each person."""
    read: Callable[[str], bytes]
    """The file of a name."""

    @property
    def paired(self) -> bool:
        """Somebody is on two photos."""
        return any(len(names) > 1 for names in self.people)


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo that shows a face."""

    name: str
    rgb: np.ndarray
    """uint8 [h, w, 3]."""
    landmarks: np.ndarray
    """float64 [468, 3] in its pixels."""


@contextmanager
def open_photos(source: Path) -> Iterator[Photos]:
    """The photos below a folder in the order of their names, or in a tar in its own order.

    A folder that holds everything in a tar is no part of the names.

    Raises:
        BadOption: the source holds no photos, or is no whole tar.
    """
    if source.is_dir():
        paths = {p.relative_to(source).as_posix(): p for p in sorted(source.rglob("*")) if _is_photo(p) and p.is_file()}
        yield Photos(_people(paths, source), lambda name: paths[name].read_bytes())
        return
    members = _members(source)
    with tarfile.open(source) as tar:
        yield Photos(_people(members, source), lambda name: tar.extractfile(members[name]).read())


def _is_photo(path: PurePath) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def _members(source: Path) -> dict[str, tarfile.TarInfo]:
    """The photos in a tar by name. Python ends silently where a tar is cut off or damaged; this does not."""
    try:
        with tarfile.open(source) as tar:
            found = {PurePosixPath(m.name): m for m in tar if m.isfile() and _is_photo(PurePosixPath(m.name))}
            tar.fileobj.seek(tar.offset)
            whole = tar.fileobj.read(len(BLOCK)) == BLOCK
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        whole = False
    if not whole:
        raise BadOption(f"{source} is no tar, or a damaged one; give a folder or a tar of photos, person/photo.jpg")
    tops = {path.parts[0] for path in found if len(path.parts) > 1}
    inside = len(tops) == 1 and all(len(path.parts) > 1 for path in found)
    return {str(PurePosixPath(*path.parts[1:]) if inside else path): member for path, member in found.items()}


def _people(names: Iterable[str], source: Path) -> tuple[tuple[str, ...], ...]:
    """The names, by person."""
    shelf: dict[str, list[str]] = defaultdict(list)
    for name in names:
        shelf[name if UTKFACE.match(PurePosixPath(name).name) else person(name)].append(name)
    if not shelf:
        raise BadOption(f"{source} holds no photos ({', '.join(ENDINGS)}); give a folder or a tar of person/photo.jpg")
    return tuple(map(tuple, shelf.values()))


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


def decode(data: bytes) -> np.ndarray | None:
    """A picture's file as uint8 [h, w, 3] RGB of at most `LARGEST` px a side; None if it is damaged."""
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        bgr = None
    if bgr is None:
        return None
    scale = LARGEST / max(bgr.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in bgr.shape[1::-1]]
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


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
            yield shot, reference.mean_face()

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
        ((_, ((_, predicted),)),) = segment.segment([(frame, [face])], self.segmenter)
        masks = {"true": Mask(hidden, 1.0, True), "predicted": predicted}
        return Case(shot.name, crop, truth, hidden, masks, other, warp.guide(crop, other))


def as_reference(shot: Shot) -> Reference:
    return reference.aligned(shot.name, photo(shot.rgb), shot.landmarks, NOBODY)
