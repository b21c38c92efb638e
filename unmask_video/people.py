"""Who each track is: decided when its first frame has come through the stages that wait, once and for all if known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from unmask_video.face import Face, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import turn_upright
from unmask_video.identify import Match
from unmask_video.reference import Views

LOOKS = 8
"""First faces of a track that are compared with the references, as far as they have been met by then."""
NOBODY = np.zeros(1)
"""The identity of whom nobody has looked at."""
AGAIN, LATER = 25, 3
"""Frames after which somebody unknown is looked at once more, and how many of the last looks then count."""
TURN = 0.06
"""How much nearer in pose another photo of the person must be before it takes over."""
FADE = 8
"""Frames in which it takes over."""

Found = tuple[Frame, list[Face]]
Seen = tuple[Frame, list[tuple[Face, Mask]]]
Photos = list[tuple[Reference, float]]
"""What a face is filled from, and its share; the shares sum to 1. Empty: the face stays as it is."""
Matched = tuple[Frame, list[tuple[Face, Mask, Photos]]]


@dataclass(eq=False)
class Seat:
    """What is known of one track."""

    number: int
    """1 for the first that came into the picture, of several the leftmost."""
    looks: list[np.ndarray] = field(default_factory=list)
    match: Match | None = None
    """None: not decided yet."""
    why: str = ""
    """Why it was nobody's at last, see `report.REASONS`."""
    photos: Views = field(default_factory=list)
    """Of whom it is; empty: of nobody."""
    frames: int = 0
    """That were matched."""
    photo: Reference | None = None
    """The one in use, by pose."""
    last: Reference | None = None
    """The one in use before."""
    since: int = FADE
    """Frames since then."""


class Cast:
    """The people of the references, and who sits where.

    Args:
        people: photos of each.
        assign: see `identify.assign`.
        chosen: numbers of those who may be filled; empty: all.
        fill_unmatched: those who match nobody are filled from the likest person.
        stand_in: what they are filled from instead, if not None.
        never: names of those who are not filled.
    """

    def __init__(
        self,
        people: list[Views],
        *,
        identity: Callable[[Frame, np.ndarray], np.ndarray],
        assign: Callable[[list[np.ndarray], list[np.ndarray]], list[Match]],
        chosen: tuple[int, ...] = (),
        fill_unmatched: bool = False,
        stand_in: Reference | None = None,
        never: tuple[str, ...] = (),
    ) -> None:
        self.people, self.identity, self.assign, self.chosen, self.never = people, identity, assign, chosen, never
        self.vectors = [np.array([r.identity for r in p]) for p in people]
        self.fill_unmatched, self.stand_in = fill_unmatched, stand_in
        self.seats: dict[int, Seat] = {}

    def meet(self, found: Iterable[Found]) -> Iterator[Found]:
        """The same faces, looked at on their way to stages that wait, so that `match` knows what comes after a frame."""
        for frame, faces in found:
            size, turn = (frame.width, frame.height), frame.rotation_deg
            for face in sorted(faces, key=lambda f: turn_upright(f.landmarks[4, :2], size, turn)[0]):  # noqa: B023
                self._look(frame, face)
            yield frame, faces

    def match(self, seen: Iterable[Seen]) -> Iterator[Matched]:
        """Each face, met before, with the photos that fill it."""
        return map(self._leave, seen)

    def _look(self, frame: Frame, face: Face) -> None:
        seat = self.seats.setdefault(face.track_id, Seat(len(self.seats) + 1))
        if self.chosen and seat.number not in self.chosen:
            seat.match, seat.why = Match(None, 0.0, "not_chosen"), "not_chosen"
        elif self.people and len(seat.looks) < LOOKS and seat.match is None:  # else there is nobody to be like
            seat.looks.append(self.identity(frame, face.landmarks))

    def _leave(self, seen: Seen) -> Matched:
        frame, faces = seen
        here = {f.track_id: self.seats[f.track_id] for f, _ in faces}
        for face, _ in faces:
            seat = here[face.track_id]
            seat.frames += 1
            # Somebody may come in blurred or in profile; who was found once is never given up.
            nobody = seat.match and seat.match.person is None and seat.why != "not_chosen"
            if nobody and self.people and seat.frames % AGAIN == 0:
                seat.looks = [*seat.looks[1 - LATER :], self.identity(frame, face.landmarks)]
                seat.match = None
        if new := [seat for seat in here.values() if seat.match is None]:
            self._decide(new, list(here.values()))
        return frame, [(face, mask, self._photos(here[face.track_id], face)) for face, mask in faces]

    def _decide(self, new: list[Seat], here: list[Seat]) -> None:
        """Seat new tracks; a person who is in the picture already is not given out twice."""
        taken = {seat.match.person for seat in here if seat.match}
        # A live film may learn its first person between a track's look and now; that track is asked for later.
        free = [p for p in range(len(self.people)) if p not in taken and all(seat.looks for seat in new)]
        looks = [np.mean(seat.looks, axis=0) if seat.looks else NOBODY for seat in new]
        for seat, look, match in zip(new, looks, self.assign(looks, [self.vectors[p] for p in free]), strict=True):
            person = None if match.person is None else free[match.person]
            seat.match, seat.why = Match(person, match.likeness, match.why), match.why or seat.why
            if person is not None and self.people[person][0].person in self.never:
                seat.photos, seat.why = [], "never"
            elif person is not None:
                seat.photos = self.people[person]
            elif seat.photos:
                continue
            elif self.stand_in:
                seat.photos = [self.stand_in]
            elif self.fill_unmatched and self.people and seat.looks:
                likest = max(self.people, key=lambda person: max(r.identity @ look for r in person))  # noqa: B023
                seat.photos, seat.why = ([], "never") if likest[0].person in self.never else (likest, seat.why)

    def _photos(self, seat: Seat, face: Face) -> Photos:
        """The person's photo of nearest pose; the one in use stays unless another is clearly nearer."""
        if not seat.photos:
            return []
        mine = face.direction
        away = {id(r): float(np.linalg.norm(r.direction - mine)) for r in seat.photos}
        nearest = min(seat.photos, key=lambda r: away[id(r)])
        seat.since += 1
        if seat.photo is None:
            seat.photo = nearest
        elif seat.since >= FADE and away.get(id(seat.photo), np.inf) > away[id(nearest)] + TURN:
            seat.last, seat.photo, seat.since = seat.photo, nearest, 0
        share = min((seat.since + 1) / (FADE + 1), 1.0)
        return [(seat.photo, 1.0)] if share == 1.0 else [(seat.photo, share), (seat.last, 1 - share)]

