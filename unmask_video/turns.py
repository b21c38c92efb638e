"""Every face is painted anew some six times a second; between, it gets a mean of what was painted before and after.

A painting is told on the face's own crop, which follows the head; where a photo's parts come from and their light change
slowly there, and a mean of two is calmer than either. Where the mask is, is known of each frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from unmask_video.face import Face, FaceCrop, Filled, Mask, Patch, Reference
from unmask_video.frame import Frame
from unmask_video.painting import Painting

REST, BLIND_REST = 0.165, 0.045
"""Seconds for which a painted face rests, and those where no later frame is known: every fifth and second of 30 a second."""
MOST = 5
"""Every so manyth frame is painted at least, for those between wait in memory."""
Photos = list[tuple[Reference, float]]
"""Photos that fill a face, and their shares."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A face that is to be filled."""

    face: Face
    mask: Mask
    photos: Photos
    anew: bool
    """Whether it is painted in this frame."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A face that was painted, or waits for its neighbours."""

    turn: Turn
    crop: FaceCrop
    hidden: np.ndarray
    """float32 [S, S] in 0..1, see `inpaint.hole`."""
    paintings: list[Painting]
    """One for each photo; none if it was not its turn."""


Turned = tuple[Frame, list[Turn]]


def by_turns(matched: Iterable[tuple[Frame, list[tuple[Face, Mask, Photos]]]], *, rest: float) -> Iterator[Turned]:
    """Who is filled, and whether anew: if `rest` seconds have gone by, or it was not there before, or has other photos."""
    fresh: dict[int, tuple[set[int], int, float]] = {}
    for frame, faces in matched:
        turns, before, fresh = [], fresh, {}
        for face, mask, photos in faces:
            if not mask.present or not photos:
                continue
            now = {id(photo) for photo, _ in photos}, frame.index, frame.time_seconds
            last = before.get(face.track_id, (set(), 0, 0.0))
            anew = now[0] != last[0] or now[1] - last[1] >= MOST or not 0 <= now[2] - last[2] < rest
            turns.append(Turn(face, mask, photos, anew))
            fresh[face.track_id] = now if anew else last
        yield frame, turns


def wanted(turned: Iterable[Turned], first: int) -> Iterator[Turned]:
    """Nobody before frame `first`, but for those painted anew shortly before, whom the frames between want."""
    for frame, turns in turned:
        yield frame, [turn for turn in turns if frame.index >= first or (frame.index > first - MOST and turn.anew)]


def between(painted: Iterable[tuple[Frame, list[Painted]]], *, look_ahead: bool = True) -> Iterator[Filled]:
    """The patches of all faces; comes some frames late, or at once, where a frame between two gets what was before it."""
    held: deque[tuple[Frame, dict[int, Painted]]] = deque()
    before: dict[int, tuple[float, Painted]] = {}
    lately: deque[set[int]] = deque(maxlen=MOST)  # tracks; what was painted holds its frame
    for item in chain(painted, [None]):
        held += [(item[0], {one.turn.face.track_id: one for one in item[1]})] if item else []
        while held:
            (frame, faces), *later = held
            after = {track: _next(track, later) for track, one in faces.items() if not one.paintings}
            if look_ahead and item and None in after.values():
                break
            held.popleft()
            before |= {track: (frame.time_seconds, one) for track, one in faces.items() if one.paintings}
            lately.append(set(faces))
            before = {track: known for track, known in before.items() if any(track in there for there in lately)}
            yield frame, [(k, one.crop, _patch(one, frame, before[k], after.get(k))) for k, one in faces.items()]


def _next(track: int, later: list[tuple[Frame, dict[int, Painted]]]) -> tuple[float, Painted | None] | None:
    """When a resting face is painted, or has gone; None: that is not known yet."""
    for frame, faces in later:
        if track not in faces or faces[track].paintings:
            return frame.time_seconds, faces.get(track)
    return None


def _patch(one: Painted, frame: Frame, before: tuple[float, Painted], after: tuple[float, Painted | None] | None) -> Patch:
    """What the photos make of a face, by their shares, as far as it shows."""
    paintings = one.paintings
    if not paintings:
        (begin, last), (end, following) = before, after or before
        known = _by_photo(following) if following else {}
        share = (frame.time_seconds - begin) / (end - begin) if end > begin else 0.0
        paintings = [
            painting.between(known.get(photo, painting), share, one.hidden, one.crop.crop_to_frame)
            for photo, painting in _by_photo(last).items()
        ]
    patches = [painting.patch() for painting in paintings]
    image = patches[0].image
    if len(patches) > 1:
        image = sum(patch.image * np.float32(share) for patch, (_, share) in zip(patches, one.turn.photos, strict=True))
    return replace(patches[0], image=image, alpha=patches[0].alpha * np.float32(one.turn.mask.share))


def _by_photo(one: Painted) -> dict[int, Painting]:
    return {id(photo): painting for (photo, _), painting in zip(one.turn.photos, one.paintings, strict=True)}
