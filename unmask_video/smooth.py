"""Patches that agree over time: the last one, carried by optical flow, blended into the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from unmask_video.face import LOOK, FaceCrop, Filled, Patch
from unmask_video.frame import Frame
from unmask_video.painting import around, part, window
from unmask_video.picture import grey, grid, luma
from unmask_video.pieces import SEGMENT

SHARE = 0.7
"""Most that the carried patch contributes."""
AGREE_PX = 1.0
"""Forward and backward flow that differ by this much (px of a crop at a glance) are half believed."""
AGREE_LEVEL = 14.0
"""Colours that differ by this much (0..255) are half believed."""
WARM_UP = 12
"""Frames before a piece whose patches have a say in its own; older ones hardly would."""
Steadied = dict[int, tuple[np.ndarray, Patch]]
"""By track, what a face looks like at a glance, and its patch."""


def smooth(filled: Iterable[Filled], *, share: float = SHARE) -> Iterator[tuple[Frame, list[Patch]]]:
    """Each frame with its patches steadied; a track that pauses or ends is forgotten."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before: Steadied = {}
    fresh: Steadied = {}
    piece = 0
    for frame, faces in filled:
        now, into = divmod(frame.index, SEGMENT)
        # A piece is told by its own frames and the few before, so that it can be made without all that came earlier.
        if now != piece:
            piece, before = now, fresh
        if into >= SEGMENT - WARM_UP:
            fresh = _steadied(faces, {} if into == SEGMENT - WARM_UP else fresh, flow, share)
        before = _steadied(faces, before, flow, share)
        yield frame, [patch for _, patch in before.values()]


def _steadied(faces: list[tuple[int, FaceCrop, Patch]], before: Steadied, flow: cv2.DISOpticalFlow, share: float) -> Steadied:
    now = {}
    for track_id, crop, patch in faces:
        seen = luma(crop.frame, crop.glanced, LOOK).clip(0, 255).astype(np.uint8)
        if track_id in before:
            patch = blend(patch, before[track_id][1], *flows(flow, seen, before[track_id][0]), share)
        now[track_id] = (seen, patch)
    return now


def flows(flow: cv2.DISOpticalFlow, now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow from now to before, float32 [s, s, 2] px, and how far its inverse agrees, [s, s] in 0..1."""
    back, forth = flow.calc(now, before, None), flow.calc(before, now, None)
    there = cv2.add(grid(now.shape[0]), back)
    x, y = cv2.split(cv2.add(back, cv2.remap(forth, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)))
    return back, 1 / (1 + (x * x + y * y) / AGREE_PX**2)


def blend(now: Patch, before: Patch, flow: np.ndarray, agree: np.ndarray, share: float) -> Patch:
    """`now`, with `before` carried by the flow wherever flow and colour agree."""
    (x, y), (h, w), size = now.corner, now.alpha.shape, now.size
    cells = x0, y0, x1, y1 = around(size, (x, y, x + w, y + h))
    rows, columns = window(size, cells)
    # A place's middle, moved, in pixels of the patch before.
    scale = before.size / LOOK
    begin = [scale / 2 - 0.5 - corner for corner in before.corner]
    there = cv2.add(cv2.addWeighted(grid(LOOK), scale, flow, scale, 0), (*begin, 0, 0))
    there = part(there, size, cells)[y - rows.start :, x - columns.start :][:h, :w]
    carried = cv2.remap(before.image, there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.remap(before.alpha, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    apart = cv2.resize(grey(cv2.absdiff(carried, now.image)), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    apart = cv2.GaussianBlur(apart, (0, 0), LOOK / 64)
    weight = share * agree[y0:y1, x0:x1] / (1 + (apart / AGREE_LEVEL) ** 2)
    weight = cv2.resize(weight, (w, h), interpolation=cv2.INTER_LINEAR) * known
    return replace(now, image=cv2.blendLinear(carried, now.image, weight, 1 - weight))
