"""Draws face masks on bare faces, and says exactly which pixels are mask.

A mask is a shell in front of the face: points of the face's own 3-D shape pushed outwards, so it covers
the cheek and stands off the nose as a worn one does when the head turns. Then come cloth and print,
folds, the light of the face, straps, a shadow, sometimes fingers. What cameras do to it is in cameras.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.patterns import Patterns
from unmask_video.face import CANONICAL
from unmask_video.geometry import fit_pose

JAW = [93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323]
"""Face outline from below the right ear over the chin to below the left ear."""
TEMPLATE_TURN = 0.4
"""Sine of the head's turn up to which a flat template still looks worn."""
INNER = [4, 5, 195, 1, 2, 0, 17, 200, 199, 50, 280, 205, 425, 187, 411, 61, 291, 57, 287, 18]
"""Points within a mask, which it must cover even in profile."""
CLOTH = [
    (235, 240, 242), (245, 245, 245), (210, 215, 220), (150, 195, 225), (130, 180, 215), (95, 150, 200),
    (120, 190, 170), (30, 30, 34), (18, 18, 20), (26, 25, 30), (45, 45, 50), (120, 120, 125), (225, 170, 185),
    (20, 40, 90), (200, 30, 45), (225, 205, 180), (160, 120, 90), (240, 235, 215),
]  # fmt: skip
"""Usual colours of masks, RGB; black is the most usual after those of surgical masks."""


def draw(
    image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, patterns: Patterns = Patterns()
) -> tuple[np.ndarray, np.ndarray]:
    """A mask on a bare face.

    Args:
        image: uint8 [S, S, 3] RGB.
        landmarks: float [468, 3] in its pixels.

    Returns:
        The masked face uint8 [S, S, 3], and the part of each pixel that is mask, float32 [S, S] in 0..1.
    """
    shape = MaskShape.random(rng)
    size = image.shape[0]
    alpha = shape.cover(landmarks, size, rng)
    _, rotation, _ = fit_pose(CANONICAL, landmarks)
    if patterns.templates and abs(rotation[0, 2]) < TEMPLATE_TURN and rng.random() < 0.35:
        cloth, alpha = from_template(landmarks, shape, size, rng, patterns)
    else:
        cloth = cloth_of(size, landmarks, rng, patterns)
    out, alpha = put_on(image, landmarks, shape, alpha, cloth, rng)
    if rng.random() < 0.15:
        out, fingers = hand(out, image, landmarks, rng)
        alpha = alpha * (1 - fingers)
    return out.clip(0, 255).round().astype(np.uint8), alpha.clip(0, 1).astype(np.float32)


def put_on(
    image: np.ndarray, landmarks: np.ndarray, shape: MaskShape, alpha: np.ndarray, cloth: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cloth [S, S, 3] in the face's light, with straps, a shadow, soft edges: picture and alpha, not cut off."""
    size = image.shape[0]
    cloth = lit(cloth, image, alpha, rng)
    if rng.random() < 0.7:
        alpha = np.maximum(alpha, straps(landmarks, shape, size, rng))
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.4, 1.0) * size / 192)
    # Half of them throw none, as in even light: a network must look whether the skin beside a mask is in its shadow.
    dark = rng.uniform(0, 0.45) if rng.random() < 0.5 else 0.0
    shadow = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(1, 4) * size / 192) * dark
    down = int(rng.integers(0, 4))
    shadow = np.vstack([shadow[:1].repeat(down, axis=0), shadow[: size - down]])[..., None]
    opaque = rng.uniform(0.9, 1.0) if rng.random() < 0.2 else 1.0
    under = image * (1 - shadow)
    return under + (cloth - under) * (alpha * opaque)[..., None], alpha


@dataclass(frozen=True)
class MaskShape:
    """How a mask is worn; lengths in face heights."""

    top: float
    """Upper edge on the nose: 0 between the eyes, 1 at the tip, above 1 slipped below it."""
    cheek: float
    """Upper edge at the sides: 0 at the eyes' level, 1 at the mouth's."""
    width: float
    """How far the sides reach past the cheeks' outline; negative is inside."""
    jaw: float
    """Width at the jaw in widths of the jaw; above 1 stands off it."""
    chin: float
    """How far it reaches below the chin; negative leaves the chin bare."""
    stand: float
    """How far it stands off the face in front."""
    box: float = 0.0
    """How much wider still it is beside the chin: pleated masks hang from ear to ear, and do not narrow with the jaw."""

    @staticmethod
    def random(rng: np.random.Generator) -> MaskShape:
        slipped = rng.random() < 0.12
        return MaskShape(
            top=rng.uniform(1.0, 1.6) if slipped else rng.uniform(0.0, 0.75),
            cheek=rng.uniform(0.05, 0.75),
            width=rng.uniform(-0.16, 0.05),
            jaw=rng.uniform(0.85, 1.18),
            chin=rng.uniform(-0.03, 0.14) if rng.random() < 0.85 else rng.uniform(0.14, 0.5),
            stand=rng.uniform(0.0, 0.12),
            box=rng.uniform(0.0, 0.5) if rng.random() < 0.5 else 0.0,
        )

    def edge(self) -> np.ndarray:
        """The outline on the canonical face, float64 [n, 3], from the right side over the nose round the chin."""
        nose = CANONICAL[6] + (CANONICAL[4] - CANONICAL[6]) * min(self.top, 1.0)
        nose = nose + (CANONICAL[2] - CANONICAL[4]) * max(self.top - 1.0, 0) * 2
        sides = []
        for ear, cheek, inner in ((234, 50, 118), (454, 280, 347)):
            low = CANONICAL[[58, 288][ear == 454]]
            side = CANONICAL[ear] + (low - CANONICAL[ear]) * self.cheek
            side = side + (side - CANONICAL[4]) * [1, 0, 0] * self.width
            middle = CANONICAL[inner] + (CANONICAL[cheek] - CANONICAL[inner]) * (0.2 + 0.8 * min(self.top, 1))
            sides.append((side, (side + middle) / 2, middle))
        jaw = CANONICAL[JAW].copy()
        down = np.clip((jaw[:, 1] - 0.15) / 0.34, 0, 1)
        jaw[:, 0] *= self.jaw * (1 + self.box * down)
        jaw[:, 1] += self.chin * down**0.6
        jaw = jaw[jaw[:, 1] > max(sides[0][0][1], sides[1][0][1]) + 0.02]
        upper = [*sides[0], nose, *sides[1][::-1]]
        return np.concatenate([np.array(upper), jaw[::-1]])

    def cover(self, landmarks: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """The mask's silhouette in the picture, float32 [size, size], 0 or 1."""
        scale, rotation, move = fit_pose(CANONICAL, landmarks)
        edge = self.edge() + rng.normal(0, 0.008, (1, 3))
        inner = CANONICAL[INNER]
        top = edge[:7, 1].min()
        inner = inner[(inner[:, 1] > top + 0.08) & (inner[:, 1] < edge[:, 1].max() - 0.05)]
        inner = inner + [0, 0, -1] * np.array(self.stand)
        to_picture = lambda p: (scale * p @ rotation.T + move)[:, :2]  # noqa: E731
        alpha = np.zeros((size * 4, size * 4), np.uint8)
        cv2.fillPoly(alpha, [(smooth_loop(to_picture(edge)) * 4).astype(np.int32)], 255)
        if len(inner) > 2:
            hull = cv2.convexHull(to_picture(inner).astype(np.float32))[:, 0]
            cv2.fillPoly(alpha, [(smooth_loop(hull) * 4).astype(np.int32)], 255)
        return cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def smooth_loop(points: np.ndarray, steps: int = 6) -> np.ndarray:
    """A closed Catmull-Rom curve through points [n, 2]."""
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (np.roll(points, k, axis=0)[:, None] for k in (1, 0, -1, -2))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    return curve.reshape(-1, 2)


def cloth_of(size: int, landmarks: np.ndarray, rng: np.random.Generator, patterns: Patterns) -> np.ndarray:
    """Cloth that fills the picture, float32 [size, size, 3]: plain, printed or patterned, with folds."""
    base = np.array(CLOTH[rng.integers(len(CLOTH))], np.float32)
    if rng.random() < 0.3:
        base = rng.uniform(10, 245, 3).astype(np.float32)
    cloth = np.tile(base + rng.normal(0, 10, 3).astype(np.float32), (size, size, 1))
    kind = rng.random()
    if kind < 0.15 and patterns.textures:
        texture = patterns.textures[rng.integers(len(patterns.textures))]
        side = max(8, int(size * rng.uniform(0.3, 1.2)))
        tile = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA)
        cloth = np.tile(tile, (size // side + 1, size // side + 1, 1))[:size, :size].astype(np.float32)
    elif kind < 0.35:
        cloth = printed(cloth, rng)
    y, x = np.mgrid[0:size:2, 0:size:2].astype(np.float32) / size
    light = np.ones_like(x)
    for _ in range(rng.integers(0, 5)):
        slope, bow, period = rng.normal(0, 0.25), rng.normal(0, 0.6), rng.uniform(0.03, 0.3)
        phase = y + slope * x + bow * (x - 0.5) ** 2
        wave = np.sin(phase / np.float32(period) * 2 * np.pi + rng.uniform(0, 6))
        for _ in range(rng.integers(3)):
            wave = wave * wave * wave
        light *= 1 + rng.uniform(0.02, 0.14) * wave
    for _ in range(rng.integers(0, 4)):
        middle, spread = rng.uniform(0.2, 0.9, 2), rng.uniform(0.01, 0.15)
        angle = rng.uniform(0, np.pi)
        distance = (x - middle[0]) * np.sin(angle) - (y - middle[1]) * np.cos(angle)
        light *= 1 + rng.uniform(-0.3, 0.25) * np.exp(-((distance / spread) ** 2))
    cloth = cloth * cv2.resize(light, (size, size))[..., None]
    return cloth + rng.normal(0, rng.uniform(0, 5), cloth.shape).astype(np.float32)


def printed(cloth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stripes, dots or lines of another colour on cloth."""
    size, cloth = cloth.shape[0], cloth.copy()
    colour = rng.uniform(0, 255, 3).tolist()
    step, kind = int(rng.integers(5, 40)), rng.integers(3)
    for k in range(0, 2 * size, step):
        if kind == 0:
            cv2.line(cloth, (k, 0), (k - size // 2, size), colour, max(1, step // 4), cv2.LINE_AA)
        elif kind == 1:
            for j in range(0, size, step):
                cv2.circle(cloth, (k, j), max(1, step // 4), colour, -1, cv2.LINE_AA)
        else:
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.ellipse(cloth, centre, (step, step // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return cloth


def lit(cloth: np.ndarray, image: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cloth in the light of the face behind it: its blurred brightness, rounder towards the edge."""
    size = image.shape[0]
    grey = cv2.GaussianBlur(image.astype(np.float32) @ np.full(3, 1 / 3, np.float32), (0, 0), size / 12)
    light = (grey / max(grey[alpha > 0.5].mean() if (alpha > 0.5).any() else grey.mean(), 20)).clip(0.4, 1.8)
    level = np.interp(grey[alpha > 0.5].mean() if (alpha > 0.5).any() else 128, [20, 140], [0.35, 1.0])
    rim = cv2.GaussianBlur(alpha, (0, 0), size / 20)[..., None]
    strength = rng.uniform(0.3, 1.0)
    return cloth * (level ** rng.uniform(0.3, 1)) * (light**strength)[..., None] * (1 - 0.35 * rng.random() * (1 - rim))


def straps(landmarks: np.ndarray, shape: MaskShape, size: int, rng: np.random.Generator) -> np.ndarray:
    """Ear loops from the mask's corners, float32 [size, size] in 0..1."""
    scale, rotation, move = fit_pose(CANONICAL, landmarks)
    edge = shape.edge()
    drawn = np.zeros((size * 2, size * 2), np.uint8)
    thickness = max(1, int(rng.uniform(0.8, 2.6) * size / 96))
    for sign, ear, side in ((-1, 234, edge[0]), (1, 454, edge[6])):
        behind = CANONICAL[ear] * [1.12, 1, 1] + [0, rng.uniform(-0.06, 0.06), 0.12]
        low = CANONICAL[58 if sign < 0 else 288] * [1 + shape.width, 1, 1]
        for start in (side, low):
            a, b = ((scale * p @ rotation.T + move)[:2] * 2 for p in (start, behind))
            if (rotation @ [sign, 0, 0])[2] < 0.6:
                cv2.line(drawn, tuple(map(int, a)), tuple(map(int, b)), 255, thickness, cv2.LINE_AA)
    return cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def from_template(
    landmarks: np.ndarray, shape: MaskShape, size: int, rng: np.random.Generator, patterns: Patterns
) -> tuple[np.ndarray, np.ndarray]:
    """A photographed mask, left and right half each by a homography: cloth [size, size, 3] and alpha."""
    scale, rotation, move = fit_pose(CANONICAL, landmarks)
    look = -1 if rotation[0, 2] > 0.25 else 1 if rotation[0, 2] < -0.25 else 0
    fitting = [t for t in patterns.templates if t.side == look] or list(patterns.templates)
    template = fitting[rng.integers(len(fitting))]
    edge = shape.edge()
    chin = edge[:, 1].argmax()
    low = CANONICAL[[172, 397]] * [1 + shape.width, 1, 1]
    target = np.stack([edge[0], edge[3], edge[6], low[0], edge[chin], low[1]])
    target = ((scale * target @ rotation.T + move)[:, :2]).astype(np.float32)
    rgba = np.zeros((size, size, 4), np.float32)
    for corners in ([0, 1, 4, 3], [1, 2, 5, 4]):
        matrix = cv2.getPerspectiveTransform(template.points[corners], target[corners])
        warped = cv2.warpPerspective(template.image, matrix, (size, size), flags=cv2.INTER_AREA).astype(np.float32)
        keep = np.zeros((size, size), np.uint8)
        middle, down = target[1], target[4] - target[1]
        side = np.array([-down[1], down[0]]) * (1 if corners[0] == 0 else -1) * 20
        wedge = np.array([middle - down * 9, middle + down * 9, middle + down * 9 + side * 9, middle - down * 9 + side * 9])
        cv2.fillPoly(keep, [wedge.astype(np.int32)], 1)
        rgba = np.where(keep[..., None] > 0, warped, rgba)
    # A homography can run away where the head is turned far: nothing beyond the shell is mask.
    near = cv2.dilate(shape.cover(landmarks, size, rng), np.ones((3, 3)), iterations=size // 16)
    alpha = rgba[..., 3] / 255 * near
    tint = rng.uniform(0.6, 1.1, 3) if rng.random() < 0.4 else np.ones(3)
    return rgba[..., :3] * tint.astype(np.float32), alpha


def hand(
    out: np.ndarray, image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fingers of the face's own colour in front: the picture, and where they are, float32 [S, S]."""
    size = out.shape[0]
    cheek = landmarks[[50, 280], :2].mean(0).clip(2, size - 3).astype(int)
    skin = image[cheek[1] - 2 : cheek[1] + 3, cheek[0] - 2 : cheek[0] + 3].reshape(-1, 3).mean(0)
    where = np.zeros((size, size), np.uint8)
    start = rng.uniform([0, 0.6], [1, 1.1]) * size
    goal = landmarks[rng.choice(INNER), :2] + rng.normal(0, size / 12, 2)
    for k in range(rng.integers(1, 5)):
        shift = np.array([k * size / 14, rng.normal(0, size / 40)])
        a, b = start + shift, goal + shift
        cv2.line(where, tuple(map(int, a)), tuple(map(int, b)), 255, int(size / rng.uniform(12, 20)), cv2.LINE_AA)
    where = where.astype(np.float32) / 255
    shade = cv2.GaussianBlur(where, (0, 0), size / 60)
    colour = skin * rng.uniform(0.8, 1.15) * (0.7 + 0.3 * shade[..., None])
    return out + (colour - out) * where[..., None], where


def decoy(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bare face with something that is no mask on it: a hand, a scarf below the chin, a microphone."""
    out = image.astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        out, _ = hand(out, image, landmarks, rng)
    elif kind == 1:
        scarf = MaskShape(top=2.2, cheek=1.0, width=0.02, jaw=1.1, chin=0.4, stand=0.0)
        below = np.arange(image.shape[0])[:, None] > landmarks[152, 1] - rng.uniform(-3, 6)
        alpha = cv2.GaussianBlur((scarf.cover(landmarks, len(image), rng) * below).astype(np.float32), (0, 0), 1)
        out += (cloth_of(image.shape[0], landmarks, rng, Patterns()) - out) * alpha[..., None]
    else:
        middle = landmarks[rng.choice([17, 152, 18]), :2] + [rng.normal(0, 12), rng.uniform(8, 30)]
        radius = int(rng.uniform(0.04, 0.09) * image.shape[0])
        out = np.ascontiguousarray(out)
        cv2.circle(out, tuple(map(int, middle)), radius, rng.uniform(10, 90, 3).tolist(), -1, cv2.LINE_AA)
    return out.clip(0, 255).astype(np.uint8)
