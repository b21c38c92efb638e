"""Landmarks made steady: what trembles, strays, is missing, or starts and stops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from world import HEIGHT, World, shape_at

from unmask_video import steady
from unmask_video.face import Face
from unmask_video.frame import Frame

SHAPE = shape_at((0.0, 0.0))


def smoothed(points: list[np.ndarray | None], **options: int) -> list[np.ndarray | None]:
    """Landmarks of one track after `steady`."""
    frames = list(World([]).frames(len(points)))
    faces = [[] if p is None else [Face(3, p, 0.99)] for p in points]
    found = list(steady.steady(zip(frames, faces, strict=True), **options))
    assert [f for f, _ in found] == frames, "every frame, in order"
    assert all(f.track_id == 3 for _, fs in found for f in fs)
    return [fs[0].landmarks if fs else None for _, fs in found]


def walk(index: int) -> np.ndarray:
    return SHAPE + [2.0 * index, -1.5 * index, 0]


def test_landmarks_tremble_less() -> None:
    rng = np.random.default_rng(0)
    seen = [SHAPE + rng.normal(0, 0.4, SHAPE.shape) for _ in range(60)]
    jitter = lambda points: np.diff(points, n=2, axis=0)[5:-5].std()  # noqa: E731
    found = smoothed(seen)
    assert jitter(found) < jitter(seen) / 4
    assert np.abs(np.mean(found, axis=0) - SHAPE).mean() < 0.1


def test_landmarks_in_even_motion_do_not_lag() -> None:
    rng = np.random.default_rng(1)
    for noise, most in ((0.0, 0.01), (0.4, 0.1)):
        found = smoothed([walk(k) + rng.normal(0, noise, SHAPE.shape) for k in range(50)])
        ahead = [(f - walk(k))[:, :2].mean(0) @ [0.8, -0.6] for k, f in enumerate(found)]
        assert np.abs(ahead).max() < most + 0.2 and np.abs(ahead[8:-8]).max() < most


def test_landmarks_keep_up_with_a_turn() -> None:
    path = [SHAPE + [15 * np.sin(k / 5), 0, 0] for k in range(60)]
    found = smoothed(path)
    assert max(np.abs(f - p).max() for f, p in zip(found, path, strict=True)) < 0.5


def test_a_frame_that_strays_is_not_believed() -> None:
    rng = np.random.default_rng(2)
    seen = [walk(k) + rng.normal(0, 0.4, SHAPE.shape) for k in range(40)]
    away = np.zeros_like(SHAPE)
    away[:150] = 0.1 * np.ptp(SHAPE[:, 1])
    plain, found = smoothed(seen), smoothed([s + away * (k == 20) for k, s in enumerate(seen)])
    assert max(np.abs(f - p).mean() for f, p in zip(found, plain, strict=True)) < 0.15 < np.abs(away).mean() / 10


def test_a_jolt_and_a_frame_shown_twice_are_believed() -> None:
    away = np.array([0.1 * np.ptp(SHAPE[:, 1]), 0, 0])
    jolted = smoothed([SHAPE + away * (k == 20) for k in range(40)])
    assert np.abs(jolted[20] - SHAPE - away).max() < 0.05 * away[0]
    path = [SHAPE + away * (k - (k == 20)) / 3 for k in range(40)]
    assert max(np.abs(f - p).max() for f, p in zip(smoothed(path), path, strict=True)) < 0.2 * away[0] / 3


def test_a_jump_that_lasts_is_believed_at_once() -> None:
    away = 0.1 * np.ptp(SHAPE[:, 1])
    found = smoothed([SHAPE + [away * (k >= 20), 0, 0] for k in range(40)])
    assert np.abs(found[19] - SHAPE).max() < away / 3 and np.abs(found[21] - SHAPE - [away, 0, 0]).max() < away / 3


@pytest.mark.parametrize("gap", [1, steady.HIDDEN, steady.HIDDEN + 1, steady.GAP])
def test_short_gaps_are_bridged_and_after_longer_ones_a_face_goes_on(gap: int) -> None:
    missing = range(20, 20 + gap)
    found = smoothed([None if k in missing else walk(k) for k in range(50)])
    for k in range(50):
        if gap > steady.HIDDEN and k in missing:
            assert found[k] is None, "something hides it, and nobody knows where it is"
        else:
            assert np.abs(found[k] - walk(k)).max() < 0.3, f"frame {k}"


def test_long_absences_are_not_made_up() -> None:
    found = smoothed([walk(k) if k < 20 else None for k in range(50)])
    assert [p is not None for p in found] == [True] * 20 + [False] * 30


@pytest.mark.parametrize("count", [0, 1, 2, steady.WINDOW, steady.WINDOW + 1, 40])
@pytest.mark.parametrize("look_ahead", [True, False])
def test_films_of_any_length_drain(count: int, look_ahead: bool) -> None:
    found = smoothed([SHAPE] * count, look_ahead=look_ahead)
    assert len(found) == count and all(np.allclose(f, SHAPE, atol=1e-6) for f in found)


def test_without_look_ahead_a_frame_does_not_wait() -> None:
    seen = [walk(k) if k % 2 == 0 or k > 40 else None for k in range(50)]
    asked: list[int] = []

    def frames() -> Iterator[tuple[Frame, list[Face]]]:
        for k, (frame, points) in enumerate(zip(World([]).frames(50), seen, strict=True)):
            asked.append(k)
            yield frame, [] if points is None or 20 <= k < 30 else [Face(3, points, 0.99)]

    for k, (_, faces) in enumerate(steady.steady(frames(), look_ahead=False)):
        assert asked[-1] == k, "no later frame was asked for"
        assert bool(faces) == (not 21 <= k < 30), "one rest is bridged, a long absence is not made up"
        assert not faces or np.abs(faces[0].landmarks - walk(k)).max() < (9 if k < 4 or 30 <= k < 34 else 1.5), k


def test_unsure_landmarks_count_less() -> None:
    frames, after = list(World([]).frames(31)), {}
    wrong = np.random.default_rng(2).normal(0, 1, SHAPE.shape)
    for score in (0.99, 0.2):
        faces = [[Face(0, SHAPE + wrong * (k == 15), score if k == 15 else 0.99)] for k in range(31)]
        found = list(steady.steady(zip(frames, faces, strict=True)))
        after[score] = (found[15][1][0].landmarks - SHAPE).std()
    assert 0 < after[0.2] < 0.6 * after[0.99] < 0.6 * wrong.std()


def test_landmarks_start_and_stop_with_the_head() -> None:
    path = [SHAPE + [4.0 * np.clip(k - 20, 0, 20), 0, 0] for k in range(60)]
    found = smoothed(path)
    assert max(np.abs(f - p).max() for f, p in zip(found, path, strict=True)) < 1.5


def test_tracks_do_not_mix() -> None:
    frames = list(World([]).frames(40))
    faces = [[Face(k, walk(n) * (1 + k), 0.99) for k in range(3) if n >= 10 * k] for n in range(40)]
    for n, (_, found) in enumerate(steady.steady(zip(frames, faces, strict=True))):
        assert sorted(f.track_id for f in found) == [k for k in range(3) if n >= 10 * k]
        for f in found:
            assert np.abs(f.landmarks - walk(n) * (1 + f.track_id)).max() < 0.5




def test_a_stray_frame_is_left_out_though_others_rest() -> None:
    shake = np.random.default_rng(7).normal(0, 0.3 * HEIGHT, SHAPE.shape)
    points = [walk(k) if k % 2 == 0 else None for k in range(41)]
    calm, points[20] = smoothed(points), walk(20) + shake
    stray = smoothed(points)
    assert np.abs(calm[20] - walk(20)).max() < 0.02 * HEIGHT
    for k in range(16, 25):
        assert np.abs(stray[k] - walk(k)).max() < 0.05 * HEIGHT < np.abs(shake).max(), f"frame {k}"
