"""A film on its way into a file: encoded pictures, and with them all else of the source."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from unmask_video.container import Source, film_stream, open_input
from unmask_video.encoders import KEEPS_FIELDS, MUXERS, OWN_OPTIONS, open_encoder, rate_of, set_up, unheld_tags
from unmask_video.errors import BadOption
from unmask_video.provenance import mark
from unmask_video.remux import Copier, film_tags, moves, rounding


@dataclass(frozen=True)
class Wanted:
    """What kind of file it is to be."""

    suffix: str
    """In lower case; it says the container."""
    encoder: str
    """FFmpeg's name."""
    options: dict[str, str] = field(hash=False)
    """The encoder's."""
    audio: bool
    begin: Fraction | None
    """Seconds of the source that become 0; None: times stay."""
    end: Fraction | None
    """Seconds of the source at which it ends; None: there."""


class FilmFile:
    """An open file that takes packets; `stream` is the film's, `context` its encoder."""

    def __init__(self, path: Path, video: Source, wanted: Wanted, warn: Callable[[str], None]) -> None:
        """Raises BadOption, BadEnvironment, and what libav raises."""
        self.video, self.wanted, self.warn = video, wanted, warn
        with contextlib.ExitStack() as opened:
            source = opened.enter_context(open_input(video.path))
            # The prefix: a name like "a:b.mp4" is no protocol. The muxer is said, never guessed from a name.
            self.output = av.open(f"file:{path.absolute()}", "w", format=MUXERS[wanted.suffix])
            opened.callback(self.output.close)
            self.stream = self._add_film(film_stream(source))
            self.context: VideoCodecContext = self.stream.codec_context
            self.copier = Copier(source, self.output, suffix=wanted.suffix, audio=wanted.audio)
            self.output.metadata.update(mark(film_tags(source.metadata)))
            first = wanted.begin or min(video.first_seconds, Fraction(0))
            self.output.set_chapters(self.copier.chapters(first, wanted.end))
            self.output.container_options.update(self._muxer_options())
            open_encoder(self.context, wanted.encoder)
            self.output.start_encoding()
            self._files = opened.pop_all()
        for sentence in unheld_tags(video.tags, suffix=wanted.suffix, encoder=wanted.encoder):
            warn(sentence)

    def start(self, first: int) -> None:
        """Begin to copy, in step with a film whose first frame has this time stamp."""
        base, trimmed = self.video.info.time_base, self.wanted.begin is not None
        if first < 0 and not trimmed:
            self.warn(f"the film began {float(-first * base):g} s before 0 and was moved to begin at 0")
        origin = origin_of(first, trimmed) * base
        self.copier.start(origin=origin, begin=first * base if trimmed else None, end=self.wanted.end)

    def mux(self, packet: av.Packet) -> None:
        """The next packet of the film; what belongs before it goes before it."""
        if moves(packet.pts, packet.time_base, self.stream.time_base):
            self.warn(rounding(self.wanted.suffix, self.stream.time_base))
        packet.stream = self.stream
        self.copier.copy_until(packet.dts * packet.time_base)
        self.output.mux(packet)

    def finish(self) -> None:
        """All that is left of the source."""
        self.copier.copy_until(None)
        for sentence in self.copier.warnings:
            self.warn(sentence)

    def close(self) -> None:
        """Close the file, and the source."""
        self._files.close()

    def _add_film(self, source: VideoStream) -> VideoStream:
        info, tags, encoder = self.video.info, self.video.tags, self.wanted.encoder
        try:
            stream = self.output.add_stream(encoder, rate_of(info), options=self.wanted.options, time_base=info.time_base)
        except ValueError:
            sentence = f"{self.wanted.suffix} cannot hold what {encoder} makes; choose encoder auto or a .mkv target"
            raise BadOption(sentence) from None
        set_up(stream.codec_context, encoder, info, tags)
        self._tell_of(stream.codec_context.pix_fmt)
        if tags.display_matrix:
            stream.set_display_matrix(tags.display_matrix)
        stream.metadata.update(film_tags(source.metadata))
        stream.disposition = source.disposition
        return stream

    def _tell_of(self, chosen: str) -> None:
        info, tags, encoder = self.video.info, self.video.tags, self.wanted.encoder
        wanted = info.pixel_format.replace("yuvj", "yuv")
        if (tags.display or tags.light) and encoder not in OWN_OPTIONS:
            self.warn(f"what HDR10 says of its display and its light is not kept by {encoder}; choose libx264")
        if tags.fields and encoder != KEEPS_FIELDS:
            self.warn(f"{encoder} writes whole frames, so the film is no longer said to be interlaced; choose libx264")
        if chosen != wanted:
            offered = [pixels.name for pixels in av.Codec(encoder, "w").video_formats or ()]
            size = f" of {info.width}x{info.height}" if wanted in offered else ""
            self.warn(f"{encoder} cannot write {wanted}{size}; the film is written as {chosen}")

    def _muxer_options(self) -> dict[str, str]:
        if self.wanted.suffix == ".mkv":
            return {"default_mode": "passthrough"}  # else it marks tracks as the default ones by itself
        if self.wanted.suffix == ".webm":
            return {}
        options = {"movflags": "use_metadata_tags"} if self.copier.needs_free_tags() else {}
        # Late starts and the film's end are stored in these steps, which otherwise are 1/1000 s.
        streams = [stream for stream in self.output.streams if stream.time_base]
        if self.wanted.begin is None and not self.copier.starts_between_milliseconds(self.video.first_seconds):
            streams = [self.stream]  # coarser steps suit more players
        steps = math.lcm(1000, *(stream.time_base.denominator for stream in streams))
        options["movie_timescale"] = str(steps if steps < 2**31 else self.stream.time_base.denominator)
        return options


def origin_of(first: int, trimmed: bool) -> int:
    """Ticks of the source that become 0. Times before 0 would be cut off by players, so such a film is moved as a whole."""
    return first if trimmed or first < 0 else 0
