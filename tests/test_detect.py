"""Where faces are found: YuNet's looks, what CenterFace says of the doubtful ones, and pictures that both see."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from faces import masked, points, portrait

from unmask_video import detect
from unmask_video.face import Detection
from unmask_video.frame import Frame
from unmask_video.geometry import iou
from unmask_video.picture import photo


def turned(rgb: np.ndarray, degrees: int) -> Frame:
    """A frame whose coded picture has to be turned to be upright."""
    upright = photo(rgb)
    coded = tuple(np.ascontiguousarray(np.rot90(p, -degrees // 90)) for p in upright.planes)
    return replace(upright, planes=coded, rotation_deg=degrees)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(iou(one[None], other[None])[0, 0])


def truth(scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """The box of the portrait's landmarks, when it is so much larger and its corner is there."""
    shape = points()[:, :2] * scale + [x, y]
    return np.concatenate([shape.min(0), shape.max(0)])


@pytest.mark.parametrize("rgb", [portrait, lambda: masked()[0]], ids=["bare", "masked"])
@pytest.mark.parametrize("size", [128, 200, 384, 900, 2400])
def test_a_face_is_found_at_any_size(rgb, size: int) -> None:  # noqa: ANN001
    """Of 36 px to 680. Where its mouth is, is a guess under a mask."""
    picture = cv2.resize(rgb(), (size, size), interpolation=cv2.INTER_AREA)
    (found,) = detect.detect(photo(picture))
    assert overlap(found.box, truth(size / 384)) > 0.6 and found.score > 0.5
    assert np.abs(found.points - five() * size / 384).max() < 0.15 * np.ptp(truth(size / 384)[1::2])


def five() -> np.ndarray:
    """The portrait's eyes, nose tip and corners of the mouth."""
    return np.stack([points()[list(ring), :2].mean(0) for ring in ((33, 133), (263, 362), (4,), (61,), (291,))])


def test_a_face_that_fills_the_picture_is_found() -> None:
    x0, y0, x1, y1 = truth().round().astype(int)
    close = cv2.resize(masked()[0][y0 - 20 : y1 + 20, x0 - 10 : x1 + 10], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    (found,) = detect.detect(photo(close))
    assert overlap(found.box, np.array([80, 160, close.shape[1] - 80, close.shape[0] - 160])) > 0.6


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("name", "value", "seen"), [("SURE", 0.8, 1), ("SURE", 1.0, 1), ("in_profile", lambda _: True, 2)])
def test_a_near_look_sees_what_the_whole_one_does(
    degrees: int, name: str, value: object, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """YuNet alone if it is sure, CenterFace alone if it is not, both in profile."""
    frame, asked, centerface = turned(portrait(), degrees), [], detect.centerface
    (whole,) = detect.detect(frame)
    monkeypatch.setattr(detect, "centerface", lambda *given: asked.append(1) or centerface(*given))
    monkeypatch.setattr(detect, name, value)
    near = detect.detect_near(frame, whole.box + [3, -2, 3, -2])
    height = np.ptp(whole.box.reshape(2, 2), axis=0).max()
    assert len(near) == seen and len(asked) == (value != 0.8)
    for one in near:
        assert overlap(whole.box, one.box) > 0.8 and one.score > 0.6
        assert np.abs(whole.points - one.points).max() < 0.06 * height
    assert detect.detect_near(frame, np.array([-900.0, -900, -800, -800])) == []


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_surroundings_are_black_outside_of_the_frame(degrees: int) -> None:
    """The upper left corner of an upright white picture, of which a quarter is inside."""
    frame = turned(np.full((200, 300, 3), 255, np.uint8), degrees)
    width, height = frame.width, frame.height
    at = {0: (0, 0), 90: (width, 0), 180: (width, height), 270: (0, height)}
    picture, to_frame = detect.surroundings(frame, np.array([*at[degrees], *at[degrees]]) + [-20.0, -20, 20, 20])
    half = detect.NEAR_PX // 2
    assert to_frame.shape == (2, 3)
    assert (picture[:half] == 0).all() and (picture[:, :half] == 0).all() and (picture[half + 1 :, half + 1 :] == 255).all()


def test_a_masked_face_half_outside_is_seen_near() -> None:
    """Its eyes lie at the upper edge: with the edge repeated, neither network sees it."""
    rgb = masked()[0][int(points()[list((33, 263)), 1].mean() - 14) :]
    box = truth(1.0, 0.0, rgb.shape[0] - 384.0)
    assert any(overlap(one.box, box) > 0.4 for one in detect.detect_near(photo(rgb), box))


def test_what_yunet_doubts_centerface_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, asked = photo(portrait()), []
    (sure,) = detect.detect(frame)
    doubtful, hand = replace(sure, score=0.5), replace(sure, box=np.array([5.0, 300, 65, 380]), score=0.79)
    monkeypatch.setattr(detect, "yunet", lambda *_: [doubtful, hand])
    monkeypatch.setattr(detect, "SHORT", 10_000)
    centerface = detect.centerface
    monkeypatch.setattr(detect, "centerface", lambda *given: asked.append(1) or centerface(*given))
    (found,) = detect.detect(frame)
    assert len(asked) == 2, "of both"
    assert overlap(found.box, sure.box) > 0.8 and found.score > 0.6 and found is not doubtful, "its own answer"


def test_a_picture_without_faces_has_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    for picture in (noise, *(np.zeros((*size, 3), np.uint8) for size in ((48, 64), (1, 1), (2, 1200), (1200, 2)))):
        assert detect.detect(photo(picture)) == []


def test_faces_that_overlap_are_one_and_the_best_stays() -> None:
    box, five = np.array([10.0, 10, 50, 60]), np.zeros((5, 2))
    found = [Detection(box + shift, five, score) for shift, score in ((0, 0.6), (3, 0.9), (60, 0.7))]
    assert [one.score for one in detect.apart(found)] == [0.9, 0.7] and detect.apart([]) == []
