"""Bare frames of the film itself as photos of those who are masked elsewhere in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from unmask_video.ahead import side_by_side
from unmask_video.face import Detection, Face, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import iou, scale_of
from unmask_video.pace import Pace, due
from unmask_video.people import NOBODY
from unmask_video.picture import grey
from unmask_video.reference import ONE_PERSON, Settle, Views, aligned
from unmask_video.stopwatch import Stopwatch

SMALLEST, TURNED = 64, 0.7
"""Of a bare face that serves: least pixels of its crop, and least cosine between its direction and the camera's."""
BARE, COVERED = 0.1, 0.003
"""Of a face that counts as bare: most belief in a mask, and most part of its crop that the segmenter may still call mask."""
VIEW = 0.2
"""Directions that differ by less are one view."""
STAYED, ALIKE, SOON = 0.3, 0.2, 1.55
"""Least overlap (IoU) of one face's boxes from one look to the next, least likeness, and most seconds between them."""
POOR = 0.4
"""Views of less than this part of the best one's quality are left out."""
NEAR = 5
"""How many moments away is not near any more."""
JUDGED = 256
"""Most pixels at which a view's quality is judged."""
TRUSTED = 8
"""Looks at one place of one shot of which one at least is asked who it is."""
FAMILIAR, SELDOM = 8, 4
"""Looks at one place of one shot after which but every so manyth is judged: there is little new to see."""


@dataclass(eq=False)
class Look:
    """One face at one moment of the film."""

    box: np.ndarray
    shot: int
    time: float
    """Seconds."""
    masked: bool
    bare: bool = False
    """And good enough to serve."""
    see: Callable[[], Reference] | None = None
    """Gives a view to be judged: nobody's, and at most `JUDGED` pixels large."""
    ask: Callable[[], Reference] | None = None
    """Gives the view as it serves; dear, and like `see`, it holds a frame."""
    view: Reference | None = None
    quality: float = 0.0
    person: list[Look] | None = None
    """Kept looks of the same person, if there are any."""
    stayed: int = 0
    """Looks in a row before it, at that person and place."""
    trusted: int = 0
    """Those of them, and it, that nobody asked who they are."""

    def judged(self) -> bool:
        """Whether it is bare, and there may be something new to see; then it has a view."""
        if not self.bare or (self.stayed >= FAMILIAR and self.stayed % SELDOM):
            return False
        if self.view is None:
            self.view = self.see()
            self.quality = quality(self.view)
        return True

    def identity(self) -> np.ndarray:
        """Who it is, see `identify.identity`."""
        if self.ask:
            self.view, self.ask, self.see, self.trusted = self.ask(), None, None, 0
        return self.view.identity


@dataclass(eq=False)
class Moment:
    """A frame that may be looked at."""

    number: int
    frame: Frame
    shot: int
    waits: bool
    """Only if near it somebody is masked and somebody bare, by looks that did not wait."""
    looks: list[Look] | None = None

    def near(self, number: int) -> bool:
        return abs(self.number - number) < NEAR

    @property
    def masked(self) -> bool:
        return not self.waits and any(look.masked for look in self.looks)

    @property
    def bare(self) -> bool:
        return not self.waits and any(look.bare for look in self.looks)


@dataclass(eq=False)
class Search:
    """What looks at moments; on several threads."""

    detect: Callable[[Frame], list[Detection]]
    settle: Settle
    segment: Callable[[Frame, Face], Mask]
    identity: Callable[[Frame, np.ndarray], np.ndarray]
    watch: Stopwatch
    masked: int = -NEAR
    """Number of the last moment that is known to show somebody masked."""
    bare: int = -NEAR

    def look_or_wait(self, moment: Moment) -> Moment:
        """The same moment, looked at unless it waits, and may yet do so."""
        if not moment.waits or (moment.near(self.masked) and moment.near(self.bare)):
            self.look(moment)
        self.masked = max(self.masked, moment.number) if moment.masked else self.masked
        self.bare = max(self.bare, moment.number) if moment.bare else self.bare
        return moment

    def look(self, moment: Moment) -> None:
        with self.watch.on("search"):
            moment.looks = [self._face(moment.frame, moment.shot, found) for found in self.detect(moment.frame)]

    def _face(self, frame: Frame, shot: int, found: Detection) -> Look:
        face = Face(0, *self.settle(frame, found, rounds=1))
        mask = self.segment(frame, face)
        if not (face.score > 0.9 and serves(face, mask)):
            return Look(found.box, shot, frame.time_seconds, masked=mask.belief > BARE)
        name = f"the film at {frame.time_seconds:.1f} s"
        return Look(
            found.box, shot, frame.time_seconds, masked=False, bare=True, ask=lambda: self._view(name, frame, found),
            see=lambda: aligned(name, frame, face, NOBODY, largest=JUDGED),
        )  # fmt: skip

    def _view(self, name: str, frame: Frame, found: Detection) -> Reference:
        face = Face(0, *self.settle(frame, found))
        return aligned(name, frame, face, self.identity(frame, face.landmarks))


def mine(
    frames: Iterable[Frame],
    *,
    pace: Pace,
    detect: Callable[[Frame], list[Detection]],
    settle: Settle,
    segment: Callable[[Frame, Face], Mask],
    identity: Callable[[Frame, np.ndarray], np.ndarray],
    looked: Callable[[float], None] = lambda second: None,
    hurried: Callable[[], bool] = lambda: False,
    workers: int = 1,
    watch: Stopwatch | None = None,
) -> list[Views]:
    """The people whose bare faces a film shows: of each, the best views, one for every direction.

    Args:
        frames: the film.
        pace: how often it is looked at.
        looked: told the second up to which all looks are done.
        hurried: whether frames wait for a look, which is then done before the next is begun.
        workers: threads that look.
        watch: told what they take.
    """
    people: list[list[Look]] = []
    earlier, before = [], []
    search = Search(detect, settle, segment, identity, watch or Stopwatch())
    moments = side_by_side(search.look_or_wait, _moments(frames, pace), workers, "unmask-search", at_once=hurried)
    with closing(moments):
        for now in _needed(_told(moments, looked), search):
            _keep(people, before, earlier, now)
            earlier, before = before, now
    _keep(people, before, earlier, [])
    return [_best(looks) for looks in people]


def _moments(frames: Iterable[Frame], pace: Pace) -> Iterator[Moment]:
    """Those that are looked at, and between them those that may wait."""
    looked, before, current = -np.inf, -np.inf, None
    for number, (frame, shot) in enumerate(due(frames, pace.every, pace.beat)):
        now = frame.time_seconds
        # As far as can be told, the next one will come in time, too.
        waits = shot == current and now - looked + now - before <= pace.gap
        looked, before, current = looked if waits else now, now, shot
        yield Moment(number, frame, shot, waits)


def _told(moments: Iterable[Moment], looked: Callable[[float], None]) -> Iterator[Moment]:
    for moment in moments:
        looked(moment.frame.time_seconds)
        yield moment


def _needed(moments: Iterable[Moment], search: Search) -> Iterator[list[Look]]:
    """Looks at one moment after the other, as far as they need not wait."""
    masked, bare = deque([-NEAR], 2 * NEAR), deque([-NEAR], 2 * NEAR)
    held: deque[Moment | None] = deque()
    for moment in chain(moments, [None] * (NEAR - 1)):
        held.append(moment)
        masked.extend([moment.number] if moment and moment.masked else [])
        bare.extend([moment.number] if moment and moment.bare else [])
        if len(held) < NEAR or not (first := held.popleft()):
            continue
        if first.looks is None and any(map(first.near, masked)):
            if any(map(first.near, bare)):
                search.look(first)
            else:
                search.detect(first.frame)  # who remembers its answers is asked again when the masked are followed
        if first.looks is not None:
            yield first.looks


def serves(face: Face, mask: Mask) -> bool:
    """Whether a face is bare, seen from the front, and large."""
    bare = mask.belief <= BARE and (mask.alpha > 0.5).mean() <= COVERED
    return bool(bare and face.direction[2] >= TURNED and scale_of(face.crop(1)) >= SMALLEST)


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
    return float(min(size, JUDGED) / JUDGED * fine * lit**2 / (1 + (4 * gap / max(width, 1)) ** 2))


def _keep(people: list[list[Look]], looks: list[Look], earlier: list[Look], later: list[Look]) -> None:
    """Give looks to their people, those of one moment to different ones; keep the best of each direction.

    What was just before or will soon be masked is not kept: there may be a hand or half a mask in it.
    """
    for look in looks:
        before = next((e for e in earlier if e.person and stays(e, look)), None)
        same = before.person if before else None
        look.stayed, look.trusted = (before.stayed + 1, before.trusted + 1) if before else (0, 0)
        asked = same and look.judged() and (look.trusted >= TRUSTED or _place(same, look) is not None)
        taken = any(same is other.person for other in looks)
        look.person = None if taken or (asked and _alike(same, look) < ALIKE) else same
    for look in looks:
        if any(other.masked and stays(look, other) for other in earlier + later) or not look.judged():
            continue
        if look.person is None:
            free = [p for p in people if not any(p is other.person for other in looks)]
            likest = max(free, key=lambda person: _alike(person, look), default=None)  # noqa: B023
            look.person = likest if likest and _alike(likest, look) >= ONE_PERSON else []
        if not look.person:
            people.append(look.person)
        place = _place(look.person, look)
        if place is not None:
            look.identity()
            look.person[place : place + 1] = [look]


def stays(one: Look, other: Look) -> bool:
    """True if two looks in a row are at one place of one shot."""
    near = one.shot == other.shot and abs(one.time - other.time) <= SOON
    return near and float(iou(one.box[None], other.box[None])[0, 0]) > STAYED


def _alike(person: list[Look], look: Look) -> float:
    return max(float(kept.identity() @ look.identity()) for kept in person)


def _place(person: list[Look], look: Look) -> int | None:
    """Where a look is kept: at the end if it is a new direction, or in the place of a worse one of its own; None: nowhere."""
    away = [np.linalg.norm(kept.view.direction - look.view.direction) for kept in person]
    if not away or min(away) >= VIEW:
        return len(person)
    nearest = int(np.argmin(away))
    return nearest if person[nearest].quality < look.quality else None


def _best(looks: list[Look]) -> Views:
    """The views of one person, best first."""
    ranked = sorted(looks, key=lambda look: -look.quality)
    return [look.view for look in ranked if look.quality >= POOR * ranked[0].quality]
