"""Whose face it is, told by the upper face alone: MobileFaceNet (Chen et al., arXiv 1804.07573).

A mask changes the lower half, so it is blanked on both sides, photo and frame, before they are compared.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from unmask_video.face import align
from unmask_video.frame import Frame
from unmask_video.picture import sample
from unmask_video.runtime import session

SIZE = 112
SPAN, CENTRE = 1.21, np.array([0.0, -0.12, 0.0])
"""The crop that MobileFaceNet was trained on (ArcFace's five-point template) as `align` wants it."""
VISIBLE = 64
"""Rows of the crop above the mask: down to below the eyes."""
SAME_PERSON = 0.45
"""Least cosine of two upper faces of one person. Measured, masked against another bare photo: London pairs
5th percentile .81, strangers 95th .56; YouTube Faces across videos .31 (median .68), strangers .44."""


def identity(frame: Frame, landmarks: np.ndarray, *, providers: tuple[str, ...] = ("cpu",)) -> np.ndarray:
    """float32 [192], length 1, of the upper face at landmarks [468, 3]."""
    crop = sample(frame, align(landmarks, SIZE, span=SPAN, centre=CENTRE), SIZE)
    crop = (crop - 127.5) / 128
    crop[VISIBLE:] = 0
    network = session("mobilefacenet", providers)
    (vector,) = network.run(None, {network.get_inputs()[0].name: crop[None].astype(np.float32)})
    return vector[0] / max(float(np.linalg.norm(vector[0])), 1e-9)


def assign(tracks: np.ndarray, people: np.ndarray, *, least: float = SAME_PERSON) -> dict[int, tuple[int, float]]:
    """One-to-one: the person of each track, by the Hungarian method.

    Args:
        tracks: [T, D] identities.
        people: [P, D] identities.

    Returns:
        track row -> (person row, cosine), only where the cosine is at least `least`.
    """
    if not len(tracks) or not len(people):
        return {}
    cosine = tracks @ people.T
    rows, columns = linear_sum_assignment(-cosine)
    return {int(i): (int(j), float(cosine[i, j])) for i, j in zip(rows, columns, strict=True) if cosine[i, j] >= least}
