"""How steady a filled film is: plain functions on numpy pictures, each for two neighbouring frames.

Pictures are float32 [S, S, 3] RGB in 0..255, cut out of both frames by the same crop. `hole` is bool [S, S].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unmask_video.picture import grey, grid

RING = 6
"""Pixels beside a mask in which a seam would be."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How a film moves between two frames."""

    flow: np.ndarray
    """float32 [S, S, 2] in pixels: what is at a place of the earlier frame is at place plus flow in the later one."""
    seen: np.ndarray
    """bool [S, S]: places of the earlier frame that the later one shows, too."""

    @staticmethod
    def between(before: np.ndarray, now: np.ndarray) -> Motion:
        """Occlusion by forward and backward flow, with the constants of Ruder et al. (arXiv 1604.08610), as Lai et al.
        (arXiv 1808.00449) measure warping error; their flow is FlowNet2's, here it is DIS (Kroeger et al., 1603.03590).
        """
        method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        a, b = (grey(p).clip(0, 255).astype(np.uint8) for p in (before, now))
        forth, back = method.calc(a, b, None), method.calc(b, a, None)
        returned = carried(back, forth)
        squares = (forth**2).sum(2), (returned**2).sum(2)
        lost = ((forth + returned) ** 2).sum(2) > 0.01 * (squares[0] + squares[1]) + 0.5
        slopes = [np.gradient(forth[..., k]) for k in (0, 1)]
        edge = sum(d**2 for pair in slopes for d in pair) > 0.01 * squares[0] + 0.002
        return Motion(forth, ~(lost | edge))


def carried(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The later frame's picture [S, S, ...], each pixel brought back to where it was in the earlier one."""
    return cv2.remap(picture, grid(len(picture)) + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def warping_error(before: np.ndarray, now: np.ndarray, motion: Motion, hole: np.ndarray) -> float:
    """Mean squared difference to what flow foretells, of colours in 0..1, where the hole is seen in both frames.

    Not a number if it is seen nowhere.
    """
    where = motion.seen & (carried(hole.astype(np.float32), motion.flow) > 0.5)
    if not where.any():
        return float("nan")
    return float(np.square((carried(now, motion.flow) - before)[where] / 255).mean())


def seam(picture: np.ndarray, hole: np.ndarray) -> float:
    """Mean gradient in the ring of `RING` pixels outside the hole, in levels of 255 a pixel."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING + 1, 2 * RING + 1))
    ring = (cv2.dilate(hole.astype(np.uint8), disc) > 0) & ~hole
    across, down = (cv2.Sobel(grey(picture), cv2.CV_32F, *d, ksize=3, scale=1 / 8) for d in ((1, 0), (0, 1)))
    return float(np.hypot(across, down)[ring].mean())


def jitter(points: list[np.ndarray]) -> float:
    """Median over time of the mean second difference of points [N, 2], in their own unit; zero for even motion."""
    tracks = np.stack(points)
    return float(np.median(np.linalg.norm(np.diff(tracks, n=2, axis=0), axis=2).mean(1)))
