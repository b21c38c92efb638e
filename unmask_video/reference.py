"""Photos of the people whose faces are to come back: given by the user, or bare frames of the film itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from unmask_video.ahead import side_by_side
from unmask_video.errors import BadReference
from unmask_video.face import Detection, Face, Mask, Reference, align, direction
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert, iou, scale_of
from unmask_video.picture import grey, is_cut, photo, sample, small_grey
from unmask_video.stopwatch import Stopwatch

LARGEST = 512
"""Most pixels of a reference's crop; smaller photos keep their own size."""
ONE_PERSON = 0.55
"""Least likeness of two photos that show one person."""
SMALLEST, TURNED = 64, 0.7
"""Of a bare face that serves: least pixels of its crop, and least cosine between its direction and the camera's."""
BARE, COVERED = 0.1, 0.003
"""Of a face that counts as bare: most belief in a mask, and most part of its crop that the segmenter may still call mask."""
VIEW = 0.2
"""Directions that differ by less are one view."""
STAYED, ALIKE, SOON = 0.3, 0.2, 1.0
"""Least overlap (IoU) of one face's boxes from one look to the next, least likeness, and most seconds between them."""
POOR = 0.4
"""Views of less than this part of the best one's quality are left out."""

JPEG = b"\xff\xd8"
"""What files begin with that cannot be transparent."""

Settle = Callable[[Frame, Detection], tuple[np.ndarray, float]]
Views = list[Reference]
"""Photos of one person."""


def load(
    name: str,
    *,
    detect: Callable[[Frame], list[Detection]],
    settle: Settle,
    identity: Callable[[Frame, np.ndarray], np.ndarray],
) -> Reference:
    """The reference photo `name`: `PHOTO`, `PHOTO#2` for its second face from the left, `WHO=PHOTO` to say who it is.

    Raises:
        BadReference: the file is missing or no picture, shows no face, or shows several and none was chosen.
    """
    who, name = split_person(name)
    path, chosen = split_choice(name)
    frame = photo(read_picture(path))
    faces = sorted(detect(frame), key=lambda d: d.box[0])
    landmarks, score = settle(frame, choose(path, faces, chosen))
    if score < 0.5:
        raise BadReference(f"the face on {path} is too unclear to measure; give a sharper photo, seen from the front")
    return replace(aligned(path.name, frame, landmarks, identity(frame, landmarks)), person=who)


def aligned(name: str, frame: Frame, landmarks: np.ndarray, identity: np.ndarray) -> Reference:
    """A measured face, cut out at its own size (at most `LARGEST`)."""
    size = int(np.clip(scale_of(align(landmarks, 1)), 64, LARGEST))
    crop = align(landmarks, size)
    image = sample(frame, crop, size).round().clip(0, 255).astype(np.uint8)
    return Reference(name, image, apply(invert(crop), landmarks), identity)


# --- photos that the user gives -------------------------------------------------------------------


def split_person(name: str) -> tuple[str, str]:
    """`anna=photo.jpg` is a photo of anna, unless a file has that very name; who, and the rest."""
    who, mark, rest = name.partition("=")
    if not mark or not who or "/" in who or "\\" in who or split_choice(name)[0].exists():
        return "", name
    return who, rest


def split_choice(name: str) -> tuple[Path, int | None]:
    """`photo.jpg#2` is face 2 of photo.jpg, unless a file has that very name."""
    stem, mark, number = name.rpartition("#")
    if mark and number.isdigit() and not Path(name).exists():
        return Path(stem), int(number)
    return Path(name), None


def read_picture(path: Path) -> np.ndarray:
    """uint8 [h, w, 3] RGB, turned as its EXIF says."""
    if not path.is_file():
        raise BadReference(f"the reference {path} is not a file; give a photo (JPEG, PNG or WebP)")
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise BadReference(f"the reference {path} cannot be read ({error.strerror}); check its permissions") from None
    except cv2.error:
        picture = None
    if picture is None:
        sentence = "is no picture that can be read; give a photo (JPEG, PNG or WebP) of at most 120 megapixels"
        raise BadReference(f"the reference {path} {sentence}")
    layers = None if data[:2].tobytes() == JPEG else cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if layers is not None and layers.ndim == 3 and layers.shape[2] == 4 and layers.shape[:2] == picture.shape[:2]:
        # What is transparent may hold any colours; on white it is what people see.
        seen = layers[..., 3:].astype(np.float32) / np.iinfo(layers.dtype).max
        picture = (picture * seen + 255 * (1 - seen)).round().astype(np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def choose(path: Path, faces: list[Detection], chosen: int | None) -> Detection:
    """The face that is meant."""
    if not faces:
        raise BadReference(f"no face was found on {path}; give a photo that shows the bare face from the front")
    if chosen is None and len(faces) > 1:
        listed = ", ".join(f"#{k} at x {d.box[0]:.0f}-{d.box[2]:.0f}" for k, d in enumerate(faces, 1))
        raise BadReference(f"{path} shows {len(faces)} faces ({listed}); choose one as {path}#1")
    index = 1 if chosen is None else chosen
    if not 1 <= index <= len(faces):
        raise BadReference(f"{path} has no face #{index}, only #1 to #{len(faces)}")
    return faces[index - 1]


# --- who is on them -------------------------------------------------------------------------------


def group(references: list[Reference]) -> list[Views]:
    """Photos of one person together: of one name, or without a name and alike."""
    people: list[Views] = []
    # Those with a name come first, so that the others find them whatever their order.
    for new in sorted(references, key=lambda r: not r.person):
        alike = [float(p[0].person == new.person) if new.person else likeness(p, [new]) for p in people]
        if alike and max(alike) >= ONE_PERSON:
            people[int(np.argmax(alike))].append(new)
        else:
            people.append([new])
    return people


def likeness(one: Views, other: Views) -> float:
    """Mean over the photos of two people, see `identify.identity`."""
    return float(np.mean([[a.identity @ b.identity for a in one] for b in other]))


def join(given: list[Views], mined: list[Views]) -> list[Views]:
    """The given people, each with the views of that mined person who is them; other mined people are left out."""
    joined = [list(person) for person in given]
    for views in mined:
        alike = [likeness(person, views) for person in given]
        if alike and max(alike) >= ONE_PERSON:
            joined[int(np.argmax(alike))] += views
    return joined


# --- bare frames of the film ----------------------------------------------------------------------


@dataclass(eq=False)
class Look:
    """One face at one moment of the film."""

    box: np.ndarray
    shot: int
    time: float
    """Seconds."""
    masked: bool
    view: Reference | None = None
    """It, bare and good enough to serve."""
    quality: float = 0.0
    person: list[Look] | None = None
    """Kept looks of the same person, if there are any."""


def mine(
    frames: Iterable[Frame],
    *,
    every: float,
    detect: Callable[[Frame], list[Detection]],
    settle: Settle,
    segment: Callable[[Frame, Face], Mask],
    identity: Callable[[Frame, np.ndarray], np.ndarray],
    beat: int = 1,
    workers: int = 1,
    watch: Stopwatch | None = None,
) -> list[Views]:
    """The people whose bare faces a film shows: of each, the best views, one for every direction.

    Args:
        frames: the film.
        every: least seconds from one look at it to the next.
        beat: frames are looked at whose number is a multiple of this, unless that would be twice as long.
        workers: threads that look.
        watch: told what they take.
    """
    people: list[list[Look]] = []
    earlier: list[Look] = []
    before: list[Look] = []

    def looks(at: tuple[Frame, int]) -> list[Look]:
        with watch.on("search") if watch else nullcontext():
            return [_look(*at, found, settle, segment, identity) for found in detect(at[0])]

    with closing(side_by_side(looks, due(frames, every, beat), workers, "unmask-search")) as seen:
        for now in seen:
            _keep(people, before, earlier, now)
            earlier, before = before, now
    _keep(people, before, earlier, [])
    return [_best(looks) for looks in people]


def due(frames: Iterable[Frame], every: float, beat: int = 1) -> Iterator[tuple[Frame, int]]:
    """The frames that are looked at, and in which shot they are."""
    next_time, shot, small = -np.inf, 0, None
    for frame in frames:
        last, small = small, small_grey(frame)
        shot += last is not None and is_cut(last, small)
        if frame.time_seconds >= next_time and (frame.index % beat == 0 or frame.time_seconds >= next_time + every):
            next_time = frame.time_seconds + every
            yield frame, shot


def _look(
    frame: Frame, shot: int, detection: Detection, settle: Settle, segment: Callable, identity: Callable
) -> Look:  # fmt: skip
    landmarks, score = settle(frame, detection)
    mask = segment(frame, Face(0, landmarks, score))
    look = Look(detection.box, shot, frame.time_seconds, masked=mask.belief > BARE)
    if score > 0.9 and serves(landmarks, mask):
        look.view = aligned(f"the film at {frame.time_seconds:.1f} s", frame, landmarks, identity(frame, landmarks))
        look.quality = quality(look.view)
    return look


def serves(landmarks: np.ndarray, mask: Mask) -> bool:
    """Whether a face is bare, seen from the front, and large."""
    bare = mask.belief <= BARE and (mask.alpha > 0.5).mean() <= COVERED
    return bool(bare and direction(landmarks)[2] >= TURNED and scale_of(align(landmarks, 1)) >= SMALLEST)


def quality(view: Reference) -> float:
    """How well a face serves: large, sharp, well lit, with its mouth shut. Of use to compare views of one person."""
    size = view.image.shape[0]
    inside = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(view.landmarks[:, :2].round().astype(np.int32)), 1)
    level = grey(cv2.GaussianBlur(view.image.astype(np.float32), (0, 0), size / 256))
    fine = np.abs(level - cv2.GaussianBlur(level, (0, 0), size / 64))[inside > 0].mean() / max(level[inside > 0].mean(), 1)
    lit = ((level > 40) & (level < 240))[inside > 0].mean()
    gap = np.linalg.norm(view.landmarks[13, :2] - view.landmarks[14, :2])
    width = np.linalg.norm(view.landmarks[61, :2] - view.landmarks[291, :2])
    return float(min(size, 256) / 256 * fine * lit**2 / (1 + (4 * gap / max(width, 1)) ** 2))


def _keep(people: list[list[Look]], looks: list[Look], earlier: list[Look], later: list[Look]) -> None:
    """Give looks to their people, those of one moment to different ones; keep the best of each direction.

    What was just before or will soon be masked is not kept: there may be a hand or half a mask in it.
    """
    for look in looks:
        same = next((e.person for e in earlier if e.person and stays(e, look)), None)
        taken = any(same is other.person for other in looks)
        look.person = None if taken or (look.view and same and _alike(same, look) < ALIKE) else same
    for look in looks:
        if look.view is None or any(other.masked and stays(look, other) for other in earlier + later):
            continue
        if look.person is None:
            free = [p for p in people if not any(p is other.person for other in looks)]
            likest = max(free, key=lambda person: _alike(person, look), default=None)  # noqa: B023
            look.person = likest if likest and _alike(likest, look) >= ONE_PERSON else []
        if not look.person:
            people.append(look.person)
        _add(look.person, look)


def stays(one: Look, other: Look) -> bool:
    """True if two looks in a row are at one place of one shot."""
    near = one.shot == other.shot and abs(one.time - other.time) <= SOON
    return near and float(iou(one.box[None], other.box[None])[0, 0]) > STAYED


def _alike(person: list[Look], look: Look) -> float:
    return max(float(kept.view.identity @ look.view.identity) for kept in person)


def _add(person: list[Look], look: Look) -> None:
    """Keep a look if it is a new direction, or the best of its own."""
    away = [np.linalg.norm(k.view.direction - look.view.direction) for k in person]
    if not away or min(away) >= VIEW:
        person.append(look)
    elif person[int(np.argmin(away))].quality < look.quality:
        person[int(np.argmin(away))] = look


def _best(looks: list[Look]) -> Views:
    """The views of one person, best first."""
    ranked = sorted(looks, key=lambda look: -look.quality)
    return [look.view for look in ranked if look.quality >= POOR * ranked[0].quality]
