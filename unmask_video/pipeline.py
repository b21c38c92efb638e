"""The route of a frame, and `unmask`: one call from file to file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from threading import Event

import numpy as np

from unmask_video import decode, detect, encode, identify, inpaint, landmarks, reference, segment, smooth, steady, track, warp
from unmask_video.ahead import cores, read_ahead, side_by_side
from unmask_video.errors import BadOption, CannotDecode
from unmask_video.face import Detection, Face, FaceCrop, Mask, Patch, mean_face
from unmask_video.frame import Frame, VideoInfo
from unmask_video.options import Options, check_paths
from unmask_video.people import Cast, Matched, Photos
from unmask_video.reference import Views
from unmask_video.remux import copy_whole
from unmask_video.report import Progress, Report
from unmask_video.runtime import fill_network
from unmask_video.stopwatch import Stopwatch
from unmask_video.tally import Tally

FRAMES_AHEAD = 4
"""Frames whose faces are known and wait to be painted."""
MOST_WORKERS = 8
"""Most threads that paint; each has two frames in hand."""
LOOK_EVERY = 0.5
"""Seconds from one look to the next, where a film is searched for bare faces."""
MOST_LOOKS = 1200


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
    with decode.open_video(source) as video:
        tools, out = Tools.make(options), writer(video, target, options)  # which checks its options, and writes nothing yet
        given = tools.photos(photos)
        watch = Stopwatch()
        with watch.on("search"):
            mined, worn = mine(video, tools, progress) if options.mine_references == "on" else ([], False)
        if options.model == "tps" and not given and not mined:
            raise BadOption("the model tps needs a photo of each face; give --reference PHOTO, or choose another --model")
        tally = Tally(source, target, tools.cast(given, mined, options), began, watch)
        convert(video, out, tools, tally, options, progress, waits=not worn and may_copy(source, target, options))
    if not tally.copied:
        tally.warnings = [*tally.invented(), *video.warnings, *out.warnings]
    return tally.report(0.0 if tally.copied else video.busy_seconds + out.busy_seconds)


def writer(video: decode.Video, target: Path, options: Options) -> encode.Writer:
    return encode.Writer(
        target, video, encoder=options.encoder, crf=options.crf, preset=options.preset, audio=options.audio,
        start_seconds=options.trim_start, stop_seconds=options.trim_end,
    )  # fmt: skip


def mine(
    video: decode.Video, tools: Tools, progress: Callable[[Progress], None] | None = None
) -> tuple[list[Views], bool]:  # fmt: skip
    """The people whose bare faces the film shows, looked for in all of it, whatever part is asked for.

    And whether a mask was seen on the way.
    """
    worn = False

    def is_masked(frame: Frame, face: Face) -> Mask:
        nonlocal worn
        mask = tools.is_masked(frame, face)
        worn = worn or mask.belief >= segment.ON
        return mask

    seconds = float(video.info.frame_count / video.info.average_rate) if video.info.average_rate else 0.0
    every = max(LOOK_EVERY, seconds / MOST_LOOKS)
    with decode.open_video(video.path) as same, closing(same.frames()) as frames:
        found = reference.mine(
            searched(frames, video.info.frame_count, progress), every=every, settle=tools.settle,
            detect=partial(tools.detect, longest=detect.GLANCE),  # small faces would hardly serve
            segment=is_masked, identity=tools.identity,
        )  # fmt: skip
    return found, worn


def searched(
    frames: Iterable[Frame], total: int, progress: Callable[[Progress], None] | None
) -> Iterator[Frame]:  # fmt: skip
    """Frames up to where the film breaks off, which will be told when it is converted."""
    with suppress(CannotDecode):
        for count, frame in enumerate(frames, 1):
            yield frame
            if progress:
                progress(Progress(count, total, faces=0, filled=0, stage="search"))


def convert(
    video: decode.Video,
    out: encode.Writer,
    tools: Tools,
    tally: Tally,
    options: Options,
    progress: Callable[[Progress], None] | None,
    *,
    waits: bool,
) -> None:
    """All frames of an open video through the route and into the target.

    Where it `waits`, nothing is written before a face is painted; a film in which none is, is copied.
    """
    total, trim = total_frames(video.info, options), (options.trim_start, options.trim_end)
    with closing(video.frames(*trim)) as frames, closing(route(frames, tools, tally)) as done, ExitStack() as writing:
        if not waits:
            writing.enter_context(out)
        for frame in done:
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


def route(frames: Iterable[Frame], tools: Tools, tally: Tally) -> Generator[Frame, None, None]:
    """Every frame, in order, with its masked faces filled. Each line is a stage; memory is what they hold.

    Who and what is in the frames is found out on one thread, faces are painted on several, frames come out on the caller's.
    """
    watch, stop = tally.watch, Event()
    found = watch.stage("track", track.follow(takewhile(lambda _: not stop.is_set(), frames), tools.linker()))
    found = watch.stage("steady", steady.steady(found))
    seen = watch.stage("segment", segment.segment(found, tools.segment))
    matched = watch.stage("match", tally.cast.match(seen))
    paint = partial(fill, tools=tools, watch=watch)
    with (
        closing(read_ahead(matched, FRAMES_AHEAD, "unmask-analyse")) as ready,
        closing(side_by_side(paint, tally.count(ready), min(cores(), MOST_WORKERS), "unmask-paint")) as filled,
    ):
        try:
            for frame, patches in watch.stage("smooth", smooth.smooth(filled)):
                tally.frames += 1
                tally.painted = tally.painted or bool(patches)
                with watch.on("paste"):
                    done = warp.paste(frame, patches)
                yield done
        finally:
            # Else a thread that is to end would go on until its look-ahead is full.
            stop.set()


def fill(matched: Matched, tools: Tools, watch: Stopwatch) -> smooth.Filled:
    """A frame, and each masked face that has a reference, cut out and painted."""
    frame, faces = matched
    done = []
    for face, mask, photos in faces:
        if mask.present and photos:
            with watch.on("inpaint"):
                crop = warp.cut(frame, face, tools.size or warp.size_for(face))
                done.append((face.track_id, crop, mixed(crop, mask, photos, tools.fill)))
    return frame, done


def mixed(crop: FaceCrop, mask: Mask, photos: Photos, fill: inpaint.Fill) -> Patch:
    """What the photos make of a face, by their shares, as far as it shows."""
    patches = [(inpaint.painted(fill, crop, mask, warp.guide(crop, photo)), share) for photo, share in photos]
    image = sum(patch.image * np.float32(share) for patch, share in patches)
    return replace(patches[0][0], image=image, alpha=patches[0][0].alpha * np.float32(mask.share))


def total_frames(info: VideoInfo, options: Options) -> int:
    """How many frames there will be, as far as the header tells; 0 if it does not."""
    if not info.average_rate or not info.frame_count:
        return info.frame_count
    first = int(options.trim_start * info.average_rate)
    last = info.frame_count if options.trim_end is None else int(options.trim_end * info.average_rate)
    return max(0, min(last, info.frame_count) - first)


@dataclass(frozen=True)
class Tools:
    """The networks, ready to be called."""

    detect: Callable[..., list[Detection]]
    """Of a frame, shrunk to `longest` pixels if that is said."""
    detect_near: Callable[[Frame, np.ndarray], list[Detection]]
    measure: landmarks.Measure
    segment: Callable[[Frame, Face], Mask]
    is_masked: Callable[[Frame, Face], Mask]
    """Our own network whatever was chosen: k-means takes every face for masked."""
    identity: Callable[[Frame, np.ndarray], np.ndarray]
    fill: inpaint.Fill
    size: int | None
    """Pixels of the crops that are filled; None: what suits the face."""

    @staticmethod
    def make(options: Options) -> Tools:
        providers = options.execution_providers
        backend = landmarks.mediapipe_backend() if options.landmarks == "mediapipe" else landmarks.onnx_backend(providers)
        network = None if options.model == "tps" else fill_network(options.model, providers)
        return Tools(
            detect=partial(detect.detect, providers=providers),
            detect_near=partial(detect.detect_near, providers=providers),
            measure=backend,
            segment=segment.SEGMENTERS[options.segmenter](providers),
            is_masked=segment.unet(providers),
            identity=partial(identify.identity, providers=providers),
            fill=inpaint.by_network(network) if network else inpaint.tps,
            size=network.size if network else None,
        )

    def linker(self) -> track.Linker:
        def look(frame: Frame, in_full: bool) -> list[Detection]:
            return self.detect(frame, longest=detect.LONGEST if in_full else detect.GLANCE)

        return track.Linker(
            look, self.detect_near, self.measure, landmarks.region_of_landmarks, landmarks.region_of_detection,
            landmarks.landmarks_of_detection,
        )  # fmt: skip

    def settle(self, frame: Frame, found: Detection) -> tuple[np.ndarray, float]:
        return self.linker().settle(frame, found)

    def photos(self, names: Sequence[str]) -> list[Views]:
        """The people on the photos that the user gave."""
        load = partial(reference.load, detect=self.detect, settle=self.settle, identity=self.identity)
        return reference.group([load(name) for name in names])

    def cast(self, given: list[Views], mined: list[Views], options: Options) -> Cast:
        """Who may be in the film: those of the photos, or where none was given, those whom the film shows bare."""
        least = identify.SAME_PERSON if given else identify.SAME_IN_FILM
        return Cast(
            reference.join(given, mined) if given else mined, identity=self.identity,
            assign=partial(identify.assign, least=least), chosen=options.face_index, fill_unmatched=options.unmatched == "fill",
            stand_in=None if given or options.model == "tps" else mean_face(),
        )  # fmt: skip
