"""One drawn mask through a whole clip: it stays the same mask, and moves and turns with the head."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
from faces import shared

from training.data import measure_face
from training.worn import Worn
from unmask_video import decode, segment
from unmask_video.face import CANONICAL, UPPER, Face, align
from unmask_video.geometry import apply, index_map, invert
from unmask_video.landmarks import onnx_backend
from unmask_video.picture import photo, sample
from unmask_video.warp import HEAD

SIDE, SEEDS = 192, range(8)
REACH = 19
"""Pixels: a shadow's blur has a deviation of up to 4 at this side, OpenCV cuts it off at 4 of them, and it falls by up to 3."""
EYES, NOSE_AND_MOUTH = [33, 133, 159, 145, 263, 362, 386, 374], [4, 61, 291, 0, 13, 14, 17]
FLAT = np.full((SIDE, SIDE, 3), 128, np.uint8)
UPRIGHT = invert(align(CANONICAL, SIDE))


def head(yaw: float = 0) -> np.ndarray:
    """Landmarks of the canonical face, turned about the head's middle; positive is to the viewer's left."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return apply(UPRIGHT, (CANONICAL - HEAD) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + HEAD)


def at(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    return picture[points[:, 1].astype(int), points[:, 0].astype(int)]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return np.minimum(a, b).sum() / np.maximum(a, b).sum()


def test_the_same_seed_is_the_same_mask() -> None:
    (a, a_alpha), (b, b_alpha), (c, c_alpha) = (Worn.random(SIDE, seed).on(FLAT, head()) for seed in (5, 5, 6))
    assert (a == b).all() and (a_alpha == b_alpha).all() and (a != c).any() and overlap(a_alpha, c_alpha) < 0.95


@pytest.mark.parametrize("yaw", [-25, 0, 25])
def test_it_covers_nose_and_mouth_and_nothing_far_away(yaw: float) -> None:
    bare = np.random.default_rng(0).integers(60, 190, (SIDE, SIDE, 3), np.uint8)
    for seed in SEEDS:
        shown, alpha = Worn.random(SIDE, seed).on(bare, head(yaw))
        assert shown.shape == bare.shape and shown.dtype == np.uint8
        assert alpha.shape == bare.shape[:2] and alpha.dtype == np.float32 and 0 <= alpha.min() <= alpha.max() <= 1
        assert at(alpha, head(yaw)[NOSE_AND_MOUTH]).min() > 0.99 and at(alpha, head(yaw)[EYES]).max() < 0.01
        far = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((2 * REACH + 1,) * 2)) == 0
        assert far.mean() > 0.4 and (shown[far] == bare[far]).all()
        assert np.abs(shown.astype(int) - bare)[alpha > 0.999].mean() > 20


@pytest.mark.parametrize("roll, scale, shift", [(0, 1, (7, -4)), (0, 1, (-2.5, 3.3)), (12, 1, (0, 0)), (-8, 0.9, (3, 5))])
def test_it_goes_where_the_head_goes(roll: float, scale: float, shift: tuple[float, float]) -> None:
    move = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), roll, scale) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    for seed in SEEDS:
        still, moved = (Worn.random(SIDE, seed).on(FLAT, where)[1] for where in (head(), apply(move, head())))
        assert overlap(moved, cv2.warpAffine(still, index_map(move), (SIDE, SIDE))) > 0.97 > overlap(moved, still) + 0.05


def test_it_turns_with_the_head() -> None:
    """Its sides lie near the axis, so its middle goes a third as far as the mouth; one that only slid along went half."""
    shares = []
    for seed in SEEDS:
        columns = {yaw: Worn.random(SIDE, seed).on(FLAT, head(yaw))[1].sum(0) for yaw in (-25, 0, 25)}
        middle = {yaw: np.average(np.arange(SIDE), weights=column) for yaw, column in columns.items()}
        shares += [(middle[yaw] - middle[0]) / (head(yaw) - head())[13, 0] for yaw in (-25, 25)]
    assert min(shares) > 0.2 and max(shares) < 0.6 and 0.3 < np.median(shares) < 0.45


def test_only_the_upper_face_says_how_the_head_is_turned() -> None:
    """A landmark finder only guesses what a mask hides, and a bare mouth talks."""
    talking = head(10) + np.random.default_rng(0).normal(0, 5, (468, 3))
    talking[UPPER] = head(10)[UPPER]
    for seed in SEEDS:
        (shown, alpha), (same, same_alpha) = (Worn.random(SIDE, seed).on(FLAT, where) for where in (head(10), talking))
        assert (alpha == same_alpha).all() and (shown == same).all()


@pytest.mark.parametrize("yaw", [-10, 10, -40, 40])
def test_its_pattern_is_bound_to_the_face(yaw: float) -> None:
    """Squares of 12 px, black or white: what is 3 px from their edges keeps its colour where it is in sight."""
    squares = np.random.default_rng(0).integers(0, 2, (16, 16)).repeat(12, 0).repeat(12, 1)
    cloth = np.where(squares[..., None], 230, 20).repeat(3, 2).astype(np.float32)
    towards = head(yaw) - apply(UPRIGHT, HEAD)
    seen = (towards[:, 2] / np.linalg.norm(towards, axis=1) < -0.1) & (np.abs(head()[:, :2] % 12 - 6).max(1) < 3)
    for seed in SEEDS:
        worn = replace(Worn.random(SIDE, seed), cloth=cloth)
        (front, front_alpha), (turned, alpha) = (worn.on(FLAT, where) for where in (head(), head(yaw)))
        points = seen & (at(front_alpha, head()) > 0.999) & (at(alpha, head(yaw)) > 0.999)
        where, there = head()[points], head(yaw)[points]
        before, bound, fixed = (at(*shown).astype(int) for shown in ((front, where), (turned, there), (front, there)))
        assert len(where) > 25 and (np.abs(bound - before) < 40).mean() > 0.9 > (np.abs(fixed - before) < 40).mean() + 0.2


def test_nothing_flickers() -> None:
    """A fifth of a pixel changes little; other straps, another softness and shadow would change more."""
    for seed in SEEDS:
        worn = replace(Worn.random(SIDE, seed), cloth=np.full((SIDE, SIDE, 3), 200, np.float32))
        first, again, near = (worn.on(FLAT, head(5) + [x, x / 2, 0]) for x in (0, 0, 0.2))
        other = replace(worn, seed=seed + 100).on(FLAT, head(5))
        for part, little in ((0, 0.25), (1, 0.002)):
            same, less, more = (np.abs(shown[part].astype(float) - first[part]).mean() for shown in (again, near, other))
            assert same == 0 and less < little < more


@pytest.mark.parametrize("name", ["carphone_pristine", "liveportrait_d19"])
def test_on_a_clip_it_stays_the_same_mask(name: str) -> None:
    measure, network, worn, alphas, beliefs = onnx_backend(), segment.unet(), Worn.random(SIDE, 0), [], []
    with decode.open_video(shared(f"clips/talking/{name}.mp4")) as video:
        for frame in islice(video.frames(), 10):
            crop = align(landmarks := measure_face(frame, measure), SIDE)
            image, where = sample(frame, crop, SIDE).round().clip(0, 255).astype(np.uint8), apply(invert(crop), landmarks)
            shown, alpha = worn.on(image, where)
            alphas.append(alpha)
            beliefs.append([network(photo(picture), Face(0, where, 1.0)).belief for picture in (shown, image)])
    masked, bare = (np.array(beliefs) > segment.ON).sum(0)
    assert len(alphas) == 10 and masked >= 9 and bare == 0
    assert min(map(overlap, alphas, alphas[1:])) > 0.95, "another mask each time would come to .9 at most"
