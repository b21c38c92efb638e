"""Where the faces are, in ONNX Runtime.

YuNet (Wu et al., Machine Intelligence Research 20, 2023) looks at the frame; CenterFace (Xu et al., arXiv 1911.03599), six times
as dear, at the surroundings of what YuNet is in doubt of.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask_video.face import Detection, in_profile
from unmask_video.frame import Frame
from unmask_video.geometry import apply, iou, turn_upright
from unmask_video.picture import sample, thumbnail
from unmask_video.runtime import giving_back, session

LONGEST, SHORT = 960, 320
"""Frames are shrunk to this many pixels, and for large faces to fewer: YuNet knows those of 10 to 300."""
AROUND, NEAR_PX = 2.5, 192
"""Side of a box's surroundings, in its longer sides, and pixels at which they are looked at."""
MAYBE, SURE = 0.3, 0.8
"""Scores of YuNet's from which on there may be a face, and from which on there is one; hands and necks have up to .8."""
SCORE = 0.35
"""Least score of CenterFace's."""
OVERLAP = 0.3
"""Boxes that overlap more (IoU) are one face."""


def detect(frame: Frame, *, providers: tuple[str, ...] = ("cpu",)) -> list[Detection]:
    """Faces of a frame, best first, in frame pixels."""
    picture = thumbnail(frame, LONGEST)
    seen = yunet(picture, providers)
    if (shrunk := SHORT / max(picture.shape)) < 1:
        sides = [max(1, round(side * shrunk)) for side in picture.shape[1::-1]]
        small = cv2.resize(picture, sides, interpolation=cv2.INTER_AREA)
        seen = apart(seen + placed(yunet(small, providers), np.eye(2, 3) / shrunk))
    width, height = upright_size(frame)
    corners, found = np.array([[0, 0], [width, 0], [0, height]]), []
    for one in placed(seen, to_frame(frame, corners, picture.shape)):
        found += [one] if one.score >= SURE else judged(frame, one, providers)
    return apart(found)


def judged(frame: Frame, doubtful: Detection, providers: tuple[str, ...]) -> list[Detection]:
    """What CenterFace makes of it: the same face, or none."""
    picture, crop_to_frame = surroundings(frame, doubtful.box)
    found = placed(centerface(picture, providers), crop_to_frame)
    return [one for one in found if iou(one.box[None], doubtful.box[None])[0, 0] > OVERLAP][:1]


def detect_near(frame: Frame, box: np.ndarray, *, providers: tuple[str, ...] = ("cpu",)) -> list[Detection]:
    """Faces in the surroundings of a box [4], in frame pixels.

    YuNet's alone if it is sure of one at the box; CenterFace's, too, if it is not, or that is a profile, whose points it may
    misplace.
    """
    picture, crop_to_frame = surroundings(frame, box)
    sure = placed([one for one in yunet(picture, providers) if one.score >= SURE], crop_to_frame)
    if any(iou(one.box[None], box[None])[0, 0] > OVERLAP and not in_profile(one) for one in sure):
        return sure
    return placed(centerface(picture, providers), crop_to_frame) + sure


def let_go(providers: tuple[str, ...] = ("cpu",)) -> None:
    """Give back the memory that looks at whole frames keep, which is more than all other networks'."""
    session("yunet", providers).run(None, {"image": np.zeros((1, 3, 32, 32), np.float32)}, giving_back())


def yunet(picture: np.ndarray, providers: tuple[str, ...] = ("cpu",)) -> list[Detection]:
    """What may be faces in an upright picture uint8 [h, w, 3] RGB, best first, in its pixels."""
    found = []
    for side, level in zip((8, 16, 32), session("yunet", providers).run(None, {"image": padded(picture)}), strict=True):
        # Channels: two logits, centre and logarithm of the size, five points; the score is the logits' geometric mean.
        score = 1 / np.sqrt((1 + np.exp(-level[0, 0])) * (1 + np.exp(-level[0, 1])))
        rows, columns = np.nonzero(score >= MAYBE)
        cells = np.stack([columns, rows], axis=1)
        given = level[0][:, rows, columns].T.astype(np.float64)
        middle, half = (cells + given[:, 2:4]) * side, np.exp(given[:, 4:6]) * side / 2
        points = (cells[:, None] + given[:, 6:].reshape(-1, 5, 2)) * side
        boxes = np.hstack([middle - half, middle + half])
        found += [Detection(*one) for one in zip(boxes, points, score[rows, columns].tolist(), strict=True)]
    return apart(found)


def centerface(picture: np.ndarray, providers: tuple[str, ...] = ("cpu",)) -> list[Detection]:
    """Faces in an upright picture uint8 [h, w, 3] RGB, best first, in its pixels."""
    heat, size, offset, points = session("centerface", providers).run(None, {"image": padded(picture)})
    rows, columns = np.nonzero(heat[0, 0] > SCORE)
    scores = heat[0, 0, rows, columns].tolist()
    # Channels are (y, x) pairs on a grid of 4 px; sizes are logarithms; points are in sizes, from the box's corner.
    size = np.exp(size[0][::-1, rows, columns].T.astype(np.float64)) * 4
    corner = (np.stack([columns, rows], axis=1) + offset[0][::-1, rows, columns].T + 0.5) * 4 - size / 2
    marks = corner[:, None] + points[0][:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1] * size[:, None]
    boxes = np.hstack([corner, corner + size])
    return apart([Detection(*one) for one in zip(boxes, marks, scores, strict=True)])


def padded(picture: np.ndarray) -> np.ndarray:
    """A picture as networks want it, whose sides are multiples of 32: float32 [1, 3, h, w]."""
    height, width = picture.shape[:2]
    put = np.zeros((1, 3, height + -height % 32, width + -width % 32), np.float32)
    for channel, plane in zip(put[0], cv2.split(picture), strict=True):
        channel[:height, :width] = plane
    return put


def apart(found: list[Detection]) -> list[Detection]:
    """One of each face, best first."""
    boxes = [[*one.box[:2], *(one.box[2:] - one.box[:2])] for one in found]
    kept = cv2.dnn.NMSBoxes(boxes, [one.score for one in found], 0.0, OVERLAP)
    return [found[i] for i in kept]


def placed(found: list[Detection], affine: np.ndarray) -> list[Detection]:
    """The same under an affine [2, 3]."""
    ends = [apply(affine, one.box.reshape(2, 2)) for one in found]
    boxes = [np.concatenate([two.min(0), two.max(0)]) for two in ends]
    return [Detection(box, apply(affine, one.points), one.score) for box, one in zip(boxes, found, strict=True)]


def surroundings(frame: Frame, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a box [4] in frame pixels: the upright picture uint8 [s, s, 3] RGB, and the affine [2, 3] that puts it into the frame.

    It is black outside of the frame, as networks have learned it; its edge repeated hides faces that are half outside.
    """
    upright = turn_upright(box.reshape(2, 2), (frame.width, frame.height), frame.rotation_deg)
    middle, half = upright.mean(0), AROUND / 2 * np.ptp(upright, axis=0).max()
    crop_to_frame = to_frame(frame, middle + half * np.array([[-1, -1], [1, -1], [-1, 1]]), (NEAR_PX, NEAR_PX))
    picture = sample(frame, crop_to_frame, NEAR_PX).round().clip(0, 255).astype(np.uint8)
    ends = np.array([[0, 0], upright_size(frame)])
    (left, top), (right, bottom) = ((ends - middle + half) * NEAR_PX / (2 * half)).round().clip(0, NEAR_PX).astype(int)
    picture[:top] = picture[bottom:] = picture[:, :left] = picture[:, right:] = 0
    return picture, crop_to_frame


def upright_size(frame: Frame) -> tuple[int, int]:
    """Width and height."""
    return (frame.height, frame.width) if frame.rotation_deg % 180 else (frame.width, frame.height)


def to_frame(frame: Frame, corners: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Affine [2, 3] from pixels of a picture of `size` (h, w) to frame pixels.

    The corners [3, 2] are its upper left, upper right and lower left one in the upright frame.
    """
    start, right, down = turn_upright(corners, upright_size(frame), (360 - frame.rotation_deg) % 360)
    return np.stack([(right - start) / size[1], (down - start) / size[0], start], axis=1)
