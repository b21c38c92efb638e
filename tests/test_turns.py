"""Who is painted anew in which frame, and what the frames between get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from faces import points, portrait
from test_stages import noisy

from unmask_video import turns, warp
from unmask_video.face import LOOK, Face, Filled, Mask, Reference
from unmask_video.frame import Frame
from unmask_video.painting import Painting
from unmask_video.picture import Picture, grid

ANN, BOB = (Reference(name, portrait(), points(), np.zeros(192, np.float32)) for name in ("ann", "bob"))
WORN, BARE = (Mask(np.ones((8, 8), np.float32), 1.0, worn) for worn in (True, False))
Sight = dict[int, tuple[Mask, turns.Photos]]


def at(index: int, rate: int = 25) -> Frame:
    return replace(noisy("gray"), index=index, pts=index, time_base=Fraction(1, rate))


def film(*frames: Sight, rate: int = 25) -> list[tuple[Frame, list[tuple[Face, Mask, turns.Photos]]]]:
    return [(at(k, rate), [(Face(t, points(), 1.0), *sight) for t, sight in frame.items()]) for k, frame in enumerate(frames)]


def anew(*frames: Sight, rest: float = 0.095, rate: int = 25) -> list[dict[int, bool]]:
    """Of each frame: track -> whether it is painted."""
    return [{t.face.track_id: t.anew for t in faces} for _, faces in turns.by_turns(film(*frames, rate=rate), rest=rest)]


@pytest.mark.parametrize(("rate", "rest", "every"), [
    (25, 0.095, 3), (30, 0.095, 3), (15, 0.095, 2), (10, 0.095, 1), (60, 0.095, 5), (30, 0.045, 2), (25, 0.0, 1),
])  # fmt: skip
def test_who_was_painted_rests_for_a_while(rate: int, rest: float, every: int) -> None:
    found = anew(*[{0: (WORN, [(ANN, 1.0)])}] * 9, rest=rest, rate=rate)
    assert [faces[0] for faces in found] == [k % every == 0 for k in range(9)]


def test_each_face_rests_by_itself() -> None:
    ann, both = {0: (WORN, [(ANN, 1.0)])}, {0: (WORN, [(ANN, 1.0)]), 1: (WORN, [(BOB, 1.0)])}
    assert anew(ann, both, both, both, both) == [
        {0: True}, {0: False, 1: True}, {0: False, 1: False}, {0: True, 1: False}, {0: False, 1: True},
    ]  # fmt: skip


def test_only_masked_faces_with_photos_are_filled() -> None:
    assert anew({0: (BARE, [(ANN, 1.0)]), 1: (WORN, []), 2: (WORN, [(ANN, 1.0)])}) == [{2: True}]


def test_who_was_not_there_or_had_other_photos_is_painted() -> None:
    ann, both = {0: (WORN, [(ANN, 1.0)])}, {0: (WORN, [(ANN, 0.5), (BOB, 0.5)])}
    assert anew(ann, {}, ann) == [{0: True}, {}, {0: True}]
    assert anew(ann, both, both, ann) == [{0: True}, {0: True}, {0: False}, {0: True}]


def test_of_frames_that_are_done_only_what_later_ones_want_is_painted() -> None:
    ann = {0: (WORN, [(ANN, 1.0)])}
    for first in range(8):
        turned = turns.wanted(turns.by_turns(film(*[ann] * 10), rest=0.095), first)
        kept = {frame.index: [turn.anew for turn in faces] for frame, faces in turned}
        wanted = {k for k in range(10) if k >= first or (k % 3 == 0 and first - k < turns.MOST)}
        assert kept == {k: [k % 3 == 0] if k in wanted else [] for k in range(10)}
        assert max(k for k in (0, 3, 6, 9) if k <= first) in wanted, "the means of the first frames need it"


# --- between --------------------------------------------------------------------------------------


def items(levels: list[list[float] | None], photos: turns.Photos, covers: float = 1.0) -> list[tuple[Frame, list[turns.Painted]]]:
    """Frames, where each photo is painted as one grey level in each; None: the face rests."""

    def paint(crop: warp.FaceCrop, level: float, hidden: np.ndarray) -> Painting:
        flat = np.full((LOOK, LOOK, 3), level, np.float32)
        picture = Picture(np.zeros((LOOK, LOOK, 3), np.uint8))
        return Painting(picture, (grid(LOOK) + 0.5) / LOOK, flat * 0, flat, flat, hidden, crop.crop_to_frame)

    done = []
    for k, each in enumerate(levels):
        frame, hidden = at(k), np.zeros((LOOK, LOOK), np.float32)
        hidden[10 : 30 + 10 * k, 10:50] = 1
        turn = turns.Turn(Face(3, points() / 4, 1.0), Mask(hidden, 1.0, True, covers), photos, each is not None)
        crop = warp.cut(frame, turn.face, LOOK)
        done.append((frame, [turns.Painted(turn, crop, hidden, [paint(crop, level, hidden) for level in each or []])]))
    return done


def painted(
    levels: list[list[float] | None], photos: turns.Photos, covers: float = 1.0, look_ahead: bool = True
) -> Iterator[Filled]:
    """Their patches."""
    return turns.between(items(levels, photos, covers), look_ahead=look_ahead)


def seen(levels: list[list[float] | None], photos: turns.Photos = [(ANN, 1.0)]) -> list[float]:  # noqa: B006
    return [float(patch.image.mean()) for _, ((_, _, patch),) in painted(levels, photos)]


def test_frames_between_two_get_their_mean_by_time() -> None:
    assert seen([[10.0], None, [30.0], None, [20.0]]) == pytest.approx([10, 20, 30, 25, 20])
    assert seen([[10.0], None, None, [40.0], None, [20.0]]) == pytest.approx([10, 20, 30, 40, 30, 20])


def test_the_last_frames_get_what_was_before() -> None:
    assert seen([[10.0], None, None]) == pytest.approx([10, 10, 10])
    assert seen([[10.0]]) == pytest.approx([10])


def test_without_look_ahead_a_frame_between_gets_what_was_before() -> None:
    levels: list[list[float] | None] = [[10.0], None, [30.0], None]
    found = painted(levels, [(ANN, 1.0)], look_ahead=False)
    assert [float(patch.image.mean()) for _, ((_, _, patch),) in found] == pytest.approx([10, 10, 30, 30])


def test_after_frames_in_which_it_was_not_wanted_a_resting_face_gets_what_was_painted_before() -> None:
    (first, painting), *rest = list(items([[10.0], None, None, [40.0]], [(ANN, 1.0)]))
    skipped = [(first, painting), (rest[0][0], []), *rest[1:]]  # as `by_turns` gives where frames are done already
    assert [float(p.image.mean()) for _, faces in turns.between(skipped) for _, _, p in faces] == pytest.approx([10, 30, 40])


def test_photos_are_mixed_by_their_shares() -> None:
    assert seen([[10.0, 50.0], None, [30.0, 70.0]], [(ANN, 0.75), (BOB, 0.25)]) == pytest.approx([20, 30, 40])


def test_each_frame_has_a_hole_of_its_own() -> None:
    found = [patch for _, ((track, _, patch),) in painted([[10.0], None, [30.0]], [(ANN, 1.0)], covers=0.5) if track == 3]
    assert [patch.alpha.sum() for patch in found] == [0.5 * 40 * (20 + 10 * k) for k in range(3)]
    assert list(turns.between([])) == []
