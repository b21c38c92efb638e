"""Boxes, affine maps and pose fits; numpy only, and plain numbers where arrays would be slower than what they hold.

Pixel rule, written once: the centre of the top left pixel is (0.5, 0.5), so coordinates do not
depend on resolution and scaling a picture by s scales its coordinates by s. Maps between pixel
*indices* (what OpenCV wants) are made by `index_map`. Boxes are x0, y0, x1, y1 in pixels, half open.
"""

from __future__ import annotations

import numpy as np


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points [..., 2] (or the x, y of [..., 3], z scaled alike) by an affine [2, 3]."""
    moved = points[..., :2] @ affine[:, :2].T + affine[:, 2]
    if points.shape[-1] == 2:
        return moved
    return np.concatenate([moved, points[..., 2:] * scale_of(affine)], axis=-1)


def invert(affine: np.ndarray) -> np.ndarray:
    """The inverse of an affine [2, 3]."""
    (a, b, x), (c, d, y) = affine.tolist()
    det = a * d - b * c
    a, b, c, d = d / det, -b / det, -c / det, a / det
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def scaled(affine: np.ndarray, before: np.ndarray | float, after: np.ndarray | float) -> np.ndarray:
    """diag(after) @ affine @ diag(before): the same map between scaled pictures."""
    (a, b, x), (c, d, y) = affine.tolist()
    (p, q), (u, v) = _both(before), _both(after)
    return np.array([[a * p * u, b * q * u, x * u], [c * p * v, d * q * v, y * v]])


def _both(factor: np.ndarray | float) -> tuple[float, float]:
    """Of x and of y."""
    return tuple(factor.tolist()) if isinstance(factor, np.ndarray) else (factor, factor)


def index_map(affine: np.ndarray) -> np.ndarray:
    """The same map for pixel indices (centres at integers), as OpenCV's warps want it."""
    (a, b, x), (c, d, y) = affine.tolist()
    return np.array([[a, b, (a + b) / 2 + x - 0.5], [c, d, (c + d) / 2 + y - 0.5]])


def scale_of(affine: np.ndarray) -> float:
    """How much longer lengths become under an affine [2, 3]."""
    (a, b, _), (c, d, _) = affine.tolist()
    return abs(a * d - b * c) ** 0.5


def fit_pose(shape: np.ndarray, seen: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Similarity in 3-D from `shape` [N, 3] to `seen` [N, 3] (Umeyama 1991).

    Returns scale, rotation [3, 3] and translation [3]; seen ~ scale * shape @ rotation.T + translation.
    """
    a, b = shape - shape.mean(0), seen - seen.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * flip) @ vt
    scale = float((s * flip).sum() / max((a**2).sum(), 1e-12))
    return scale, rotation, seen.mean(0) - scale * rotation @ shape.mean(0)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N, 4] and [M, 4]: [N, M] in 0..1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=-1) for x in (a, b)]
    return inter / np.maximum(area[0][:, None] + area[1][None, :] - inter, 1e-9)


def best_pairs(worth: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of greatest total worth [N, M], one-to-one: the Hungarian method."""
    if 0 in worth.shape:
        return []
    if 1 in worth.shape:
        row, column = divmod(int(worth.argmax()), worth.shape[1])
        return [(row, column)]
    from scipy.optimize import linear_sum_assignment  # late, for it is slow to load, and most films show one face

    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(-worth), strict=True)]


def turn_upright(points: np.ndarray, size: tuple[int, int], degrees: int) -> np.ndarray:
    """Points [..., 2] of a coded picture of `size` (w, h) in the picture turned by `degrees` ccw."""
    x, y = points[..., 0], points[..., 1]
    w, h = size
    turned = {0: (x, y), 90: (y, w - x), 180: (w - x, h - y), 270: (h - y, x)}[degrees]
    return np.stack(turned, axis=-1)
