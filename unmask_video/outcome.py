"""What became of each file of a batch, and where it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unmask_video import __version__
from unmask_video.journal import write_whole

REPORT = "report.json"
STATES = ("done", "partly", "there", "failed", "stopped", "left")
"""partly: what could be done of damaged data; there: since an earlier run; left: no film."""
NOT_BEGUN = "was stopped before its end; the same command goes on"


@dataclass
class Outcome:
    """What became of one file."""

    name: str
    target: str
    state: str
    """One of `STATES`."""
    why: str = ""
    """Why it is not done, in a sentence."""
    seconds: float = 0.0
    tries: int = 0
    parts: int = 0
    """That it was cut into; 0: it was made in one go."""
    events: list[str] = field(default_factory=list)
    """What went wrong on the way and was mended, a sentence each."""
    report: dict[str, Any] = field(default_factory=dict)
    """`Report.to_json`; empty if there is none."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    """What `verify` found; empty if it was not asked."""

    @property
    def faults(self) -> list[str]:
        return [check["what"] for check in self.checks if check["verdict"] == "FAULT"]

    @property
    def good(self) -> bool:
        """Nothing is left to be done, and nothing is wrong."""
        return self.state in ("done", "there", "left") and not self.faults


def remembered(outcome: Outcome, before: dict[str, Outcome]) -> Outcome:
    """What an earlier run told of a film that is there since then."""
    earlier = before.get(outcome.name)
    if outcome.state != "there" or earlier is None or earlier.target != outcome.target:
        return outcome
    return replace(earlier, state="partly" if earlier.state == "partly" else "there")


def read_report(out: Path) -> dict[str, Outcome]:
    """Of an earlier run, by name; empty if there is none that can be read."""
    try:
        films = json.loads((out / REPORT).read_bytes())["films"]
        return {film["name"]: Outcome(**film) for film in films}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_report(out: Path, words: Sequence[str], outcomes: list[Outcome]) -> None:
    """Raises CannotEncode."""
    films = [asdict(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.name)]
    states = {state: sum(film["state"] == state for film in films) for state in STATES}
    told = {"version": __version__, "options": list(words), "states": states, "films": films}
    write_whole(out / REPORT, json.dumps(told).encode())
