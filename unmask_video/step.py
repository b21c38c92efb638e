"""What a batch asks of a process: one step of the work on one film, told as JSON on stderr."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from unmask_video import decode, segments
from unmask_video.display import make_display
from unmask_video.options import Options
from unmask_video.remote import at_hand
from unmask_video.remux import copy_whole
from unmask_video.sheet import sheet
from unmask_video.verify import verify

CUT = {"whole": False, "begin": None, "cut": True}
"""First steps, and whether they leave the film to others."""


def take_step(step: str, source: str, target: str, reference: tuple[str, ...], options: Options) -> int:
    """The exit code.

    Args:
        step: one of `CUT`, see `segments.begin`; "paint:FIRST:LAST", see `segments.paint`; "join"; "copy"; or
            "look:SECONDS,...", which gives pictures before and after at those times, and "check:SECONDS,...", which
            verifies, too.
        source, target: paths, or addresses that fsspec knows.
        reference: see `unmask`.

    Raises:
        UnmaskError: see the steps.
    """
    what, _, rest = step.partition(":")
    with at_hand(source, target, step) as (here, there):
        told = _told(what, rest, here, there, reference, options)
    click.echo(json.dumps(told), err=True)
    return 3 if "report" in told and not told["missing"] and told["report"]["damaged"] else 0


def _told(what: str, rest: str, source: Path, target: Path, reference: tuple[str, ...], options: Options) -> dict[str, Any]:
    display = make_display("json", source.name)
    try:
        if what in CUT:
            return segments.begin(source, target, reference=reference, options=options, cut=CUT[what], progress=display)
        if what == "paint":
            first, last = map(int, rest.split(":"))
            segments.paint(source, target, first=first, last=last, options=options, progress=display)
            return {}
        if what == "join":
            return {"report": segments.join(source, target, reference=reference, options=options), "pieces": 0, "missing": []}
        if what == "copy":
            decode.open_video(source).close()  # or what is no film would count as done
            copy_whole(source, target)
            return {}
    finally:
        display.close()
    times = [float(text) for text in rest.split(",") if text]
    checks = [asdict(found) for found in verify(source, target)] if what == "check" else []
    return {"checks": checks, "sheet": base64.b64encode(sheet(source, target, times)).decode()}
