"""A page that shows what became of a folder of films: one file, the worst first."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

from unmask_video import __version__
from unmask_video.outcome import STATES, Outcome
from unmask_video.report import REASONS

PAGE = "report.html"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
section { border-top: 1px solid #d0d7de; padding: .8rem 0 } h1 { font-size: 1.5rem } h2 { font-size: 1.05rem; margin: 0 }
img { max-width: 100%; display: block; margin: .5rem 0 } table { border-collapse: collapse } td { padding: .1rem .8rem .1rem 0 }
.bar { background: #eaeef2; width: 14rem; height: .7rem; position: relative }
.bar i { position: absolute; top: 0; bottom: 0; background: #0969da; min-width: 2px } .bar i.kept { background: #9a6700 }
.state { border-radius: .8rem; padding: 0 .6rem; background: #dafbe1 } .failed, .stopped { background: #ffd8d3 }
.partly { background: #fff1c2 } .left { background: #eaeef2 } p { margin: .2rem 0 } .note { color: #57606a }
"""
NOTE = "What was under the masks is painted in from photos: a reconstruction, no evidence of what anybody looked like or said."


def page(outcomes: list[Outcome], sheets: Path, seconds: float) -> str:
    """HTML that needs no other file; `sheets` holds a picture of each film, by its name."""
    counts = ", ".join(f"{n} {state}" for state in STATES if (n := sum(o.state == state for o in outcomes)))
    body = "".join(_film(outcome, sheets) for outcome in sorted(outcomes, key=_badness))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>unmask-video: {len(outcomes)} files</title>'
        f"<style>{STYLE}</style><h1>{len(outcomes)} files: {counts}</h1>"
        f'<p class="note">unmask-video {__version__}, {seconds / 60:.1f} minutes. {NOTE}</p>{body}</html>'
    )


def _badness(outcome: Outcome) -> tuple[Any, ...]:
    """What needs somebody's eye comes first."""
    rank = {"failed": 0, "stopped": 1, "partly": 2}.get(outcome.state, 4 if outcome.state == "left" else 3)
    report = outcome.report
    kept = sum(report.get("kept", {}).values()) / max(report.get("masked", 0), 1)
    likeness = min((p["likeness"] for p in report.get("people", []) if p["filled"]), default=1.0)
    return rank, not outcome.faults, -kept, likeness, outcome.name


def _film(outcome: Outcome, sheets: Path) -> str:
    report, lines = outcome.report, []
    if outcome.why:
        lines.append(escape(outcome.why))
    if outcome.faults:
        lines.append("not as it was but for faces: " + escape(", ".join(outcome.faults)))
    if report:
        kept = "; ".join(f"{n} left masked: {REASONS[reason]}" for reason, n in report["kept"].items())
        lines.append(f"{report['frames']} frames, {report['masked']} masked faces, {report['filled']} filled. {escape(kept)}")
        lines += ["No face was painted, so it was copied."] if report["copied"] else []
        lines += [escape(warning) for warning in report["warnings"]]
    lines += [f"Made in {outcome.parts} parts."] if outcome.parts else []
    lines += [escape(event) for event in outcome.events]
    checked = " verified" if outcome.checks and not outcome.faults else ""
    told = "".join(f"<p>{line}</p>" for line in lines)
    took = f" {outcome.seconds:.0f} s" if outcome.seconds else ""
    return (
        f'<section><h2>{escape(outcome.name)} <span class="state {outcome.state}">{outcome.state}{checked}</span>'
        f'<span class="note">{took}</span></h2>{told}{_people(report)}{_sheet(outcome, sheets)}</section>'
    )


def _people(report: dict[str, Any]) -> str:
    """Who is in the picture from when to when."""
    people = [person for person in report.get("people", []) if person["masked"]]
    if not people:
        return ""
    begin, end = min(p["first"] for p in people), max(p["last"] for p in people)
    rows = []
    for person in people:
        since, until = (100 * (person[when] - begin) / max(end - begin, 0.1) for when in ("first", "last"))
        kind = "" if person["filled"] else ' class="kept"'
        why = REASONS.get(person["reason"], "") if person["filled"] < person["masked"] else f"from {person['reference']}"
        who = escape(person["name"] or f"person {person['index']}")
        rows.append(
            f"<tr><td>{who}</td><td><div class='bar'>"
            f"<i{kind} style='left:{since:.1f}%;width:{until - since:.1f}%'></i></div></td>"
            f"<td>{person['first']:.1f} to {person['last']:.1f} s, {person['filled']} of {person['masked']} filled</td>"
            f"<td class='note'>{escape(why)}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _sheet(outcome: Outcome, sheets: Path) -> str:
    """The worst moments before and after, in the page itself."""
    picture = sheets / f"{outcome.name}.jpg"
    if outcome.state not in ("done", "partly", "there") or not outcome.report.get("filled") or not picture.is_file():
        return ""
    text = base64.b64encode(picture.read_bytes()).decode()
    words = "before and after, where a face was turned farthest from its photo"
    return f'<img alt="{words}" title="{words}" loading="lazy" src="data:image/jpeg;base64,{text}">'
