"""Faces followed over time, in a world where the truth is known and no network is needed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from world import HEIGHT, World, between, still

from unmask_video import track
from unmask_video.frame import Colour, Frame
from unmask_video.picture import is_cut, small_grey


def test_boxes_are_matched_for_the_greatest_total() -> None:
    boxes = [np.array([x, 0.0, x + 100, 100.0]) for x in (0, 500, 30)]
    states = [np.array([80.0, 50, 100]), np.array([40.0, 50, 100]), np.array([900.0, 50, 100])]
    assert sorted(track.match(states, boxes)) == [(0, 2), (1, 0)], "the far ones stay alone"
    assert track.match([], boxes) == track.match(states, []) == []


def test_the_box_filter_tells_what_filterpy_tells() -> None:
    box, rng = np.array([100.0, 100, 200, 220]), np.random.default_rng(0)
    ours, theirs, size = track.box_filter(box), KalmanFilter(dim_x=6, dim_z=3), track.box_state(box)[2, 0]
    theirs.F[:3, 3:] = theirs.H[:3, :3] = np.eye(3)
    theirs.x[:3], theirs.R, theirs.P = track.box_state(box), np.eye(3) * (0.02 * size) ** 2, np.eye(6) * (0.1 * size) ** 2
    theirs.Q = np.diag([0.01, 0.01, 0.01, 0.02, 0.02, 0.01]) ** 2 * size**2
    for frame in range(50):
        ours.predict()
        theirs.predict()
        if frame % 3 != 1:
            seen = track.box_state(box + 3 * frame + rng.normal(size=4))
            ours.correct(seen)
            theirs.update(seen)
        assert ours.statePost == pytest.approx(theirs.x, rel=1e-9) and ours.errorCovPost == pytest.approx(theirs.P, abs=1e-6)


def test_faces_are_found_and_followed() -> None:
    moving = lambda index: (150 + 3.0 * index, 200 + 20 * np.sin(index / 8))  # noqa: E731
    world = World([moving, still(600)])
    found = world.followed(40)
    for index, faces in enumerate(found):
        assert len(faces) == 2
        assert np.allclose(sorted(p.tolist() for p in faces.values())[0], moving(index), atol=0.01)
    assert {tuple(sorted(faces)) for faces in found} == {(0, 1)}, "two people, two ids, all along"
    assert len(world.detected_in) < 15, "the detector looks now and then"


def test_nothing_is_followed_where_nobody_is() -> None:
    assert World([]).followed(23) == [{}] * 23
    assert World([]).followed(0) == []


def test_ids_stay_through_a_short_occlusion() -> None:
    walk = lambda index: (200 + 2.0 * index, 200.0)  # noqa: E731
    hidden = range(20, 24)
    found = World([lambda index: None if index in hidden else walk(index)]).followed(45)
    for index, faces in enumerate(found):
        if index not in range(19, 26):
            assert list(faces) == [0] and np.allclose(faces[0], walk(index), atol=0.5)


@dataclass
class Dazzled(World):
    """In frame 20 FaceMesh hardly believes in what it sees; when it looks at frame 21 first, it is sure of a forehead."""

    looked: int = 0

    def measure(self, frame: Frame, regions: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        found = super().measure(frame, regions)
        self.looked += frame.index == 21
        if frame.index == 21 and self.looked == 1:
            return [(points - [0, HEIGHT / 3, 0], 0.8) for points, _ in found]
        return [(points, 0.2 if frame.index == 20 else score) for points, score in found]


def test_who_was_in_doubt_is_believed_when_the_detector_agrees() -> None:
    """As it goes with a blurred face under a mask."""
    world = Dazzled([lambda k: (200.0 + 5 * k, 200.0)])  # whom nothing lets rest
    found = world.followed(40)
    assert world.looked > 1 and all(np.allclose(faces[0], (200 + 5 * k, 200), atol=1) for k, faces in enumerate(found))
    linker = world.linker()
    list(track.follow(world.frames(40), linker))
    assert not any(one.doubted for one in linker.tracks)


@pytest.mark.parametrize("pace", [2.0, 5.0, 9.0])
def test_ids_stay_where_two_people_cross(pace: float) -> None:
    front, back = (lambda k: (300 + pace * (k - 40), 200.0)), (lambda k: (300 - pace * (k - 40), 215.0))
    seen_behind = lambda k: None if abs(front(k)[0] - back(k)[0]) < 0.6 * HEIGHT else back(k)  # noqa: E731
    found = World([front, seen_behind]).followed(80)
    apart = lambda place, who, index: np.linalg.norm(place - who(index))  # noqa: E731
    first = {i: min((front, back), key=lambda who: apart(place, who, 0)) for i, place in found[0].items()}
    assert len(set(first.values())) == 2
    for index, faces in enumerate(found):
        for track_id in first.keys() & faces if seen_behind(index) else ():
            assert apart(faces[track_id], first[track_id], index) < HEIGHT / 10, f"frame {index}: an id went to the other"
    assert len(found[-1]) == 2 and first.keys() & found[-1], "nobody is lost"


def test_a_face_that_left_is_forgotten() -> None:
    found = World([between(0, 19, still(200)), between(60, 99, still(200))]).followed(80)
    assert not any(found[35:55]), "nothing is seen in an empty frame"
    assert list(found[10]) == [0] and list(found[70]) != [0], "who comes much later is somebody new"


@pytest.mark.parametrize("appears", range(6, 22, 3))
def test_a_face_found_late_is_followed_back(appears: int) -> None:
    found = World([still(600), between(appears, 99, still(200))]).followed(30)
    seen = [index for index, faces in enumerate(found) if len(faces) == 2]
    assert seen == list(range(appears, 30)), "from its first frame"
    assert {tuple(sorted(f)) for f in found[appears:]} == {(0, 1)}


def test_a_lone_face_that_jumps_leaves_nobody_behind() -> None:
    world = World([between(0, 30, still(200)), between(31, 60, still(330))])
    found = list(world.followed(60))
    assert [sorted(faces) for faces in found] == [[0]] * 31 + [[1]] * 29
    assert sum(31 < index < 60 for index in world.detected_in) <= 5  # who is gone is not looked for, in frame after frame


def test_a_cut_makes_everybody_new() -> None:
    found = World([still(200)], cuts=(17,)).followed(34)
    before, after = ({i for f in part for i in f} for part in (found[:17], found[17:]))
    assert before == {0} and len(after) == 1 and not before & after
    assert all(len(f) == 1 for f in found), "nobody pops in late after the cut"


def test_nobody_is_followed_back_across_a_cut() -> None:
    found = World([between(17, 99, still(200))], cuts=(17,)).followed(30)
    assert [len(f) for f in found] == [0] * 17 + [1] * 13


def test_memory_of_following_does_not_grow() -> None:
    linker = World([still(200)]).linker()
    waiting = [len(linker.waiting) for _ in track.follow(World([still(200)]).frames(300), linker)]
    assert max(waiting) <= track.EVERY + 1


def pattern(seed: int, level: float = 1.0) -> Frame:
    plane = np.random.default_rng(seed).integers(0, 200, (6, 8)).repeat(8, 0).repeat(8, 1) * level
    return Frame((plane.astype(np.uint8),), "gray", Colour("bt601", True, 8), 0, 0, 0, 1, Fraction(1, 25))


@pytest.mark.parametrize("level", [1.0, 0.1], ids=["bright", "dark"])
def test_a_cut_is_another_picture_and_not_another_light(level: float) -> None:
    one, other = small_grey(pattern(0, level)), small_grey(pattern(1, level))
    assert is_cut(one, other) and not is_cut(one, one)
    assert not is_cut(one, one * 0.5) and not is_cut(one, one * 0.8 + 40), "lights go up and down"
    noise = np.random.default_rng(2).normal(0, 0.5, (2, 32, 32)).astype(np.float32)
    assert not is_cut(3 + noise[0], 3 + noise[1]), "a black frame holds little but noise"
    shaken = small_grey(pattern(0, level)), np.roll(small_grey(pattern(0, level)), 1, axis=1)
    assert not is_cut(*shaken), "a camera that moves"


@pytest.mark.parametrize(("pace", "rests"), [(0.0, True), (1.5, True), (9.0, False)])
def test_calm_faces_are_measured_in_every_second_frame(pace: float, rests: bool) -> None:
    world = World([lambda index: (200 + pace * index, 200.0)], cuts=(31,))
    found = [len(faces) for _, faces in track.follow(world.frames(60), world.linker())]
    assert found[0] == found[30] == found[31] == found[59] == 1, "the first and the last of a shot are seen"
    assert max(a + b for a, b in zip(found[1:], found[2:], strict=False)) >= 1
    assert (sum(found) < 42) if rests else (sum(found) == 60)
    assert all(a or b for a, b in zip(found, found[1:], strict=False)), "never two without"
