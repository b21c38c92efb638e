"""Paintings: told coarsely, shown at any size, in part or whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from faces import portrait

from unmask_video.face import LOOK
from unmask_video.painting import WHOLE, Painting, around, part, window
from unmask_video.picture import Picture, grid

SIZES = [64, 128, 192, 320, 512]


def slope() -> np.ndarray:
    """Each place's own middle, in sides of the crop."""
    return (grid(LOOK) + 0.5) / LOOK


def painting(size: int, blur: float = 0.0) -> Painting:
    """The portrait, seen a little from the left, a little darker from top to bottom, in an oval hole."""
    where, down = slope() * [0.9, 1.0] + [0.05, 0.0], 1 - 0.3 * slope()[..., 1:]
    hidden = np.zeros((size, size), np.float32)
    cv2.ellipse(hidden, (size // 2, size * 3 // 5), (size // 4, size // 5), 0, 0, 360, 1.0, -1)
    gain, rest = np.repeat(down, 3, 2), np.full((LOOK, LOOK, 3), 5, np.float32)
    look = np.zeros((LOOK, LOOK, 3), np.float32)
    return Painting(Picture(portrait()), where.astype(np.float32), gain, rest, look, hidden, np.eye(2, 3), blur)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_smooth_is_the_same_at_any_size_up_to_the_corners(size: int) -> None:
    wanted = (np.moveaxis(np.indices((size, size)), 0, -1)[..., ::-1] + 0.5) / size
    assert np.abs(part(slope(), size) - wanted).max() < 1e-5
    for cells in ((10, 20, 44, 60), (0, 20, 2, LOOK), (LOOK - 2, 0, LOOK, 2)):
        assert np.abs(part(slope(), size, cells) - wanted[window(size, cells)]).max() < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_a_part_is_that_part_of_the_whole(size: int) -> None:
    cells = around(size, (size // 5, size // 3, size // 2 + 1, size * 3 // 4))
    (rows, columns), one = window(size, cells), painting(size)
    assert rows.start <= size // 3 and rows.stop >= size * 3 // 4 and columns.start <= size // 5 < size // 2 < columns.stop
    # Remapping knows a thirty-second of a pixel; where a sum is rounded otherwise, that is how far it moves.
    apart = np.abs(one.at(size, cells) - one.at(size, WHOLE)[rows, columns])
    assert apart.mean() < 0.02 and np.percentile(apart, 99) < 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("blur", [0.0, 1.5])
def test_a_patch_is_painted_where_it_covers(size: int, blur: float) -> None:
    one = painting(size, blur / size)
    patch, whole = one.patch(), one.at(size)
    (x, y), (h, w) = patch.corner, patch.alpha.shape
    inside = slice(y, y + h), slice(x, x + w)
    covered = cv2.erode(patch.alpha, np.ones((7, 7))) > 0
    assert np.abs(patch.image - whole[inside])[covered].mean() < 0.4 and covered.sum() > 0.05 * size**2
    assert (patch.alpha == one.hidden[inside]).all() and patch.alpha.sum() == one.hidden.sum()
    assert y >= size // 4 and patch.size == size, "no work is done where nothing shows"
    assert (patch.to_frame == [[1, 0, x], [0, 1, y]]).all()
    done, alpha = patch.over(whole * 0), one.hidden[..., None]
    assert np.abs(done - whole * alpha)[cv2.erode(one.hidden, np.ones((7, 7))) > 0].mean() < 0.2
    assert not done[one.hidden == 0].any()


def test_a_bare_crop_has_an_empty_patch() -> None:
    bare = Painting.plain(np.full((128, 128, 3), 9, np.float32), np.zeros((128, 128), np.float32), np.eye(2, 3))
    assert bare.patch().alpha.max() == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_plain_picture_is_shown_as_it_is(size: int) -> None:
    image = np.random.default_rng(2).uniform(0, 255, (size, size, 3)).astype(np.float32)
    one = Painting.plain(image, np.ones((size, size), np.float32), np.eye(2, 3))
    assert np.abs(one.at(size) - image).max() == 0 and np.abs(one.patch().image - image).max() == 0


def test_a_painting_moves_and_is_lit() -> None:
    one, flow = painting(256), np.zeros((16, 16, 2), np.float32)
    flow[..., 0] = 8 / 256
    moved = one.moved(flow, np.full((16, 16, 3), 20, np.float32))
    apart = moved.at(256)[:, 16:-32] - 20 - one.at(256)[:, 24:-24]
    assert np.abs(apart).mean() < 1.0 < np.abs(moved.at(256) - 20 - one.at(256)).mean()
    assert np.abs(moved.look - 20).max() < 1e-3


def test_large_photos_do_not_alias() -> None:
    stripes = np.repeat((np.indices((512, 512))[1] % 2 * 255)[..., None], 3, 2).astype(np.uint8)
    large = Picture(stripes)
    assert all(np.array_equal(large.sized(size)[0], stripes) for size in (512, 400))
    image, level = large.sized(256)
    assert image.shape == (256, 256, 3) and np.ptp(image) == 0 and np.abs(level - image[..., 0]).max() < 0.01
    assert large.sized(256)[0] is image, "made once"
