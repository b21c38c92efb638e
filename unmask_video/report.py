"""What `unmask` tells while it works (`Progress`) and at its end (`Report`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REASONS = {
    "no_match": "matches no reference (allow it with --unmatched fill)",
    "ambiguous": "matches two references alike (name one person's photos alike: --reference NAME=PHOTO)",
    "not_chosen": "not asked for by --face-index",
    "never": "is never to be filled, by --never",
}
"""Why a face stays masked: code and words."""
MOST_LISTED = 12
"""People in a summary; `to_json` has all."""


@dataclass(frozen=True)
class Progress:
    """How far the work has come."""

    frame: int
    """Frames done."""
    total: int
    """Frames there will be, claimed or estimated; 0 if unknown."""
    faces: int
    """Faces seen so far, summed over frames."""
    filled: int
    """Faces filled so far, summed over frames."""
    stage: str = "unmask"
    """"search" while the film is searched for bare faces, "unmask" while frames are written."""


@dataclass(frozen=True)
class Person:
    """One track: one person from coming into the picture to leaving it."""

    index: int
    """1 for the first who came into the picture, of several the leftmost; what `face_index` means. After a cut, and
    after leaving the picture for long, a person comes in anew; so after seconds in which nobody is masked, see `Signs`."""
    name: str
    """Who it is, if the user said so with the photo."""
    frames: int
    """Frames that show this person."""
    masked: int
    """Frames that show this person masked."""
    filled: int
    """Frames in which the mask was painted over."""
    reference: str | None
    """Name of the photo that was used; None: none was."""
    likeness: float
    """Of the upper face and the likest reference's, at most 1."""
    reason: str
    """Why the mask stayed, a key of `REASONS`; empty if it did not."""
    first: float = 0.0
    """When this person came into the picture, in seconds of the film's own time."""
    last: float = 0.0
    """When this person was last seen."""


@dataclass(frozen=True)
class Report:
    """What was done."""

    source: Path
    target: Path
    frames: int
    """Frames written."""
    face_frames: int
    """Faces seen, summed over frames, but for those where the search saw that nobody is masked."""
    masked: int
    """Masked faces, summed over frames."""
    filled: int
    """Faces filled, summed over frames."""
    people: tuple[Person, ...]
    seconds: float
    """The whole work, by the clock."""
    codec_seconds: float
    """What decoding and encoding alone would have taken, by the clock; 0 if not measured."""
    warnings: tuple[str, ...]
    """What does not come out as it went in, one sentence each."""
    damaged: int = 0
    """Places in the input whose data is damaged or missing; the film is whole but for them."""
    copied: bool = False
    """No face was painted, so the film is the input itself, copied as it is."""
    first_seconds: float = 0.0
    """From the beginning until the first frame was ready, by the clock."""
    worst: tuple[float, ...] = ()
    """When filled faces were turned farthest from their photos, the worst first, in seconds of the film's own time."""
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By stage, seconds on the CPU and by the clock; stages work side by side."""

    @property
    def ratio(self) -> float:
        """`seconds` to `codec_seconds`; 0 if the latter was not measured."""
        return self.seconds / self.codec_seconds if self.codec_seconds > 0 else 0.0

    @property
    def kept(self) -> dict[str, int]:
        """Reason (a key of `REASONS`) -> masked faces left as they were, summed over frames."""
        kept: dict[str, int] = {}
        for person in self.people:
            if person.masked > person.filled:
                kept[person.reason] = kept.get(person.reason, 0) + person.masked - person.filled
        return kept

    def summary(self) -> str:
        """The report in a few lines for people."""
        fps = self.frames / self.seconds if self.seconds > 0 else 0.0
        ratio = f", {self.ratio:.1f} times decoding and encoding alone" if self.ratio else ""
        people = f"{len(self.people)} {'person' if len(self.people) == 1 else 'people'}"
        lines = [
            f"frames       {self.frames}",
            f"faces        {self.face_frames} of {people}, {self.masked} masked",
            f"filled       {self.filled}",
            f"left masked  {sum(self.kept.values())}{_reasons(self.kept)}",
            *_listed([person for person in self.people if person.masked]),
            f"time         {self.seconds:.1f} s, {fps:.1f} frames a second{ratio}",
            *(f"warning      {warning}" for warning in self.warnings),
            *(["unchanged    no face was painted, so the film was copied"] if self.copied else []),
            f"written      {self.target}",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The report as values that `json.dumps` takes, `ratio` and `kept` among them."""
        paths = {"source": str(self.source), "target": str(self.target)}
        return asdict(self) | paths | {"ratio": self.ratio, "kept": self.kept}


def _reasons(kept: dict[str, int]) -> str:
    if not kept:
        return ""
    return ": " + "; ".join(f"{REASONS[reason]} ({number})" for reason, number in kept.items())


def _listed(people: list[Person]) -> list[str]:
    lines = [
        f"person {p.index:<5} {p.name + ', ' if p.name else ''}{p.filled} of {p.masked} filled"
        + (f" from {p.reference}, likeness {p.likeness:.2f}" if p.reference else "")
        for p in people[:MOST_LISTED]
    ]
    return lines + ([f"             and {len(people) - MOST_LISTED} more"] if len(people) > MOST_LISTED else [])
