"""How good a fill is: plain functions on numpy pictures.

Pictures are float32 [S, S, 3] RGB in 0..255. `hole`, bool [S, S], says which pixels count; None: all of them.
"""

from __future__ import annotations

import cv2
import numpy as np

WINDOW, SIGMA = 11, 1.5
"""Side and spread of the Gaussian of `ssim` and `high_frequency_ratio`, in pixels."""


def _inside(values: np.ndarray, hole: np.ndarray | None) -> np.ndarray:
    """What of values [S, S, ...] counts.

    Raises:
        ValueError: the hole is empty, so that there is no mean over it.
    """
    if hole is None:
        return values
    if not hole.any():
        raise ValueError(f"the hole is empty: no True in bool {list(hole.shape)}; leave such pictures out")
    return values[hole]


def _blurred(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT_101)


def l1(face: np.ndarray, truth: np.ndarray, hole: np.ndarray | None = None) -> float:
    """Mean absolute difference, 0..255."""
    return float(np.abs(_inside(face - truth, hole)).mean())


def psnr(face: np.ndarray, truth: np.ndarray, hole: np.ndarray | None = None) -> float:
    """Peak signal to noise ratio in dB, infinite for equal pictures."""
    squared = np.square(_inside(face.astype(np.float64) - truth, hole)).mean()
    return float(20 * np.log10(255) - 10 * np.log10(squared)) if squared > 0 else float("inf")


def ssim(face: np.ndarray, truth: np.ndarray, hole: np.ndarray | None = None) -> float:
    """SSIM (Wang, Bovik, Sheikh, Simoncelli 2004), mean of the colours, -1..1.

    As there, only pixels count whose window lies in the picture, so none within 5 px of its edge.
    """
    x, y = face.astype(np.float64), truth.astype(np.float64)
    a, b = _blurred(x), _blurred(y)
    spread_a, spread_b, common = _blurred(x * x) - a * a, _blurred(y * y) - b * b, _blurred(x * y) - a * b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * a * b + c1) * (2 * common + c2) / ((a * a + b * b + c1) * (spread_a + spread_b + c2))
    whole = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    return float(_inside(alike[whole], None if hole is None else hole[whole]).mean())


def high_frequency_ratio(face: np.ndarray, truth: np.ndarray, hole: np.ndarray | None = None) -> float:
    """Energy of what a Gaussian of 1.5 px takes away, over the truth's: under 1 is blurred, over 1 is grainy."""
    energy = [np.square(_inside(p - _blurred(p), hole), dtype=np.float64).mean() for p in (face, truth)]
    return float(energy[0] / max(energy[1], 1e-9))


def skin_colour_error(face: np.ndarray, truth: np.ndarray, hole: np.ndarray | None = None) -> float:
    """Mean CIE Lab distance (Delta E 1976; 1 is just seen) of the fills, blurred so that only their tint is left.

    The blur is a thirty-second of the picture's side, and takes nothing from outside the hole.
    """
    counted = np.ones(face.shape[:2], bool) if hole is None else hole
    share = counted.astype(np.float32)[..., None]
    soft = lambda a: cv2.GaussianBlur(a, (0, 0), len(face) / 32).reshape(a.shape)  # noqa: E731
    tints = [soft(p.clip(0, 255) / np.float32(255) * share) / np.maximum(soft(share), 1e-6) for p in (face, truth)]
    lab = [cv2.cvtColor(tint.astype(np.float32), cv2.COLOR_RGB2Lab) for tint in tints]
    return float(np.linalg.norm(_inside(lab[0] - lab[1], counted), axis=-1).mean())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of feature vectors [N, D] and [M, D], at least 0.

    With `lpips.pooled` this is a Frechet distance on VGG16 features. It is not FID (Heusel et al., arXiv
    1706.08500), which is made on Inception features: compare its numbers with each other only, and only at equal
    N, for small sets come out too far apart.

    The trace of (A^1/2 B A^1/2)^1/2 is the sum of the singular values of X Y^T, where A = X^T X and B = Y^T Y are
    the covariances; so no root of a matrix is taken, and sets with N < D, whose covariances are singular, do no harm.

    Raises:
        ValueError: fewer than two vectors in a set.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs two vectors or more, got {len(a)} and {len(b)}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    x, y = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (a, b))
    x, y = (np.linalg.qr(v, mode="r") for v in (x, y))  # the same covariance in at most D rows
    common = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    far = np.square(a.mean(0) - b.mean(0)).sum() + np.square(x).sum() + np.square(y).sum() - 2 * common
    return max(float(far), 0.0)
