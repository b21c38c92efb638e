"""Curves over time as a picture; OpenCV draws them, so that scoring needs no plotting library."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = (900, 170)
"""Pixels of a panel's curves."""
MARGIN = (90, 30)
"""Left of them and above them."""
COLOURS = ((180, 119, 31), (14, 127, 255), (44, 160, 44), (40, 39, 214), (189, 103, 148), (75, 86, 140), (194, 119, 227))
"""BGR, used in turn."""

Curve = tuple[np.ndarray, np.ndarray]
"""Times [N] in seconds, and values [N]; NaN is a gap."""


def panel(title: str, curves: dict[str, Curve]) -> np.ndarray:
    """Curves by name in one pair of axes, at least one value among them: uint8 [h, w, 3] BGR."""
    (width, height), (left, top) = SIZE, MARGIN
    canvas = np.full((top + height + 25, left + width + 15, 3), 255, np.uint8)
    times, values = (np.concatenate([curve[k] for curve in curves.values()]) for k in (0, 1))
    (begin, end), (low, high) = ((np.min(x), np.max(x)) for x in (times, values[np.isfinite(values)]))
    cv2.rectangle(canvas, (left, top), (left + width, top + height), (200, 200, 200), 1)
    write(canvas, title, (left, 20))
    for value, y in ((high, top + 5), (low, top + height)):
        write(canvas, f"{value:.4g}", (5, y))
    for time, x in ((begin, left), (end, left + width - 40)):
        write(canvas, f"{time:.1f} s", (x, top + height + 18))
    for k, (name, (at, value)) in enumerate(curves.items()):
        x = left + (at - begin) / max(end - begin, 1e-9) * width
        y = top + height - (value - low) / max(high - low, 1e-9) * height
        colour = COLOURS[k % len(COLOURS)]
        known = np.isfinite(y)
        # A gap ends a line, and the next one begins behind it.
        for run in np.split(np.arange(len(y)), np.flatnonzero(~known)):
            points = np.stack([x, y], axis=-1)[run[known[run]]].round().astype(np.int32)
            # A line of no length would not be seen.
            cv2.polylines(canvas, [np.concatenate([points, points[-1:] + 1])], False, colour, 1, cv2.LINE_AA)
        write(canvas, name, (left + 8, top + 16 + 15 * k), colour)
    return canvas


def write(canvas: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
