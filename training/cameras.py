"""What lamps, lenses and cameras do to a picture."""

from __future__ import annotations

import cv2
import numpy as np


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, lens and sensor; uint8 [S, S, 3]."""
    return sensor(lens(lamp(image, rng), rng), rng)


def lamp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brighter, darker, of another colour; float32 [S, S, 3], not cut off."""
    out = image.astype(np.float32) * rng.uniform(0.6, 1.25) + rng.uniform(-15, 15)
    # Now and then a coloured lamp.
    return out * rng.normal(1, 0.05 if rng.random() < 0.93 else 0.25, 3).astype(np.float32)


def lens(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, motion blur."""
    size, out = image.shape[0], image
    if rng.random() < 0.5:
        small = int(size * rng.uniform(0.22, 0.9))
        out = cv2.resize(cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.2:
        kernel = np.zeros((7, 7), np.float32)
        # Through the middle, or the picture would slide off its label.
        end = rng.integers(0, 7, 2)
        cv2.line(kernel, tuple(map(int, end)), tuple(map(int, 6 - end)), 1)
        out = cv2.filter2D(out, -1, kernel / max(kernel.sum(), 1))
    return out


def sensor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise and compression; uint8."""
    out = (image + rng.normal(0, rng.uniform(0, 7), image.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return out
