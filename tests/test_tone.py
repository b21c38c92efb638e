"""Fills in tone with the frame: the colours right beside them, and the film's grain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from faces import points, portrait
from test_stages import disc, face_at, frame_of

from unmask_video import inpaint, tone, warp
from unmask_video.face import Face, Mask, Patch, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import invert
from unmask_video.painting import Painting, enlarged
from unmask_video.picture import finest, photo, resample


def test_a_fill_takes_on_the_colours_beside_it() -> None:
    rows, fill = np.indices((256, 256))[0], np.full((256, 256, 3), 120, np.float32)
    frame = fill + np.where(np.indices((256, 256))[1] < 128, 60, 0)[..., None].astype(np.float32)
    skin, own = (rows < 120).astype(np.float32), (rows >= 128).astype(np.float32)
    lacks = tone.seam_colours(frame, skin, fill, own)
    assert (lacks[129:133, 20:100] > 40).all() and np.abs(lacks[129:, 160:]).max() < 4, "where it differs"
    assert np.abs(lacks[200:]).max() < 1, "far from the seam it stays"
    for other in (frame * 3, frame * 0.2):
        assert np.abs(tone.seam_colours(other, skin, fill, own)).max() == 0, "hair and straps are no other light"
    assert np.abs(tone.seam_colours(frame, skin * 0, fill, own)).max() == 0
    assert np.abs(tone.seam_colours(fill + 8, skin, fill, own)).max() == 0, "a face has shades of its own"


def test_a_fill_is_in_tone_with_the_frame() -> None:
    crop, alpha = warp.cut(photo(portrait()), Face(0, points(), 1.0), 256), np.zeros((256, 256), np.float32)
    alpha[116:] = 1  # from cheek to cheek, above the mouth
    guide = warp.guide(crop, Reference("portrait", portrait(), points(), np.zeros(192, np.float32)))
    dark = Painting.plain(crop.image * 0.7, alpha, np.eye(2, 3))
    found = inpaint.painted(lambda *_: dark, crop, Mask(alpha, 1.0, True), guide).patch()
    shown = found.over(crop.image)
    apart = np.abs(shown - crop.image).mean(2)
    face = enlarged(guide.face, 256) > 0.9
    before = np.abs(crop.image * 0.3).mean(2)
    assert apart[118:124][face[118:124]].mean() < 0.5 * before[118:124][face[118:124]].mean()
    assert np.abs(shown - crop.image * 0.7)[180:].max() < 1, "far from the seam it stays"


# --- grain ----------------------------------------------------------------------------------------


def grainy(spread: float, pixel_format: str) -> Frame:
    levels = 4 if "10" in pixel_format else 1
    plane = (128 + spread * np.random.default_rng(3).standard_normal((200, 200))) * levels
    return frame_of([plane.round().astype(np.uint16 if levels == 4 else np.uint8)], pixel_format)


def filled(frame: Frame, height: float, own: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The finest detail of a film's frame before and after a fill of that grain, where it is filled."""
    face = face_at(100, 110, height)
    crop = warp.cut(frame, face, warp.size_for(face))
    alpha = disc(crop.size, 0.3)
    noise = own * np.random.default_rng(4).standard_normal((*alpha.shape, 1), np.float32)
    patch = Patch(np.full_like(crop.image, 128) + noise, alpha, crop.crop_to_frame, 1 - alpha)
    after = warp.paste(frame, [patch])
    to_crop = invert(crop.crop_to_frame)
    inner = resample(alpha, to_crop, (200, 200)) == 1
    return tuple(finest(f.planes[0].astype(np.float32))[inner] for f in (frame, after))


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le"])
@pytest.mark.parametrize("height", [60.0, 130.0])
def test_fills_have_the_grain_of_the_film(height: float, pixel_format: str) -> None:
    before, after = filled(grainy(6, pixel_format), height)
    assert 0.8 < after.std() / before.std() < 1.1
    again, other = (filled(replace(grainy(6, pixel_format), index=k), height)[1] for k in (0, 1))
    assert (again == after).all() and (other != after).any(), "the same film each time, but each frame its own"


def test_grain_that_is_there_already_is_not_added() -> None:
    before, after = filled(grainy(3, "gray"), 60.0, own=20.0)
    assert after.std() < 1.05 * filled(grainy(0, "gray"), 60.0, own=20.0)[1].std() and after.std() > before.std()


def test_where_the_film_has_no_grain_none_is_made_up() -> None:
    assert filled(grainy(0, "gray"), 130.0)[1].std() < 0.1
    nowhere = np.zeros((128, 128), np.float32)
    assert warp.grain(grainy(6, "gray").planes[0], nowhere, np.eye(2, 3)) == 0
