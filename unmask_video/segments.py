"""One film by many processes: a first pass over all of it, parts that are painted side by side, and the film of all parts.

The first pass settles who is where and filled from what, so that a part does not depend on who paints it, or on where the
film is cut. All three keep what they make in the folder beside the target, see `journal`; a part is some of its pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from unmask_video import __version__, decode, smooth, turns
from unmask_video.ahead import one_thread_each
from unmask_video.encode import check_target
from unmask_video.errors import BadOption, CannotDecode, CannotEncode
from unmask_video.frame import Frame
from unmask_video.journal import Journal, fingerprint, folder_of
from unmask_video.options import Options, check_paths
from unmask_video.pieces import SEGMENT, Pieces
from unmask_video.pipeline import analysed, copied, may_copy, painted, total_frames, unmasked
from unmask_video.provenance import write_beside
from unmask_video.remux import copy_whole
from unmask_video.report import Progress
from unmask_video.stopwatch import Stopwatch
from unmask_video.table import HEAD, Table, TableWriter
from unmask_video.tools import Tools
from unmask_video.work import Work, limits, photo_hashes, searched, told, work_on, writer

LONG = 3000
"""Frames up to which a film is not worth being cut: it is decoded twice, then."""
LEAD = smooth.WARM_UP + turns.MOST
"""Frames before a part that have a say in it."""
MICROSECOND = Fraction(1, 10**6)
"""As finely are trims told."""
Show = Callable[[Progress], None] | None


def begin(
    source: Path, target: Path, *, reference: Sequence[str], options: Options, cut: bool | None = None, progress: Show = None
) -> dict[str, Any]:  # fmt: skip
    """The first pass; or the whole film, where nobody in it is filled or it is not to be `cut`; None: short ones are not.

    Gives "report", as `Report.to_json` has it, how many "pieces" there are, none once the film is whole, and the numbers of
    those that are "missing". Raises UnmaskError.
    """
    with work_on(source, target, reference, options, progress) as work:
        total = total_frames(work.video.info, options)
        if work.journal is None or not (total > LONG if cut is None else cut):
            return {"report": unmasked(work).to_json(), "pieces": 0, "missing": []}
        if not (work.journal.folder / HEAD).exists() and (report := first_pass(work, total)):
            return {"report": report, "pieces": 0, "missing": []}
        work.journal.stays = True
        table = Table(work.journal.folder)
        there = Pieces(work.journal.folder)
        missing = [number for number in range(table.pieces) if not there.has(number)]
        return {"report": table.report, "pieces": table.pieces, "missing": missing}


def first_pass(work: Work, total: int) -> dict[str, Any] | None:
    """Write the table. If nobody is filled the film is copied, where it can be; then its report."""
    video, options = work.video, work.options
    plain = may_copy(video.path, work.target, options)
    tally = searched(work, whole=plain)
    if plain and copied(tally):
        return tally.report(0.0).to_json()
    table = TableWriter(work.journal.make())
    with (
        closing(video.frames(options.trim_start, options.trim_end)) as frames,
        closing(analysed(frames, work.tools, tally, video.info.in_hand)) as turned,
    ):
        for frame, faces in turned:
            table.add(frame, faces)
            tally.frames += 1
            if work.progress:
                work.progress(replace(tally.progress(total), stage="first pass"))
    tally.copied = plain and not table.photos
    report = told(tally, work, [], 0.0).to_json()
    if tally.copied:
        copy_whole(video.path, work.target)
        return report
    table.finish(report)
    for answers in work.journal.folder.glob("answers-*"):
        answers.unlink()  # the table tells what followed from them
    return None


def paint(
    source: Path, target: Path, *, first: int, last: int, options: Options, progress: Show = None
) -> None:
    """The pieces in [first, last) of a film whose first pass is done, but for those at their start that are there already.

    Raises UnmaskError.
    """
    folder = folder_of(target)
    kept_facts(source, folder)
    table, there = Table(folder), Pieces(folder)
    while first < last and there.has(first):
        first += 1
    if first >= min(last, table.pieces):
        return
    start, end = first * SEGMENT, min(last * SEGMENT, table.frames)
    with one_thread_each(), decode.open_video(source, strict=options.strict, limits=limits(options)) as video:
        tools = Tools.make(options)
        out = writer(video, target, options, Pieces(folder, begin=start, first=table.first, joins=False))
        frames = in_table(video, table, max(start - LEAD, 0), end + turns.MOST, options)
        asked = turns.wanted(frames, start - smooth.WARM_UP)
        with closing(painted(asked, tools, Stopwatch())) as done, out:
            for frame, _ in done:
                if frame.index == end:
                    break
                out.write(frame)
                if progress and frame.index >= start:
                    progress(Progress(frame.index - start + 1, end - start, 0, 0))


def join(source: Path, target: Path, *, reference: Sequence[str], options: Options) -> dict[str, Any]:
    """The film of all its pieces; gives its report, as `Report.to_json` has it.

    Raises UnmaskError; CannotEncode where a piece is missing.
    """
    check_paths(source, target, options.overwrite)
    check_target(target)
    folder = folder_of(target)
    facts, table = kept_facts(source, folder), Table(folder)
    with decode.open_video(source, limits=limits(options)) as video, Journal(target, facts) as journal:
        journal.stays = True
        if journal.frames != table.frames:
            raise CannotEncode(f"{target} lacks what comes after {journal.frames} of {table.frames} frames; paint it first")
        journal.first = table.first
        out = writer(video, target, options, journal)
        with out:
            pass  # all pictures are there
        journal.stays = False
    warnings = dict.fromkeys([*table.report["warnings"], *out.warnings])
    report = table.report | {"warnings": list(warnings)}
    if options.sidecar:
        write_beside(target, source, report=report, references=photo_hashes(reference), options=options)
    return report


def kept_facts(source: Path, folder: Path) -> dict[str, Any]:
    """What the film depends on, as the first pass told it. Raises BadOption if that was another film's, or another version's."""
    try:
        facts = json.loads((folder / "facts.json").read_bytes())
        same = facts["input"] == fingerprint(source) and facts["version"].split()[0] == __version__
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same:
        raise BadOption(f"{folder} holds no first pass over {source} by this version; make it anew by the same command")
    return facts


def in_table(video: decode.Video, table: Table, begin: int, end: int, options: Options) -> Iterator[turns.Turned]:
    """The frames whose numbers in the table are in [begin, end), as far as there are, and who is filled in them.

    Raises CannotDecode where the film is not as it was when the table was made.
    """
    times, found = table.times(begin, end), 0
    since = float(times[0] * video.info.time_base - video.first_seconds - MICROSECOND)
    # Some files cannot be entered in the middle, or tell other times then; they are read from their start.
    for start in dict.fromkeys((since if begin else options.trim_start, options.trim_start)):
        with closing(video.frames(max(start, 0.0))) as frames:
            for found, (frame, row) in enumerate(zip(at_times(frames, times), table.rows(begin), strict=False), 1):
                yield replace(frame, index=begin + found - 1, duration=row.duration), row.turns
        if found:
            break
    if found < len(times):
        raise CannotDecode(f"{video.path} does not decode as it did at first, from frame {begin + found} on; begin anew")


def at_times(frames: Iterable[Frame], times: list[int]) -> Iterator[Frame]:
    """Those frames, as long as they come one after the other."""
    place = 0
    for frame in frames:
        if frame.pts == times[place]:
            yield frame
            place += 1
            if place == len(times):
                return
        elif place or frame.pts > times[0]:
            return
