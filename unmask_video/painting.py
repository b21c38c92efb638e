"""What is painted over a face: told coarsely, shown at any size.

Where in a photo each part comes from, its light, and what lies around it are smooth, so a grid of `LOOK` places tells
them; only the photo itself has detail. So the work is the same for small and large faces, but for one remap in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from unmask_video.face import LOOK, Patch
from unmask_video.picture import Picture, grid

STEP = 2
"""Places that make whole pixels in crops of any size."""
Cells = tuple[int, int, int, int]
"""Part of a crop in places: x0, y0, x1, y1, multiples of `STEP`."""
WHOLE: Cells = (0, 0, LOOK, LOOK)


@dataclass(frozen=True, eq=False)
class Painting:
    """A photo, moved, times a gain, and a rest."""

    picture: Picture
    where: np.ndarray | None
    """float32 [LOOK, LOOK, 2]: where in the picture each place comes from, in its sides, x first; None: it is the crop's."""
    gain: np.ndarray
    """float32 [LOOK, LOOK, 3]."""
    rest: np.ndarray
    """float32 [LOOK, LOOK, 3], in 0..255."""
    look: np.ndarray
    """float32 [LOOK, LOOK, 3]: what it looks like."""
    hidden: np.ndarray
    """float32 [S, S] in 0..1: where it covers the frame."""
    crop_to_frame: np.ndarray
    """float64 [2, 3]: crop pixels to frame pixels."""
    blur: float = 0.0
    """Standard deviation in sides of the crop."""
    skin: np.ndarray | None = None
    """float32 [LOOK, LOOK] in 0..1: where the frame shows skin, whose grain it shall have; None: no grain."""

    @staticmethod
    def plain(image: np.ndarray, hidden: np.ndarray, crop_to_frame: np.ndarray) -> Painting:
        """A crop's picture float32 [S, S, 3] as it is."""
        ones = np.ones((LOOK, LOOK, 3), np.float32)
        return Painting(Picture(image), None, ones, 0 * ones, shrunk(image), hidden, crop_to_frame)

    def moved(self, flow: np.ndarray, light: np.ndarray) -> Painting:
        """Each place from where a flow [s, s, 2] in sides of the crop points, under other light [s, s, 3].

        What `models.swift.Swift` does in the end; OpenCV does it in a sixth of ONNX Runtime's time.
        """
        there = grid(LOOK) + LOOK * enlarged(flow, LOOK)
        carry = lambda a, how=cv2.INTER_CUBIC: cv2.remap(a, there, None, how, borderMode=cv2.BORDER_REPLICATE)  # noqa: E731
        light = enlarged(light, LOOK)
        return replace(
            self, where=carry(self.where, cv2.INTER_LINEAR), gain=carry(self.gain), rest=carry(self.rest) + light,
            look=carry(self.look) + light,
        )  # fmt: skip

    def between(self, other: Painting, share: float, hidden: np.ndarray, crop_to_frame: np.ndarray) -> Painting:
        """What a frame between two has of one photo: a mean of theirs, seen through a hole of its own; `share` is the other's."""
        mean = lambda a, b: cv2.addWeighted(a, 1 - share, b, share, 0)  # noqa: E731
        return replace(
            self, where=mean(self.where, other.where), gain=mean(self.gain, other.gain), rest=mean(self.rest, other.rest),
            blur=self.blur + (other.blur - self.blur) * share, hidden=hidden, crop_to_frame=crop_to_frame,
        )  # fmt: skip

    def at(self, size: int, cells: Cells = WHOLE) -> np.ndarray:
        """A part of it in a crop of `size` px, float32 [h, w, 3]."""
        if self.where is None:
            image = self.picture.image[window(size, cells)]
        else:
            image = remapped(self.picture.sized(size)[0], self.where, size, cells)
        if self.blur * size > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur * size)
        # The face's outline is in them, and linear would soften it.
        gain, rest = (part(field, size, cells, cv2.INTER_CUBIC) for field in (self.gain, self.rest))
        return cv2.add(cv2.multiply(image, gain), rest)

    def patch(self) -> Patch:
        """What of it covers the frame."""
        size = len(self.hidden)
        x, y, w, h = cv2.boundingRect((self.hidden > 0).astype(np.uint8))
        cells = around(size, (x, y, x + w, y + h)) if w else (0, 0, STEP, STEP)
        part = window(size, cells)
        return Patch(self.at(size, cells), self.hidden[part], self.crop_to_frame, self.skin, (part[1].start, part[0].start), size)


def remapped(picture: np.ndarray, where: np.ndarray, size: int, cells: Cells = WHOLE) -> np.ndarray:
    """A picture [P, P, ...] in part of a crop of `size` px whose places come from [LOOK, LOOK, 2] in its sides: [h, w, ...]."""
    there = part(where * np.float32(len(picture)) - np.float32(0.5), size, cells)
    # Linear would lose a quarter of its finest detail.
    return cv2.remap(picture, there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def part(coarse: np.ndarray, size: int, cells: Cells = WHOLE, how: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Something smooth [LOOK, LOOK, C] at `size` px: float32 [h, w, C], going on in straight lines at the crop's edges."""
    x0, y0, x1, y1 = cells
    if min(x0, y0) < STEP or max(x1, y1) > LOOK - STEP:
        coarse = np.pad(coarse, ((STEP, STEP), (STEP, STEP), (0, 0)), mode="reflect", reflect_type="odd")
        x0, y0, x1, y1 = x0 + STEP, y0 + STEP, x1 + STEP, y1 + STEP
    wide = coarse[y0 - STEP : y1 + STEP, x0 - STEP : x1 + STEP]
    large = cv2.resize(wide, tuple(n * size // LOOK for n in wide.shape[1::-1]), interpolation=how)
    inset = STEP * size // LOOK
    return large[inset:-inset, inset:-inset]


def around(size: int, box: tuple[int, int, int, int]) -> Cells:
    """The fewest cells that hold a box of pixels of a crop of `size` px."""
    step = STEP * size // LOOK
    x0, y0, x1, y1 = box
    return x0 // step * STEP, y0 // step * STEP, -(-x1 // step) * STEP, -(-y1 // step) * STEP


def window(size: int, cells: Cells) -> tuple[slice, slice]:
    """Rows and columns of a crop of `size` px."""
    x0, y0, x1, y1 = (n * size // LOOK for n in cells)
    return slice(y0, y1), slice(x0, x1)


def shrunk(picture: np.ndarray, size: int = LOOK) -> np.ndarray:
    """A crop's picture [S, S, ...] at `size` px."""
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def enlarged(picture: np.ndarray, size: int) -> np.ndarray:
    """Something smooth [s, s, ...] at `size` px."""
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
