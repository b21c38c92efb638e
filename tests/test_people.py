"""Who is who."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from faces import masked, points, portrait
from test_segment import face, frame

from unmask_video import identify, people, reference
from unmask_video.face import CANONICAL, Face, Mask, Reference, mean_face
from unmask_video.people import Cast, Photos
from unmask_video.picture import photo


def unit(*values: float) -> np.ndarray:
    vector = np.array([*values, *[0.0] * (4 - len(values))], np.float32)
    return vector / np.linalg.norm(vector)


ANN, BOB = unit(1), unit(0, 1)


def picture_of(name: str, identity: np.ndarray, yaw: float = 0.0) -> Reference:
    return Reference(name, np.zeros((64, 64, 3), np.uint8), face(0, yaw).landmarks, identity)


def cast(references: list[Reference], tracks: dict[int, np.ndarray], **rest: Any) -> Cast:
    """Tracks are told apart by where they are."""
    who = lambda _, landmarks: tracks[round((landmarks[:, 0].mean() - 100 * CANONICAL[:, 0].mean()) / 100)]  # noqa: E731
    return Cast(reference.group(references), identity=who, assign=identify.assign, **rest)


def match(made: Cast, shown: list[list[Face]]) -> list[dict[int, Photos]]:
    """Of every frame: track id -> what fills it."""
    mask = Mask(np.ones((4, 4), np.float32), 1.0, True)
    met = list(made.meet((frame(k), faces) for k, faces in enumerate(shown)))
    found = list(made.match((frame, [(f, mask) for f in faces]) for frame, faces in met))
    assert [f.index for f, _ in found] == list(range(len(shown))), "every frame, in order"
    return [{f.track_id: photos for f, _, photos in faces} for _, faces in found]


def names(made: Cast, shown: list[list[Face]]) -> list[dict[int, str | None]]:
    """Of every frame: track id -> name of the photo that takes over, or has."""
    return [{k: photos[0][0].name if photos else None for k, photos in f.items()} for f in match(made, shown)]


TWO = [picture_of("ann.jpg", ANN), picture_of("bob.jpg", BOB)]


def test_everybody_gets_their_own_photo() -> None:
    made = cast(TWO, {0: unit(0.2, 1), 1: unit(1, 0.1)})
    assert names(made, [[face(0), face(1)]] * 25) == [{0: "bob.jpg", 1: "ann.jpg"}] * 25


def test_a_photo_is_given_to_one_person_only() -> None:
    made = cast(TWO[:1], {0: unit(1, 0.9), 1: unit(1, 0.1)})
    assert names(made, [[face(0), face(1)]] * 5)[-1] == {0: None, 1: "ann.jpg"}, "to whom it fits best"
    made = cast(TWO[:1], {0: unit(1, 0.9), 1: unit(1, 0.1)})
    late = names(made, [[face(0)]] * 20 + [[face(0), face(1)]] * 60)
    assert late[-1] == {0: "ann.jpg", 1: None}, "who is in the picture keeps it"


def test_a_stranger_stays_masked_unless_filling_is_asked_for() -> None:
    stranger = {0: unit(0, 0.2, 1)}
    assert names(cast(TWO, stranger), [[face(0)]] * 12) == [{0: None}] * 12
    assert names(cast(TWO, stranger, fill_unmatched=True), [[face(0)]] * 12) == [{0: "bob.jpg"}] * 12, "by the likest"
    mean = mean_face()
    assert names(cast(TWO, stranger, stand_in=mean), [[face(0)]] * 12) == [{0: mean.name}] * 12


def test_without_photos_nobody_is_filled() -> None:
    assert names(cast([], {0: ANN}, fill_unmatched=True), [[face(0)]] * 3) == [{0: None}] * 3


def test_who_is_like_two_people_is_neither() -> None:
    made = cast(TWO, {0: unit(1, 0.99)})
    assert names(made, [[face(0)]] * 40) == [{0: None}] * 40 and made.seats[0].match.why == "ambiguous"
    assert names(cast(TWO, {0: unit(1, 0.8)}), [[face(0)]] * 3)[-1] == {0: "ann.jpg"}
    made = cast(TWO, {0: unit(1, 0.9), 1: unit(0.9, 1)})
    assert names(made, [[face(0), face(1)]] * 3)[-1] == {0: "ann.jpg", 1: "bob.jpg"}, "each other's place fits neither"
    same = cast(TWO, {0: unit(1, 0.9), 1: unit(1, 0.9)})
    assert names(same, [[face(0), face(1)]] * 3)[-1] == {0: None, 1: None}


def test_who_came_in_unknown_may_be_known_later_and_stays_known() -> None:
    seen = iter([unit(0, 0, 1)] * people.LOOKS + [ANN] * 500)
    made = Cast(reference.group(TWO), identity=lambda *_: next(seen), assign=identify.assign)
    found = [f[0] for f in names(made, [[face(0)]] * 400)]
    turn = found.index("ann.jpg")
    assert set(found[:turn]) == {None} and set(found[turn:]) == {"ann.jpg"} and turn >= people.AGAIN - 1


def test_an_invented_face_gives_way_to_the_known_one() -> None:
    seen = iter([unit(0, 0, 1)] * people.LOOKS + [ANN] * 500)
    made = Cast(reference.group(TWO), identity=lambda *_: next(seen), assign=identify.assign, stand_in=mean_face())
    found = [f[0] for f in names(made, [[face(0)]] * 400)]
    assert found[0] == "the mean face" and found[-1] == "ann.jpg" and found == sorted(found, reverse=True), "once"


def test_strangers_have_no_say_in_who_is_who() -> None:
    least = identify.SAME_PERSON
    for ann, bob, stranger in (((0.6, 0.47), (0.3, -0.1), None), ((0.6, 0.47), (0.2, 0.1), None)):
        found = identify.assign([np.array(ann), np.array(bob)], [np.eye(2)[:1], np.eye(2)[1:]], least=least)
        assert [m.person for m in found] == [0, stranger]


def test_a_known_face_never_changes_its_person() -> None:
    seen = iter([ANN] * people.LOOKS + [BOB] * 500)
    made = Cast(reference.group(TWO), identity=lambda *_: next(seen), assign=identify.assign)
    assert {f[0] for f in names(made, [[face(0)]] * 200)} == {"ann.jpg"}


def test_people_are_numbered_as_they_come_in() -> None:
    made = cast(TWO, {0: ANN, 1: BOB, 2: ANN}, chosen=(2,))
    found = names(made, [[face(2)]] * 5 + [[face(2), face(1), face(0)]] * 60)
    assert {t: seat.number for t, seat in made.seats.items()} == {2: 1, 0: 2, 1: 3}, "the leftmost first"
    assert found[-1] == {0: "ann.jpg", 1: None, 2: None} and made.seats[1].match.why == "not_chosen"


@pytest.mark.parametrize(("degrees", "first"), [(0, 0), (180, 2)])
def test_left_is_left_in_the_upright_picture(degrees: int, first: int) -> None:
    made = cast(TWO, {0: ANN, 2: BOB})
    list(made.meet([(replace(frame(0), rotation_deg=degrees), [face(2), face(0)])]))
    assert made.seats[first].number == 1


def test_photos_of_one_person_are_taken_by_pose_and_not_in_turns() -> None:
    photos = [picture_of("front.jpg", ANN), picture_of("side.jpg", unit(1, 0.1), yaw=0.8), picture_of("bob.jpg", BOB)]
    yaws = [0.0, 0.1, 0.38, 0.42, 0.39, 0.41, 0.7, 0.8, *[0.8] * people.FADE, 0.42, 0.38, 0.41, 0.1, 0.0]
    found = [f[0] for f in names(cast(photos, {0: ANN}), [[face(0, yaw)] for yaw in yaws])]
    assert found == ["front.jpg"] * 6 + ["side.jpg"] * (5 + people.FADE) + ["front.jpg"] * 2


def test_one_photo_fades_into_the_next() -> None:
    photos = [picture_of("front.jpg", ANN), picture_of("side.jpg", ANN, yaw=0.8)]
    found = [f[0] for f in match(cast(photos, {0: ANN}), [[face(0, 0.0 if k < 5 else 0.8)] for k in range(20)])]
    assert all(sum(share for _, share in photos) == pytest.approx(1) for photos in found)
    side = [dict((r.name, share) for r, share in photos).get("side.jpg", 0.0) for photos in found]
    assert side[:5] == [0.0] * 5 and side[5 + people.FADE :] == [1.0] * (15 - people.FADE)
    assert np.allclose(np.diff(side[4 : 6 + people.FADE]), 1 / (people.FADE + 1))


def test_assignment_is_one_to_one_and_honest() -> None:
    tracks = [unit(1, 0.3), unit(1, 0.6), unit(0, 0, 1)]
    found = identify.assign(tracks, [ANN[None], BOB[None]])
    assert [m.person for m in found] == [0, 1, None] and [m.why for m in found] == ["", "", "no_match"]
    assert [m.likeness for m in found[:2]] == pytest.approx([float(tracks[0] @ ANN), float(tracks[1] @ BOB)])
    assert [m.person for m in identify.assign(tracks[:1], [np.stack([BOB, unit(0, 0, 1), tracks[0]])])] == [0], "any photo"
    assert [m.why for m in identify.assign(tracks, [])] == ["no_match"] * 3
    assert identify.assign([], [ANN[None]]) == []


def test_the_masked_and_the_bare_portrait_show_one_person() -> None:
    bare, worn = (identify.identity(photo(rgb), points()) for rgb in (portrait(), masked()[0]))
    assert bare @ worn > 0.7 and 0.8 < np.linalg.norm(bare) <= 1


def test_blurred_faces_are_nobodys() -> None:
    """A network alone finds them all alike."""
    one, other = (
        identify.identity(photo((cv2.GaussianBlur(rgb, (0, 0), 16) * 0.4).astype(np.uint8)), points())
        for rgb in (portrait(), portrait()[:, ::-1])
    )
    assert np.linalg.norm(one) < 0.6 and abs(one @ other) < 0.3 < identify.SAME_PERSON
