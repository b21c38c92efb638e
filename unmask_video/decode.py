"""Video file -> frames: native planes, every time stamp, read ahead on a thread.

    with open_video(path) as video:
        for frame in video.frames():
            ...
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType

import av
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from unmask_video.ahead import read_ahead
from unmask_video.clock import Clock, Skim, stamp
from unmask_video.container import (
    MATRICES,
    READ_ERRORS,
    UNSPECIFIED,
    Limits,
    Tags,
    colour_of,
    convert,
    film_stream,
    open_input,
    planar_format,
    planes,
    rotation_deg,
    tags_of,
)
from unmask_video.damage import Damage, Refused, heard
from unmask_video.errors import BadOption, CannotDecode, CannotOpen
from unmask_video.frame import Frame, VideoInfo

log = logging.getLogger(__name__)

Note = Callable[[Fraction, str], None]
DROPPED = ("DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID", "DOVI_METADATA", "DOVI_RPU_BUFFER")


def open_video(path: str | Path, *, strict: bool = False, limits: Limits = Limits()) -> Video:
    """Open a video file and look at its first picture; `strict` refuses damaged data. Raises CannotOpen."""
    return Video(Path(path), strict, limits)


class Video:
    """A film that can be read, from its start, any number of times. A context manager."""

    path: Path
    info: VideoInfo
    """`pixel_format` is that of the frames, which is the file's where it is planar YUV or grey."""
    tags: Tags
    """How the pictures are to be shown; for the writing side."""
    first_seconds: Fraction
    """Time stamp of the first frame; trims count from here."""
    warnings: list[str]
    """Sentences on what is not read as it stands in the file; may grow while frames are read."""
    busy_seconds: float
    """Wall time spent inside the decoder so far."""
    damage: Damage
    """What was wrong with its data, as far as it was read."""

    def __init__(self, path: Path, strict: bool, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.damage = Damage(strict)
        self.warnings = []
        self.busy_seconds = 0.0
        self._readers: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()
        with open_input(path, limits) as container:
            self._look(container)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all reading; the threads are gone when this returns."""
        for reader in list(self._readers):
            reader.close()

    def frames(
        self, start_seconds: float = 0.0, stop_seconds: float | None = None, *, skim: Skim | None = None
    ) -> Iterator[Frame]:  # fmt: skip
        """Frames shown in [start, stop) seconds from the first frame, in display order, without those that a `skim` leaves out.

        Planes are read-only: they are the decoder's own memory. Raises BadOption for an impossible
        trim, CannotDecode where data is damaged, if that is refused. The reading thread is joined when the iterator
        ends, raises or is closed.
        """
        window = self._window(start_seconds, stop_seconds)
        reader = read_ahead(self._read(*window, skim), self.info.in_hand, "unmask-decode")
        self._readers.add(reader)
        return reader

    # --- looking -----------------------------------------------------------------------------

    def _look(self, container: InputContainer) -> None:
        stream = film_stream(container)
        if stream is None:
            holds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise CannotOpen(f"{self.path} holds no moving picture (only {holds}); give a video file")
        if stream.codec_context is None:
            raise CannotOpen(f"{self.path} is in a format that cannot be decoded here; convert it to H.264")
        first = self._first_picture(container, stream)
        self.tags = tags_of(first, stream)
        self.info = _info(first, stream, container, rotation_deg(self.tags.display_matrix))
        self.colour = colour_of(self.tags, self.info.pixel_format, first.height)
        self.first_seconds = (stamp(first) or 0) * Fraction(stream.time_base)
        self._end: int | None = None
        if stream.duration and "mp4" in container.format.name:  # others only estimate it
            self._end = (stream.start_time or 0) + stream.duration
        self._warn_of_changes(first, stream)

    def _first_picture(self, container: InputContainer, stream: VideoStream) -> av.VideoFrame:
        try:
            with contextlib.closing(self._decoded(container, stream)) as pictures:
                return next(pictures)
        except (StopIteration, *READ_ERRORS):
            why = "holds no picture that can be decoded; give a whole video file"
            raise CannotOpen(f"{self.path} {why}") from None

    def _warn_of_changes(self, first: av.VideoFrame, stream: VideoStream) -> None:
        if first.format.name != self.info.pixel_format:
            self._warn(f"{first.format.name} pictures are read as {self.info.pixel_format}")
        if self.tags.matrix not in (*MATRICES, 0, UNSPECIFIED) and not first.format.is_rgb:
            self._warn(f"colour matrix {self.tags.matrix} is unknown and taken for {self.colour.matrix}")
        if first.interlaced_frame:
            self._warn("the film is interlaced; faces are painted on whole frames, both fields at once")
        lost = [side.type.name for side in first.side_data if side.type.name in DROPPED]
        if lost:
            self._warn(f"HDR data that changes from scene to scene is not kept ({', '.join(lost)})")

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            log.info("%s: %s", self.path, sentence)
            self.warnings.append(sentence)

    # --- reading -----------------------------------------------------------------------------

    def _window(self, start: float, stop: float | None) -> tuple[Fraction, Fraction | None]:
        if not (math.isfinite(start) and start >= 0):
            raise BadOption(f"the trim cannot start at {start!r}; give seconds, 0 or more")
        if stop is not None and not (math.isfinite(stop) and stop > start):
            raise BadOption(f"the trim cannot end at {stop!r}; give seconds, more than its start's {start:g}")
        first, fine = self.first_seconds, 10**6
        begin = first + Fraction(start).limit_denominator(fine)
        return begin, None if stop is None else first + Fraction(stop).limit_denominator(fine)

    def _read(self, begin: Fraction, end: Fraction | None, skim: Skim | None) -> Iterator[Frame]:
        """Frames whose time stamps lie in [begin, end) seconds. Runs on the reading thread."""
        clock, reformatter = Clock(self.info, end=self._end, warn=self._warn), VideoReformatter()
        emitted = 0
        try:
            for picture, pts, duration in clock.timed(self._pictures(begin, skim)):
                if end is not None and pts * self.info.time_base >= end:
                    break
                if pts * self.info.time_base >= begin:
                    native = self._native(picture, reformatter)
                    if emitted == self.limits.frames:
                        raise BadOption(f"{self.path} has more than {emitted} frames; allow more by --max-frames")
                    index = skim.number(pts) if skim and skim.left_out else emitted
                    yield self._frame(native, index=index, pts=pts, duration=duration)
                    emitted += 1
        except Refused as error:
            raise self._broken_off(clock, str(error)) from None
        if emitted == 0:
            start = float(begin - self.first_seconds)
            raise BadOption(f"no frame of {self.path} lies in the trim from {start:g} s on; choose another")

    def _pictures(self, begin: Fraction, skim: Skim | None) -> Iterator[av.VideoFrame]:
        """Pictures from the key frame at or before `begin` seconds, else from the file's start."""
        seek = begin > self.first_seconds and self._seek_lands_before(begin)
        with open_input(self.path, self.limits) as container:
            stream = film_stream(container)
            if seek:
                container.seek(int(begin / stream.time_base), stream=stream)

            def note(when: Fraction, why: str) -> None:
                if when >= begin:
                    self.damage.note(when - self.first_seconds, why)

            yield from self._decoded(container, stream, whole=not seek, note=note, skim=skim)

    def _seek_lands_before(self, begin: Fraction) -> bool:
        # Some seeks land late, for one on a key frame whose leading pictures are lost.
        try:
            with open_input(self.path, self.limits) as container:
                stream = film_stream(container)
                container.seek(int(begin / stream.time_base), stream=stream)
                with contextlib.closing(self._decoded(container, stream)) as pictures:
                    head = next(pictures)
            return head.pts is not None and head.pts * stream.time_base <= begin
        except (StopIteration, *READ_ERRORS):
            return False

    def _decoded(
        self, container: InputContainer, stream: VideoStream, *, whole: bool = False, note: Note = lambda when, why: None,
        skim: Skim | None = None,
    ) -> Generator[av.VideoFrame, None, None]:
        """Decoded pictures in display order, as far as they can be; damage after the first one is noted, in seconds."""
        # Not whole frames ahead: such threads complain while Python waits for their end, and wait for Python to be heard.
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(self.limits.pixels)}  # a header may lie
        packets, started, when = container.demux(stream), False, Fraction(0)
        packets, decode = (skim.known(packets), partial(self._decode, skim=skim)) if skim else (packets, self._decode)
        missing = len(stream.index_entries) if whole else 0
        names = stream.codec_context.name, container.format.name
        while True:
            packet, pictures, said = heard(packets, decode, names)
            if packet is None:
                break
            missing -= packet.size > 0
            when = Fraction(stamp(packet) * stream.time_base) if stamp(packet) is not None else when
            # A stream cut out of a longer one may begin with packets that refer to lost pictures.
            if started and said:
                note(when, said[-1])
            started = started or bool(pictures)
            yield from pictures
        # A file cut between two pictures ends without an error, but its index tells of more.
        if started and (said or missing > 0):
            note(when, said[-1] if said else "its end is missing")

    def _decode(self, packet: av.Packet, skim: Skim | None = None) -> list[av.VideoFrame]:
        begin = time.perf_counter()
        if skim:
            packet.stream.codec_context.skip_frame = "NONREF" if skim.leaves_out(packet) else "DEFAULT"
        try:
            return packet.decode()
        finally:
            self.busy_seconds += time.perf_counter() - begin

    def _native(self, picture: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
        """The picture in the film's pixel format and size."""
        wanted, size = self.info.pixel_format, (self.info.width, self.info.height)
        if (picture.width, picture.height) != size:
            other = f"{picture.width}x{picture.height}"
            self._warn(f"pictures of another size, {other}, are scaled to {size[0]}x{size[1]}")
        elif picture.format.name == wanted:
            return picture
        return convert(picture, reformatter, pixel_format=wanted, size=size, tags=self.tags)

    def _frame(self, picture: av.VideoFrame, *, index: int, pts: int, duration: int) -> Frame:
        return Frame(
            planes=planes(picture),
            pixel_format=self.info.pixel_format,
            colour=self.colour,
            rotation_deg=self.info.rotation_deg,
            index=index,
            pts=pts,
            duration=duration,
            time_base=self.info.time_base,
        )

    def _broken_off(self, clock: Clock, why: str) -> CannotDecode:
        last = (clock.previous or 0) * self.info.time_base - self.first_seconds
        return CannotDecode(
            f"{self.path} is damaged after {clock.count} frames, at {float(last):.2f} s ({why}); "
            "repair it, end the trim before that, or do without --strict"
        )


def _info(first: av.VideoFrame, stream: VideoStream, container: InputContainer, rotation: int) -> VideoInfo:
    rate = stream.average_rate or Fraction(0)
    length = Fraction(container.duration or 0, av.time_base)
    if stream.duration:
        length = stream.duration * stream.time_base
    return VideoInfo(
        width=first.width,
        height=first.height,
        pixel_format=planar_format(first.format),
        rotation_deg=rotation,
        average_rate=rate,
        time_base=stream.time_base,
        frame_count=stream.frames or round(length * rate),
        codec=stream.codec_context.codec.canonical_name,
    )
