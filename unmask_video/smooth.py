"""Patches that agree over time: the last one, carried by optical flow, blended into the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from unmask_video.face import FaceCrop, Patch
from unmask_video.frame import Frame
from unmask_video.picture import grey, grid

SIZE = 128
"""Pixels at which flow is measured."""
SHARE = 0.7
"""Most that the carried patch contributes."""
AGREE_PX = 1.0
"""Forward and backward flow that differ by this much (px at 128) are half believed."""
AGREE_LEVEL = 14.0
"""Colours that differ by this much (0..255) are half believed."""

Filled = tuple[Frame, list[tuple[int, FaceCrop, Patch]]]
"""A frame and, of each filled face, its track, its crop and its patch."""


def smooth(filled: Iterable[Filled], *, share: float = SHARE) -> Iterator[tuple[Frame, list[Patch]]]:
    """Each frame with its patches steadied; a track that pauses or ends is forgotten."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before: dict[int, tuple[np.ndarray, Patch]] = {}
    for frame, faces in filled:
        now = {}
        for track_id, crop, patch in faces:
            seen = grey(cv2.resize(crop.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
            seen = seen.clip(0, 255).astype(np.uint8)
            if track_id in before:
                patch = blend(patch, before[track_id][1], *flows(flow, seen, before[track_id][0]), share)
            now[track_id] = (seen, patch)
        before = now
        yield frame, [patch for _, patch in now.values()]


def flows(flow: cv2.DISOpticalFlow, now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow from now to before, float32 [s, s, 2] px, and how far its inverse agrees, [s, s] in 0..1."""
    back, forth = flow.calc(now, before, None), flow.calc(before, now, None)
    there = grid(now.shape[0]) + back
    error = back + cv2.remap(forth, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return back, 1 / (1 + (error**2).sum(-1) / AGREE_PX**2)


def blend(now: Patch, before: Patch, flow: np.ndarray, agree: np.ndarray, share: float) -> Patch:
    """`now`, with `before` carried by the flow wherever flow and colour agree."""
    size = now.image.shape[0]
    if before.image.shape[0] != size:
        before = replace(
            before, image=cv2.resize(before.image, (size, size)), alpha=cv2.resize(before.alpha, (size, size))
        )
    x, y, w, h = cv2.boundingRect((now.alpha > 0).astype(np.uint8))
    if not w:
        return now
    part = slice(y, y + h), slice(x, x + w)
    there = grid(size)[part] + cv2.resize(flow, (size, size))[part] * (size / flow.shape[0])
    carried = cv2.remap(before.image, there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.remap(before.alpha, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    apart = cv2.GaussianBlur(grey(np.abs(carried - now.image[part])), (0, 0), size / 64)
    weight = share * cv2.resize(agree, (size, size))[part] * known / (1 + (apart / AGREE_LEVEL) ** 2)
    image = now.image.copy()
    image[part] += (carried - image[part]) * weight[..., None]
    return replace(now, image=image)
