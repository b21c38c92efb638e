"""Reference photos for training: another photo of the person, or one made of the only photo that there is.

A made one is turned, makes another face, stands in another light and was taken by another camera, so that a
network learns to place and relight a photo, and how far to trust it.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.cameras import lamp, lens, sensor
from unmask_video.face import Reference
from unmask_video.warp import CONTROL, warp_photo

NOBODY = np.zeros(192, np.float32)
"""Identity is not compared here."""
LIPS_LOW = [17, 84, 314, 14, 87, 317, 200, 152, 149, 378]
"""What an opening mouth takes along: lower lip and chin."""
CORNERS = [61, 57, 291, 287]
"""Corners of the mouth and beside them; right two, left two."""


def as_reference(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> Reference:
    """A real photo, measured as roughly as photos are."""
    size = image.shape[0]
    return Reference("photo", image, landmarks + rng.normal(0, 0.002, landmarks.shape) * size, NOBODY)


def made_of(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> Reference:
    """Another photo of the same face, made of this one: uint8 [S, S, 3] and its landmarks [468, 3]."""
    size = image.shape[0]
    moved = express(turn(landmarks, rng), rng)
    photo = warp_photo(image, landmarks[CONTROL], moved[CONTROL], size)
    photo = sensor(lens(lamp(side_light(photo, rng), rng), rng), rng)
    return as_reference(photo, moved, rng)


def turn(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The head turned, nodded and tilted a little, a little nearer or farther."""
    yaw, pitch, roll = np.radians(rng.normal(0, [9, 6, 4]).clip([-20, -14, -10], [20, 14, 10]))
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    middle = landmarks.mean(0)
    return (landmarks - middle) @ (about_y @ about_x @ about_z).T * rng.uniform(0.9, 1.1) + middle


def express(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mouth opened or closed a little, its corners pulled outwards and upwards or together."""
    out = landmarks.copy()
    height = np.linalg.norm(out[152] - out[10])
    down, right = (out[152] - out[10]) / height, (out[291] - out[61]) / max(np.linalg.norm(out[291] - out[61]), 1e-6)
    out[LIPS_LOW] += down * height * rng.normal(0, 0.012)
    wide, high = rng.normal(0, 0.018) * height, rng.normal(0, 0.010) * height
    for side, corner in ((-1, CORNERS[:2]), (1, CORNERS[2:])):
        out[corner] += right * side * wide - down * high
    return out


def side_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, differently for each colour: float32 [S, S, 3]."""
    coarse = np.exp(rng.normal(0, 0.22, (3, 3, 1)) + rng.normal(0, 0.05, (3, 3, 3))).astype(np.float32)
    return image.astype(np.float32) * cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
