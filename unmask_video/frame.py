"""What a frame is: the decoded planes as they are, and when they are shown.

Nothing here converts a whole frame to RGB: detection reads a small picture (`Frame.thumbnail`),
networks read a crop (`warp.cut`), and patches go back into the planes (`warp.paste`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Luma weights of red and blue for each matrix (ITU-R BT.601, BT.709, BT.2020)."""

WHITE = 203.0
"""Candelas per square metre of white in HDR (ITU-R BT.2408)."""


@dataclass(frozen=True)
class Colour:
    """How the numbers in the planes mean colours."""

    matrix: str
    """One of `KR_KB`."""
    full_range: bool
    """True: luma spans 0..max; False: 16..235 (scaled by depth)."""
    bits: int
    """Bits per sample, 8 to 16."""
    pq: bool = False
    """Numbers mean light by SMPTE ST 2084 (HDR10), not by the gamma of all else; HLG is made to look right as that."""

    def __post_init__(self) -> None:
        if self.matrix not in KR_KB:
            raise ValueError(f"matrix must be one of {sorted(KR_KB)}, got {self.matrix!r}")
        if not 8 <= self.bits <= 16:
            raise ValueError(f"bits must be 8 to 16, got {self.bits}")

    @cache  # noqa: B019 - there are a few in a film
    def to_rgb(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix float32 [3, 3] and offset float32 [3]: rgb in 0..255 = m @ (y, u, v) + offset."""
        kr, kb = KR_KB[self.matrix]
        kg = 1.0 - kr - kb
        scale = 2.0 ** (self.bits - 8)
        top = (2.0**self.bits - 1) / scale
        gain_y, gain_c = (255 / top, 255 / top) if self.full_range else (255 / 219, 255 / 224)
        m = np.array(
            [
                [1, 0, 2 * (1 - kr)],
                [1, -2 * (1 - kb) * kb / kg, -2 * (1 - kr) * kr / kg],
                [1, 2 * (1 - kb), 0],
            ]
        )
        m = m * [gain_y, gain_c, gain_c] / scale
        zero = np.array([0.0 if self.full_range else 16.0, 128.0, 128.0]) * scale
        return m.astype(np.float32), (-m @ zero).astype(np.float32)

    @cache  # noqa: B019
    def from_rgb(self) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `to_rgb`: (y, u, v) = m @ rgb + offset."""
        m, offset = (a.astype(np.float64) for a in self.to_rgb())
        inverse = np.linalg.inv(m)
        return inverse.astype(np.float32), (-inverse @ offset).astype(np.float32)

    def shown(self, rgb: np.ndarray) -> np.ndarray:
        """Numbers float32 [..., 3] in 0..255 as a screen of common gamma has them; light above white goes on above 255."""
        return np.interp(rgb, *_pq_curve()).astype(np.float32) if self.pq else rgb

    def coded(self, rgb: np.ndarray) -> np.ndarray:
        """The inverse of `shown`."""
        return np.interp(rgb, *_pq_curve()[::-1]).astype(np.float32) if self.pq else rgb


@cache
def _pq_curve() -> tuple[np.ndarray, np.ndarray]:
    """PQ's numbers 0..255, and those of the same light on a screen of gamma 2.4 whose white is `WHITE`."""
    numbers = np.linspace(0, 1, 4096)
    root = numbers ** (1 / 78.84375)
    light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return 255 * numbers, 255 * (light / WHITE) ** (1 / 2.4)


@dataclass(frozen=True)
class VideoInfo:
    """What the container says about its first video stream."""

    width: int
    """Coded width in pixels."""
    height: int
    """Coded height in pixels."""
    pixel_format: str
    """FFmpeg's name, for one `yuv420p10le`."""
    rotation_deg: int
    """Degrees counterclockwise that turn the coded picture upright; 0, 90, 180 or 270."""
    average_rate: Fraction
    """Frames a second on average; for progress only, never for time stamps. 0 if unknown."""
    time_base: Fraction
    """Seconds per tick of `Frame.pts`."""
    frame_count: int
    """Number of frames, claimed or estimated; 0 if unknown."""
    codec: str
    """FFmpeg's name of the codec, for one `h264`."""

    @property
    def in_hand(self) -> int:
        """Frames that may wait from one thread to the next: eight, but of very large ones one."""
        return max(1, min(8, 16_000_000 // max(1, self.width * self.height)))


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One decoded picture, as coded (not turned), with its time."""

    planes: tuple[np.ndarray, ...]
    """(y,) for grey or (y, u, v); each uint8 or uint16 [h, w]; u and v may be subsampled."""
    pixel_format: str
    colour: Colour
    rotation_deg: int
    """Degrees counterclockwise that turn the picture upright; 0, 90, 180 or 270."""
    index: int
    """Number in display order, from 0."""
    pts: int
    """Presentation time in ticks."""
    duration: int
    """Ticks; 0 if unknown."""
    time_base: Fraction
    """Seconds per tick."""

    def __post_init__(self) -> None:
        if len(self.planes) not in (1, 3):
            raise ValueError(f"a frame has 1 or 3 planes, got {len(self.planes)}")
        for plane in self.planes:
            if plane.ndim != 2 or plane.dtype not in (np.uint8, np.uint16):
                raise ValueError(f"planes must be uint8 or uint16 [h, w], got {plane.dtype} {plane.shape}")
        if self.rotation_deg not in (0, 90, 180, 270):
            raise ValueError(f"rotation_deg must be 0, 90, 180 or 270, got {self.rotation_deg}")

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pts={self.pts}, {self.pixel_format} {self.width}x{self.height})"

    @property
    def height(self) -> int:
        return self.planes[0].shape[0]

    @property
    def width(self) -> int:
        return self.planes[0].shape[1]

    @property
    def time_seconds(self) -> float:
        return float(self.pts * self.time_base)
