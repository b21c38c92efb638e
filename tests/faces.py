"""A real face for tests: NASA's portrait of Eileen Collins (in scikit-image, public domain), bare, masked, moving.

The mask is drawn by `training.masks`, at landmarks that the product finds on the bare portrait.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from unittest import mock

import av
import cv2
import helpers
import numpy as np
import pytest
from helpers import Film, write_film
from skimage.data import astronaut

from training.faces import Faces
from training.masks import MaskShape, lit
from unmask_video.face import align
from unmask_video.frame import Colour, Frame
from unmask_video.geometry import apply, invert
from unmask_video.options import Options
from unmask_video.picture import photo, sample
from unmask_video.tools import Tools

SHARED = Path(os.environ.get("UNMASK_SHARED") or Path(__file__).parents[2] / "shared")
"""Where the project's data lies, if it is here; no test that everybody runs may need it."""


def shared(name: str) -> Path:
    """A file or folder of the shared data; the test is skipped where it is missing."""
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is not here (UNMASK_SHARED says where the data is)")
    return path


@cache
def tools() -> Tools:
    return Tools.make(Options())


@cache
def portrait() -> np.ndarray:
    """uint8 [384, 384, 3] RGB: head and shoulders."""
    return np.ascontiguousarray(astronaut()[:384, 32:416])


@cache
def points() -> np.ndarray:
    """float64 [468, 3]: the landmarks of `portrait`."""
    frame = photo(portrait())
    (found,) = tools().detect(frame)
    landmarks, score = tools().settle(frame, found)
    assert score > 0.9
    return landmarks


@cache
def masked(top: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """`portrait` with a light blue mask, and the mask's alpha float32 [384, 384]."""
    shape = MaskShape(top=top, cheek=0.35, width=-0.05, jaw=1.03, chin=0.05, stand=0.04)
    bare, rng = portrait(), np.random.default_rng(0)
    size = len(bare)
    alpha = cv2.GaussianBlur(shape.cover(points(), size, rng), (0, 0), 1.0)
    cloth = lit(np.full((size, size, 3), (160, 200, 225), np.float32), bare, alpha, rng)
    return (bare + (cloth - bare) * alpha[..., None]).clip(0, 255).astype(np.uint8), alpha


@cache
def bare(side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """The portrait as training sees it: uint8 [side, side, 3] and landmarks [468, 3]."""
    crop = align(points(), side)
    image = sample(photo(portrait()), crop, side).round().clip(0, 255).astype(np.uint8)
    return image, apply(invert(crop), points())


def cut(*names: str, side: int = 192) -> Faces:
    """The bare portrait under several names, each darker than the one before, so that they can be told apart."""
    image, where = bare(side)
    images = np.stack([image - (image * (0.04 * k)).astype(np.uint8) for k in range(len(names))])
    return Faces(names, images, np.stack([where] * len(names)).astype(np.float32))


@dataclass(frozen=True)
class Footage:
    """Upright pictures of a portrait that moves a little: a function of the frame's number."""

    still: np.ndarray
    size: tuple[int, int] = (256, 256)
    """Upright width, height."""

    def __call__(self, index: int) -> np.ndarray:
        scale = self.size[1] / len(self.still)
        shift = [5 * np.sin(index / 6), 3 * np.cos(index / 5) - 3]
        move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return cv2.warpAffine(self.still, move, self.size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def planes(rgb: np.ndarray, pixel_format: str) -> list[np.ndarray]:
    """A picture's planes as FFmpeg makes them, BT.601 of limited range."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(format=pixel_format)
    dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    return [helpers.rows(p, dtype).copy() for p in frame.planes]


def frames(footage: Footage, count: int, pixel_format: str = "yuv420p") -> list[Frame]:
    """The footage as the decoder would give it, unturned, at 25 a second."""
    colour = Colour("bt601", False, 10 if "10" in pixel_format else 8)
    return [
        Frame(tuple(planes(footage(k), pixel_format)), pixel_format, colour, 0, k, 512 * k, 512, Fraction(1, 12800))
        for k in range(count)
    ]


def write_footage(path: Path, footage: Footage, film: Film, *, rotation_deg: int = 0) -> Path:
    """The film with the footage for its pictures, coded so that turning by `rotation_deg` ccw sets it upright."""

    def drawn(index: int, size: Sequence[int], pixel_format: str) -> list[np.ndarray]:
        coded = np.rot90(footage(index), -rotation_deg // 90)
        assert coded.shape[1::-1] == tuple(size)
        return planes(coded, pixel_format)

    with mock.patch.object(helpers, "picture", drawn):
        return write_film(path, film)


def write_photo(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path
