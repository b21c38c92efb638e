"""The route of a frame, and `unmask`: one call from file to file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from itertools import islice, takewhile
from pathlib import Path
from threading import Event
from typing import Any

from unmask_video import (
    __version__,
    decode,
    encode,
    inpaint,
    reference,
    segment,
    smooth,
    steady,
    track,
    turns,
    warp,
)  # fmt: skip
from unmask_video.ahead import one_thread_each, read_ahead, side_by_side
from unmask_video.container import Limits
from unmask_video.errors import BadOption
from unmask_video.face import Face, Mask
from unmask_video.frame import Frame, VideoInfo
from unmask_video.journal import Journal, fingerprint
from unmask_video.models import FILES
from unmask_video.options import Options, check_paths
from unmask_video.reference import Views
from unmask_video.remux import copy_whole
from unmask_video.report import Progress, Report
from unmask_video.stopwatch import Stopwatch
from unmask_video.tally import Tally
from unmask_video.tools import Tools

FRAMES_AHEAD = 3
"""Frames whose faces are known and wait to be painted."""
LOOK_EVERY, SELDOM = 0.4, 0.8
"""Least seconds from one look to the next, where a film is searched for bare faces, and once there are `ENOUGH` of them."""
ENOUGH, MOST_LOOKS = 75, 1200
SURELY = 1.0
"""Most seconds between two looks that tell that nobody is masked; a mask of half a second would hardly be believed, either."""


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
    began = time.perf_counter()
    source, target = Path(source), Path(target)
    photos = [str(r) for r in ([reference] if isinstance(reference, (str, Path)) else reference)]
    check_paths(source, target, options.overwrite)
    encode.check_target(target)
    with one_thread_each(), ExitStack() as kept:
        video = kept.enter_context(decode.open_video(source, strict=options.strict, limits=limits(options)))
        tools = Tools.make(options)
        writer(video, target, options)  # which checks its options, and writes nothing yet
        given = tools.photos(photos)
        check_names(given, options)
        journal = kept.enter_context(Journal(target, facts(source, given, options))) if options.resume else None
        return unmasked(video, target, tools, given, options, journal, progress, began)


def unmasked(
    video: decode.Video,
    target: Path,
    tools: Tools,
    given: list[Views],
    options: Options,
    journal: Journal | None,
    progress: Callable[[Progress], None] | None,
    began: float,
) -> Report:
    """The work itself, when all that can be wrong with the wish has been told."""
    source, watch = video.path, Stopwatch()
    tools, done = (tools.remembered(journal), journal.frames) if journal else (tools, 0)
    out = writer(video, target, options, journal)
    mined, sign, seen = [], 0.0, 0
    if options.mine_references == "on":
        with watch.on("search"):
            mined, sign, seen = mine(video, tools, watch, progress)
    if options.model == "tps" and not given and not mined:
        raise BadOption("the model tps needs a photo of each face; give --reference PHOTO, or choose another --model")
    tally = Tally(source, target, tools.cast(given, mined, options), began, watch)
    waits = sign < segment.ON and not done and may_copy(source, target, options)
    if waits and seen and sign < segment.LITTLE:
        copy_whole(source, target)
        tally.copied, tally.frames = True, seen
    else:
        convert(video, out, tools, tally, options, progress, waits=waits, done=done)
    if tally.copied:
        return tally.report(0.0)
    tally.damaged = len(video.damage.found)
    tally.warnings = [*video.damage.told(source), *tally.invented(), *tools.crowds, *video.warnings, *out.warnings]
    return tally.report(video.busy_seconds + out.busy_seconds)


def check_names(given: list[Views], options: Options) -> None:
    """Raises BadOption where somebody is never to be filled of whom there is no photo, and who would not be known."""
    names = {photo.person for views in given for photo in views if photo.person}
    if unknown := [name for name in options.never if name not in names]:
        listed = ", ".join(sorted(names)) or "nobody"
        raise BadOption(f"never cannot be {unknown[0]!r}: the photos show {listed}; give --reference {unknown[0]}=PHOTO, too")


def limits(options: Options) -> Limits:
    return Limits(int(options.max_megapixels * 1e6), options.max_frames, options.max_streams)


def writer(video: decode.Video, target: Path, options: Options, journal: Journal | None = None) -> encode.Writer:
    return encode.Writer(
        target, video, encoder=options.encoder, crf=options.crf, preset=options.preset, audio=options.audio,
        start_seconds=options.trim_start, stop_seconds=options.trim_end, journal=journal,
    )  # fmt: skip


def facts(source: Path, given: list[Views], options: Options) -> dict[str, Any]:
    """All that a film depends on, by the words for it."""
    photos = sha256()
    for photo in (photo for views in given for photo in views):
        photos.update(f"{photo.name} {photo.person}".encode() + photo.image.tobytes() + photo.landmarks.tobytes())
    own = Path(options.model)
    weights = [entry.sha256 for entry in FILES.values()] + ([fingerprint(own)] if own.suffix == ".onnx" else [])
    chosen = {name: value for name, value in asdict(options).items() if name not in ("overwrite", "resume")}
    parts = {"version": f"{__version__} {version('av')}", "input": fingerprint(source)}
    return chosen | parts | {"reference": photos.hexdigest(), "weights": sha256("".join(weights).encode()).hexdigest()}


def mine(
    video: decode.Video, tools: Tools, watch: Stopwatch, progress: Callable[[Progress], None] | None = None
) -> tuple[list[Views], float, int]:
    """The people whose bare faces the film shows, looked for in all of it, whatever part is asked for.

    Also the clearest sign of a mask on the way, in 0..1, and how many frames there are; 0 if between two looks, or where
    data is damaged, a mask may have gone by.
    """
    beliefs, went = [0.0], 0

    def is_masked(frame: Frame, face: Face) -> Mask:
        mask = tools.is_masked(frame, face)
        beliefs.append(mask.belief)
        return mask

    def searched() -> Iterator[Frame]:
        nonlocal went
        for frame in frames:
            yield frame
            went += 1
            if progress:
                progress(Progress(went, video.info.frame_count, faces=0, filled=0, stage="search"))

    seconds = float(video.info.frame_count / video.info.average_rate) if video.info.average_rate else 0.0
    every = max(LOOK_EVERY, min(seconds / ENOUGH, SELDOM), seconds / MOST_LOOKS)
    with decode.open_video(video.path, limits=video.limits) as same, closing(same.frames()) as frames:
        found = reference.mine(
            searched(), every=every, beat=track.EVERY, settle=tools.settle, detect=tools.glance, segment=is_masked,
            identity=tools.identity, workers=tools.workers, watch=watch,
        )  # fmt: skip
    return found, max(beliefs), went if every <= SURELY and not same.damage.found else 0


def convert(
    video: decode.Video,
    out: encode.Writer,
    tools: Tools,
    tally: Tally,
    options: Options,
    progress: Callable[[Progress], None] | None,
    *,
    waits: bool,
    done: int,
) -> None:
    """All frames of an open video through the route and into the target, but for those that are done already.

    Where it `waits`, nothing is written before a face is painted; a film in which none is, is copied.
    """
    total, trim = total_frames(video.info, options), (options.trim_start, options.trim_end)
    with closing(video.frames(*trim)) as frames, closing(route(frames, tools, tally, done)) as painted, ExitStack() as writing:
        if not waits:
            writing.enter_context(out)
        for frame in painted:
            if waits and tally.painted:
                waits = False
                catch_up(writing.enter_context(out), video, tally.frames - 1)
            if not waits:
                out.write(frame)
            tally.first_seconds = tally.first_seconds or time.perf_counter() - tally.began
            if progress:
                progress(tally.progress(total))
    if waits:
        copy_whole(tally.source, tally.target)
        tally.copied = True


def may_copy(source: Path, target: Path, options: Options) -> bool:
    """Whether nothing but the faces is asked to change."""
    plain = ("trim_start", "trim_end", "encoder", "crf", "preset", "audio")
    same = all(getattr(options, name) == getattr(Options, name) for name in plain)
    return same and source.suffix.lower() == target.suffix.lower()


def catch_up(out: encode.Writer, video: decode.Video, count: int) -> None:
    """Write the first frames, so many, that were held back until it was known that one changes."""
    with closing(video.frames()) as frames:
        for frame in islice(frames, count):
            out.write(frame)


def route(frames: Iterable[Frame], tools: Tools, tally: Tally, done: int = 0) -> Generator[Frame, None, None]:
    """Every frame, in order, with its masked faces filled, those not that are `done`. Each line is a stage; memory is
    what they hold.

    Who and what is in the frames is found out on one thread, faces are painted on several, frames come out on the caller's,
    which paints them itself where there are but two cores; without look-ahead all is done on the caller's, and a frame comes
    out before the next is asked for.
    """
    watch, stop, look_ahead = tally.watch, Event(), tools.look_ahead
    taken = takewhile(lambda _: not stop.is_set(), frames)
    found = watch.stage("track", track.follow(taken, tools.linker(), look_ahead=look_ahead))
    found = watch.stage("steady", steady.steady(found, look_ahead=look_ahead))
    seen = watch.stage("segment", segment.segment(found, tools.segment, look_ahead=look_ahead))
    matched = watch.stage("match", tally.cast.match(seen, look_ahead=look_ahead))
    by_turns = partial(turns.by_turns, rest=tools.rest, first=done - smooth.WARM_UP)
    paint = partial(fill, tools=tools, watch=watch)
    ready = read_ahead(matched, FRAMES_AHEAD, "unmask-analyse") if look_ahead else matched
    asked = by_turns(tally.count(ready))
    several = look_ahead and tools.workers > 2  # else threads would more often wait for each other than work
    paintings = side_by_side(paint, asked, tools.workers, "unmask-paint") if several else (paint(one) for one in asked)
    with closing(ready), closing(paintings) as painted:
        try:
            filled = watch.stage("inpaint", turns.between(painted, look_ahead=look_ahead))
            for frame, patches in watch.stage("smooth", smooth.smooth(filled)):
                tally.frames += 1
                tally.painted = tally.painted or bool(patches)
                with watch.on("paste"):
                    done = warp.paste(frame, patches)
                yield done
        finally:
            # Else a thread that is to end would go on until its look-ahead is full.
            stop.set()


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
