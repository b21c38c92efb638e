"""A world of faces at known places, for tests of tracking: no network is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from unmask_video import landmarks, track
from unmask_video.face import CANONICAL, Detection, Face
from unmask_video.frame import Colour, Frame

HEIGHT = 100.0
Place = Callable[[int], "tuple[float, float] | None"]
"""Frame number -> where the face's middle is; None: not to be seen."""


def still(x: float, y: float = 200.0) -> Place:
    return lambda index: (x, y)


def between(first: int, last: int, place: Place) -> Place:
    """Seen from frame `first` to `last`, both included."""
    return lambda index: place(index) if first <= index <= last else None


def shape_at(place: tuple[float, float]) -> np.ndarray:
    return HEIGHT * CANONICAL + [*place, 0.0]


def middle(face: Face) -> np.ndarray:
    return (face.landmarks - HEIGHT * CANONICAL).mean(0)[:2]


@dataclass
class World:
    """Faces at known places, a perfect detector, and a FaceMesh that needs to look at the right place."""

    faces: list[Place]
    cuts: tuple[int, ...] = ()
    size: tuple[int, int] = (48, 64)
    detected_in: list[int] = field(default_factory=list)

    def frames(self, count: int) -> Iterator[Frame]:
        colour = Colour("bt601", True, 8)
        for index in range(count):
            level = 60 + 100 * (sum(index >= cut for cut in self.cuts) % 2)
            plane = np.full(self.size, level, np.uint8)
            yield Frame((plane,), "gray", colour, 0, index, index, 1, Fraction(1, 25))

    def seen(self, frame: Frame) -> list[np.ndarray]:
        return [shape_at(place) for face in self.faces if (place := face(frame.index)) is not None]

    def detect(self, frame: Frame) -> list[Detection]:
        self.detected_in.append(frame.index)
        return self.detected(frame)

    def detected(self, frame: Frame) -> list[Detection]:
        found = []
        for shape in self.seen(frame):
            five = np.stack([shape[list(ring), :2].mean(0) for ring in landmarks.FIVE])
            found.append(Detection(np.concatenate([shape[:, :2].min(0), shape[:, :2].max(0)]), five, 0.9))
        return found

    def detect_near(self, frame: Frame, box: np.ndarray) -> list[Detection]:
        middle, reach = (box[:2] + box[2:]) / 2, 1.25 * (box[2] - box[0])
        return [d for d in self.detected(frame) if np.abs((d.box[:2] + d.box[2:]) / 2 - middle).max() < reach]

    def measure(self, frame: Frame, regions: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """The nearest face within half a face of the region's middle, or a guess that it does not believe in."""
        found = []
        for region in regions:
            middle = region[:, :2] @ [0.5, 0.5] + region[:, 2]
            away = {np.linalg.norm(s[:, :2].mean(0) - middle): s for s in self.seen(frame)}
            near = min(away, default=np.inf)
            guess = shape_at(tuple(middle - CANONICAL[:, :2].mean(0) * HEIGHT))
            found.append((away[near], 0.99) if near < HEIGHT / 2 else (guess, 0.01))
        return found

    def linker(self) -> track.Linker:
        return track.Linker(
            self.detect, self.detect_near, self.measure, landmarks.region_of_landmarks, landmarks.region_of_detection,
            landmarks.landmarks_of_detection,
        )  # fmt: skip

    def followed(self, count: int) -> list[dict[int, np.ndarray]]:
        """Of every frame: track id -> middle of the face, float64 [2]; single frames in which it rests are bridged."""
        found = list(track.follow(self.frames(count), self.linker()))
        assert [frame.index for frame, _ in found] == list(range(count)), "every frame, in order"
        told = [{f.track_id: middle(f) for f in faces} for _, faces in found]
        for before, now, after in zip(told, told[1:], told[2:], strict=False):
            now |= {k: (before[k] + after[k]) / 2 for k in before.keys() & after.keys() - now.keys()}
        return told
