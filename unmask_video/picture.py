"""Small RGB pictures out of a frame's planes: the whole frame shrunk, or one crop."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

import cv2
import numpy as np

from unmask_video.frame import Colour, Frame
from unmask_video.geometry import index_map, scale_of, scaled

CUT = 0.5
"""Frames of two shots correlate less than this. Measured at 32 x 32: cuts at most .26, a hand before the lens .65."""
FINE = 1.2
"""Sigma in pixels of the blur that takes the finest detail away."""
FAINT = 2.0
"""Mean change, 0..255, that is none: dark frames hold little but noise."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo, ready to be sampled at any size."""

    image: np.ndarray
    """[P, P, 3] RGB in 0..255."""
    kept: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def sized(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """It and its grey, float32, shrunk where they would alias in a crop of `size` px; not to be written to."""
        if size not in self.kept:
            image, shrinks = self.image.astype(np.float32), len(self.image) > 1.5 * size
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) if shrinks else image
            self.kept[size] = image, grey(image)
        return self.kept[size]


def plane_scale(frame: Frame, plane: np.ndarray) -> np.ndarray:
    """float64 [2]: plane pixels per frame pixel in x and y (0.5 for subsampled chroma)."""
    return np.array([plane.shape[1] / frame.width, plane.shape[0] / frame.height])


def thumbnail(frame: Frame, longest: int) -> np.ndarray:
    """The frame upright and at most `longest` px long: uint8 [h, w, 3] RGB."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    planes = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in frame.planes]
    if frame.colour.bits == 8 and len(planes) == 3 and not frame.colour.pq:  # whole numbers take a third of the time
        rgb = cv2.transform(cv2.merge(planes), np.column_stack(frame.colour.to_rgb()))
    else:
        rgb = to_rgb(frame, planes).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(rgb, frame.rotation_deg // 90))


def bgr(frame: Frame) -> np.ndarray:
    """The frame upright, as windows want it: uint8 [h, w, 3] BGR."""
    if frame.colour.bits > 8:
        return np.ascontiguousarray(thumbnail(frame, max(frame.width, frame.height))[..., ::-1])
    size = (frame.width, frame.height)
    luma, *chroma = frame.planes
    chroma = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in chroma] or [np.full_like(luma, 128)] * 2
    matrix, offset = frame.colour.to_rgb()
    shown = cv2.transform(cv2.merge([luma, *chroma]), np.column_stack([matrix, offset])[::-1])
    return np.ascontiguousarray(np.rot90(shown, frame.rotation_deg // 90))


def sample(frame: Frame, crop_to_frame: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """The crop that an affine [2, 3] puts into the frame: float32 [h, w, 3] RGB in 0..255.

    `size` is its width and height, or both in one.

    What lies outside the frame repeats its edge.
    """
    width, height = size if isinstance(size, tuple) else (size, size)
    planes = []
    for plane in frame.planes:
        crop_to_plane = scaled(crop_to_frame, 1.0, plane_scale(frame, plane))
        planes.append(resample(plane, crop_to_plane, (width, height)))
    return to_rgb(frame, planes)


def luma(frame: Frame, crop_to_frame: np.ndarray, size: int) -> np.ndarray:
    """The crop's first plane only: float32 [size, size] in 0..255, roughly as a screen shows it."""
    to_plane = scaled(crop_to_frame, 1.0, plane_scale(frame, frame.planes[0]))
    level = resample(frame.planes[0], to_plane, (size, size)).astype(np.float32) / 2 ** (frame.colour.bits - 8)
    return frame.colour.shown(level)


def to_rgb(frame: Frame, planes: list[np.ndarray]) -> np.ndarray:
    """Planes of one size, in the frame's colours, as float32 [h, w, 3] RGB."""
    matrix, offset = frame.colour.to_rgb()
    if len(planes) == 1:
        grey = planes[0].astype(np.float32) * matrix[0, 0] + _grey_offset(frame)
        return np.repeat(frame.colour.shown(grey)[..., None], 3, axis=2)
    yuv = cv2.merge(planes).astype(np.float32)
    return frame.colour.shown(cv2.transform(yuv, np.hstack([matrix, offset[:, None]])))


def _grey_offset(frame: Frame) -> float:
    """Offset of luma when chroma is neutral."""
    matrix, offset = frame.colour.to_rgb()
    neutral = 128.0 * 2 ** (frame.colour.bits - 8)
    return float(offset[0] + matrix[0, 1:].sum() * neutral)


def resample(
    picture: np.ndarray, to_picture: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_REPLICATE
) -> np.ndarray:
    """Pull `picture` through an affine (from the result's pixels to its own), without aliasing.

    `size` is (width, height) of the result. Shrinking by two or more averages areas first.
    """
    factor = int(scale_of(to_picture))
    if factor >= 2:
        picture, to_picture = _shrink(picture, to_picture, size, factor)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, index_map(to_picture), size, flags=flags, borderMode=border)


def _shrink(
    picture: np.ndarray, to_picture: np.ndarray, size: tuple[int, int], factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of factor x factor px in the part of the picture that the result sees."""
    w, h = size
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]]) @ to_picture[:, :2].T + to_picture[:, 2]
    low = np.clip(np.floor(corners.min(0)).astype(int) - factor, 0, np.array(picture.shape[1::-1]) - 1)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + factor, low + 1, picture.shape[1::-1])
    step = max(1, (factor // 4 - 1) | 1)  # of sixteen samples or more; odd, or a fine pattern would beat with it
    part = picture[low[1] : high[1] : step, low[0] : high[0] : step]
    small_size = np.maximum(np.array(part.shape[1::-1]) // (factor // step), 1)
    # Whole blocks only, of which OpenCV makes averages in a fourth of the time.
    columns, rows = small_size * (factor // step)
    part = np.ascontiguousarray(part[:rows, :columns])
    covered = np.array(part.shape[1::-1]) * step
    small = cv2.resize(part, tuple(map(int, small_size)), interpolation=cv2.INTER_AREA)
    # Each sample stands for its own pixel's middle, not its block's.
    start = low + 0.5 - step / 2
    moved = to_picture - [[0, 0, start[0]], [0, 0, start[1]]]
    return small, scaled(moved, 1.0, small_size / covered)


def photo(rgb: np.ndarray) -> Frame:
    """A picture uint8 [h, w, 3] RGB as a frame, so that photos and video go one way."""
    colour = Colour(matrix="bt601", full_range=True, bits=8)
    matrix, offset = colour.from_rgb()
    yuv = cv2.transform(rgb.astype(np.float32), np.hstack([matrix, offset[:, None]]))
    planes = cv2.split(yuv.round().clip(0, 255).astype(np.uint8))
    return Frame(tuple(planes), "yuv444p", colour, 0, 0, 0, 0, Fraction(1, 25))


def grey(picture: np.ndarray) -> np.ndarray:
    """Mean of the colours of float32 [h, w, 3]: [h, w]. NumPy's own mean over a short last axis is ten times slower."""
    return cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32))


def finest(level: np.ndarray) -> np.ndarray:
    """What of a level [h, w] a small blur takes away."""
    return level - cv2.GaussianBlur(level, (0, 0), FINE)


@cache
def grid(size: int) -> np.ndarray:
    """float32 [size, size, 2]: each pixel's own index x, y; read-only."""
    made = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).astype(np.float32)
    made.flags.writeable = False
    return made


def small_grey(frame: Frame) -> np.ndarray:
    """The first plane, float32 [32, 32] in 0..255: enough to tell shots apart."""
    step = max(1, min(frame.planes[0].shape) // 128)  # of every pixel it would be as dear as all else that tells shots
    part = frame.planes[0][::step, ::step]
    rows, columns = (n - n % 32 or n for n in part.shape)  # whole blocks, see `_shrink`
    small = cv2.resize(part[:rows, :columns], (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small / 2 ** (frame.colour.bits - 8)


def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """True if small grey pictures [s, s] are of two shots; light that only grows or fades makes none."""
    a, b = before - before.mean(), now - now.mean()
    alike = float((a * b).sum()) / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6)
    return alike < CUT and float(np.abs(now - before).mean()) > FAINT
