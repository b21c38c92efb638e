"""Who is where, frame after frame, under steady ids.

`follow` detects now and then, measures landmarks on every frame, and links them: a Kalman filter carries
each box, the Hungarian method matches boxes. A face found late is followed back to the frame
after the last detection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from unmask_video.face import Detection, Face, agree
from unmask_video.frame import Frame
from unmask_video.geometry import best_pairs, iou
from unmask_video.picture import is_cut, small_grey

EVERY = 12
"""Frames from one look for faces to the next: those whose number is a multiple of it, and the first of a shot."""
ALIVE = 0.5
"""Least score of landmarks that need nobody's word; below, the detector must see the face too."""
SAME = 0.25
"""Least overlap (IoU) of a track's box and a detection's."""
UNSEEN = 30
"""Frames without a detection that a track survives."""
CALM, CERTAIN = 0.02, 0.9
"""Speed, in sides of the face a frame, and score at which every second frame is measured."""
GAP = 10
"""Frames in which neither network is sure of a face that its track survives."""
JUMP = 1.5
"""Sides of who was alone and is lost within which a face that comes in is theirs."""
AGAIN = 3
"""Frames after a look until who is alone and lost is looked for everywhere; of several, one could go over to another."""

Measure = Callable[[Frame, list[np.ndarray]], list[tuple[np.ndarray, float]]]
Found = tuple[Frame, list[Face]]


def box_filter(box: np.ndarray) -> cv2.KalmanFilter:
    """Constant velocity for a box's centre and size: state x, y, size and their speeds per frame.

    OpenCV's is at hand; filterpy's, which tells the same, would load longer than all else together.
    """
    kalman, size = cv2.KalmanFilter(6, 3, 0, cv2.CV_64F), box_state(box)[2, 0]
    kalman.transitionMatrix = np.eye(6) + np.eye(6, k=3)
    kalman.measurementMatrix = np.eye(3, 6)
    kalman.measurementNoiseCov = np.eye(3) * (0.02 * size) ** 2
    kalman.processNoiseCov = np.diag([0.01, 0.01, 0.01, 0.02, 0.02, 0.01]) ** 2 * size**2
    kalman.errorCovPost = np.eye(6) * (0.1 * size) ** 2
    kalman.statePost = np.concatenate([box_state(box), np.zeros((3, 1))])
    return kalman


def box_state(box: np.ndarray) -> np.ndarray:
    """float64 [3, 1]: centre x, centre y and mean side of a box."""
    return np.array([[(box[0] + box[2]) / 2], [(box[1] + box[3]) / 2], [(box[2] - box[0] + box[3] - box[1]) / 2]])


@dataclass(eq=False)
class Tracked:
    """A track that is still followed."""

    id: int
    face: Face
    """As last measured."""
    kalman: cv2.KalmanFilter
    lost: int = 0
    """Frames in which neither network was sure of it."""
    unseen: int = 0
    """Frames since the face was last detected."""
    rests: bool = False
    """Not measured in this frame."""
    doubted: bool = False
    """FaceMesh hardly believed in it, and the detector has not confirmed it since: it comes to itself on a forehead, too."""

    def unsure(self) -> bool:
        """FaceMesh lost it, or hardly believes in it."""
        return self.lost > 0 or self.face.score < ALIVE

    def is_calm(self) -> bool:
        """Nothing will be missed in a frame's time: it is known to be slow."""
        speed, slow = np.abs(self.kalman.statePost[3:, 0]).max(), CALM * self.kalman.statePost[2, 0]
        known = np.sqrt(self.kalman.errorCovPost.diagonal()[3:].max()) < 2 * slow  # not in its first frames
        return not (self.lost or self.doubted) and self.face.score >= CERTAIN and known and speed < slow

    def box(self) -> np.ndarray:
        """float64 [4]: a square where the filter expects the face."""
        x, y, side = self.kalman.statePost[:3, 0]
        return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])

    def jumped(self, face: Face) -> bool:
        """Whether this one, whom neither network sees now, is a face that came in."""
        away = np.abs(box_state(face.box) - self.kalman.statePost[:3])[:2].max()
        return bool(self.lost and self.unseen and away < JUMP * self.kalman.statePost[2, 0])

    def predicted(self) -> np.ndarray:
        """The last landmarks, moved to where the filter expects them now."""
        shift = self.kalman.statePost[:2, 0] - box_state(self.face.box)[:2, 0]
        return self.face.landmarks + [*shift, 0.0]

    def take(self, landmarks: np.ndarray, score: float) -> bool:
        """Believe the landmarks unless they jump; says which."""
        face = Face(self.id, landmarks, score)
        jump = box_state(face.box)[:, 0] - self.kalman.statePost[:3, 0]
        if np.abs(jump).max() > 0.5 * self.kalman.statePost[2, 0]:
            self.lost += 1
            return False
        self.kalman.correct(box_state(face.box))
        self.face = face
        if score >= ALIVE:
            self.lost = 0
        self.doubted |= score < ALIVE
        return True


@dataclass
class Linker:
    """The state of `follow`: live tracks, and the frames since the last detection."""

    detect: Callable[[Frame], list[Detection]]
    near: Callable[[Frame, np.ndarray], list[Detection]]
    """In the surroundings of a box [4]."""
    measure: Measure
    region_of_landmarks: Callable[[np.ndarray], np.ndarray]
    region_of_detection: Callable[[Detection], np.ndarray]
    guess: Callable[[Detection], np.ndarray]
    """Landmarks from the detector's five points, where FaceMesh fails."""
    tracks: list[Tracked] = field(default_factory=list)
    waiting: list[Found] = field(default_factory=list)
    next_id: int = 0
    looks: int = 0
    """In this shot."""
    every: Callable[[], int] = lambda: EVERY
    """Frames from one look to the next, at present."""

    def move(self, frame: Frame, *, looks: bool) -> list[Face]:
        """Measure the live tracks in a new frame; calm ones rest every second time, unless one `looks` at the frame."""
        for track in self.tracks:
            track.kalman.predict()
            track.unseen += 1
            track.rests = not looks and not track.rests and track.is_calm()
        seen = self.measured(frame, [t for t in self.tracks if not t.rests])
        self.tracks = [t for k, t in enumerate(self.tracks) if t.lost <= GAP and not _doubles(t, self.tracks[:k])]
        return [f for f in seen if any(t.id == f.track_id for t in self.tracks)]

    def measured(self, frame: Frame, tracks: list[Tracked]) -> list[Face]:
        """The faces of those tracks whose landmarks are believed."""
        found = self.measure(frame, [self.region_of_landmarks(t.predicted()) for t in tracks])
        return [t.face for t, (points, score) in zip(tracks, found, strict=True) if t.take(points, score)]

    def check(self, frame: Frame, faces: list[Face], *, may_look: bool) -> bool:
        """Ask the detector about each doubted track, and correct `faces`; False if one is missing and may be looked for."""
        asked = [(track, self.seen_near(frame, track)) for track in self.tracks if track.unsure() or track.doubted]
        if may_look and any(track.unsure() and not detection for track, detection in asked):
            return False
        for track, detection in asked:
            if detection:
                self.confirm(frame, track, detection, faces)
        self.miss(faces)
        return True

    def miss(self, faces: list[Face]) -> None:
        """Neither network is sure of some tracks in this frame; their `faces` are not believed."""
        missed = [track for track in self.tracks if track.unseen and track.face.score < ALIVE]
        for track in missed:
            track.lost += 1
        faces[:] = [f for f in faces if all(f.track_id != track.id for track in missed)]

    def seen_near(self, frame: Frame, track: Tracked) -> Detection | None:
        """What the detector sees where a track should be."""
        found = self.near(frame, track.box())
        pairs = match([track.kalman.statePost[:3, 0]], [d.box for d in found])
        return found[pairs[0][1]] if pairs else None

    def look(self, frame: Frame, faces: list[Face]) -> None:
        """Detect: confirm tracks, end unseen ones, start new ones and follow them back. Corrects `faces`."""
        found = self.detect(frame)
        self.looks += 1
        pairs = match([t.kalman.statePost[:3, 0] for t in self.tracks], [d.box for d in found])
        matched = {i: found[j] for i, j in pairs}
        for i, detection in matched.items():
            self.confirm(frame, self.tracks[i], detection, faces)
        self.miss(faces)
        self.tracks = [t for t in self.tracks if t.unseen < UNSEEN]
        taken = {j for _, j in pairs}
        for detection in (d for j, d in enumerate(found) if j not in taken):
            self.start(frame, detection, faces)

    def confirm(self, frame: Frame, track: Tracked, detection: Detection, faces: list[Face]) -> None:
        """A track is where a face was detected: measure it anew from there if it was lost or disagrees."""
        track.unseen = 0
        if track.lost or ((track.doubted or track.unsure()) and not agree(track.face.landmarks, detection)):
            track.face, track.lost = Face(track.id, *self.settle(frame, detection)), 0
            track.kalman = box_filter(track.face.box)
            faces[:] = [f for f in faces if f.track_id != track.id] + [track.face]
        track.doubted = track.face.score < ALIVE

    def start(self, frame: Frame, detection: Detection, faces: list[Face]) -> None:
        """A new track, unless another sits there or neither network is sure of a face."""
        tries = [self.settle(frame, detection)]
        if tries[0][1] < ALIVE:  # a box that is a little different may help FaceMesh
            near = self.near(frame, detection.box)
            tries += [self.settle(frame, d) for d in near if iou(d.box[None], detection.box[None])[0, 0] > SAME]
        landmarks, score = max(tries, key=lambda found: found[1])
        face = Face(self.next_id, landmarks, score)
        others = [f.box for f in faces]
        if max(score, detection.score) < ALIVE or (others and iou(face.box[None], np.array(others)).max() > 0.5):
            return
        self.next_id += 1
        if len(self.tracks) == 1 and self.tracks[0].jumped(face):
            self.tracks = []
        faces.append(face)
        self.tracks.append(Tracked(face.track_id, face, box_filter(face.box)))
        self.trace_back(face)

    def settle(self, frame: Frame, detection: Detection, *, rounds: int = 2) -> tuple[np.ndarray, float]:
        """Landmarks of a detected face: measured so often, each time where they were put before."""
        region = self.region_of_detection(detection)
        for _ in range(rounds):
            ((landmarks, score),) = self.measure(frame, [region])
            region = self.region_of_landmarks(landmarks)
        lost = score < ALIVE and not agree(landmarks, detection)
        return (self.guess(detection), 0.0) if lost else (landmarks, score)

    def end(self, since: int) -> list[Found]:
        """What waits at the end of a shot, `since` frames after the last look; who came in since then is found, too."""
        if self.waiting:
            frame, faces = self.waiting[-1]
            faces += self.measured(frame, [t for t in self.tracks if t.rests])
            if since:
                self.look(frame, faces)
        waiting, self.tracks, self.waiting, self.looks = self.waiting, [], [], 0
        return waiting

    def trace_back(self, face: Face) -> None:
        """Follow a new face backwards through the frames that wait."""
        track = Tracked(face.track_id, face, box_filter(face.box))
        for frame, faces in reversed(self.waiting[:-1]):
            track.kalman.predict()
            ((points, score),) = self.measure(frame, [self.region_of_landmarks(track.predicted())])
            if not track.take(points, score):
                return
            if score < ALIVE:
                detection = self.seen_near(frame, track)
                if not detection:
                    return
                self.confirm(frame, track, detection, [])
            if any(iou(f.box[None], track.face.box[None])[0, 0] > 0.5 for f in faces):
                return
            faces.append(track.face)


def _doubles(track: Tracked, older: list[Tracked]) -> bool:
    """True if an older track sits on the same face."""
    return any(iou(track.face.box[None], other.face.box[None])[0, 0] > 0.6 for other in older)


def match(states: list[np.ndarray], boxes: list[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs (track, detection) of greatest total overlap; pairs below `SAME` are dropped."""
    if not states or not boxes:
        return []
    squares = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in states])
    overlap = iou(squares, np.array(boxes))
    return [(i, j) for i, j in best_pairs(overlap) if overlap[i, j] >= SAME]


def follow(
    frames: Iterable[Frame], linker: Linker, *, look_ahead: bool = True, idle: Callable[[Frame], bool] = lambda _: False
) -> Iterator[Found]:
    """Each frame with the faces in it; comes `EVERY` frames late, or at once, but then nobody is followed back.

    Nobody is looked for in frames that are `idle`; who was followed until then comes in anew after them.
    """
    small, since, hold = None, 0, EVERY if look_ahead else 0
    for frame in frames:
        if idle(frame):
            yield from linker.end(since)
            yield frame, []
            small = None
            continue
        last, small = small, small_grey(frame)
        if last is not None and is_cut(last, small):
            yield from linker.end(since)
        looks = frame.index % linker.every() == 0 or linker.looks == 0
        faces = linker.move(frame, looks=looks)
        linker.waiting.append((frame, faces))
        since += 1
        if looks or not linker.check(frame, faces, may_look=since >= AGAIN or len(linker.tracks) > 1):
            linker.look(frame, faces)
            since = 0
        # The newest frames stay: the next face found late may be followed back through them.
        while len(linker.waiting) > hold:
            yield linker.waiting.pop(0)
    yield from linker.end(since)
