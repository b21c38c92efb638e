"""Every face is painted anew in every second frame; the frames between get the mean of what was painted beside them.

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


def by_turns(
    matched: Iterable[tuple[Frame, list[tuple[Face, Mask, Photos]]]], *, rests: bool, first: int = 0
) -> Iterator[Turned]:  # fmt: skip
    """Who is filled, and whether anew; if nothing `rests`, everybody always is.

    Nobody is before frame `first`, but for those painted anew in the one before, whom their neighbours' mean wants.
    """
    fresh: dict[int, set[int]] = {}
    for frame, faces in matched:
        turns = []
        for face, mask, photos in faces:
            if mask.present and photos:
                again = rests and fresh.get(face.track_id) == {id(photo) for photo, _ in photos}
                turns.append(Turn(face, mask, photos, not again))
        fresh = {turn.face.track_id: {id(photo) for photo, _ in turn.photos} for turn in turns if turn.anew}
        yield frame, [turn for turn in turns if frame.index >= first or (frame.index == first - 1 and turn.anew)]


def between(painted: Iterable[tuple[Frame, list[Painted]]], *, look_ahead: bool = True) -> Iterator[Filled]:
    """The patches of all faces; comes a frame late, or at once, where a frame between two gets what was before it."""
    held, before = deque(), {}
    for item in chain(painted, [None]):
        held += [item] if item else []
        while held and not (look_ahead and item and len(held) == 1):
            frame, faces = held.popleft()
            after = _by_photo(held[0][1]) if held else {}
            yield frame, [(one.turn.face.track_id, one.crop, _patch(one, before, after)) for one in faces]
            before = _by_photo(faces)


def _by_photo(faces: list[Painted]) -> dict[tuple[int, int], Painting]:
    """Paintings by track and photo."""
    return {
        (one.turn.face.track_id, id(photo)): painting
        for one in faces
        for (photo, _), painting in zip(one.turn.photos, one.paintings, strict=False)
    }


def _patch(one: Painted, before: dict[tuple[int, int], Painting], after: dict[tuple[int, int], Painting]) -> Patch:
    """What the photos make of a face, by their shares, as far as it shows."""
    paintings = one.paintings
    if not paintings:
        keys = [(one.turn.face.track_id, id(photo)) for photo, _ in one.turn.photos]
        paintings = [before[k].between(after.get(k, before[k]), one.hidden, one.crop.crop_to_frame) for k in keys]
    patches = [painting.patch() for painting in paintings]
    image = sum(patch.image * np.float32(share) for patch, (_, share) in zip(patches, one.turn.photos, strict=True))
    return replace(patches[0], image=image, alpha=patches[0].alpha * np.float32(one.turn.mask.share))
