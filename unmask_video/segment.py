"""What hides a face: our U-Net (models/segmenter.py), or k-means as Lumetti et al. have it; steadied over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from unmask_video.face import OUTLINE, Face, Mask, align
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert
from unmask_video.picture import sample
from unmask_video.runtime import session

SIZE = 192
"""Pixels of a mask's crop."""
REACH = 7
"""Frames before and after that have a say in whether a face is masked."""
NEAR = (1.0, 3.0, 4.0, 3.0, 1.0)
"""Weights of the neighbouring frames' masks."""
ON, OFF = 0.5, 0.35
"""Belief at which a track becomes masked, and below which it becomes bare again."""
FADE = 4
"""Frames in which a filling appears when a mask is put on, and goes when it is taken off."""
SURE = 0.1
"""Part of the crop that is believed to be a mask without any other sign; half of it, by half."""
LEAST = 0.01
"""Least part of the crop that a mask covers."""

Found = tuple[Frame, list[Face]]
Seen = tuple[Frame, list[tuple[Face, Mask]]]
Segment = Callable[[Frame, Face], Mask]


def unet(providers: tuple[str, ...] = ("cpu",)) -> Segment:
    """Our own network: mask and belief of one face in one frame."""
    network = session("segmenter", providers)

    def segment(frame: Frame, face: Face) -> Mask:
        crop = sample(frame, align(face.landmarks, SIZE), SIZE).clip(0, 255)
        mask, belief = network.run(None, {"image": crop.transpose(2, 0, 1)[None]})
        # What is drawn as a mask is believed, too: on odd faces the pixels know better than the whole.
        covered = float((mask > 0.5).mean()) / SURE
        return Mask(mask[0, 0], max(float(belief[0]), min(covered, 1.0)), False)

    return segment


def kmeans(providers: tuple[str, ...] = ("cpu",)) -> Segment:
    """The largest of three colours within the landmarks' lower polygon (Lumetti et al., section 1).

    The method itself cannot say that a face is bare; the belief is the network's.
    """
    network = unet(providers)

    def segment(frame: Frame, face: Face) -> Mask:
        crop_to_frame = align(face.landmarks, SIZE)
        crop = sample(frame, crop_to_frame, SIZE)
        points = apply(invert(crop_to_frame), face.landmarks)[:, :2]
        lower = np.concatenate([points[OUTLINE[8:29]], points[[6]]])
        inside = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(inside, [lower.round().astype(np.int32)], 1)
        alpha = np.zeros((SIZE, SIZE), np.float32)
        pixels = crop[inside > 0]
        if len(pixels) >= 3:
            stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
            cv2.setRNGSeed(0)
            _, labels, _ = cv2.kmeans(pixels, 3, None, stop, 1, cv2.KMEANS_PP_CENTERS)
            alpha[inside > 0] = labels[:, 0] == np.bincount(labels[:, 0]).argmax()
        return Mask(cv2.GaussianBlur(alpha, (0, 0), 1.0), network(frame, face).belief, False)

    return segment


SEGMENTERS = {"unet": unet, "kmeans": kmeans}
"""What `--segmenter` may name."""


def segment(found: Iterable[Found], one: Segment) -> Iterator[Seen]:
    """Each face with its mask, decided and steadied over `REACH` frames before and after."""
    return fade(decide(found, one))


def decide(found: Iterable[Found], one: Segment) -> Iterator[Seen]:
    """Each face with its mask, not faded yet."""
    past: deque[Seen] = deque(maxlen=REACH)
    ahead: deque[Seen] = deque()
    worn: dict[int, bool] = {}
    for frame, faces in found:
        ahead.append((frame, [(face, one(frame, face)) for face in faces]))
        if len(ahead) > REACH:
            yield _decide(past, ahead, worn)
    while ahead:
        yield _decide(past, ahead, worn)


def _decide(past: deque[Seen], ahead: deque[Seen], worn: dict[int, bool]) -> Seen:
    """The oldest frame ahead, each face with the mask that its neighbours in time agree on."""
    frame, faces = ahead[0]
    decided = []
    for face, _ in faces:
        around = [*past, *list(ahead)[: REACH + 1]]
        now = len(past)
        same = {k: m for k, (_, fs) in enumerate(around) for f, m in fs if f.track_id == face.track_id}
        belief = float(np.mean([m.belief for m in same.values()]))
        worn[face.track_id] = belief >= (OFF if worn.get(face.track_id) else ON)
        weights = {k: NEAR[k - now + 2] for k in same if abs(k - now) <= 2}
        alpha = sum(same[k].alpha * w for k, w in weights.items()) / sum(weights.values())
        present = worn[face.track_id] and float((alpha > 0.5).mean()) >= LEAST
        decided.append((face, Mask(alpha, belief, present)))
    past.append(ahead.popleft())
    return frame, decided


def fade(seen: Iterable[Seen]) -> Iterator[Seen]:
    """The same masks, each with its share."""
    past: deque[dict[int, bool]] = deque(maxlen=FADE - 1)
    ahead: deque[Seen] = deque()
    for now in seen:
        ahead.append(now)
        if len(ahead) == FADE:
            yield _fade(past, ahead)
    while ahead:
        yield _fade(past, ahead)


def _fade(past: deque[dict[int, bool]], ahead: deque[Seen]) -> Seen:
    frame, faces = ahead.popleft()
    after = [{f.track_id: m.present for f, m in others} for _, others in ahead]
    # A face that comes into the picture masked is filled at once; only bare frames of its own fade it.
    shown = []
    for face, mask in faces:
        bare = [k for side in ([*past][::-1], after) for k, there in enumerate(side, 1) if not there.get(face.track_id, True)]
        shown.append((face, replace(mask, share=min(bare, default=FADE) / FADE)))
    past.append({face.track_id: mask.present for face, mask in faces})
    return frame, shown
