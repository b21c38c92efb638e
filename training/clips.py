"""Films in which masks are drawn on bare faces, so that what they hide is known; and photos taken from films."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from training.patterns import Patterns
from training.worn import Worn
from unmask_video import track, warp
from unmask_video.errors import BadOption
from unmask_video.face import Face, Patch
from unmask_video.frame import Frame
from unmask_video.steady import steady

CLOTH = 256
"""Pixels of a mask's cloth over the face's crop."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """A bare face, and the mask drawn on it."""

    face: Face
    """As the product's own tracking measures it on the bare film."""
    mask: np.ndarray
    """float32 [S, S] in 0..1 over the face's crop (see `face.align`)."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame, and what becomes of it when everybody wears a mask."""

    bare: Frame
    masked: Frame
    faces: list[Hidden]


def drawn(
    frames: Iterable[Frame], linker: Callable[[], track.Linker], *, seed: int = 0, patterns: Patterns = Patterns()
) -> Iterator[Shot]:
    """Each frame, everybody in it with a mask of their own, which moves and turns with the head."""
    masks: dict[int, Worn] = {}
    for frame, faces in steady(track.follow(frames, linker())):
        hidden, patches = [], []
        for face in faces:
            mask = masks.setdefault(face.track_id, Worn.random(CLOTH, seed + face.track_id, patterns))
            crop = warp.cut(frame, face, warp.size_for(face))
            bare = crop.image.round().clip(0, 255).astype(np.uint8)
            image, alpha = mask.on(bare, crop.landmarks)
            # Straps and shadow reach past the mask; where nothing was drawn, the frame keeps its own pixels.
            changed = (np.abs(image.astype(np.float32) - bare).max(2) > 1).astype(np.float32)
            changed = cv2.GaussianBlur(cv2.dilate(changed, np.ones((5, 5))), (0, 0), 1)
            patches.append(Patch(image.astype(np.float32), changed, crop.crop_to_frame))
            hidden.append(Hidden(face, alpha))
        yield Shot(frame, warp.paste(frame, patches), hidden)


def unsteady(found: Iterable[track.Found]) -> Iterator[track.Found]:
    """Faces as they were measured, in place of `steady.steady`; where one rested for a frame, the mean of its neighbours."""
    before, held = {}, None
    for item in chain(found, [None]):
        after = {face.track_id: face for face in item[1]} if item else {}
        if held:
            frame, faces = held
            now = {face.track_id: face for face in faces}
            for track_id in before.keys() & after.keys() - now.keys():
                points = (before[track_id].landmarks + after[track_id].landmarks) / 2
                now[track_id] = Face(track_id, points, 1.0)
            yield frame, list(now.values())
            before = now
        held = item


def best_face(frames: Iterator[Frame], linker: Callable[[], track.Linker]) -> tuple[Frame, Face]:
    """The most frontal face, the larger the better, and its frame.

    Raises:
        BadOption: there is no face.
    """
    best = None
    for frame, faces in steady(track.follow(frames, linker())):
        for face in faces:
            scale, rotation, _ = face.pose
            rank = rotation[2, 2] * scale
            if best is None or rank > best[0]:
                best = (rank, frame, face)
    if best is None:
        raise BadOption("no face where the photo was to be taken; give films that begin with a bare face, or a photo")
    return best[1:]
