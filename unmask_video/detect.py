"""Where the faces are: CenterFace (Xu et al., arXiv 1911.03599) in ONNX Runtime."""

from __future__ import annotations

import cv2
import numpy as np

from unmask_video.face import Detection
from unmask_video.frame import Frame
from unmask_video.geometry import apply, turn_upright
from unmask_video.picture import sample, thumbnail
from unmask_video.runtime import giving_back, session

LONGEST = 960
"""Frames are shrunk to this many pixels."""
GLANCE = (320, 512)
"""For a quick glance they are halved, but to no fewer and no more than these."""
SEEN = 26
"""Pixels of the least face that is seen for sure, in the shrunk frame."""
AROUND, NEAR_PX = 2.5, 192
"""Side of a box's surroundings, in its longer sides, and pixels at which they are looked at."""
SCORE = 0.35
"""Least score of a face."""
OVERLAP = 0.3
"""Boxes that overlap more (IoU) are one face."""


def detect(frame: Frame, *, providers: tuple[str, ...] = ("cpu",), longest: int = LONGEST) -> list[Detection]:
    """Faces of a frame, best first, in frame pixels."""
    picture = thumbnail(frame, longest)
    height, width = picture.shape[:2]
    upright = np.array([frame.width, frame.height])
    if frame.rotation_deg % 180:
        upright = upright[::-1]
    scale = upright / (width, height)
    found = []
    for box, points, score in detect_rgb(picture, providers=providers):
        corners = np.concatenate([box.reshape(2, 2), points]) * scale
        corners = turn_upright(corners, tuple(upright), (360 - frame.rotation_deg) % 360)
        box = np.concatenate([corners[:2].min(0), corners[:2].max(0)])
        found.append(Detection(box=box, points=corners[2:], score=score))
    return found


def glance(frame: Frame) -> int:
    """Pixels to which a frame is shrunk for a quick glance."""
    return int(np.clip(max(frame.width, frame.height) // 2, *GLANCE))


def small(frame: Frame) -> float:
    """Side of the least face, in frame pixels, that a glance sees for sure."""
    return SEEN * max(frame.width, frame.height) / glance(frame)


def let_go(providers: tuple[str, ...] = ("cpu",)) -> None:
    """Give back the memory that looks at whole frames keep, which is more than all other networks'."""
    session("centerface", providers).run(None, {"image": np.zeros((1, 3, 32, 32), np.float32)}, giving_back())


def detect_near(frame: Frame, box: np.ndarray, *, providers: tuple[str, ...] = ("cpu",)) -> list[Detection]:
    """Faces in the surroundings of a box [4], best first, in frame pixels: a tenth of the cost of the whole frame."""
    size, turn = (frame.width, frame.height), frame.rotation_deg
    upright = turn_upright(box.reshape(2, 2), size, turn)
    middle, half = upright.mean(0), AROUND / 2 * np.ptp(upright, axis=0).max()
    corners = middle + half * np.array([[-1, -1], [1, -1], [-1, 1]])
    turned = size[::-1] if turn % 180 else size
    start, right, down = turn_upright(corners, turned, (360 - turn) % 360)
    crop_to_frame = np.stack([(right - start) / NEAR_PX, (down - start) / NEAR_PX, start], axis=1)
    picture = sample(frame, crop_to_frame, NEAR_PX).round().clip(0, 255).astype(np.uint8)
    found = []
    for inside, points, score in detect_rgb(picture, providers=providers):
        ends = apply(crop_to_frame, inside.reshape(2, 2))
        found.append(Detection(np.concatenate([ends.min(0), ends.max(0)]), apply(crop_to_frame, points), score))
    return found


def detect_rgb(
    picture: np.ndarray, *, providers: tuple[str, ...] = ("cpu",), score: float = SCORE
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Faces of an upright picture uint8 [h, w, 3] RGB: box [4], points [5, 2], score; best first."""
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 0, -height % 32, 0, -width % 32, cv2.BORDER_CONSTANT)
    image = padded.transpose(2, 0, 1)[None].astype(np.float32)
    network = session("centerface", providers)
    heat, size, offset, points = network.run(None, {"image": image})
    rows, columns = np.nonzero(heat[0, 0] > score)
    scores = heat[0, 0, rows, columns]
    # Channels are (y, x) pairs on a grid of 4 px; sizes are logarithms.
    h, w = np.exp(size[0][:, rows, columns]) * 4
    centre_y = (rows + offset[0, 0, rows, columns] + 0.5) * 4
    centre_x = (columns + offset[0, 1, rows, columns] + 0.5) * 4
    boxes = np.stack([centre_x - w / 2, centre_y - h / 2, w, h], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), score, OVERLAP)
    found = []
    for i in np.asarray(kept, int).ravel():
        x, y = boxes[i, :2]
        yx = points[0, :, rows[i], columns[i]].reshape(5, 2)
        marks = np.stack([yx[:, 1] * w[i] + x, yx[:, 0] * h[i] + y], axis=1)
        found.append((np.array([x, y, x + w[i], y + h[i]]), marks, float(scores[i])))
    return found
