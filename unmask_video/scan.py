"""Who is in a folder of films: everybody's stretches, put together by the upper face, which a mask leaves free."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from unmask_video import decode, mining
from unmask_video.ahead import one_thread_each, side_by_side
from unmask_video.face import Detection, Face, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import best_pairs, iou
from unmask_video.pace import due
from unmask_video.reference import Views, aligned
from unmask_video.tools import Tools

EVERY = 0.5
"""Seconds from one look at a film to the next."""
GONE = 3.0
"""Looks' time after which a stretch has ended."""
SAME = 0.56
"""Least mean likeness of all looks of two groups of stretches that show one person. Of 15 people in 45 clips of 2.5 s, two of
three masked, .53 to .60 put no two people together, and 93 % of the pairs of one; .50 puts two pairs of people together."""
CLEAR = 0.1
"""Least likeness of a face to a stretch at its place that it goes on with; blurred faces are like nobody."""
FEWEST = 2
"""Looks of a stretch that counts."""
KEPT, VIEWS = 12, 4
"""Best bare views of a stretch, and of a person, that are kept."""
MOST_LOOKS = 2400
"""At a film: long ones are looked at less often."""


@dataclass(eq=False)
class Stretch:
    """One face, from coming into one film to leaving it."""

    film: str
    box: np.ndarray
    """Where it was last seen."""
    shot: int
    begin: float
    end: float
    """Seconds."""
    total: np.ndarray
    """Sum of its identities."""
    looks: int = 1
    masked: int = 0
    """Looks in which it wears a mask."""
    views: list[tuple[float, Reference]] = field(default_factory=list)
    """Bare and good enough to serve, with their quality."""
    pictures: list[np.ndarray] = field(default_factory=list)
    """What it looked like at first, for people to see: uint8 [96, 96, 3] RGB."""


def stretches(path: Path, name: str, tools: Tools, *, every: float = EVERY) -> list[Stretch]:
    """Of a film. Raises as `decode.open_video` does."""
    going: list[Stretch] = []
    ended: list[Stretch] = []

    def looks(at: tuple[Frame, int]) -> tuple[Frame, int, list[tuple[Detection, Reference, bool, bool]]]:
        return (*at, [look for found in tools.detect(at[0]) if (look := _look(tools, at[0], found))])

    with one_thread_each(), decode.open_video(path) as video, closing(video.frames()) as frames:
        seconds = float(video.info.frame_count / video.info.average_rate) if video.info.average_rate else 0.0
        every = max(every, seconds / MOST_LOOKS)
        with closing(side_by_side(looks, due(frames, every), tools.workers, "unmask-scan")) as seen:
            for frame, shot, faces in seen:
                ended += [one for one in going if one.shot != shot or frame.time_seconds - one.end > GONE * every]
                going = [one for one in going if one.shot == shot and frame.time_seconds - one.end <= GONE * every]
                _go_on(going, faces, frame.time_seconds, shot, name)
    return [one for one in ended + going if one.looks >= FEWEST]


def _look(tools: Tools, frame: Frame, found: Detection) -> tuple[Detection, Reference, bool, bool] | None:
    """A face, cut out, whether it is masked, and whether it serves as a photo."""
    face = Face(0, *tools.settle(frame, found))
    if max(face.score, found.score) < 0.5:
        return None
    mask = tools.is_masked(frame, face)
    view = aligned("", frame, face, tools.identity(frame, face.landmarks))
    return found, view, mask.belief >= 0.5, face.score > 0.9 and mining.serves(face, mask)


def _go_on(
    going: list[Stretch], faces: list[tuple[Detection, Reference, bool, bool]], now: float, shot: int, film: str
) -> None:  # fmt: skip
    """Each face goes on with the stretch that it overlaps and is like, or begins a new one."""
    boxes = np.array([found.box for found, *_ in faces]).reshape(-1, 4)
    overlap = iou(np.array([one.box for one in going]).reshape(-1, 4), boxes)
    whose = {j: going[i] for i, j in best_pairs(overlap) if overlap[i, j] > mining.STAYED} if going and faces else {}
    for j, (found, view, masked, serves) in enumerate(faces):
        one = whose.get(j)
        if one is None or one.total @ view.identity / one.looks < CLEAR:
            one = Stretch(film, found.box, shot, now, now, view.identity * 0, looks=0)
            going.append(one)
        one.box, one.end, one.total = found.box, now, one.total + view.identity
        one.looks, one.masked = one.looks + 1, one.masked + masked
        if serves:
            one.views = sorted([*one.views, (mining.quality(view), view)], key=lambda pair: -pair[0])[:KEPT]
        if len(one.pictures) < VIEWS:
            one.pictures.append(cv2.resize(view.image, (96, 96), interpolation=cv2.INTER_AREA))


def together(found: Sequence[Stretch], known: Sequence[Views] = (), *, least: float = SAME) -> list[list[int]]:
    """Groups of stretches, by number, that show one person each; the first are the known people's, some maybe empty.

    Average linkage: of all pairs of groups the likest are joined, for as long as they are alike; never those of one moment
    of one film, nor two known people.
    """
    groups: list[list[int]] = [[] for _ in known] + [[k] for k in range(len(found))]
    sums = [np.sum([photo.identity for photo in views], axis=0) for views in known] + [one.total for one in found]
    counts = np.array([len(views) for views in known] + [one.looks for one in found], float)
    likeness = np.array(sums) @ np.array(sums).T / np.outer(counts, counts) if sums else np.zeros((0, 0))
    apart = np.eye(len(groups), dtype=bool)
    apart[: len(known), : len(known)] = True
    for a, one in enumerate(found):
        for b, other in enumerate(found):
            if one.film == other.film and one.begin <= other.end and other.begin <= one.end:
                apart[len(known) + a, len(known) + b] = True
    likeness[apart] = -np.inf
    while len(likeness) and likeness.max() >= least:
        a, b = sorted(divmod(int(likeness.argmax()), len(likeness)))
        groups[a] += groups[b]
        mean = (likeness[a] * counts[a] + likeness[b] * counts[b]) / (counts[a] + counts[b])  # -inf stays
        counts[a] += counts[b]
        likeness[a], likeness[:, a], likeness[b], likeness[:, b] = mean, mean, -np.inf, -np.inf
        groups[b] = []
    return [group for k, group in enumerate(groups) if group or k < len(known)]


def best_views(found: Sequence[Stretch]) -> list[Reference]:
    """The best bare views of one person, of different directions first."""
    ranked = sorted((view for one in found for view in one.views), key=lambda pair: -pair[0])
    chosen: list[Reference] = []
    for apart in (mining.VIEW, 0.0):
        for _, view in ranked:
            away = [float(np.linalg.norm(view.direction - other.direction)) for other in chosen]
            if len(chosen) < VIEWS and not any(view is other for other in chosen) and min(away, default=1.0) >= apart:
                chosen.append(view)
    return chosen


def contact_sheet(people: Sequence[tuple[str, Sequence[Stretch]]], target: Path) -> None:
    """A picture of everybody, a row each: bare and masked looks, and the name."""
    side, across = 96, 10
    rows = []
    for name, found in people:
        pictures = [picture for one in found for picture in one.pictures[:2]][:across]
        row = np.full((side + 22, side * across, 3), 255, np.uint8)
        for k, picture in enumerate(pictures):
            row[22:, k * side : (k + 1) * side] = picture
        cv2.putText(row, name, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(row)
    if rows:
        cv2.imwrite(str(target), np.vstack(rows)[..., ::-1])
