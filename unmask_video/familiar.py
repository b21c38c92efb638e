"""Who looks into the camera: their bare faces, as they show them, serve as photos once they wear a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from unmask_video.face import Face, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import scale_of
from unmask_video.identify import SAME_IN_FILM, Match
from unmask_video.mining import VIEW, serves
from unmask_video.people import Cast, Found, Matched, Seat, Seen
from unmask_video.reference import Views, aligned
from unmask_video.tools import Tools

EVERY = 1.0
"""Seconds from one look that is kept to the next."""
AFTER = 0.5
"""Seconds for which a face has to stay bare before a look at it is kept: no hand, and no half a mask."""
MOST_VIEWS = 6
"""Of one person; the oldest goes."""


@dataclass(eq=False)
class Look:
    """A bare face that may be kept."""

    when: float
    """Seconds."""
    view: Reference


class Familiar:
    """A `Cast` that learns from the camera what people look like; nothing is stored."""

    def __init__(self, cast: Cast, tools: Tools, *, learns: bool) -> None:
        self.cast, self._tools, self._learns = cast, tools, learns
        self._waiting: dict[int, Look] = {}
        self._kept: dict[int, float] = {}
        self._now: Seen | None = None

    @property
    def people(self) -> list[Views]:
        return self.cast.people

    @property
    def seats(self) -> dict[int, Seat]:
        return self.cast.seats

    def names(self) -> list[str]:
        """Of those in the picture who were recognised."""
        here = [self.seats.get(face.track_id) for face, _ in self._now[1]] if self._now else []
        known = [seat for seat in here if seat and seat.match and seat.match.person is not None]
        return [seat.photos[0].person or f"person {seat.match.person + 1}" for seat in known]

    def meet(self, found: Iterable[Found]) -> Iterator[Found]:
        """As `Cast.meet`."""
        return self.cast.meet(found)

    def match(self, seen: Iterable[Seen]) -> Iterator[Matched]:
        """As `Cast.match`, and bare faces are learned as they go by."""
        return self.cast.match(self._watched(seen))

    def take(self) -> str:
        """Learn the largest face in the picture now; what came of it."""
        faces = self._now[1] if self._now else []
        if not faces:
            return "no face is in the picture"
        face, mask = max(faces, key=lambda one: scale_of(one[0].crop(1)))
        if mask.present or not serves(face, mask):
            return "this face does not serve: take the mask off, look into the camera, come nearer"
        self._learn(face.track_id, self._view(self._now[0], face))
        return "this face is the reference now"

    def _watched(self, seen: Iterable[Seen]) -> Iterator[Seen]:
        for self._now in seen:
            frame, faces = self._now
            if self._learns:
                for face, mask in faces:
                    self._watch(frame, face, mask)
            yield self._now

    def _watch(self, frame: Frame, face: Face, mask: Mask) -> None:
        track, now = face.track_id, frame.time_seconds
        if mask.present or not serves(face, mask):
            self._waiting.pop(track, None)
        elif (look := self._waiting.get(track)) is None:
            if now - self._kept.get(track, -np.inf) >= EVERY:
                self._waiting[track] = Look(now, self._view(frame, face))
        elif now - look.when >= AFTER:
            self._learn(track, self._waiting.pop(track).view)
            self._kept[track] = now

    def _view(self, frame: Frame, face: Face) -> Reference:
        vector = self._tools.identity(frame, face.landmarks)
        return aligned("the camera", frame, face, vector)

    def _learn(self, track: int, view: Reference) -> None:
        cast, seat = self.cast, self.seats.get(track)
        person = seat.match.person if seat and seat.match else None
        if person is None:
            likeness = [float(max(v.identity @ view.identity for v in views)) for views in cast.people]
            person = int(np.argmax(likeness)) if likeness and max(likeness) >= SAME_IN_FILM else len(cast.people)
        if person == len(cast.people):
            cast.people.append([])
            cast.vectors.append(np.zeros((0, len(view.identity)), np.float32))
        views = cast.people[person]
        others = [v for v in views if np.linalg.norm(v.direction - view.direction) >= VIEW]
        views[:] = [*others, view][-MOST_VIEWS:]
        cast.vectors[person] = np.array([v.identity for v in views])
        if seat:
            seat.match, seat.photos = Match(person, 1.0), views
