"""All of a film beside its pictures, copied as it is: sound, subtitles, attachments, chapters, tags."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition, Stream

from unmask_video.container import film_stream
from unmask_video.errors import CannotEncode

STALE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id")
STALE_TAGS += ("duration", "bps", "number_of_", "_statistics_")
"""Beginnings of the names of tags that describe the old file's bytes, not the film."""
MP4_TAGS = frozenset(
    "title artist album_artist composer album date comment genre copyright grouping lyrics description "
    "synopsis show episode_id network keywords season_number episode_sort compilation track disc tmpo "
    "creation_time".split()
)
"""The tags that plain MP4 has places for; others need its free form."""
MARK = "unmask-video"
"""What the line begins with that tells of an output where it comes from."""
COVERS = {"mjpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif"}
"""Codecs of cover pictures, and the names of their kinds."""
SOUND_STEP = Fraction(1, 10_000)
"""Seconds by which the time of a copied packet may be rounded without a word: 4 samples at 44.1 kHz."""
READ_ON_SECONDS = 10
"""How far behind a trim's end packets are still looked at; files are interleaved more finely."""


def part_of(target: Path) -> Path:
    """Where a film grows, beside the name that it gets when it is whole."""
    return target.with_name(f".{target.stem[:60]}.part-{os.getpid()}{target.suffix.lower()}")


def put_in_place(part: Path, target: Path) -> None:
    """Give a whole film its name."""
    with part.open("rb+") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
    os.replace(part, target)


def copy_whole(source: Path, target: Path) -> None:
    """The same film under another name, whole or not at all. Raises CannotEncode."""
    part = part_of(target)
    try:
        shutil.copyfile(source, part)
        put_in_place(part, target)
    except OSError as error:
        why = error.strerror
        raise CannotEncode(f"{source} could not be copied to {target} ({why}); free the disk, or choose another") from None
    finally:
        part.unlink(missing_ok=True)


def film_tags(metadata: dict[str, str]) -> dict[str, str]:
    """The tags that are true of the new file as well."""
    return {
        key: value for key, value in metadata.items() if not (key.lower().startswith(STALE_TAGS) or value.startswith(MARK))
    }  # fmt: skip


def moves(ticks: int, before: Fraction, after: Fraction) -> Fraction:
    """Seconds by which a time of `ticks` of `before` seconds moves when rounded to steps of `after`."""
    steps = ticks * before / after
    return abs(steps - round(steps)) * after


class Copier:
    """Copies packets of one open file into another, in step with its pictures."""

    def __init__(self, source: InputContainer, output: OutputContainer, *, suffix: str, audio: bool) -> None:
        """Make the streams in `output`; nothing is written yet. `suffix` names the container, e.g. ".mp4"."""
        self.warnings: list[str] = []
        self._source, self._output, self._suffix = source, output, suffix
        self._targets: dict[int, Stream] = {}
        self._last_dts: dict[int, int] = {}
        self._origin, self._begin, self._end = Fraction(0), None, None
        for stream in source.streams:
            if stream is not film_stream(source) and (audio or stream.type != "audio") and not is_made_by_muxer(stream):
                self._add(stream)
        self._packets: Iterator[av.Packet] | None = None
        self._next: av.Packet | None = None

    def start(self, *, origin: Fraction, begin: Fraction | None, end: Fraction | None) -> None:
        """Say what is copied: packets in [begin, end) seconds, moved so that `origin` becomes 0."""
        self._origin, self._begin, self._end = origin, begin, end
        for stream in self._source.streams:
            if stream.index not in self._targets:
                stream.discard = Discard.all
        copied = [self._source.streams[index] for index in self._targets]
        self._packets = self._source.demux(copied) if copied else iter(())
        self._next = next(self._packets, None)

    def copy_until(self, seconds: Fraction | None) -> None:
        """Write the packets before `seconds` in the target's time, or all that are left."""
        while self._next is not None and (seconds is None or self._when(self._next) - self._origin < seconds):
            if self._end is not None and self._when(self._next) > self._end + READ_ON_SECONDS:
                self._next = None
                return
            if self._belongs(self._next):
                self._write(self._next)
            self._next = next(self._packets, None)

    def chapters(self, begin: Fraction, end: Fraction | None) -> list[dict]:
        """The source's chapters within [begin, end) seconds, counted from `begin`; for `set_chapters`."""
        kept = []
        for chapter in self._source.chapters():
            base = chapter["time_base"]
            first = max(chapter["start"] * base, begin)
            last = chapter["end"] * base if end is None else min(chapter["end"] * base, end)
            if first < last:
                ticks = {"start": round((first - begin) / base), "end": round((last - begin) / base)}
                kept.append(chapter | ticks)
        return kept

    def needs_free_tags(self) -> bool:
        """Whether a tag of the file is one that plain MP4 has no place for."""
        return any(key not in MP4_TAGS for key in film_tags(self._source.metadata))

    def starts_between_milliseconds(self, *others: Fraction) -> bool:
        """Whether one of the source's streams, or of the other times, begins at no whole millisecond."""
        starts = [s.start_time * s.time_base for s in self._source.streams if s.start_time and s.time_base]
        return any(start * 1000 % 1 for start in (*starts, *others))

    def _add(self, stream: Stream) -> None:
        other = ".mkv" if self._suffix != ".mkv" else ".mp4 or .mov"
        if is_cover(stream) and self._output.format.name == "matroska":
            self._attach(stream)
        elif stream.type == "video" and not is_cover(stream):
            self._warn(f"{_name(stream)} is left out: only one film, sound, subtitles, data, attachments and covers are kept")
        elif not fits(stream, self._output.format.name):
            self._warn(f"{_name(stream)} is left out: {self._suffix} cannot hold it; choose {other}")
        elif stream.type == "attachment":
            self._output.add_attachment(stream.name or "attachment", stream.mimetype or "", stream.data)
        else:
            target = self._output.add_stream_from_template(stream, opaque=True)
            target.metadata.update(film_tags(stream.metadata))
            target.disposition = stream.disposition
            self._targets[stream.index] = target

    def _attach(self, cover: Stream) -> None:
        """A cover picture is an attachment in Matroska."""
        content = next((bytes(packet) for packet in self._source.demux(cover) if packet.size), b"")
        self._source.seek(0)
        kind = COVERS.get(cover.codec_context.name, "jpeg")
        name = cover.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        self._output.add_attachment(name, f"image/{kind}", content)

    def _when(self, packet: av.Packet) -> Fraction:
        ticks = packet.dts if packet.dts is not None else packet.pts
        return (ticks or 0) * packet.time_base

    def _belongs(self, packet: av.Packet) -> bool:
        if packet.size == 0:  # the demuxer's sign of a stream's end
            return False
        if packet.size == 2 and bytes(packet) == b"\0\0" and packet.stream.type == "subtitle":
            return False  # the muxer makes the gaps between lines by itself, and would double them
        if is_cover(packet.stream):
            packet.pts = packet.dts = 0
            return True
        if packet.pts is None:
            self._warn(f"packets without a time stamp in {_name(packet.stream)} are left out")
            return False
        when = packet.pts * packet.time_base
        if self._begin is not None and when < self._begin or self._end is not None and when >= self._end:
            return False
        if when + self._delay(packet.stream) < self._origin and self._suffix in (".mkv", ".webm"):
            self._warn(f"the run-in of {_name(packet.stream)}, before time 0, has no place in {self._suffix}")
            return False
        return True

    def _delay(self, stream: Stream) -> Fraction:
        """Seconds of run-in which the stream itself says are not to be played; these Matroska can hold."""
        if stream.type != "audio" or not stream.codec_context.delay:
            return Fraction(0)
        # Plus one step: Matroska rounds.
        return Fraction(stream.codec_context.delay, stream.codec_context.sample_rate) + Fraction(1, 1000)

    def _write(self, packet: av.Packet) -> None:
        target, index = self._targets[packet.stream_index], packet.stream_index
        shift = 0 if is_cover(packet.stream) else round(self._origin / packet.time_base)
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        if packet.dts <= self._last_dts.get(index, packet.dts - 1):
            self._warn(f"time stamps of {_name(packet.stream)} that stood still or ran back were moved on")
            packet.dts = self._last_dts[index] + 1
            packet.pts = max(packet.pts, packet.dts)
        self._last_dts[index] = packet.dts
        if moves(packet.pts, packet.time_base, target.time_base) > SOUND_STEP:
            self._warn(rounding(self._suffix, target.time_base))
        packet.stream = target
        self._output.mux(packet)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def fits(stream: Stream, muxer: str) -> bool:
    """Whether a container can hold a stream."""
    if stream.type == "attachment":
        return muxer == "matroska"
    # Only writing a header tells; the table of allowed codecs is longer than what the muxers do.
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def is_cover(stream: Stream) -> bool:
    return bool(stream.type == "video" and stream.disposition & Disposition.attached_pic)


def is_made_by_muxer(stream: Stream) -> bool:
    """Whether it is a track that MP4 makes of chapters (their text, which is not read by itself) or of the tag timecode."""
    return stream.type == "data" and (stream.discard == Discard.all or "timecode" in stream.metadata)


def rounding(suffix: str, step: Fraction) -> str:
    """The sentence that times had to be rounded."""
    return f"{suffix} holds times in steps of {step} s, so some were rounded to the nearest"


def _name(stream: Stream) -> str:
    codec = stream.codec_context.name if stream.codec_context else stream.name if stream.type == "data" else None
    language = stream.metadata.get("language")
    notes = ", ".join(note for note in (codec, language if language != "und" else None) if note)
    return f"{stream.type} track {stream.index}" + (f" ({notes})" if notes else "")
