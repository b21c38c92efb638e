"""Photos of the people whose faces are to come back, as the user gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from unmask_video.errors import BadReference
from unmask_video.face import Detection, Face, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert, scale_of
from unmask_video.picture import photo, sample

LARGEST = 512
"""Most pixels of a reference's crop; smaller photos keep their own size."""
ONE_PERSON = 0.55
"""Least likeness of two photos that show one person."""

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
    face = Face(0, *settle(frame, choose(path, faces, chosen)))
    if face.score < 0.5:
        raise BadReference(f"the face on {path} is too unclear to measure; give a sharper photo, seen from the front")
    return replace(aligned(path.name, frame, face, identity(frame, face.landmarks)), person=who)


def aligned(name: str, frame: Frame, face: Face, identity: np.ndarray, *, largest: int = LARGEST) -> Reference:
    """A measured face, cut out at its own size, within [64, `largest`]."""
    size = int(np.clip(scale_of(face.crop(1)), 64, largest))
    crop = face.crop(size)
    image = sample(frame, crop, size).round().clip(0, 255).astype(np.uint8)
    return Reference(name, image, apply(invert(crop), face.landmarks), identity)


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
