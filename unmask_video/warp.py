"""Faces out of frames and back: the cut, the thin-plate-spline warp of the reference, and the paste.

Where the hidden points are is told by the reference's own 3-D shape under the pose of the visible upper
face; what FaceMesh guesses behind a mask follows the mask's outline, and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import cv2
import numpy as np

from unmask_video.face import CANONICAL, LOOK, OUTLINE, UPPER, Face, FaceCrop, Guide, Patch, Reference, pose_of
from unmask_video.frame import Frame
from unmask_video.geometry import apply, fit_pose, invert, scale_of, scaled
from unmask_video.painting import remapped, shrunk
from unmask_video.picture import FINE, finest, grid, plane_scale, resample

MIDLINE = [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 164, 0, 11, 13, 14, 15, 16, 17, 18, 200, 199, 175, 152]
"""FaceMesh indices from the forehead over the nose to the chin."""
SIZES = (128, 192, 256, 320, 384, 448, 512)
"""Pixels that a crop may have."""
CONTROL = np.array([
    10, 297, 251, 356, 454, 361, 397, 378, 152, 149, 172, 132, 234, 127, 21, 67,  # outline
    70, 105, 107, 336, 334, 300, 33, 159, 133, 145, 362, 386, 263, 374, 6, 168,  # brows, eyes
    195, 4, 98, 327, 2, 61, 0, 291, 17, 39, 269, 84, 314, 13,  # nose, mouth
    117, 346, 205, 425, 58, 288, 200, 57, 287, 187, 411,  # cheeks, chin
])  # fmt: skip
"""Control points of the spline."""
HEAD = np.array([0.0, 0.0, 0.25])
"""Middle of the head on the canonical face; outwards from there is where a point of the face looks."""
HORIZON = 0.2
"""Points that look further away from the camera (as a cosine) would fold the warp."""
FAINT = 1.0
"""Grain below this, in levels of 255, is not seen."""
LEAST, MOST = 100, 4000
"""Pixels of skin that tell its grain, and about how many of them are asked."""
ABOUT = 9
"""Side in pixels of the surroundings of a pixel that tell how much grain there is already."""
KEPT = 1 - 1 / (np.pi * FINE**2) + 1 / (4 * np.pi * FINE**2)
"""Share of white noise's energy that is finest detail."""
GRID = 64
"""Places across the crop at which the spline is evaluated."""
Box = tuple[slice, slice]
"""Rows and columns."""


def size_for(face: Face) -> int:
    """The smallest of `SIZES` that does not lose the face's own pixels."""
    side = scale_of(face.crop(1))
    return next((s for s in SIZES if s >= side), SIZES[-1])


def cut(frame: Frame, face: Face, size: int) -> FaceCrop:
    """The face upright at `size` px."""
    crop_to_frame = face.crop(size)
    return FaceCrop(frame, size, crop_to_frame, apply(invert(crop_to_frame), face.landmarks))


def place(shape: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of a 3-D shape [468, 3] lie, posed by the upper face, and which of them face the camera.

    Where the head is turned little, the upper face stays as seen; in profile FaceMesh is too rough for that.
    """
    scale, rotation, move = fit_pose(shape[UPPER], landmarks[UPPER])
    placed = scale * shape @ rotation.T + move
    _, turned, _ = pose_of(landmarks)
    outwards = CANONICAL - HEAD
    facing = (outwards @ turned.T)[:, 2] / np.linalg.norm(outwards, axis=1) < HORIZON
    frontal = np.clip((turned[2, 2] - 0.6) / 0.2, 0, 1)
    placed[UPPER] += frontal * (landmarks[UPPER] - placed[UPPER])
    return placed, facing


def spline(at: np.ndarray, values: np.ndarray, size: int, *, stiffness: float = 1e-3) -> np.ndarray:
    """Thin-plate spline (Bookstein 1989) through values [N, 2] at points [N, 2], as float32 [size, size, 2].

    `size` is a multiple of `GRID`. Solved in units of the crop; evaluated on `GRID` x `GRID` places, then bilinear.
    """
    at = at / size
    count = len(at)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(at, at) + stiffness * np.eye(count)
    system[:count, count:] = np.hstack([np.ones((count, 1)), at])
    system[count:, :count] = system[:count, count:].T
    wanted = np.vstack([values, np.zeros((3, 2))])
    try:
        weights = np.linalg.solve(system, wanted)
    except np.linalg.LinAlgError:  # points on one line, or all at one place: no face
        weights = np.linalg.lstsq(system, wanted, rcond=None)[0]
    places, weights = ((grid(GRID) + 0.5) / GRID).reshape(-1, 2), weights.astype(np.float32)
    straight = weights[count] + places @ weights[count + 1 :]
    coarse = _kernel(places, at.astype(np.float32)) @ weights[:count] + straight
    return _enlarge(coarse.reshape(GRID, GRID, 2), size)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """r^2 log r^2 between points [N, 2] and [M, 2]."""
    squared = np.subtract.outer(a[:, 0], b[:, 0]) ** 2 + np.subtract.outer(a[:, 1], b[:, 1]) ** 2
    return squared * np.log(np.maximum(squared, 1e-12))


def _enlarge(coarse: np.ndarray, size: int) -> np.ndarray:
    """Bilinear [g, g, 2] -> [size, size, 2]; the outermost half cell goes on in a straight line."""
    wide = np.pad(coarse, ((1, 1), (1, 1), (0, 0)), mode="reflect", reflect_type="odd")
    step = size // len(coarse)
    large = cv2.resize(wide, (size + 2 * step, size + 2 * step), interpolation=cv2.INTER_LINEAR)
    return large[step:-step, step:-step]


def guide(crop: FaceCrop, reference: Reference) -> Guide:
    """The reference as it would look in the crop's pose."""
    points = crop.landmarks * (LOOK / crop.size)
    placed, facing = place(reference.landmarks, points)
    control = CONTROL[facing[CONTROL]]
    where = spline(placed[control, :2], reference.landmarks[control, :2] / len(reference.image), LOOK)
    # At twice the size, for what is shrunk by areas has less of its detail blurred.
    look = shrunk(remapped(reference.picture.sized(2 * LOOK)[0], where, 2 * LOOK))
    return Guide(reference, where, look, silhouette(placed, LOOK), collar(placed, LOOK))


def warp_photo(image: np.ndarray, points: np.ndarray, onto: np.ndarray, size: int) -> np.ndarray:
    """A photo's crop [P, P, 3] warped so that its points [N, 3] fall onto others: float32 [size, size, 3]."""
    shrunk = image.shape[0] > 1.5 * size
    if shrunk:
        points = points * size / image.shape[0]
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    where = spline(onto[:, :2], points[:, :2], size) - np.float32(0.5)
    # What is warped at its own pixels loses a quarter of its finest detail to linear interpolation.
    between = cv2.INTER_LINEAR if shrunk else cv2.INTER_CUBIC
    return cv2.remap(image.astype(np.float32), where, None, between, borderMode=cv2.BORDER_REPLICATE)


def silhouette(points: np.ndarray, size: int) -> np.ndarray:
    """Inside of the face's outline, soft over about 2 px at 128: float32 [size, size] in 0..1."""
    inside = np.zeros((size, size), np.uint8)
    # Half by half, for in profile the nose stands out beyond the outline.
    for half in (OUTLINE[:19] + MIDLINE[::-1], OUTLINE[18:] + MIDLINE):
        cv2.fillPoly(inside, [(points[half, :2] * 16).round().astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(inside.astype(np.float32) / 255, (0, 0), size / 320)


def collar(points: np.ndarray, size: int) -> np.ndarray:
    """Ears and neck: 1 at the face's outline, falling to 0 a quarter of a face's width away, float32 [size, size].

    Where the head is turned away, the outline is the cheek's horizon and nothing of the head lies behind it.
    """
    inside = (silhouette(points, size) > 0.5).astype(np.uint8)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    right, left = points[234, 0], points[454, 0]
    width = max(left - right, 1.0)
    side = (np.arange(size) + 0.5 - (right + left) / 2) / (width / 2)
    turn = (points[4, 0] - (right + left) / 2) / width
    horizon = np.clip(1 - 6 * np.maximum(side * turn, 0), 0, 1)
    return (np.clip(1.35 - away / (0.18 * width), 0, 1) * horizon).astype(np.float32)


def paste(frame: Frame, patches: list[Patch]) -> Frame:
    """The frame with patches blended into its planes; every sample where alpha is 0 stays as it was."""
    if not patches:
        return frame
    planes = [p.copy() for p in frame.planes]
    matrix, offset = frame.colour.from_rgb()
    for patch in patches:
        yuv = cv2.split(cv2.transform(frame.colour.coded(patch.image), np.column_stack([matrix, offset])))
        luma, *chroma = planes
        per, noise = plane_scale(frame, luma), 0.0
        if patch.skin is not None:  # colours have little grain of their own
            noise = grain(luma, patch.skin, scaled(patch.crop_to_frame, patch.size / len(patch.skin), per))
        noise = noise if noise > FAINT * 2 ** (frame.colour.bits - 8) else 0.0
        _blend([luma], yuv[:1], patch.alpha, scaled(patch.to_frame, 1.0, per), noise, frame.index)
        if chroma:
            _blend(chroma, yuv[1:], patch.alpha, scaled(patch.to_frame, 1.0, plane_scale(frame, chroma[0])))
    return replace(frame, planes=tuple(planes))


def grain(plane: np.ndarray, skin: np.ndarray, crop_to_plane: np.ndarray) -> float:
    """Standard deviation of the finest detail of a plane [h, w] where there is skin, float32 [s, s]; 0: unknown.

    By its median, which hairs and edges do not move.
    """
    where, to_crop, size = _covered(plane, skin > 0.5, crop_to_plane)
    if not min(size):
        return 0.0
    seen = resample(skin, to_crop, size, cv2.BORDER_CONSTANT) > 0.5
    fine = np.abs(finest(plane[where].astype(np.float32))[seen])
    fine = fine[:: 1 + len(fine) // MOST]
    return float(1.48 * np.partition(fine, len(fine) // 2)[len(fine) // 2]) if len(fine) >= LEAST else 0.0


def white(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Independent noise of deviation 1, float32 [h, w], another for every seed: a window of one large piece where it fits."""
    large = _noise()
    if max(shape) > len(large) // 2:
        return np.random.default_rng(seed).standard_normal(shape, np.float32)
    y, x = np.random.default_rng(seed).integers(0, len(large) - np.array(shape) + 1)
    return large[y : y + shape[0], x : x + shape[1]]


@cache
def _noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1024, 1024), np.float32)


def _covered(plane: np.ndarray, shown: np.ndarray, crop_to_plane: np.ndarray) -> tuple[Box, np.ndarray, tuple[int, int]]:
    """Rows and columns of a plane in which a region bool [S, S] of the crop lies, the affine from there to the crop, its size."""
    x, y, w, h = cv2.boundingRect(shown.astype(np.uint8))
    left, right, top, bottom = x - 1, x + w + 1, y - 1, y + h + 1
    corners = apply(crop_to_plane, np.array([[left, top], [right, top], [left, bottom], [right, bottom]]))
    (x0, y0), (x1, y1) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, plane.shape[1]), min(y1, plane.shape[0])
    size = (max(x1 - x0, 0), max(y1 - y0, 0)) if w else (0, 0)
    return (slice(y0, y1), slice(x0, x1)), invert(crop_to_plane - [[0, 0, x0], [0, 0, y0]]), size


def _blend(
    planes: Sequence[np.ndarray], channels: Sequence[np.ndarray], alpha: np.ndarray, crop_to_plane: np.ndarray,
    noise: float = 0.0, seed: int = 0,
) -> None:  # fmt: skip
    """Blend channels of a patch into planes of one size, within its box only, with noise where it is smoother than that."""
    where, to_crop, size = _covered(planes[0], alpha > 0, crop_to_plane)
    if not min(size):
        return
    opacity = resample(alpha, to_crop, size, cv2.BORDER_CONSTANT)
    for plane, channel in zip(planes, channels, strict=True):
        # Times alpha, so that no colour under alpha 0 bleeds in, nor the crop's border is painted. One by one is faster.
        mixed = plane[where] * (1 - opacity) + resample(channel * alpha, to_crop, size, cv2.BORDER_CONSTANT)
        if noise:
            found = cv2.blur(finest(mixed) ** 2, (ABOUT, ABOUT))
            mixed += white(mixed.shape, seed) * (np.sqrt(np.maximum(noise**2 - found, 0) / KEPT) * opacity)
        top = np.iinfo(plane.dtype).max
        plane[where] = mixed.round().clip(0, top)
