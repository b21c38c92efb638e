"""Photos of the people whose faces are to come back: read, turned upright, checked and measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from unmask_video.errors import BadReference
from unmask_video.face import CANONICAL, Detection, Reference, align
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert, scale_of
from unmask_video.picture import photo, sample

LARGEST = 512
"""Most pixels of a reference's crop; smaller photos keep their own size."""


def load(
    name: str,
    *,
    detect: Callable[[Frame], list[Detection]],
    settle: Callable[[Frame, Detection], tuple[np.ndarray, float]],
    identity: Callable[[Frame, np.ndarray], np.ndarray],
) -> Reference:
    """The reference photo `name`, or its N-th face from the left if the name ends in `#N`.

    Raises:
        BadReference: the file is missing or no picture, shows no face, or shows several and none was chosen.
    """
    path, chosen = split_choice(name)
    frame = photo(read_picture(path))
    faces = sorted(detect(frame), key=lambda d: d.box[0])
    landmarks, score = settle(frame, choose(path, faces, chosen))
    if score < 0.5:
        raise BadReference(f"the face on {path} is too unclear to measure; give a sharper photo, seen from the front")
    return aligned(path.name, frame, landmarks, identity(frame, landmarks))


def aligned(name: str, frame: Frame, landmarks: np.ndarray, identity: np.ndarray) -> Reference:
    """A measured face, cut out at its own size (at most `LARGEST`)."""
    size = int(np.clip(scale_of(align(landmarks, 1)), 64, LARGEST))
    crop = align(landmarks, size)
    image = sample(frame, crop, size).round().clip(0, 255).astype(np.uint8)
    return Reference(name, image, apply(invert(crop), landmarks), identity)


@cache
def mean_face() -> Reference:
    """Everybody's face and nobody's: what a network starts from where there is no photo; made by `training/data.py`."""
    data = files("unmask_video").joinpath("mean_face.png").read_bytes()
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    landmarks = apply(invert(align(CANONICAL, image.shape[0])), CANONICAL)
    return Reference("the mean face", image, landmarks, np.zeros(192, np.float32))


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
        raise BadReference(f"the reference {path} is no picture that can be read; give a photo (JPEG, PNG or WebP)")
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
