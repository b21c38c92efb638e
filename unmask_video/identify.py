"""Whose face it is, told by the upper face alone: MobileFaceNet (Chen et al., arXiv 1804.07573).

A mask changes the lower half, so it is blanked on both sides, photo and frame, before they are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from unmask_video.face import align, mean_face
from unmask_video.frame import Frame
from unmask_video.geometry import best_pairs
from unmask_video.picture import photo, sample
from unmask_video.runtime import session

SIZE = 112
SPAN, CENTRE = 1.21, np.array([0.0, -0.12, 0.0])
"""The crop that MobileFaceNet was trained on (ArcFace's five-point template) as `align` wants it."""
VISIBLE = 64
"""Rows of the crop above the mask: down to below the eyes."""
SAME_PERSON = 0.45
"""Least likeness of two upper faces of one person. Measured on 150 people of YouTube Faces across videos: 74 % of
the pairs are above, and 2.5 % of strangers'; of strangers' pictures blurred by 7 px and darkened, none."""
SAME_IN_FILM = 0.5
"""The same where everybody whom the film shows bare is a candidate, in its own light."""
BLUR, DARK = 6.0, 0.4
"""What leaves of a face nothing that could tell whose it is; pixels, and share of its light."""
MARGIN = 0.04
"""An assignment must fit better by this, summed over those whom it swaps, than the next best one."""


@dataclass(frozen=True)
class Match:
    """Whom a track was found to be."""

    person: int | None
    """Row of the people; None: nobody."""
    likeness: float
    """To that person, or to the likest one."""
    why: str = ""
    """Why nobody, a key of `report.REASONS`."""


def identity(frame: Frame, landmarks: np.ndarray, *, providers: tuple[str, ...] = ("cpu",)) -> np.ndarray:
    """float32 [192], at most 1 long: who the upper face at landmarks [468, 3] is, the shorter the less it tells.

    The scalar product of two such vectors is the likeness of the faces. To the network alone all blurred faces are
    alike (strangers' 95th percentile .92 at 7 px), for they share one direction; what lies in it is left out.
    """
    vector, common = _vector(_crop(frame, landmarks), providers), _nobody(providers)
    return vector - (vector @ common) * common


@cache
def _nobody(providers: tuple[str, ...]) -> np.ndarray:
    """What the network makes of a face too dark and blurred to be anybody's: float32 [192], length 1."""
    mean = mean_face()
    crop = _crop(photo(mean.image), mean.landmarks)
    return _vector(cv2.GaussianBlur(crop, (0, 0), BLUR) * DARK, providers)


def _crop(frame: Frame, landmarks: np.ndarray) -> np.ndarray:
    return sample(frame, align(landmarks, SIZE, span=SPAN, centre=CENTRE), SIZE)


def _vector(crop: np.ndarray, providers: tuple[str, ...]) -> np.ndarray:
    crop = (crop - 127.5) / 128
    crop[VISIBLE:] = 0
    network = session("mobilefacenet", providers)
    (vector,) = network.run(None, {network.get_inputs()[0].name: crop[None].astype(np.float32)})
    return vector[0] / max(float(np.linalg.norm(vector[0])), 1e-9)


def assign(tracks: Sequence[np.ndarray], people: Sequence[np.ndarray], *, least: float = SAME_PERSON) -> list[Match]:
    """One-to-one: the person of each track, by the Hungarian method.

    Args:
        tracks: identity [D] of each.
        people: identities [V, D] of the photos of each; the likest photo counts.
    """
    if not len(people):
        return [Match(None, 0.0, "no_match") for _ in tracks]
    likeness = np.array([[float((photos @ track).max()) for photos in people] for track in tracks])
    # What is below the least is no likeness at all, or strangers would have a say in who is who.
    worth = np.maximum(likeness, least)
    pairs = dict(best_pairs(worth)) if len(tracks) else {}
    return [_match(likeness, worth, pairs, row, least) for row in range(len(tracks))]


def _match(likeness: np.ndarray, worth: np.ndarray, pairs: dict[int, int], row: int, least: float) -> Match:
    mine = pairs.get(row)
    if mine is None or likeness[row, mine] < least:
        return Match(None, float(likeness[row].max()), "no_match")
    taken = {person: track for track, person in pairs.items()}
    for other in range(likeness.shape[1]):
        # What is lost if the track had the other person, and who has that person had this one.
        lost = worth[row, mine] - worth[row, other]
        if other in taken:
            lost += worth[taken[other], other] - worth[taken[other], mine]
        if other != mine and likeness[row, other] >= least and lost < MARGIN:
            return Match(None, float(likeness[row, mine]), "ambiguous")
    return Match(int(mine), float(likeness[row, mine]))
