"""What is counted while a film is worked on, for the report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unmask_video.face import mean_face
from unmask_video.people import Cast, Matched
from unmask_video.report import Person, Progress, Report
from unmask_video.stopwatch import Stopwatch


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
    warnings: list[str] = field(default_factory=list)
    first_seconds: float = 0.0
    painted: bool = False
    """A frame was changed."""
    copied: bool = False
    damaged: int = 0

    def count(self, matched: Iterable[Matched]) -> Iterator[Matched]:
        for frame, faces in matched:
            for face, mask, photos in faces:
                first, _ = self.spans.get(face.track_id, (frame.time_seconds, 0.0))
                self.spans[face.track_id] = first, frame.time_seconds
                for table, true in (
                    (self.seen, True), (self.masked, mask.present), (self.filled, mask.present and len(photos) > 0)
                ):  # fmt: skip
                    table[face.track_id] = table.get(face.track_id, 0) + true
            yield frame, faces

    def progress(self, total: int) -> Progress:
        return Progress(self.frames, total, sum(self.seen.values()), sum(self.filled.values()))

    def report(self, codec_seconds: float) -> Report:
        people = tuple(self.person(t) for t in sorted(self.seen, key=lambda t: self.cast.seats[t].number))
        stages = {name: (cpu, self.watch.wall[name]) for name, cpu in self.watch.cpu.items()}
        return Report(
            self.source, self.target, self.frames, sum(self.seen.values()), sum(self.masked.values()),
            sum(self.filled.values()), people, time.perf_counter() - self.began, codec_seconds, tuple(self.warnings),
            self.damaged, self.copied, self.first_seconds, stages,
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
