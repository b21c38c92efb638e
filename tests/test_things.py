"""Frames, colours, faces, geometry, and the small pictures taken out of frames."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import cv2
import numpy as np
import pytest

from unmask_video import geometry
from unmask_video.face import CANONICAL, UPPER, Face, Reference, align
from unmask_video.frame import KR_KB, Colour, Frame
from unmask_video.picture import photo, resample, sample, thumbnail

BT601 = Colour("bt601", True, 8)
COLOURS = [Colour(*c) for c in product(KR_KB, (True, False), (8, 10, 12, 16))]


def frame_of(*planes: np.ndarray, colour: Colour = BT601, rotation_deg: int = 0) -> Frame:
    return Frame(planes, "", colour, rotation_deg, 0, 0, 0, Fraction(1, 25))


GREY = np.zeros((4, 4), np.uint8)
BAD: dict[str, Callable[[], object]] = {
    "unknown matrix": lambda: Colour("bt2100", True, 8),
    "too few bits": lambda: Colour("bt709", True, 7),
    "too many bits": lambda: Colour("bt709", True, 17),
    "two planes": lambda: frame_of(GREY, GREY),
    "no plane": lambda: frame_of(),
    "floating point plane": lambda: frame_of(GREY.astype(np.float32)),
    "signed plane": lambda: frame_of(GREY.astype(np.int16)),
    "plane with channels": lambda: frame_of(np.zeros((4, 4, 3), np.uint8)),
    "crooked rotation": lambda: frame_of(GREY, rotation_deg=45),
    "negative rotation": lambda: frame_of(GREY, rotation_deg=-90),
    "face of two dimensions": lambda: Face(0, CANONICAL[:, :2], 1.0),
    "face of too many points": lambda: Face(0, np.zeros((478, 3)), 1.0),
    "grey reference": lambda: Reference("a", GREY, CANONICAL, np.zeros(4)),
    "floating point reference": lambda: Reference("a", np.zeros((4, 4, 3)), CANONICAL, np.zeros(4)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_refused_at_birth(case: str) -> None:
    with pytest.raises(ValueError, match="must be|has 1 or 3 planes"):
        BAD[case]()


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_colours_there_and_back_are_the_same(colour: Colour) -> None:
    rgb = np.random.default_rng(0).uniform(0, 255, (100, 3))
    (to, to_offset), (back, back_offset) = colour.to_rgb(), colour.from_rgb()
    assert np.allclose((rgb @ back.T + back_offset) @ to.T + to_offset, rgb, atol=0.01)


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_black_and_white_have_their_standard_levels(colour: Colour) -> None:
    m, offset = colour.from_rgb()
    scale, top = 2 ** (colour.bits - 8), 2**colour.bits - 1
    black, white = (0, top) if colour.full_range else (16 * scale, 235 * scale)
    neutral = 128 * scale
    assert np.allclose(offset, [black, neutral, neutral], rtol=1e-5, atol=0.01)
    assert np.allclose(m @ [255, 255, 255] + offset, [white, neutral, neutral], rtol=1e-5)


def test_full_range_bt601_is_that_of_jpeg() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    m, offset = BT601.from_rgb()
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    assert np.abs(rgb @ m.T + offset - expected).max() < 1


def test_frames_know_their_size_and_time() -> None:
    chroma = np.zeros((2, 3), np.uint8)
    frame = Frame((np.zeros((4, 6), np.uint8), chroma, chroma), "yuv420p", BT601, 90, 3, 50, 25, Fraction(1, 100))
    assert (frame.width, frame.height, frame.time_seconds) == (6, 4, 0.5)


# --- geometry -------------------------------------------------------------------------------------

TURN = np.array([[0.0, -2.0, 10.0], [2.0, 0.0, 20.0]])
"""A quarter turn, twice the size, moved."""


def test_affine_maps_have_known_answers() -> None:
    assert np.allclose(geometry.apply(TURN, np.array([[1.0, 0], [0, 1], [3, 4]])), [[10, 22], [8, 20], [2, 26]])
    assert np.allclose(geometry.apply(TURN, np.array([[3.0, 4.0, 5.0]])), [[2, 26, 10]]), "depth scales alike"
    assert geometry.scale_of(TURN) == pytest.approx(2)


def test_inverses_undo() -> None:
    affine, points = np.random.default_rng(2).normal(size=(2, 3)), np.random.default_rng(3).normal(size=(9, 2))
    there = geometry.apply(affine, points)
    assert np.allclose(geometry.apply(geometry.invert(affine), there), points)


def test_scaled_maps_mean_the_same_between_scaled_pictures() -> None:
    before, after, points = np.array([2.0, 4.0]), np.array([0.5, 0.25]), np.array([[3.0, 7.0], [1.0, -2.0]])
    moved = geometry.apply(geometry.scaled(TURN, before, after), points / before)
    assert np.allclose(moved, geometry.apply(TURN, points) * after)


def test_index_maps_put_centres_at_half_pixels() -> None:
    twice = np.array([[2.0, 0, 0], [0, 2.0, 0]])
    # Pixel 0 of a picture covers pixels 0 and 1 of one twice as large: its centre lies between their indices.
    assert np.allclose(geometry.apply(geometry.index_map(twice), np.zeros((1, 2))), [[0.5, 0.5]])


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_pose_of_a_shape_is_found_again(mirrored: bool) -> None:
    rng = np.random.default_rng(4)
    turn = cv2.Rodrigues(np.array([0.3, -0.8, 0.2]))[0]
    seen = 80 * CANONICAL @ turn.T + [100, 50, 7] + rng.normal(0, 0.05, CANONICAL.shape)
    scale, rotation, move = geometry.fit_pose(CANONICAL * [-1 if mirrored else 1, 1, 1], seen)
    assert np.linalg.det(rotation) == pytest.approx(1), "never a mirror"
    if not mirrored:
        assert scale == pytest.approx(80, rel=0.01)
        assert np.allclose(rotation, turn, atol=0.01) and np.allclose(move, [100, 50, 7], atol=0.1)


def test_overlaps_have_known_answers() -> None:
    a = np.array([[0.0, 0, 2, 2]])
    b = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    assert np.allclose(geometry.iou(a, b), [[1, 1 / 3, 0, 0, 0]])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_points_turn_with_their_picture(degrees: int) -> None:
    picture = np.zeros((5, 8), np.uint8)
    picture[1, 6] = 1
    turned = np.argwhere(np.rot90(picture, degrees // 90))[0][::-1] + 0.5
    moved = geometry.turn_upright(np.array([6.5, 1.5]), (8, 5), degrees)
    assert np.allclose(moved, turned)
    size = (5, 8) if degrees % 180 else (8, 5)
    assert np.allclose(geometry.turn_upright(moved, size, (360 - degrees) % 360), [6.5, 1.5])


def test_crops_follow_position_size_and_roll_but_not_the_turn_of_the_head() -> None:
    upright = align(200 * CANONICAL + [300, 300, 0], 256)
    assert np.allclose(upright[:, :2], np.eye(2) * 200 * 1.75 / 256)
    roll = cv2.Rodrigues(np.array([0, 0, 0.5]))[0]
    rolled = align(200 * CANONICAL @ roll.T + [300, 300, 0], 256)
    assert np.arctan2(rolled[1, 0], rolled[0, 0]) == pytest.approx(0.5)
    yaw = cv2.Rodrigues(np.array([0, 0.7, 0]))[0]
    assert geometry.scale_of(align(200 * CANONICAL @ yaw.T, 256)) == pytest.approx(geometry.scale_of(upright))


def test_crops_do_not_follow_what_a_mask_hides() -> None:
    seen = 200 * CANONICAL + [300, 300, 0]
    guessed = seen + np.random.default_rng(5).normal(0, 20, seen.shape)
    guessed[UPPER] = seen[UPPER]
    assert np.allclose(align(guessed, 256), align(seen, 256))


# --- small pictures -------------------------------------------------------------------------------


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, shape, np.uint8)


def test_whole_steps_are_plain_indexing() -> None:
    planes = [noise(40, 50) for _ in range(3)]
    found = sample(frame_of(*planes), np.array([[1.0, 0, 7], [0, 1.0, 3]]), 32)
    m, offset = BT601.to_rgb()
    part = np.stack([p[3:35, 7:39] for p in planes], axis=-1)
    assert np.allclose(found, part @ m.T + offset, atol=0.01)


@pytest.mark.parametrize("step", [(2, 2), (2, 1), (1, 1)])
def test_colour_lies_where_brightness_does(step: tuple[int, int]) -> None:
    y, x = np.mgrid[0.5:64, 0.5:64]
    shape = (64 // step[1], 64 // step[0])
    ramp = np.mgrid[0.5 : shape[0], 0.5 : shape[1]][1] * step[0]  # the place of each sample in the frame
    planes = [v.round().astype(np.uint8) for v in (40 + 2 * x, 60 + 2 * ramp, 200 - 2 * ramp)]
    found = sample(frame_of(*planes), np.array([[1.0, 0, 8], [0, 1.0, 9]]), 40)
    m, offset = BT601.to_rgb()
    at = np.arange(8.5, 48)
    expected = np.stack([40 + 2 * at, 60 + 2 * at, 200 - 2 * at], axis=-1) @ m.T + offset
    assert np.abs(found - expected).max() < 3, "half a sample of shift would be 2 levels of u and v, and 3.5 of blue"


def test_what_lies_outside_repeats_the_edge() -> None:
    plane = noise(20, 20)
    found = sample(frame_of(plane), np.array([[1.0, 0, -8], [0, 1.0, 4]]), 16)[..., 0]
    assert np.allclose(found[:, :8], plane[4:20, :1], atol=0.01)
    far = sample(frame_of(plane), np.array([[4.0, 0, 900], [0, 4.0, 900]]), 16)
    assert np.ptp(far) == 0 and plane[-9:, -9:].min() <= far[0, 0, 0] <= plane[-9:, -9:].max(), "shrunk, too"


@pytest.mark.parametrize("factor", [2.0, 2.6, 4.0, 5.5, 9.0])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_shrinking_a_checkerboard_gives_grey(factor: float, angle: float) -> None:
    board = (np.add.outer(np.arange(400), np.arange(400)) % 2 * 255).astype(np.uint8)
    c, s = factor * np.cos(angle), factor * np.sin(angle)
    small = resample(board, np.array([[c, -s, 120], [s, c, 50]]), (24, 24)).astype(float)
    assert abs(small.mean() - 127.5) < 2 and small.std() < 15, "an aliased one would have 127"


def test_shrinking_leaves_things_where_they_are() -> None:
    y, x = np.mgrid[0.5:300, 0.5:300]
    to_picture = np.array([[4.5, 0.0, 33.0], [0.0, 4.5, 21.0]])
    small = resample((x / 2 + y / 4).astype(np.float32), to_picture, (40, 40))
    at = np.stack(np.meshgrid(np.arange(0.5, 40), np.arange(0.5, 40)), axis=-1)
    x, y = np.moveaxis(geometry.apply(to_picture, at), -1, 0)
    assert np.abs(small - (x / 2 + y / 4)).max() < 0.5


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_thumbnails_are_upright_and_small(degrees: int) -> None:
    picture = cv2.resize(noise(4, 6, 3), (96, 64), interpolation=cv2.INTER_NEAREST)
    coded = np.ascontiguousarray(np.rot90(picture, -degrees // 90))
    frame = photo(coded)
    frame = frame_of(*frame.planes, rotation_deg=degrees)
    assert np.abs(thumbnail(frame, 96).astype(int) - picture).max() <= 3
    assert thumbnail(frame, 48).shape == (32, 48, 3)
    assert thumbnail(frame, 960).shape == (64, 96, 3), "never enlarged"


def test_grey_frames_give_grey_pictures() -> None:
    plane = np.linspace(16, 235, 256).astype(np.uint8).reshape(16, 16)
    rgb = sample(frame_of(plane, colour=Colour("bt709", False, 8)), np.eye(2, 3), 16)
    assert np.allclose(rgb, ((plane - 16.0) * 255 / 219)[..., None], atol=0.01)
