"""Landmarks that do not tremble: a Kalman filter and a two-sided smoother over a look-ahead window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from unmask_video.face import Face
from unmask_video.frame import Frame

SURE = 0.5
"""Least score of landmarks that are believed in full."""
STRAY = 4
"""Standard deviations of noise beyond which a frame may be an outlier."""
CLEARLY = 4
"""How much nearer, as a square, a frame must lie to what was foreseen without the one before it."""
GAP, HIDDEN = 10, 3
"""Frames without landmarks after which a track goes on as it was, and those that are bridged: in more, a hand hides the face."""
WINDOW = 10
"""Frames of look-ahead."""
FORESEEN = 2
"""Frames without landmarks that are bridged where there is no look-ahead: calm faces rest for one."""

Found = tuple[Frame, list[Face]]


State = tuple[np.ndarray, np.ndarray]
"""Float64 [2, N], and its covariance [2, 2]."""


class LandmarkFilter:
    """Constant-velocity Kalman filter and Rauch-Tung-Striebel smoother of one track's landmarks.

    All points share one gain: state float64 [2, N] (place and speed of N numbers), covariance [2, 2].
    """

    STEP = np.array([[1.0, 1.0], [0.0, 1.0]])

    def __init__(self, start: int, points: np.ndarray, score: float = 1.0) -> None:
        self.start = start
        self.measured = {start: score}
        """Scores of the frames that were measured, by their indices, the first of which is `start`."""
        size = float(np.ptp(points[:, 1]))
        self.noise = (0.004 * size) ** 2
        self.drive = (0.004 * size) ** 2 * np.array([[0.25, 0.5], [0.5, 1.0]])
        state = np.stack([points.ravel(), np.zeros(points.size)])
        spread = np.diag([self.noise, (0.02 * size) ** 2])
        self.filtered = [(state, spread)]
        self.foreseen = [(state, spread)]
        self.unmoved = (state, spread)
        """What was foreseen of the last measured frame before it was seen."""

    @property
    def last(self) -> int:
        """Index of the last frame that was measured."""
        return max(self.measured)

    def add(self, face: Face | None) -> None:
        """The next frame's face, or None where it is missing; an unsure one counts less."""
        if face is not None and self.last_strayed(face.landmarks):
            self.leave_out_last()
        state, spread = self.next(self.filtered[-1])
        self.foreseen.append((state, spread))
        if face is not None:
            self.unmoved = (state, spread)
            self.measured[self.start + len(self.filtered)] = face.score
            noise = self.noise * (1 if face.score >= SURE else 4)
            surprise = face.landmarks.ravel() - state[0]
            # A head that starts or stops moves all points alike, which noise does not: let go at once.
            leap = np.square(surprise.reshape(-1, 3)[:, :2].mean(0)).sum()
            if leap > 4 * (spread[0, 0] + noise):
                spread = spread + leap * np.array([[1.0, 0.2], [0.2, 0.1]])
                self.foreseen[-1] = (state, spread)
            gain = spread[:, :1] / (spread[0, 0] + noise)
            state = state + gain * surprise
            spread = spread - gain @ spread[:1]
        self.filtered.append((state, spread))

    def next(self, now: State) -> State:
        """What a state becomes in a frame's time."""
        state, spread = now
        return self.STEP @ state, self.STEP @ spread @ self.STEP.T + self.drive

    def leave_out_last(self) -> None:
        """As if the last measured frame had not been."""
        first = self.last - self.start
        self.filtered[first] = self.foreseen[first] = self.unmoved
        for k in range(first + 1, len(self.filtered)):
            self.filtered[k] = self.foreseen[k] = self.next(self.filtered[k - 1])

    def last_strayed(self, points: np.ndarray) -> bool:
        """Whether the last measured frame was an outlier (a hand, a blur): these landmarks [N, 3] go on as if it had not been.

        Told by the shape alone: a camera that jolts, or a frame shown twice, moves all points alike, and is believed.
        """

        frames = self.start + len(self.filtered) - self.last

        def missed(state: np.ndarray) -> float:
            apart = points - (state[0] + frames * state[1]).reshape(points.shape)
            return float(apart.var(axis=0).mean())

        with_it, without_it = missed(self.filtered[self.last - self.start][0]), missed(self.unmoved[0])
        return with_it > STRAY**2 * self.noise and with_it > CLEARLY * without_it

    def smooth(self, index: int) -> np.ndarray:
        """Landmarks [468, 3] of frame `index`, seen from all frames up to the last measured one, or foreseen after it."""
        at = max(self.last, index) - self.start
        state, _ = self.filtered[at]
        for k in range(at - 1, index - self.start - 1, -1):
            (mine, spread), (next_state, next_spread) = self.filtered[k], self.foreseen[k + 1]
            gain = spread @ self.STEP.T @ _inverse(next_spread)
            state = mine + gain @ (state - next_state)
        return state[0].reshape(-1, 3)

    def forget(self, index: int) -> None:
        """Drop what lies before the last measured frame up to `index`."""
        drop = max(k for k in self.measured if k <= index) - self.start
        if drop > 0:
            self.start += drop
            del self.filtered[:drop], self.foreseen[:drop]
            self.measured = {k: score for k, score in self.measured.items() if k >= self.start}

    def hidden(self, index: int) -> bool:
        """Whether so many frames in a row, and it, were not measured that something hides the face."""
        before, after = (k for k in self.measured if k <= index), (k for k in self.measured if k >= index)
        return min(after, default=index) - max(before, default=index) > HIDDEN + 1


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of [2, 2]; NumPy's own takes three times as long."""
    (a, b), (c, d) = matrix.tolist()
    return np.array([[d, -b], [-c, a]]) / (a * d - b * c)


def steady(found: Iterable[Found], *, look_ahead: bool = True) -> Iterator[Found]:
    """The same frames with smoothed landmarks; gaps of up to `HIDDEN` frames within a track are bridged.

    Without `look_ahead` nothing waits: landmarks are filtered by what was before, and foreseen for `FORESEEN` frames.
    """
    window, foreseen = (WINDOW, 0) if look_ahead else (0, FORESEEN)
    filters: dict[int, LandmarkFilter] = {}
    held: deque[tuple[int, Frame]] = deque()
    count = 0
    for count, (frame, faces) in enumerate(found):
        held.append((count, frame))
        seen = {f.track_id: f for f in faces}
        for track_id, face in seen.items():
            if track_id not in filters:
                filters[track_id] = LandmarkFilter(count, face.landmarks, face.score)
        for track_id, one in filters.items():
            if one.start + len(one.filtered) == count and count - one.last <= GAP + 1:
                one.add(seen.get(track_id))
        if len(held) > window:
            yield _emit(held, filters, foreseen)
    while held:
        yield _emit(held, filters, foreseen)


def _emit(held: deque[tuple[int, Frame]], filters: dict[int, LandmarkFilter], foreseen: int) -> Found:
    """The oldest held frame with its smoothed faces; filters that end before it are dropped."""
    index, frame = held.popleft()
    newest = held[-1][0] if held else index
    for track_id in [k for k, f in filters.items() if f.last < index and newest - f.last > GAP]:
        del filters[track_id]
    faces = []
    for track_id, one in filters.items():
        if one.start <= index <= one.last + foreseen and not one.hidden(index):
            points = one.smooth(index)
            one.forget(index)
            faces.append(Face(track_id, points, one.measured[one.start]))
    return frame, faces
