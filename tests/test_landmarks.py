"""FaceMesh by both backends, and where it is told to look."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from faces import masked, points, portrait, shared, tools

from training.data import pictures
from unmask_video import landmarks
from unmask_video.detect import detect
from unmask_video.face import EYES_APART
from unmask_video.geometry import apply, invert, scale_of
from unmask_video.picture import photo


def test_regions_hold_the_face_and_turn_with_it() -> None:
    for turn in (0.0, 0.6, -1.2):
        c, s = np.cos(turn), np.sin(turn)
        turned = apply(np.array([[c, -s, 100.0], [s, c, 50.0]]), points())
        region = landmarks.region_of_landmarks(turned)
        within = apply(invert(region), turned[:, :2])
        assert (within > 0.05).all() and (within < 0.95).all()
        eyes = within[landmarks.LEFT_EYE] - within[landmarks.RIGHT_EYE]
        assert abs(eyes[1]) < 1e-6 < eyes[0], "upright in the network's picture"
        assert scale_of(region) == pytest.approx(1.5 * np.ptp(turned[:, :2], axis=0).max(), rel=1e-6)


@pytest.mark.parametrize("rgb", [portrait, lambda: masked()[0]], ids=["bare", "masked"])
def test_landmarks_are_on_the_eyes_whether_masked_or_not(rgb) -> None:  # noqa: ANN001
    frame = photo(rgb())
    (found,) = tools().detect(frame)
    mesh, score = tools().settle(frame, found)
    height = np.ptp(points()[:, 1])
    assert score > 0.5 and mesh.shape == (468, 3)
    for ring, seen in zip(landmarks.FIVE[:2], found.points[:2], strict=True):
        assert np.linalg.norm(mesh[list(ring), :2].mean(0) - points()[list(ring), :2].mean(0)) < 0.04 * height
        assert np.linalg.norm(mesh[list(ring), :2].mean(0) - seen) < EYES_APART * height
    upper = points()[:, 1] < points()[4, 1] - 0.1 * height
    assert np.linalg.norm((mesh - points())[upper, :2], axis=1).mean() < 0.04 * height


def test_faces_of_one_batch_do_not_mix() -> None:
    frame = photo(np.hstack([portrait(), portrait()]))
    left = landmarks.region_of_landmarks(points())
    right = left + [[0, 0, portrait().shape[1]], [0, 0, 0]]
    both = tools().measure(frame, [left, right])
    assert np.abs(both[1][0] - both[0][0] - [portrait().shape[1], 0, 0]).max() < 0.5
    assert np.allclose(both[0][0], tools().measure(frame, [left])[0][0], atol=0.05)
    assert tools().measure(frame, []) == []


def test_the_ported_facemesh_agrees_with_mediapipe() -> None:
    pytest.importorskip("mediapipe")
    ours, theirs = landmarks.onnx_backend(), landmarks.mediapipe_backend()
    apart = []
    for _, rgb in islice(pictures(shared("pairs-london-eval.tar")), 30):
        frame = photo(rgb)
        region = landmarks.region_of_detection(detect(frame)[0])
        ((mine, _),), ((other, score),) = ours(frame, [region]), theirs(frame, [region])
        if score > 0.5:
            away = apply(invert(region), mine[:, :2]) - apply(invert(region), other[:, :2])
            apart.append(np.linalg.norm(away, axis=1) * landmarks.SIZE)
    print(f"\n{len(apart)} faces, points apart by {np.percentile(apart, 95):.3f} px (95th percentile)")
    assert len(apart) >= 20 and np.percentile(apart, 95) <= 0.5
