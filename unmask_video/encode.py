"""Frames -> video file: the same times, tags, sound and subtitles, whole or not at all.

    with Writer(target, video) as out:
        for frame in video.frames():
            out.write(frame)
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from unmask_video.container import Source, film_stream, open_input, to_picture
from unmask_video.encoders import (
    BITS_PER_PIXEL,
    MUXERS,
    SETTINGS,
    be_quiet,
    check_target,
    choose_encoder,
    choose_format,
    encoder_options,
    needs_even_sizes,
    unheld_tags,
    working,
)
from unmask_video.errors import BadEnvironment, BadOption, CannotEncode, UnmaskError
from unmask_video.frame import Frame
from unmask_video.remux import Copier, film_tags, moves, part_of, put_in_place, rounding

log = logging.getLogger(__name__)

QUEUE_FRAMES = 8


class Writer:
    """Writes frames to `target`, and with them all else of the film `video`. A context manager.

    On leaving without an error the film is whole and in place; else nothing is left behind and
    whatever stood at `target` is untouched.
    """

    warnings: list[str]
    """Sentences on what does not come out as it went in."""
    busy_seconds: float
    """Wall time spent inside the encoder so far."""

    def __init__(
        self,
        target: str | Path,
        video: Source,
        *,
        encoder: str = "auto",
        crf: int | None = None,
        preset: str | None = None,
        audio: bool = True,
        start_seconds: float = 0.0,
        stop_seconds: float | None = None,
    ) -> None:
        """Check the options; nothing is written yet.

        `start_seconds` and `stop_seconds` are the trim that the frames were read with; with a start
        the film's times begin at 0. Raises BadOption, BadEnvironment.
        """
        check_target(target)
        self.warnings = []
        self.busy_seconds = 0.0
        self._target, self._video, self._audio = Path(target), video, audio
        self._suffix = self._target.suffix.lower()
        self._encoder = choose_encoder(encoder, self._suffix)
        self._options = encoder_options(self._encoder, crf, preset)
        self._begin = None if not start_seconds else video.first_seconds + Fraction(start_seconds)
        self._end = None if stop_seconds is None else video.first_seconds + Fraction(stop_seconds)
        self._part = part_of(self._target)
        self._frames: queue.Queue[Frame | None] = queue.Queue(QUEUE_FRAMES)
        self._thread = threading.Thread(target=self._run, name="unmask-encode", daemon=True)
        self._error: BaseException | None = None
        self._abandoned = False
        self._output: OutputContainer | None = None
        self._files = contextlib.ExitStack()
        self._origin: int | None = None
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Writer:
        try:
            self._open()
        except BaseException as error:
            self._discard()
            raise self._ours(error) from None
        self._thread.start()
        return self

    def write(self, frame: Frame) -> None:
        """Hand over the next frame in display order; waits while the encoder is behind.

        Raises CannotEncode.
        """
        if self._error is not None:
            raise self._ours(self._error)
        self._frames.put(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._frames.put(None)
                self._thread.join()
                self._complete()
        except Exception as own:
            raise self._ours(own) from None
        finally:
            self._discard()

    # --- opening and closing -------------------------------------------------------------------

    def _open(self) -> None:
        if self._target.exists() and os.path.samefile(self._target, self._video.path):
            raise BadOption(f"the output {self._target} is the input itself; choose another name")
        source = self._files.enter_context(open_input(self._video.path))
        # The prefix: a name like "a:b.mp4" is no protocol. The muxer is said, never guessed from a name.
        self._output = av.open(f"file:{self._part.absolute()}", "w", format=MUXERS[self._suffix])
        self._stream = self._add_film(film_stream(source))
        self._copier = Copier(source, self._output, suffix=self._suffix, audio=self._audio)
        self._output.metadata.update(film_tags(source.metadata))
        first = self._video.first_seconds
        self._output.set_chapters(self._copier.chapters(self._begin or min(first, Fraction(0)), self._end))
        self._output.container_options.update(self._muxer_options())
        self._open_encoder()
        self._output.start_encoding()
        for sentence in unheld_tags(self._video.tags, suffix=self._suffix, encoder=self._encoder):
            self._warn(sentence)

    def _add_film(self, source: VideoStream) -> VideoStream:
        info, tags = self._video.info, self._video.tags
        rate = info.average_rate or Fraction(25)
        try:
            stream = self._output.add_stream(
                self._encoder, rate, options=self._options, time_base=info.time_base
            )
        except ValueError:
            raise BadOption(
                f"{self._suffix} cannot hold what {self._encoder} makes; choose encoder auto or a .mkv target"
            ) from None
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, self._pixel_format()
        context.color_range, context.colorspace = tags.color_range, tags.matrix
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.thread_type = "AUTO"  # PyAV's own choice makes libx264 cut pictures into slices
        if tags.sample_aspect:
            context.sample_aspect_ratio = tags.sample_aspect
        if self._encoder not in SETTINGS:
            context.bit_rate = int(BITS_PER_PIXEL * info.width * info.height * rate)
        if tags.display_matrix:
            stream.set_display_matrix(tags.display_matrix)
        stream.metadata.update(film_tags(source.metadata))
        stream.disposition = source.disposition
        return stream

    def _pixel_format(self) -> str:
        info = self._video.info
        wanted = info.pixel_format.replace("yuvj", "yuv")
        offered = [pixels.name for pixels in av.Codec(self._encoder, "w").video_formats or ()]
        even = needs_even_sizes(self._encoder)
        chosen = choose_format(wanted, (info.width, info.height), offered=offered, even_sizes=even)
        if chosen != wanted:
            size = f" of {info.width}x{info.height}" if wanted in offered else ""
            self._warn(f"{self._encoder} cannot write {wanted}{size}; the film is written as {chosen}")
        return chosen

    def _open_encoder(self) -> None:
        be_quiet()
        try:
            self._stream.codec_context.open()
        except av.FFmpegError as error:
            raise BadEnvironment(
                f"the encoder {self._encoder} does not work here for {self._video.info.width}x"
                f"{self._video.info.height} {self._stream.codec_context.pix_fmt} ({error.strerror}); "
                f"choose one of {working()}"
            ) from None

    def _muxer_options(self) -> dict[str, str]:
        if self._suffix == ".mkv":
            return {"default_mode": "passthrough"}  # else it marks tracks as the default ones by itself
        if self._suffix == ".webm":
            return {}
        options = {"movflags": "use_metadata_tags"} if self._copier.needs_free_tags() else {}
        # Late starts and the film's end are stored in these steps, which otherwise are 1/1000 s.
        streams = [stream for stream in self._output.streams if stream.time_base]
        if self._begin is None and not self._copier.starts_between_milliseconds(self._video.first_seconds):
            streams = [self._stream]  # coarser steps suit more players
        steps = math.lcm(1000, *(stream.time_base.denominator for stream in streams))
        options["movie_timescale"] = str(steps if steps < 2**31 else self._stream.time_base.denominator)
        return options

    def _complete(self) -> None:
        """Close the file and move it into place."""
        if self._error is not None:
            raise self._error
        if self._origin is None:
            raise CannotEncode(f"{self._target} was not written, for no frame came; check the trim")
        self._output.close()
        put_in_place(self._part, self._target)

    def _discard(self) -> None:
        """Stop the thread, close all that is open and remove the unfinished file, if there is one."""
        self._abandoned = True
        # Again and again: Ctrl-C in the middle of a queue's notify loses the wake-up of its reader.
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._frames.put_nowait(None)
            self._thread.join(0.1)
        if self._output is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._output.close()
        self._files.close()
        self._part.unlink(missing_ok=True)

    def _ours(self, error: BaseException) -> BaseException:
        if isinstance(error, UnmaskError) or not isinstance(error, (av.FFmpegError, OSError)):
            return error
        why = getattr(error, "strerror", None) or str(error)
        return CannotEncode(f"{self._target} could not be written ({why}); free the disk, or choose another")

    # --- on the encoding thread ----------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            frame = self._frames.get()
            last = frame is None
            # After an error the queue is still emptied, so that write() never waits for ever.
            if self._error is None and not self._abandoned:
                try:
                    self._finish() if last else self._encode(frame)
                except BaseException as error:
                    self._error = error

    def _encode(self, frame: Frame) -> None:
        if self._origin is None:
            self._start(frame)
        begin = time.perf_counter()
        pixel_format = self._stream.codec_context.pix_fmt
        picture = to_picture(frame, self._reformatter, pixel_format=pixel_format, tags=self._video.tags)
        picture.pts, picture.time_base = frame.pts - self._origin, frame.time_base
        picture.duration = frame.duration
        self._durations[picture.pts] = frame.duration
        packets = self._stream.encode(picture)
        self.busy_seconds += time.perf_counter() - begin
        self._mux(packets)

    def _start(self, first: Frame) -> None:
        # Times before 0 would be cut off by players, so such a film is moved as a whole.
        moved = self._begin is not None or first.pts < 0
        self._origin = first.pts if moved else 0
        if first.pts < 0 and self._begin is None:
            self._warn(f"the film began {-first.time_seconds:g} s before 0 and was moved to begin at 0")
        begin = first.pts * first.time_base if self._begin is not None else None
        self._copier.start(origin=self._origin * first.time_base, begin=begin, end=self._end)

    def _finish(self) -> None:
        if self._origin is None:
            return
        begin = time.perf_counter()
        packets = self._stream.encode(None)
        self.busy_seconds += time.perf_counter() - begin
        self._mux(packets)
        self._copier.copy_until(None)
        for sentence in self._copier.warnings:
            self._warn(sentence)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if moves(packet.pts, packet.time_base, self._stream.time_base):
                self._warn(rounding(self._suffix, self._stream.time_base))
            self._copier.copy_until(packet.dts * packet.time_base)
            self._output.mux(packet)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            log.info("%s: %s", self._target, sentence)
            self.warnings.append(sentence)
