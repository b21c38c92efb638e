"""The tone of a fill: the light, sharpness and colours of the frame's own skin, on the photo's."""

from __future__ import annotations

import cv2
import numpy as np

from unmask_video.face import LOOK, FaceCrop, Guide
from unmask_video.painting import around, part, remapped, shrunk, window
from unmask_video.picture import finest, grey

ALIKE = 0.4
"""Skin is where the frame's and the photo's colours have the same ratio, up to this (logarithm)."""
SIGMAS = (0.0, 0.7, 1.1, 1.6, 2.4)
"""Blurs that are tried, in pixels."""
PLACES = 64
"""Places across the crop at which colours are compared."""
BESIDE, FADING = 1.5, 4.0
"""How far from the hole's edge colours are compared, and how far the difference reaches into it, in places of `PLACES`."""
SHADING = 20.0
"""Difference of two colours, as a distance in RGB of 0..255, that needs no seam to be there."""
SEEDS = [9, 8, 168, 6, 197, 122, 351, 117, 346, 118, 347, 100, 329]
"""FaceMesh points that are skin in every frame, as far as the mask leaves them free: brow, bridge, below the eyes."""
FEATURES = (
    [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],
    [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249],
    [70, 63, 105, 66, 107, 55, 65, 52, 53, 46],
    [300, 293, 334, 296, 336, 285, 295, 282, 283, 276],
)
"""Eyes and brows: no skin, so they say nothing about light."""


def skin_like(photo: np.ndarray, face: np.ndarray) -> np.ndarray:
    """How much each pixel of a photo [s, s, 3] has the face's own colour, float32 [s, s] in 0..1: ears and neck do."""
    total = np.maximum(grey(photo), 0.5)
    # Chromaticity, so that a neck in shadow counts.
    tone = cv2.GaussianBlur(photo[..., :2] / (3 * total[..., None]), (0, 0), 1)
    inside = face > 0.9
    if inside.sum() < 12:
        return np.zeros_like(face)
    middle = np.median(tone[inside], axis=0)
    spread = np.median(np.abs(tone[inside] - middle), axis=0) * 1.5 + 0.004
    apart = ((tone[..., 0] - middle[0]) / spread[0]) ** 2 + ((tone[..., 1] - middle[1]) / spread[1]) ** 2
    # A collar is brighter than the skin above it, and black cloth has no tone at all.
    level = total / np.median(total[inside])
    like = np.exp(-0.5 * np.maximum(apart - 2, 0) / 3) * (level > 0.3) * (level < 1.12)
    return cv2.GaussianBlur(like.astype(np.float32), (0, 0), 1)


def well_inside(landmarks: np.ndarray, face: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Visible skin that tells about its light: away from the outline, and from what a mask throws on it."""
    return visible_skin(landmarks, face, hidden, margin=LOOK // 32, gap=LOOK // 64)


def visible_skin(landmarks: np.ndarray, face: np.ndarray, hidden: np.ndarray, *, margin: int, gap: int) -> np.ndarray:
    """How far each place of a crop shows skin, float32 [LOOK, LOOK] in 0..1.

    Args:
        landmarks: [468, 3] in the crop's pixels.
        face: float32 [LOOK, LOOK], inside of its outline.
        hidden: float32 [S, S] in 0..1.
        margin: places from the outline, eyes and brows that do not count.
        gap: places from the hole that do not count.
    """
    features = np.zeros((LOOK, LOOK), np.uint8)
    for ring in FEATURES:
        cv2.fillPoly(features, [(landmarks[ring, :2] * LOOK / len(hidden)).round().astype(np.int32)], 1)
    beside = cv2.dilate((shrunk(hidden) > 0).astype(np.uint8), square(gap))
    return cv2.erode(face, square(margin)) * (1 - cv2.dilate(features, square(margin))) * (1 - beside)


def square(reach: int) -> np.ndarray:
    """Kernel that reaches so many pixels to each side."""
    return np.ones((2 * reach + 1,) * 2, np.uint8)


def near(points: np.ndarray, size: int) -> np.ndarray:
    """bool [size, size]: within a fortieth of the crop around points [N, 2]."""
    around = np.zeros((size, size), np.uint8)
    for x, y in points:
        cv2.circle(around, (round(x), round(y)), size // 40, 1, -1)
    return around > 0


def relight(photo: np.ndarray, frame: np.ndarray, skin: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame's light on a photo [LOOK, LOOK, 3]: a smooth gain and remainder, likewise, from skin seen in both.

    Args:
        skin: float32 [LOOK, LOOK], see `visible_skin`.
        seeds: bool [LOOK, LOOK], skin for certain: hair, caps, glasses and highlights elsewhere are told by it.
    """
    if skin.sum() < 5:
        return np.ones_like(photo), np.zeros_like(photo)
    seen, shown = np.maximum(frame, 1.0), np.maximum(photo, 1.0)
    ratio = np.log(cv2.GaussianBlur(seen / shown, (0, 0), 1))
    sure = (skin > 0.5) & seeds
    middle = np.median(ratio[sure if sure.sum() >= 3 else skin > 0.05], axis=0)
    apart = cv2.split(np.abs(ratio - middle.astype(np.float32)))
    weight = skin * (cv2.max(cv2.max(apart[0], apart[1]), apart[2]) < ALIKE)
    if weight.sum() < 5:
        weight = skin
    gain = cubic(light(seen, shown, weight), LOOK)
    return gain, cubic(remainder(seen - shown * gain, weight), LOOK)


def cubic(picture: np.ndarray, size: int) -> np.ndarray:
    """A coarse picture [s, s, 3] at `size` px, without corners."""
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)


def light(seen: np.ndarray, shown: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Gain float32 [32, 32, 3]: blurred `seen` over blurred `shown`, near skin first, all of it in the end."""
    small = (32, 32)
    w = weight[..., None]
    above = cv2.resize(seen * w, small, interpolation=cv2.INTER_AREA)
    below = cv2.resize(shown * w, small, interpolation=cv2.INTER_AREA)
    top = bottom = np.zeros((*small, 3), np.float32)
    for sigma, share in ((4.0, 1.0), (10.0, 0.3)):
        top = top + share * cv2.GaussianBlur(above, (0, 0), sigma)
        bottom = bottom + share * cv2.GaussianBlur(below, (0, 0), sigma)
    top, bottom = top + 0.05 * above.mean((0, 1)), bottom + 0.05 * below.mean((0, 1))
    return np.clip(top / np.maximum(bottom, 1e-6), 0.25, 4.0).astype(np.float32)


def remainder(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What the gain leaves at the visible skin, carried smoothly over the rest, [64, 64, 3]: closes the seam."""
    small = (64, 64)
    known = cv2.resize(weight.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    return diffuse(cv2.resize(error, small, interpolation=cv2.INTER_AREA), known)


def softness(crop: FaceCrop, guide: Guide, skin: np.ndarray) -> float:
    """How much softer the frame's skin [LOOK, LOOK] is than the photo's: a blur's standard deviation in sides of the crop."""
    size = crop.size
    x, y, w, h = cv2.boundingRect((skin > 0).astype(np.uint8))
    if skin.sum() * (size / LOOK) ** 2 < 20:
        return 0.0
    cells = around(LOOK, (x, y, x + w, y + h))
    skin = part(skin[..., None], size, cells)
    wanted = detail(grey(crop.part(*window(size, cells))), skin)
    own, found = remapped(guide.reference.picture.sized(size)[1], guide.where, size, cells), []
    for sigma in SIGMAS:
        found.append(detail(cv2.GaussianBlur(own, (0, 0), sigma) if sigma else own, skin))
        if found[-1] <= wanted:
            break
    return float(np.interp(-wanted, [-f for f in found], SIGMAS[: len(found)])) / size


def detail(level: np.ndarray, weight: np.ndarray) -> float:
    """Energy of the finest detail of grey [S, S], relative to its brightness."""
    return float((np.abs(finest(level)) * weight).sum() / max((level * weight).sum(), 1e-6))


def seam_colours(frame: np.ndarray, skin: np.ndarray, fill: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What a fill [s, s, 3] lacks of the frame's colours [s, s, 3] where both meet, fading inwards: float32 [s, s, 3].

    Args:
        skin: float32 [s, s], where the frame shows skin.
        own: float32 [s, s], where the fill is skin.
    """
    (outside, known), (inside, filled) = (_beside(*pair) for pair in ((frame, skin), (fill, own)))
    met = np.clip((np.minimum(known, filled) - 0.03) / 0.1, 0, 1)
    # Hair and straps are no skin in another light. Softly, or a frame's noise would switch it on and off.
    apart = np.abs(np.log(np.maximum(outside, 1) / np.maximum(inside, 1))).max(2)
    met *= np.clip(2 - apart / ALIKE, 0, 1)
    lacks = outside - inside
    # A little of it is the face's own shading, which the fill knows better than its neighbours do.
    lacks *= np.maximum(1 - SHADING / np.maximum(np.linalg.norm(lacks, axis=2, keepdims=True), 1e-6), 0)
    lacks = diffuse(lacks, met)
    fading = np.clip(5 * cv2.GaussianBlur(met, (0, 0), FADING), 0, 1)
    return cubic(lacks * fading[..., None], len(frame))


def _beside(picture: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour about each place, float32 [PLACES, PLACES, 3], and how much of it is known, [PLACES, PLACES]."""
    small = lambda a: cv2.resize(a, (PLACES, PLACES), interpolation=cv2.INTER_AREA)  # noqa: E731
    whole = (small(weight) > 0.98).astype(np.float32)
    known = cv2.GaussianBlur(whole, (0, 0), BESIDE)
    colour = cv2.GaussianBlur(small(picture) * whole[..., None], (0, 0), BESIDE)
    return colour / np.maximum(known, 1e-4)[..., None], known


def diffuse(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Known pixels carried smoothly into unknown ones: pull-push over a pyramid (Gortler et al. 1996).

    Args:
        image: float32 [S, S, C].
        weight: float32 [S, S] in 0..1, 1 where the pixel is known.
    """
    levels = [(image * weight[..., None], weight)]
    while levels[-1][1].shape[0] > 2:
        # A little more than halved weights: one known pixel is enough for its neighbourhood.
        value, w = cv2.pyrDown(levels[-1][0]), cv2.pyrDown(levels[-1][1])
        grow = np.minimum(1.0, 4 * w) / np.maximum(w, 1e-6)
        levels.append((value * grow[..., None], w * grow))
    value, w = levels[-1]
    result = value / np.maximum(w, 1e-6)[..., None]
    for value, w in reversed(levels[:-1]):
        smooth = cv2.pyrUp(result, dstsize=value.shape[1::-1])
        result = value + smooth * (1 - w[..., None])
    return result
