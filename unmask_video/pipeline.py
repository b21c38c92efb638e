"""The route of a frame, and `unmask`: one call from file to file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from threading import Event

from unmask_video import (
    decode,
    encode,
    inpaint,
    segment,
    smooth,
    steady,
    track,
    turns,
    warp,
)  # fmt: skip
from unmask_video.ahead import read_ahead, side_by_side
from unmask_video.frame import Frame, VideoInfo
from unmask_video.opening import Opening
from unmask_video.options import Options
from unmask_video.provenance import write_beside
from unmask_video.remux import copy_whole
from unmask_video.report import Progress, Report
from unmask_video.stopwatch import Stopwatch
from unmask_video.tally import Tally
from unmask_video.tools import Tools
from unmask_video.work import Work, searched, told, work_on, writer


def unmask(
    source: str | Path,
    target: str | Path,
    *,
    reference: Sequence[str | Path] | str | Path = (),
    options: Options = Options(),
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Film `source` with the face masks painted over, as `target`.

    Args:
        source: a video file.
        target: a file name; its ending chooses the container. Written whole or not at all.
        reference: photos of the people's bare faces; `photo.jpg#2` is the second face from the left,
            `anna=photo.jpg` says who it is.
        options: everything else.
        progress: called after every frame that was searched for bare faces, then after every written one.

    Raises:
        UnmaskError: see `unmask_video.errors`; whatever stood at `target` is then untouched.
    """
    with work_on(Path(source), Path(target), reference, options, progress) as work:
        return unmasked(work)


def unmasked(work: Work) -> Report:
    """The work itself."""
    video, target, options = work.video, work.target, work.options
    out, done = writer(video, target, options, work.journal), work.journal.frames if work.journal else 0
    plain = may_copy(video.path, target, options)
    with ExitStack() as writing:
        opening = Opening(out, writing, ended=plain or done > 0 or trimmed(options))
        tally = searched(work, whole=plain, opening=opening)
        waits = plain and not done and tally.signs.clearest < segment.ON
        if opening.written and opening.written == tally.signs.frames:
            tally.frames = opening.written
        elif not (waits and copied(tally)):
            convert(work, out, tally, writing, waits=waits, done=done, opened=opening.written)
    if tally.copied:
        return tally.report(0.0)
    report = told(tally, work, out.warnings, video.busy_seconds + out.busy_seconds)
    if options.sidecar:
        write_beside(target, video.path, report=report.to_json(), references=work.references, options=options)
    return report


def copied(tally: Tally) -> bool:
    """Copy a film of which the search tells for sure that nobody in it is masked; whether it was."""
    if tally.signs.none():
        copy_whole(tally.source, tally.target)
        tally.copied, tally.frames = True, tally.signs.frames
    return tally.copied


def convert(
    work: Work, out: encode.Writer, tally: Tally, writing: ExitStack, *, waits: bool, done: int, opened: int
) -> None:  # fmt: skip
    """All frames of a film through the route and into the target, but for those that are done already, or `opened` it.

    Where it `waits`, nothing is written before a face is painted; a film in which none is, is copied.
    """
    video, options = work.video, work.options
    total, trim, ahead = total_frames(video.info, options), (options.trim_start, options.trim_end), video.info.in_hand
    if not (waits or opened):
        writing.enter_context(out)
    with (
        closing(video.frames(*trim)) as frames,
        closing(route(frames, work.tools, tally, max(done, opened), ahead=ahead)) as painted,
    ):
        for frame in painted:
            if waits and tally.painted:
                waits = False
                catch_up(writing.enter_context(out), video, tally.frames - 1)
            if not waits and frame.index >= opened:
                out.write(frame)
            tally.first_seconds = tally.first_seconds or time.perf_counter() - tally.began
            if work.progress:
                work.progress(tally.progress(total))
    if waits:
        copy_whole(tally.source, tally.target)
        tally.copied = True


def may_copy(source: Path, target: Path, options: Options) -> bool:
    """Whether nothing but the faces is asked to change."""
    plain = ("trim_start", "trim_end", "encoder", "crf", "preset", "audio")
    same = all(getattr(options, name) == getattr(Options, name) for name in plain)
    return same and source.suffix.lower() == target.suffix.lower()


def trimmed(options: Options) -> bool:
    return options.trim_start > 0 or options.trim_end is not None


def catch_up(out: encode.Writer, video: decode.Video, count: int) -> None:
    """Write the first frames, so many, that were held back until it was known that one changes."""
    with closing(video.frames()) as frames:
        for frame in islice(frames, count):
            out.write(frame)


def route(
    frames: Iterable[Frame], tools: Tools, tally: Tally, done: int = 0, *, ahead: int = 8
) -> Generator[Frame, None, None]:  # fmt: skip
    """Every frame, in order, with its masked faces filled, those not that are `done`.

    Who and what is in the frames is found out on one thread, faces are painted on several, frames come out on the caller's,
    which paints them itself where there are but two cores; without look-ahead all is done on the caller's, and a frame comes
    out before the next is asked for. So many frames `ahead` may wait to be painted.
    """
    with closing(analysed(frames, tools, tally, ahead)) as turned:
        asked = turns.wanted(turned, done - smooth.WARM_UP)
        with closing(painted(asked, tools, tally.watch)) as done_frames:
            for frame, changed in done_frames:
                tally.frames += 1
                tally.painted = tally.painted or changed
                yield frame


def analysed(frames: Iterable[Frame], tools: Tools, tally: Tally, ahead: int) -> Generator[turns.Turned, None, None]:
    """Who is filled in each frame, and from what. Each line is a stage; memory is what they hold."""
    watch, stop, look_ahead = tally.watch, Event(), tools.look_ahead
    taken = takewhile(lambda _: not stop.is_set(), frames)
    found = watch.stage("track", track.follow(taken, tools.linker(), idle=tally.signs.none_near, look_ahead=look_ahead))
    found = watch.stage("steady", steady.steady(found, look_ahead=look_ahead))
    met = watch.stage("match", tally.cast.meet(found))
    seen = watch.stage("segment", segment.segment(met, tools.segment, tools.is_masked, look_ahead=look_ahead))
    matched = watch.stage("match", tally.cast.match(seen))
    ready = read_ahead(matched, ahead, "unmask-analyse") if look_ahead else matched
    with closing(ready):
        try:
            yield from turns.by_turns(tally.count(ready), rest=tools.rest)
        finally:
            # Else a thread that is to end would go on until its look-ahead is full.
            stop.set()


def painted(asked: Iterable[turns.Turned], tools: Tools, watch: Stopwatch) -> Generator[tuple[Frame, bool], None, None]:
    """Each frame with those faces filled, and whether there was one."""
    paint, look_ahead = partial(fill, tools=tools, watch=watch), tools.look_ahead
    several = look_ahead and tools.workers > 2  # else threads would more often wait for each other than work
    paintings = side_by_side(paint, asked, tools.workers, "unmask-paint") if several else (paint(one) for one in asked)
    with closing(paintings):
        filled = watch.stage("inpaint", turns.between(paintings, look_ahead=look_ahead))
        for frame, patches in watch.stage("smooth", smooth.smooth(filled)):
            with watch.on("paste"):
                done = warp.paste(frame, patches)
            yield done, bool(patches)


def fill(turned: turns.Turned, tools: Tools, watch: Stopwatch) -> tuple[Frame, list[turns.Painted]]:
    """A frame, and each masked face that has a reference, cut out and painted if it is its turn."""
    frame, faces = turned
    done = []
    for turn in faces:
        with watch.on("inpaint"):
            crop = warp.cut(frame, turn.face, tools.size(turn.face))
            guides = [warp.guide(crop, photo) for photo, _ in turn.photos] if turn.anew else []
            paintings = [inpaint.painted(tools.fill, crop, turn.mask, guide) for guide in guides]
            hidden = paintings[0].hidden if paintings else inpaint.hole(turn.mask, crop.size)
            done.append(turns.Painted(turn, crop, hidden, paintings))
    return frame, done


def total_frames(info: VideoInfo, options: Options) -> int:
    """How many frames there will be, as far as the header tells; 0 if it does not."""
    if not info.average_rate or not info.frame_count:
        return info.frame_count
    first = int(options.trim_start * info.average_rate)
    last = info.frame_count if options.trim_end is None else int(options.trim_end * info.average_rate)
    return max(0, min(last, info.frame_count) - first)
