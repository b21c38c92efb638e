"""How steady a film is: measures whose answers are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from training.temporal import RING, Motion, carried, jitter, seam, warping_error

SIDE = 128
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[40:90, 30:100] = True


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (SIDE * 2, SIDE * 2, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    return (soft - soft.mean()) * 4 + 128


def shifted(by: float) -> np.ndarray:
    """The texture's middle, moved to the right."""
    move = np.float32([[1, 0, by - SIDE / 2], [0, 1, -SIDE / 2]])
    return cv2.warpAffine(texture(), move, (SIDE, SIDE), flags=cv2.INTER_CUBIC)


def test_flow_carries_a_moved_picture_back() -> None:
    motion = Motion.between(shifted(0), shifted(3))
    inner = motion.flow[20:-20, 20:-20]
    assert np.abs(inner - [3, 0]).mean() < 0.2 and motion.seen[20:-20, 20:-20].mean() > 0.9
    assert np.abs(carried(shifted(3), motion.flow) - shifted(0))[20:-20, 20:-20].mean() < 2


def test_what_is_covered_is_not_counted() -> None:
    before, now = shifted(0), shifted(0).copy()
    now[50:80, 50:80] = texture(1)[:30, :30]
    assert Motion.between(before, now).seen[52:78, 52:78].mean() < 0.7 < Motion.between(before, before).seen.mean()


def test_warping_error_is_of_what_does_not_go_along() -> None:
    """A fill that stays while the face moves is wrong, one that goes along is right, one that flickers is as far off."""
    before, now = shifted(0), shifted(3)
    motion = Motion.between(before, now)
    along, stays = warping_error(before, now, motion, HOLE), warping_error(before, before, motion, HOLE)
    assert along < 0.0005 < 0.005 < stays
    bright = warping_error(before, now + 25.5, motion, HOLE)
    assert bright == pytest.approx(0.01, rel=0.05), "a tenth of the range, squared"
    assert np.isnan(warping_error(before, now, motion, np.zeros_like(HOLE)))


def test_seam_is_the_gradient_beside_the_mask() -> None:
    ramp = np.repeat(np.repeat(np.arange(SIDE, dtype=np.float32)[None, :, None], SIDE, 0), 3, 2)
    assert seam(ramp, HOLE) == pytest.approx(1, abs=1e-3)
    inside, outside = ramp.copy(), ramp.copy()
    inside[60:70, 60:70] += 100
    assert seam(inside, HOLE) == pytest.approx(1, abs=1e-3), "what is in the hole is no seam"
    outside[40 - RING // 2 :] += 50
    assert seam(outside, HOLE) > 2


def test_even_motion_does_not_tremble() -> None:
    steps = np.arange(20)[:, None, None] * np.array([[1.0, 2.0]]) + np.zeros((20, 5, 2))
    assert jitter(list(steps)) == pytest.approx(0)
    shake = steps + np.where(np.arange(20) % 2, 0.5, -0.5)[:, None, None] * [1, 0]
    assert jitter(list(shake)) == pytest.approx(2)
