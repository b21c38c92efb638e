"""One drawn mask worn through a whole clip: bound to the face's 3-D shape, it moves and turns with the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.masks import MaskShape, cloth_of, put_on
from training.patterns import Patterns
from unmask_video.face import CANONICAL, align, pose_of
from unmask_video.geometry import apply, invert
from unmask_video.warp import CONTROL, place, warp_photo


@dataclass(frozen=True, eq=False)
class Worn:
    """A mask that one person wears."""

    shape: MaskShape
    cloth: np.ndarray
    """float32 [S, S, 3] RGB in 0..255, over the upright crop of the canonical face."""
    seed: int
    """Of what is the same in every frame: straps, shadow, softness."""

    @staticmethod
    def random(size: int, seed: int, patterns: Patterns = Patterns()) -> Worn:
        """Worn over nose and chin."""
        rng = np.random.default_rng(seed)
        shape = MaskShape(
            top=rng.uniform(0.1, 0.5), cheek=rng.uniform(0.15, 0.65), width=rng.uniform(-0.1, 0.02),
            jaw=rng.uniform(0.95, 1.08), chin=rng.uniform(0.02, 0.12), stand=rng.uniform(0.02, 0.1),
        )  # fmt: skip
        return Worn(shape, cloth_of(size, _canonical(size), rng, patterns), seed)

    def on(self, image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Drawn on a bare face's upright crop.

        Args:
            image: uint8 [S, S, 3] RGB.
            landmarks: float64 [468, 3] in its pixels; the upper face says how the head is turned.

        Returns:
            The masked face uint8 [S, S, 3], and the part of each pixel that is mask, float32 [S, S] in 0..1.
        """
        size, rng = len(image), np.random.default_rng(self.seed)
        scale, rotation, move = pose_of(landmarks)
        head = scale * CANONICAL @ rotation.T + move
        alpha = self.shape.cover(head, size, rng)
        facing = CONTROL[place(CANONICAL, landmarks)[1][CONTROL]]
        cloth = warp_photo(self.cloth, _canonical(len(self.cloth))[facing], head[facing], size)
        out, alpha = put_on(image, head, self.shape, alpha, cloth, rng)
        return out.clip(0, 255).round().astype(np.uint8), alpha.clip(0, 1).astype(np.float32)


def _canonical(size: int) -> np.ndarray:
    return apply(invert(align(CANONICAL, size)), CANONICAL)
