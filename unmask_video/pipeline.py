"""The route of a frame, and `unmask`: one call from file to file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from unmask_video import decode, detect, encode, identify, inpaint, landmarks, reference, segment, smooth, steady, track, warp
from unmask_video.errors import BadOption, CannotDecode
from unmask_video.face import Detection, Face, FaceCrop, Mask, Patch, mean_face
from unmask_video.frame import Frame, VideoInfo
from unmask_video.options import Options, check_paths
from unmask_video.people import Cast, Matched, Photos
from unmask_video.reference import Views
from unmask_video.report import Person, Progress, Report
from unmask_video.runtime import fill_network

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
        tools = Tools.make(options)
        # Its options are checked before any work; nothing is written yet.
        out = writer(video, target, options)
        given = tools.photos(photos)
        mined = mine(video, tools, progress) if options.mine_references == "on" else []
        if options.model == "tps" and not given and not mined:
            bare = ", and the film shows no bare one" if options.mine_references == "on" else ""
            raise BadOption(f"the model tps needs a photo of each face{bare}; give --reference PHOTO, or choose another --model")
        tally = Tally(source, target, tools.cast(given, mined, options))
        convert(video, out, tools, tally, options, progress)
    tally.warnings = [*tally.invented(), *video.warnings, *out.warnings]
    return tally.report(time.perf_counter() - began, video.busy_seconds + out.busy_seconds)


def writer(video: decode.Video, target: Path, options: Options) -> encode.Writer:
    return encode.Writer(
        target, video, encoder=options.encoder, crf=options.crf, preset=options.preset, audio=options.audio,
        start_seconds=options.trim_start, stop_seconds=options.trim_end,
    )  # fmt: skip


def mine(
    video: decode.Video, tools: Tools, progress: Callable[[Progress], None] | None = None
) -> list[Views]:  # fmt: skip
    """The people whose bare faces the film shows, looked for in all of it, whatever part is asked for."""
    seconds = float(video.info.frame_count / video.info.average_rate) if video.info.average_rate else 0.0
    every = max(LOOK_EVERY, seconds / MOST_LOOKS)
    with decode.open_video(video.path) as same, closing(same.frames()) as frames:
        return reference.mine(
            searched(frames, video.info.frame_count, progress), every=every, detect=tools.detect, settle=tools.settle,
            segment=tools.is_masked, identity=tools.identity,
        )  # fmt: skip


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
) -> None:
    """All frames of an open video through the route and into the target."""
    total = total_frames(video.info, options)
    with out, closing(video.frames(options.trim_start, options.trim_end)) as frames:
        for frame in route(frames, tools, tally):
            out.write(frame)
            if progress:
                progress(tally.progress(total))


def route(frames: Iterable[Frame], tools: Tools, tally: Tally) -> Iterator[Frame]:
    """Every frame, in order, with its masked faces filled. Each line is a stage; memory is what they hold."""
    found = track.follow(frames, tools.linker())
    found = steady.steady(found)
    seen = segment.segment(found, tools.segment)
    matched = tally.cast.match(seen)
    filled = fill(tally.count(matched), tools)
    for frame, patches in smooth.smooth(filled):
        tally.frames += 1
        yield warp.paste(frame, patches)


def fill(matched: Iterable[Matched], tools: Tools) -> Iterator[smooth.Filled]:
    """Each masked face that has a reference, cut out and painted."""
    for frame, faces in matched:
        done = []
        for face, mask, photos in faces:
            if mask.present and photos:
                crop = warp.cut(frame, face, tools.size or warp.size_for(face))
                done.append((face.track_id, crop, mixed(crop, mask, photos, tools.fill)))
        yield frame, done


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

    detect: Callable[[Frame], list[Detection]]
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
            measure=backend,
            segment=segment.SEGMENTERS[options.segmenter](providers),
            is_masked=segment.unet(providers),
            identity=partial(identify.identity, providers=providers),
            fill=inpaint.by_network(network) if network else inpaint.tps,
            size=network.size if network else None,
        )

    def linker(self) -> track.Linker:
        return track.Linker(
            self.detect, self.measure, landmarks.region_of_landmarks, landmarks.region_of_detection,
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


@dataclass
class Tally:
    """Counts for the report."""

    source: Path
    target: Path
    cast: Cast
    frames: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    masked: dict[int, int] = field(default_factory=dict)
    filled: dict[int, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def count(self, matched: Iterable[Matched]) -> Iterator[Matched]:
        for frame, faces in matched:
            for face, mask, photos in faces:
                for table, true in (
                    (self.seen, True), (self.masked, mask.present), (self.filled, mask.present and len(photos) > 0)
                ):  # fmt: skip
                    table[face.track_id] = table.get(face.track_id, 0) + true
            yield frame, faces

    def progress(self, total: int) -> Progress:
        return Progress(self.frames, total, sum(self.seen.values()), sum(self.filled.values()))

    def report(self, seconds: float, codec_seconds: float) -> Report:
        people = tuple(self.person(t) for t in sorted(self.seen, key=lambda t: self.cast.seats[t].number))
        return Report(
            self.source, self.target, self.frames, sum(self.seen.values()), sum(self.masked.values()),
            sum(self.filled.values()), people, seconds, codec_seconds, tuple(self.warnings),
        )  # fmt: skip

    def person(self, track_id: int) -> Person:
        seat = self.cast.seats[track_id]
        masked, filled = self.masked[track_id], self.filled[track_id]
        known = seat.match is not None and seat.match.person is not None
        return Person(
            index=seat.number,
            name=next((photo.person for photo in seat.photos if known and photo.person), ""),
            frames=self.seen[track_id],
            masked=masked,
            filled=filled,
            reference=seat.photo.name if seat.photo and filled else None,
            likeness=seat.match.likeness if seat.match else 0.0,
            reason=seat.why if filled < masked else "",
        )

    def invented(self) -> list[str]:
        """A warning, if somebody was filled from nobody's photo."""
        mean = mean_face()
        count = sum(self.filled[t] > 0 and seat.photo is mean for t, seat in self.cast.seats.items() if t in self.filled)
        who = "one person" if count == 1 else f"{count} people"
        return [f"there is no photo of {who}, so the lower face is invented; give --reference PHOTO"] if count else []
