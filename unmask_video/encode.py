"""Frames -> video file: the same times, tags, sound and subtitles, whole or not at all.

    with Writer(target, video) as out:
        for frame in video.frames():
            out.write(frame)

Where pieces are kept, the film is put together from them at the end, and those that are there are taken as they are; or
some are made, and another process puts them together.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from secrets import token_hex
from types import TracebackType

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from unmask_video.container import Source, to_picture
from unmask_video.encoders import (
    check_target,
    choose_encoder,
    encoder_options,
    open_encoder,
    rate_of,
    set_up,
    with_tags,
    x264_options,
)
from unmask_video.errors import BadOption, CannotEncode, UnmaskError
from unmask_video.film_file import FilmFile, Wanted, origin_of
from unmask_video.frame import Frame
from unmask_video.pieces import SEGMENT, Piece, Pieces, decode_times
from unmask_video.remux import part_of, put_in_place

log = logging.getLogger(__name__)


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
        pieces: Pieces | None = None,
        seal: Callable[[Path], None] | None = None,
    ) -> None:
        """Check the options; nothing is written yet.

        `start_seconds` and `stop_seconds` are the trim that the frames were read with; with a start
        the film's times begin at 0. `seal` is given the whole film before it gets its name. Raises BadOption, BadEnvironment.
        """
        check_target(target)
        self.warnings, self.busy_seconds = [], 0.0
        self._target, self._video = Path(target), video
        suffix = self._target.suffix.lower()
        chosen = choose_encoder(encoder, suffix)
        begin = None if not start_seconds else video.first_seconds + Fraction(start_seconds)
        end = None if stop_seconds is None else video.first_seconds + Fraction(stop_seconds)
        settings = x264_options(encoder_options(chosen, crf, preset), chosen, video.info)
        self._wanted = Wanted(suffix, chosen, with_tags(settings, chosen, video.tags), audio, begin, end)
        self._pieces, self._joins, self._seal = pieces, pieces is None or pieces.joins, seal
        self._part = pieces.folder / f"film.part-{token_hex(4)}{suffix}" if pieces else part_of(self._target)
        self._frames: queue.Queue[Frame | None] = queue.Queue(video.info.in_hand)
        self._thread = threading.Thread(target=self._run, name="unmask-encode", daemon=True)
        self._error: BaseException | None = None
        self._abandoned = False
        self._file: FilmFile | None = None
        self._context: VideoCodecContext | None = None
        self._piece: Piece | None = None
        self._first: int | None = pieces.first if pieces else None
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Writer:
        try:
            if self._target.exists() and self._target.samefile(self._video.path):
                raise BadOption(f"the output {self._target} is the input itself; choose another name")
            if self._pieces:
                self._pieces.make()
            self._open()
            if self._pieces:  # that was to see whether it can be done
                self._file.close()
                self._file = None
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
        self._file = FilmFile(self._part, self._video, self._wanted, self._warn)
        self._context, self._flags = self._file.context, self._file.context.flags

    def _complete(self) -> None:
        """Close the file and move it into place."""
        if self._error is not None:
            raise self._error
        if self._first is None:
            raise CannotEncode(f"{self._target} was not written, for no frame came; check the trim")
        if self._joins:
            self._file.close()
            if self._seal:
                self._seal(self._part)
            put_in_place(self._part, self._target)

    def _discard(self) -> None:
        """Stop the thread, close all that is open and remove the unfinished file, if there is one."""
        self._abandoned = True
        # Again and again: Ctrl-C in the middle of a queue's notify loses the wake-up of its reader.
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._frames.put_nowait(None)
            self._thread.join(0.1)
        if self._file is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._file.close()
        if self._piece is not None:
            self._piece.drop()
        self._part.unlink(missing_ok=True)
        # An error that somebody keeps holds this; an encoder that is cleared away with it at some later time may be so in a
        # forked process, which has not its threads, and would wait for them for ever.
        self._context = self._file = None

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
        if self._first is None:
            self._first = frame.pts
            if not self._pieces:
                self._file.start(frame.pts)
        if self._pieces:
            if frame.index < self._pieces.begin:
                return
            if frame.index % SEGMENT == 0:
                self._next_piece(frame.index // SEGMENT)
        begin = time.perf_counter()
        picture = to_picture(frame, self._reformatter, pixel_format=self._context.pix_fmt, tags=self._video.tags)
        picture.pts = frame.pts - origin_of(self._first, self._wanted.begin is not None)
        picture.time_base = frame.time_base
        picture.duration = frame.duration
        self._durations[picture.pts] = frame.duration
        packets = self._context.encode(picture)
        self.busy_seconds += time.perf_counter() - begin
        self._take(packets)

    def _finish(self) -> None:
        if self._first is None:
            return
        self._end_piece()
        if not self._joins:
            return
        if self._pieces:
            self._join()
        self._file.finish()

    def _next_piece(self, number: int) -> None:
        """A fresh encoder and a fresh piece; what was before is closed."""
        self._end_piece()
        self._piece = self._pieces.piece(number)
        info, encoder = self._video.info, self._wanted.encoder
        self._context = VideoCodecContext.create(encoder, "w")
        self._context.options, self._context.flags = dict(self._wanted.options), self._flags
        self._context.time_base, self._context.framerate = info.time_base, rate_of(info)
        set_up(self._context, encoder, info, self._video.tags)
        open_encoder(self._context, encoder)

    def _end_piece(self) -> None:
        if self._piece or not self._pieces:
            begin = time.perf_counter()
            packets = self._context.encode(None)
            self.busy_seconds += time.perf_counter() - begin
            self._take(packets)
        if self._piece:
            self._piece.close()
            self._piece = None

    def _join(self) -> None:
        """The film of all pieces."""
        self._open()
        self._file.start(self._first)
        base = self._video.info.time_base
        told = [[one for piece in self._pieces.pieces for one in piece[name]] for name in ("pts", "durations")]
        times = decode_times(*told)
        for (pts, duration, key, content), dts in zip(self._pieces.packets(), times, strict=True):
            if self._abandoned:
                return
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.duration, packet.time_base, packet.is_keyframe = pts, dts, duration, base, key
            self._file.mux(packet)

    def _take(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._piece:
                duration, content = packet.duration, bytes(packet)
                self._piece.add(pts=packet.pts, duration=duration, key=packet.is_keyframe, content=content)
            else:
                self._file.mux(packet)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            log.info("%s: %s", self._target, sentence)
            self.warnings.append(sentence)
