"""What hides a face: our U-Net (models/segmenter.py), or k-means as Lumetti et al. have it; steadied over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import exp

import cv2
import numpy as np

from unmask_video.face import OUTLINE, Face, Mask
from unmask_video.frame import Frame
from unmask_video.geometry import apply, invert, scale_of
from unmask_video.picture import luma, sample
from unmask_video.runtime import session

SIZE, SMALL, SENTRY = 192, 144, 96
"""Pixels of a mask's crop, of that of a small face, and of the sentry's."""
SMALL_FACE = 112
"""Most pixels in the frame of a small face's crop: of larger ones, with hands before the mask, its network left parts."""
NETWORKS = {SIZE: "segmenter", SMALL: "segmenter_small"}
"""Which see crops of these sizes."""
MORE = 1.0
"""What is added to the logits of small masks: of worn ones their network says too little."""
REACH = 7
"""Frames before and after that have a say in whether a face is masked."""
NEAR = (1.0, 3.0, 4.0, 3.0, 1.0)
"""Weights of the neighbouring frames' masks."""
MASKED, STILL, BARE = 2, 5, 7
"""Every how manyth frame of a face is looked at: while there is a sign of a mask, the same where nothing moves, or none."""
CHANGED, HASTY = 6.0, 30.0
"""Change of a face since the last look, in levels of 255, from which it is not still, and from which every frame is looked at."""
GLANCE = 32
"""Pixels at which that is told: the face is aligned, so what changes is a hand, the mask, or a turn of the head."""
LITTLE = 0.1
"""Belief that is such a sign."""
ON, OFF = 0.5, 0.35
"""Belief at which a track becomes masked, and below which it becomes bare again."""
FADE = 4
"""Frames in which a filling appears when a mask is put on, and goes when it is taken off."""
SURE = 0.1
"""Part of the crop that is believed to be a mask without any other sign; half of it, by half."""
KNOWN = 0.5
"""Least score of a face whose place is known."""
LEAST = 0.01
"""Least part of the crop that a mask covers."""
DARK, UNTOLD = 20, (ON + OFF) / 2
"""Mean level in the middle of a crop, of 255, below which nobody can tell, and the most belief there: who is masked stays so,
nobody becomes it. A dark audience, hands before their mouths, whom the network takes for masked, has 9 to 15, worn masks 83."""
CLEAR, CERTAIN = 0.005, 0.99
"""Belief of the sentry below which a face is bare, and from which on it is masked; the segmenter is not asked."""

Found = tuple[Frame, list[Face]]
Seen = tuple[Frame, list[tuple[Face, Mask]]]
Segment = Callable[[Frame, Face], Mask]


def unet(providers: tuple[str, ...] = ("cpu",)) -> Segment:
    """Our own network: mask and belief of one face in one frame."""
    for name in NETWORKS.values():
        session(name, providers)  # what is wrong with it is told before there is work

    def segment(frame: Frame, face: Face) -> Mask:
        size = SMALL if scale_of(face.crop(1)) <= SMALL_FACE else SIZE
        crop = sample(frame, face.crop(size), size).clip(0, 255)
        alpha, belief = verdict(crop, providers, known=face.score >= KNOWN)
        return Mask(alpha, min(belief, UNTOLD if _dark(crop) else 1.0), False)

    return segment


def verdict(crop: np.ndarray, providers: tuple[str, ...] = ("cpu",), *, known: bool = True) -> tuple[np.ndarray, float]:
    """What the segmenter says of a crop float32 [S, S, 3] in 0..255: the mask [SIZE, SIZE], and the belief in one.

    What is drawn as a mask is believed, too, for on odd faces the pixels know better than the whole, but not where it is
    hardly `known` where the face is.
    """
    mask, belief = session(NETWORKS[len(crop)], providers).run(None, {"image": crop.transpose(2, 0, 1)[None]})
    alpha = mask[0, 0]
    if len(crop) == SMALL:  # masks of one track are averaged, whatever size they were seen at
        alpha = cv2.resize(alpha / (alpha + (1 - alpha) * exp(-MORE)), (SIZE, SIZE))
    return alpha, max(float(belief[0]), float((mask > 0.5).mean()) / SURE * known)


def sentry(providers: tuple[str, ...] = ("cpu",)) -> Segment:
    """The same, but where a tiny network is sure, in a ninth of the time and without telling where the mask is."""
    network, unsure = session("sentry", providers), unet(providers)

    def segment(frame: Frame, face: Face) -> Mask:
        crop = sample(frame, face.crop(SENTRY), SENTRY).clip(0, 255)
        ((belief,),) = network.run(None, {"image": crop.transpose(2, 0, 1)[None]})
        if CLEAR <= belief < CERTAIN or _dark(crop):
            return unsure(frame, face)
        return Mask(np.zeros((SIZE, SIZE), np.float32), float(belief), False)

    return segment


def _dark(crop: np.ndarray) -> bool:
    """Whether nobody can tell what is in the middle of a crop [S, S, 3]."""
    middle = slice(len(crop) // 4, -len(crop) // 4)
    return bool(crop[middle, middle].mean() < DARK)


def kmeans(providers: tuple[str, ...] = ("cpu",)) -> Segment:
    """The largest of three colours within the landmarks' lower polygon (Lumetti et al., section 1).

    The method itself cannot say that a face is bare; the belief is the network's.
    """
    network = unet(providers)

    def segment(frame: Frame, face: Face) -> Mask:
        crop_to_frame = face.crop(SIZE)
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


def segment(found: Iterable[Found], one: Segment, again: Segment, *, look_ahead: bool = True) -> Iterator[Seen]:
    """Each face with its mask, decided and steadied over `REACH` frames before and, with `look_ahead`, after.

    By `one`; but whether a face is still bare, `again` tells, which may be cheaper.
    """
    return fade(decide(found, one, again, look_ahead), look_ahead)


@dataclass(eq=False)
class Look:
    """A frame, its faces, and the masks of those that were looked at, by track."""

    frame: Frame | None
    """None: it has gone on, and nobody will look at it again."""
    faces: list[Face]
    masks: dict[int, Mask] = field(default_factory=dict)
    glances: dict[int, np.ndarray] = field(default_factory=dict)
    """Small pictures [GLANCE, GLANCE] of the same."""


def decide(found: Iterable[Found], one: Segment, again: Segment, look_ahead: bool) -> Iterator[Seen]:
    """Each face with its mask, not faded yet."""
    wait = REACH if look_ahead else 0
    past: deque[Look] = deque(maxlen=REACH)
    ahead: deque[Look] = deque()
    worn: dict[int, bool] = {}
    for frame, faces in found:
        ahead.append(Look(frame, faces))
        for face in faces:
            _look([*past, *ahead], face, one, again)
        if len(ahead) > wait:
            yield _decide(past, ahead, worn, wait)
    while ahead:
        yield _decide(past, ahead, worn, wait)


def _look(looks: list[Look], face: Face, one: Segment, again: Segment) -> None:
    """Look at a face of the newest frame if it is time to; a new sign of a mask is followed back."""
    track, now = face.track_id, len(looks) - 1
    last = max((k for k, look in enumerate(looks) if track in look.masks), default=None)
    sign = last is None or looks[last].masks[track].belief >= LITTLE
    glance = _glance(looks[now].frame, face) if sign else None
    if last is not None and now - last < (_patience(looks[last].glances.get(track), glance) if sign else BARE):
        return
    looks[now].masks[track] = (one if sign else again)(looks[now].frame, face)
    if sign:
        looks[now].glances[track] = glance
    if not sign and looks[now].masks[track].belief >= LITTLE:
        for look in looks[last + 1 :]:
            for before in look.faces:
                if before.track_id == track:
                    look.masks[track] = one(look.frame, before)


def _glance(frame: Frame, face: Face) -> np.ndarray:
    # Landmarks tremble by a pixel of it, which is no change.
    return cv2.blur(luma(frame, face.crop(GLANCE), GLANCE), (5, 5))


def _patience(before: np.ndarray | None, now: np.ndarray) -> int:
    """After how many frames a masked face is looked at again, by how it has changed where it changed most, in a tenth of it."""
    if before is None:
        return MASKED
    change = float(np.sort(np.abs(now - before), axis=None)[-(GLANCE**2) // 10 :].mean())
    return 1 if change >= HASTY else MASKED if change >= CHANGED else STILL


def _decide(past: deque[Look], ahead: deque[Look], worn: dict[int, bool], wait: int) -> Seen:
    """The oldest frame ahead, each face with the mask that its neighbours in time agree on."""
    look = ahead[0]
    decided, around, now = [], [*past, *list(ahead)[: REACH + 1]], len(past)
    for face in look.faces:
        same = {k: one.masks[face.track_id] for k, one in enumerate(around) if face.track_id in one.masks}
        # Each frame votes by its nearest look, for looks are denser where there is a mask.
        voters = [k for k, one in enumerate(around) if any(f.track_id == face.track_id for f in one.faces)]
        belief = float(np.mean([same[min(same, key=lambda k: abs(k - voter))].belief for voter in voters]))  # noqa: B023
        worn[face.track_id] = belief >= (OFF if worn.get(face.track_id) else ON)
        hasty = now in same and (now - 1 in same or now + 1 in same)  # so much has changed that others tell little
        weights = {k: NEAR[k - now + 2] for k in same if abs(k - now) <= (0 if hasty else 2)}
        weights = weights or {min(same, key=lambda k: abs(k - now)): 1.0}  # noqa: B023
        alpha = sum(same[k].alpha * w for k, w in weights.items()) / sum(weights.values())
        present = worn[face.track_id] and float((alpha > 0.5).mean()) >= LEAST
        decided.append((face, Mask(alpha, belief, present)))
    ahead.popleft()
    past.append(look if wait < BARE else replace(look, frame=None))  # frames are large
    return look.frame, decided


def fade(seen: Iterable[Seen], look_ahead: bool) -> Iterator[Seen]:
    """The same masks, each with its share."""
    wait = FADE - 1 if look_ahead else 0
    past: deque[dict[int, bool]] = deque(maxlen=FADE - 1)
    ahead: deque[Seen] = deque()
    for now in seen:
        ahead.append(now)
        if len(ahead) > wait:
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
