"""Whose face it is, told by the upper face alone: MobileFaceNet (Chen et al., arXiv 1804.07573).

A mask changes the lower half, so it is blanked on both sides, photo and frame, before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

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
MARGIN = 0.04
"""An assignment must fit better by this, summed over those whom it swaps, than the next best one."""


@dataclass(frozen=True)
class Match:
    """Whom a track was found to be."""

    person: int | None
    """Row of the people; None: nobody."""
    cosine: float
    """To that person, or to the likest one."""
    why: str = ""
    """Why nobody: "no_match" or "ambiguous"."""


def identity(frame: Frame, landmarks: np.ndarray, *, providers: tuple[str, ...] = ("cpu",)) -> np.ndarray:
    """float32 [192], length 1, of the upper face at landmarks [468, 3]."""
    crop = sample(frame, align(landmarks, SIZE, span=SPAN, centre=CENTRE), SIZE)
    crop = (crop - 127.5) / 128
    crop[VISIBLE:] = 0
    network = session("mobilefacenet", providers)
    (vector,) = network.run(None, {network.get_inputs()[0].name: crop[None].astype(np.float32)})
    return vector[0] / max(float(np.linalg.norm(vector[0])), 1e-9)


def assign(tracks: np.ndarray, people: np.ndarray, *, least: float = SAME_PERSON) -> list[Match]:
    """One-to-one: the person of each track, by the Hungarian method.

    Args:
        tracks: [T, D] identities.
        people: [P, D] identities.
    """
    if not len(people):
        return [Match(None, 0.0, "no_match") for _ in tracks]
    cosine = tracks @ people.T
    pairs = dict(zip(*linear_sum_assignment(-cosine), strict=True)) if len(tracks) else {}
    return [_match(cosine, pairs, row, least) for row in range(len(tracks))]


def _match(cosine: np.ndarray, pairs: dict[int, int], row: int, least: float) -> Match:
    mine = pairs.get(row)
    if mine is None or cosine[row, mine] < least:
        return Match(None, float(cosine[row].max()), "no_match")
    taken = {person: track for track, person in pairs.items()}
    for other in range(cosine.shape[1]):
        # What is lost if the track had the other person, and who has that person had this one.
        lost = cosine[row, mine] - cosine[row, other]
        if other in taken:
            lost += cosine[taken[other], other] - cosine[taken[other], mine]
        if other != mine and cosine[row, other] >= least and lost < MARGIN:
            return Match(None, float(cosine[row, mine]), "ambiguous")
    return Match(int(mine), float(cosine[row, mine]))
