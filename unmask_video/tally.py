"""What is counted while a film is worked on, for the report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unmask_video.face import Face, Mask, mean_face
from unmask_video.frame import Frame
from unmask_video.people import Cast, Matched, Photos
from unmask_video.report import Person, Progress, Report
from unmask_video.signs import Signs
from unmask_video.stopwatch import Stopwatch

LOOKED, WORST, APART = 12, 3, 1.0
"""Every so manyth frame may be one of so many worst ones, which are so many seconds apart."""
REMEMBERED = 500
"""Frames that may still become one."""


@dataclass
class Tally:
    """Counts for the report."""

    source: Path
    target: Path
    cast: Cast
    began: float = field(default_factory=time.perf_counter)
    watch: Stopwatch = field(default_factory=Stopwatch)
    frames: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    masked: dict[int, int] = field(default_factory=dict)
    filled: dict[int, int] = field(default_factory=dict)
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)
    """When each track was seen first and last."""
    turned: list[tuple[float, float]] = field(default_factory=list)
    """How far the farthest face was turned from its photo, and when."""
    warnings: list[str] = field(default_factory=list)
    first_seconds: float = 0.0
    painted: bool = False
    """A frame was changed."""
    copied: bool = False
    damaged: int = 0
    signs: Signs = field(default_factory=Signs)
    """What was seen of masks before."""

    def count(self, matched: Iterable[Matched]) -> Iterator[Matched]:
        for frame, faces in matched:
            for face, mask, photos in faces:
                first, _ = self.spans.get(face.track_id, (frame.time_seconds, 0.0))
                self.spans[face.track_id] = first, frame.time_seconds
                for table, true in (
                    (self.seen, True), (self.masked, mask.present), (self.filled, mask.present and len(photos) > 0)
                ):  # fmt: skip
                    table[face.track_id] = table.get(face.track_id, 0) + true
            if frame.index % LOOKED == 0:
                self._compare(frame, faces)
            yield frame, faces

    def _compare(self, frame: Frame, faces: list[tuple[Face, Mask, Photos]]) -> None:
        away = [
            float(np.linalg.norm(face.direction - photos[0][0].direction))
            for face, mask, photos in faces if mask.present and photos
        ]  # fmt: skip
        if away:
            self.turned.append((max(away), frame.time_seconds))
            if len(self.turned) > 2 * REMEMBERED:  # a camera's film has no end
                self.turned = sorted(self.turned)[-REMEMBERED:]

    def worst(self) -> tuple[float, ...]:
        """See `Report.worst`."""
        found: list[float] = []
        for _, when in sorted(self.turned, reverse=True):
            if len(found) < WORST and all(abs(when - other) >= APART for other in found):
                found.append(round(when, 3))
        return tuple(found)

    def progress(self, total: int) -> Progress:
        return Progress(self.frames, total, sum(self.seen.values()), sum(self.filled.values()))

    def report(self, codec_seconds: float) -> Report:
        people = tuple(self.person(t) for t in sorted(self.seen, key=lambda t: self.cast.seats[t].number))
        stages = {name: (cpu, self.watch.wall[name]) for name, cpu in self.watch.cpu.items()}
        return Report(
            self.source, self.target, self.frames, sum(self.seen.values()), sum(self.masked.values()),
            sum(self.filled.values()), people, time.perf_counter() - self.began, codec_seconds, tuple(self.warnings),
            self.damaged, self.copied, self.first_seconds, self.worst(), stages,
        )  # fmt: skip

    def person(self, track_id: int) -> Person:
        seat = self.cast.seats[track_id]
        masked, filled = self.masked[track_id], self.filled[track_id]
        known = seat.match is not None and seat.match.person is not None
        return Person(
            index=seat.number,
            name=next((photo.person for photo in self.cast.people[seat.match.person] if photo.person), "") if known else "",
            frames=self.seen[track_id],
            masked=masked,
            filled=filled,
            reference=seat.photo.name if seat.photo and filled else None,
            likeness=seat.match.likeness if seat.match else 0.0,
            reason=seat.why if filled < masked else "",
            first=self.spans[track_id][0],
            last=self.spans[track_id][1],
        )

    def invented(self) -> list[str]:
        """A warning, if somebody was filled from nobody's photo."""
        mean = mean_face()
        count = sum(self.filled[t] > 0 and seat.photo is mean for t, seat in self.cast.seats.items() if t in self.filled)
        who = "one person" if count == 1 else f"{count} people"
        return [f"there is no photo of {who}, so the lower face is invented; give --reference PHOTO"] if count else []
