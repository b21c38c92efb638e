"""Who each track is: decided once, when its first frame is about to leave the look-ahead window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from unmask_video.face import CANONICAL, UPPER, Face, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import fit_pose

LOOKS = 8
"""Faces of a track that are compared with the references."""
AHEAD = 10
"""Frames of look-ahead before a track is decided."""
ONE_PERSON = 0.6
"""Least cosine of two photos that show one person."""
TURN = 0.06
"""How much nearer in pose another photo of the person must be before it takes over."""

Seen = tuple[Frame, list[tuple[Face, Mask]]]
Matched = tuple[Frame, list[tuple[Face, Mask, "Reference | None"]]]


@dataclass(eq=False)
class Seat:
    """What is known of one track."""

    looks: list[np.ndarray] = field(default_factory=list)
    decided: bool = False
    person: int | None = None
    """Index into the people; None: nobody."""
    cosine: float = 0.0
    photo: Reference | None = None
    """The photo in use, by pose."""


class Cast:
    """The people of the references, and who sits where."""

    def __init__(
        self,
        references: list[Reference],
        *,
        fill_unmatched: bool,
        identity: Callable[[Frame, np.ndarray], np.ndarray],
        assign: Callable[[np.ndarray, np.ndarray], dict[int, tuple[int, float]]],
    ) -> None:
        self.people = group(references)
        self.vectors = np.array([np.mean([r.identity for r in p], axis=0) for p in self.people])
        self.fill_unmatched, self.identity, self.assign = fill_unmatched, identity, assign
        self.seats: dict[int, Seat] = {}

    def match(self, seen: Iterable[Seen]) -> Iterator[Matched]:
        """Each face with the reference that fills it, or None where it must stay as it is."""
        held: deque[Seen] = deque()
        for frame, faces in seen:
            for face, _ in faces:
                seat = self.seats.setdefault(face.track_id, Seat())
                if len(seat.looks) < LOOKS and not seat.decided:
                    seat.looks.append(self.identity(frame, face.landmarks))
            held.append((frame, faces))
            if len(held) > AHEAD:
                yield self._leave(held.popleft())
        while held:
            yield self._leave(held.popleft())

    def _leave(self, seen: Seen) -> Matched:
        frame, faces = seen
        new = [f.track_id for f, _ in faces if not self.seats[f.track_id].decided]
        if new:
            self._decide(new, {f.track_id for f, _ in faces})
        return frame, [(face, mask, self._photo(face)) for face, mask in faces]

    def _decide(self, new: list[int], here: set[int]) -> None:
        """Seat new tracks; a person who is in the picture already is not given out twice."""
        taken = {self.seats[t].person for t in here if self.seats[t].decided}
        free = [p for p in range(len(self.people)) if p not in taken]
        looks = [np.mean(self.seats[t].looks, axis=0) for t in new]
        looks = np.array([v / max(float(np.linalg.norm(v)), 1e-9) for v in looks])
        pairs = self.assign(looks, self.vectors[free]) if free else {}
        for row, track_id in enumerate(new):
            seat = self.seats[track_id]
            seat.decided = True
            if row in pairs:
                seat.person, seat.cosine = free[pairs[row][0]], pairs[row][1]
            elif self.fill_unmatched and self.people:
                seat.person = int((self.vectors @ looks[row]).argmax())

    def _photo(self, face: Face) -> Reference | None:
        """The person's photo of nearest pose; the one in use stays unless another is clearly nearer."""
        seat = self.seats[face.track_id]
        if seat.person is None:
            return None
        mine = direction(face.landmarks)
        away = {id(r): float(np.linalg.norm(direction(r.landmarks) - mine)) for r in self.people[seat.person]}
        nearest = min(self.people[seat.person], key=lambda r: away[id(r)])
        if seat.photo is None or away[id(seat.photo)] > away[id(nearest)] + TURN:
            seat.photo = nearest
        return seat.photo


def group(references: list[Reference]) -> list[list[Reference]]:
    """Photos of one person together."""
    people: list[list[Reference]] = []
    for reference in references:
        for photos in people:
            if float(np.mean([reference.identity @ r.identity for r in photos])) >= ONE_PERSON:
                photos.append(reference)
                break
        else:
            people.append([reference])
    return people


def direction(landmarks: np.ndarray) -> np.ndarray:
    """Where the face looks, float64 [3], length 1."""
    _, rotation, _ = fit_pose(CANONICAL[UPPER], landmarks[UPPER])
    return rotation[:, 2]
