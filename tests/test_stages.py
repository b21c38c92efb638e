"""The stages that paint: cut and paste, the spline, light, the hole, and agreement over time."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from faces import points, portrait
from helpers import picture

from unmask_video import inpaint, smooth, tone, warp
from unmask_video.face import LOOK, Face, FaceCrop, Mask, Patch, Reference
from unmask_video.frame import Colour, Frame
from unmask_video.geometry import apply, invert, scale_of, scaled
from unmask_video.picture import photo, plane_scale, resample

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray"]


def frame_of(planes: list[np.ndarray], pixel_format: str) -> Frame:
    colour = Colour("bt709", False, 10 if "10" in pixel_format else 8)
    return Frame(tuple(planes), pixel_format, colour, 0, 0, 0, 1, Fraction(1, 25))


def noisy(pixel_format: str, size: tuple[int, int] = (161, 120)) -> Frame:
    rng = np.random.default_rng(0)
    planes = picture(0, size, pixel_format)
    top = 1023 if "10" in pixel_format else 255
    return frame_of([rng.integers(0, top + 1, p.shape).astype(p.dtype) for p in planes], pixel_format)


def face_at(x: float, y: float, height: float, roll: float = 0.0) -> Face:
    turned = (points() - points().mean(0)) @ cv2.Rodrigues(np.array([0, 0, roll]))[0].T
    return Face(0, turned * height / np.ptp(points()[:, 1]) + [x, y, 0], 1.0)


def difference(a: Frame, b: Frame) -> list[np.ndarray]:
    return [np.abs(p.astype(int) - q) for p, q in zip(a.planes, b.planes, strict=True)]


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("height", [25, 60, 140])
def test_a_face_cut_and_pasted_back_restores_the_frame(pixel_format: str, height: float) -> None:
    frame = frame_of(picture(3, (161, 120), pixel_format), pixel_format)
    size = 128
    crop = warp.cut(frame, face_at(80, 60, height, 0.3), size)
    back = warp.paste(frame, [Patch(crop.image, np.ones((size, size), np.float32), crop.crop_to_frame)])
    assert all(d.max() <= 2 for d in difference(frame, back))


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[0.5:size, 0.5:size] - size / 2
    return np.clip((radius * size - np.hypot(x, y)) / 6, 0, 1).astype(np.float32)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("height", [25, 60, 140])
def test_nothing_changes_where_a_patch_is_clear(pixel_format: str, height: float) -> None:
    frame, size = noisy(pixel_format), 128
    before = [p.copy() for p in frame.planes]
    crop = warp.cut(frame, face_at(100, 50, height, -0.4), size)
    patch = Patch(np.full((size, size, 3), 255, np.float32), disc(size, 0.3), crop.crop_to_frame)
    after = warp.paste(frame, [patch])
    assert all((p == b).all() for p, b in zip(frame.planes, before, strict=True)), "the input is left as it was"
    for plane, changed in zip(frame.planes, difference(frame, after), strict=True):
        to_crop = invert(scaled(patch.crop_to_frame, 1.0, plane_scale(frame, plane)))
        y, x = np.mgrid[0.5 : plane.shape[0], 0.5 : plane.shape[1]]
        at = apply(to_crop, np.stack([x, y], axis=-1))
        away = np.hypot(*np.moveaxis(at - size / 2, -1, 0)) - 0.3 * size
        reach = 2 * max(1.0, scale_of(to_crop)) + 1  # of one sample of the plane, in pixels of the crop
        assert changed[away > reach].max(initial=0) == 0
        assert (changed[away < -20] > 0).mean() > 0.9, "and inside it does"


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le"])
def test_patches_beyond_the_frame_are_cut_off(pixel_format: str) -> None:
    frame = noisy(pixel_format)
    for x, y in ((0, 0), (161, 60), (80, 119), (-400, -400)):
        crop = warp.cut(frame, face_at(x, y, 60), 128)
        after = warp.paste(frame, [Patch(crop.image + 40, np.ones((128, 128), np.float32), crop.crop_to_frame)])
        assert [p.shape for p in after.planes] == [p.shape for p in frame.planes]
        assert any(d.any() for d in difference(frame, after)) == (x > -100)


def test_patches_change_pixels_and_nothing_else() -> None:
    frame = replace(noisy("yuv420p"), index=7, pts=1234, duration=99, rotation_deg=90)
    crop = warp.cut(frame, face_at(80, 60, 60), 128)
    after = warp.paste(frame, [Patch(crop.image * 0, np.ones((128, 128), np.float32), crop.crop_to_frame)])
    told = ("pixel_format", "colour", "rotation_deg", "index", "pts", "duration", "time_base")
    assert [getattr(after, name) for name in told] == [getattr(frame, name) for name in told]
    assert warp.paste(frame, []) is frame


@pytest.mark.parametrize("height", [20, 60, 100, 250, 2000])
def test_crops_keep_the_face_s_own_pixels_within_reason(height: float) -> None:
    face = face_at(0, 0, height)
    size = warp.size_for(face)
    crop_to_frame = face.crop(size)
    assert size in warp.SIZES
    assert scale_of(crop_to_frame) <= 1 or size == warp.SIZES[-1]


# --- the spline -----------------------------------------------------------------------------------


def at_points(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    where = (at - 0.5).astype(np.float32)
    return cv2.remap(field, where[None], None, cv2.INTER_LINEAR)[0]


def test_the_spline_goes_through_its_control_points() -> None:
    rng = np.random.default_rng(1)
    at = rng.uniform(20, 236, (25, 2))
    values = at + rng.normal(0, 3, at.shape)
    found = at_points(warp.spline(at, values, 256, stiffness=0.0), at)
    assert np.abs(found - values).max() < 0.5
    assert np.abs(at - values).max() > 5, "so it has to bend"


def test_the_spline_of_an_affine_map_is_that_map() -> None:
    at = np.random.default_rng(2).uniform(0, 192, (30, 2))
    affine = np.array([[0.8, -0.3, 40.0], [0.2, 1.1, -9.0]])
    y, x = np.mgrid[0.5:192, 0.5:192]
    expected = apply(affine, np.stack([x, y], axis=-1))
    for stiffness in (0.0, 1e-3):
        found = warp.spline(at, apply(affine, at), 192, stiffness=stiffness)
        assert found.shape == (192, 192, 2) and np.abs(found - expected).max() < 0.05, "to the very corners"


def reference() -> Reference:
    return Reference("portrait", portrait(), points(), np.zeros(192, np.float32))


def test_a_reference_warped_onto_itself_is_itself() -> None:
    crop = warp.cut(photo(portrait()), Face(0, points(), 1.0), 256)
    found = warp.guide(crop, reference())
    inside = found.face > 0.9
    assert 0.1 < inside.mean() < 0.6
    assert np.abs(found.look - crop.look)[inside].mean() < 4
    assert 0.1 < (found.near > 0.5).mean() and found.near[0, 0] == 0 and found.near.max() <= 1


def test_hidden_points_do_not_matter_to_the_warp() -> None:
    crop = warp.cut(photo(portrait()), Face(0, points(), 1.0), 256)
    wrong = crop.landmarks.copy()
    hidden = np.setdiff1d(np.arange(468), warp.UPPER)
    wrong[hidden] += np.random.default_rng(3).normal(0, 15, (len(hidden), 3))
    found, expected = (warp.guide(replace(crop, landmarks=m), reference()) for m in (wrong, crop.landmarks))
    assert np.abs(found.look - expected.look).max() < 1


# --- light and the hole ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 128, 192, 384])
def test_known_pixels_spread_over_unknown_ones(size: int) -> None:
    rng = np.random.default_rng(4)
    known = (rng.random((size, size)) < 0.02).astype(np.float32)
    known[: size // 2] = 0
    constant = np.tile(np.float32([200, 100, 3]), (size, size, 1))
    garbage = np.where(known[..., None] > 0, constant, 999).astype(np.float32)
    assert np.abs(tone.diffuse(garbage, known) - constant).max() < 0.05
    image = rng.uniform(0, 255, (size, size, 3)).astype(np.float32)
    known[:, : size // 3] = 1
    found = tone.diffuse(image, known)
    assert np.abs(found - image)[known == 1].max() < 0.05, "what is known stays"
    assert found.min() > -1 and found.max() < 256, "and nothing is made up"


def lit_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo, a smooth gain, and the face's skin, as crops of `LOOK` px."""
    crop = warp.cut(photo(portrait()), Face(0, points(), 1.0), LOOK)
    y, x = np.mgrid[0:LOOK, 0:LOOK].astype(np.float32)[..., None] / LOOK
    gain = np.float32([0.9, 0.8, 0.7]) * (0.75 + 0.5 * x)
    skin = (warp.silhouette(crop.landmarks, LOOK) > 0.9).astype(np.float32)
    return crop.image, gain, skin


def test_relighting_finds_a_smooth_gain() -> None:
    image, gain, face = lit_scene()
    skin = face.copy()
    skin[70:] = 0
    wanted = image * gain
    more, rest = tone.relight(image, wanted, skin, skin > 0)
    found = image * more + rest
    error = np.abs(found - wanted).mean(2)
    assert error[skin > 0].mean() < 2.5
    near, before = (face > 0) & (skin == 0), np.abs(image - wanted).mean(2)
    assert error[near].mean() < before[near].mean() / 4, "below, where nothing is seen, it goes on"


def test_relighting_without_light_to_learn_from_changes_nothing() -> None:
    image, gain, skin = lit_scene()
    for wanted, known in ((image * gain, skin * 0), (image, skin)):
        more, rest = tone.relight(image, wanted, known, skin > 0)
        assert np.abs(image * more + rest - image).mean() < 0.5


@pytest.mark.parametrize("size", [128, 256, 384])
def test_the_hole_covers_the_mask_and_little_more(size: int) -> None:
    alpha = (disc(128, 0.2) > 0.5).astype(np.float32)
    hidden = inpaint.hole(Mask(alpha, 1.0, True), size)
    large = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_NEAREST) > 0
    assert hidden.shape == (size, size) and hidden.dtype == np.float32
    assert hidden.min() == 0 and hidden.max() == 1
    assert (hidden[large] > 0.98).all()
    assert (hidden > 0)[disc(size, 0.3) == 0].sum() == 0, "within a tenth of the crop it has ended"


def test_a_bare_crop_has_no_hole() -> None:
    assert inpaint.hole(Mask(np.zeros((128, 128), np.float32), 0.1, False), 256).max() == 0


# --- over time ------------------------------------------------------------------------------------

FLAT = np.full((128, 128, 3), 100, np.float32)


def over_time(images: list[np.ndarray], fills: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """Patches after smoothing; None: no face in that frame."""
    frame, alpha, stay = noisy("gray"), np.ones((128, 128), np.float32), np.eye(2, 3)
    filled = []
    for image, fill in zip(images, fills, strict=True):
        crop = FaceCrop(photo(image.astype(np.uint8)), 128, stay, points())
        filled.append((frame, [] if fill is None else [(4, crop, Patch(fill, alpha, stay))]))
    return [patches[0].image if patches else None for _, patches in smooth.smooth(filled)]


def scene() -> np.ndarray:
    return cv2.resize(portrait(), (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)


def test_flicker_is_calmed() -> None:
    levels = [0, 4, -3, 5, -4, 3, -5, 2, 4, -2]
    found = over_time([scene()] * 10, [FLAT + v for v in levels])
    means = [f.mean() for f in found]
    assert np.abs(np.diff(means)).mean() < 0.7 * np.abs(np.diff(levels)).mean()
    assert (found[0] == FLAT).all(), "the first has nothing to agree with"


def test_patches_follow_the_flow() -> None:
    moved = [np.roll(scene(), 3 * k, 1) for k in range(4)]
    still = over_time(moved, moved)
    assert np.abs(still[-1] - moved[-1])[20:-20, 20:-20].mean() < 2, "carried along, not smeared"


def test_what_disagrees_is_not_blended() -> None:
    rng = np.random.default_rng(5)
    far = over_time([scene()] * 2, [FLAT - 60, FLAT + 60])[1]
    assert np.abs(far - (FLAT + 60)).mean() < 6, "another colour altogether is no flicker"
    other = [rng.uniform(0, 255, (128, 128, 3)).astype(np.float32) for _ in range(2)]
    alike, unlike = (over_time(images, [FLAT, FLAT + 4])[1] for images in ([scene()] * 2, other))
    assert np.abs(unlike - FLAT - 4).mean() < 0.5 * np.abs(alike - FLAT - 4).mean(), "no flow, no blending"


def test_a_pause_makes_it_forget() -> None:
    found = over_time([scene()] * 3, [FLAT, None, FLAT + 4])
    assert found[1] is None and (found[2] == FLAT + 4).all()


@pytest.mark.parametrize("factor", [1.5, 3, 8.5, 17, 40])
def test_shrinking_moves_nothing(factor: float) -> None:
    """A slope keeps its values, however much it is shrunk, and where averages are of some samples only."""
    plane = np.tile(np.linspace(0, 60000, 2400), (2400, 1)).astype(np.uint16)
    size = round(1600 / factor)
    to_plane = np.array([[factor, 0, 333.3], [0, factor, 217.7]])
    found = resample(plane, to_plane, (size, size)).astype(float)
    wanted = (333.3 + factor * (np.arange(size) + 0.5) - 0.5) * 60000 / 2399
    assert np.abs(found - wanted)[1:-1, 1:-1].max() < 60000 / 2399 * max(0.1 * factor, 0.6)
    assert abs((found - wanted)[1:-1, 1:-1].mean()) < 60000 / 2399 * 0.04 * factor
