"""What a film's file says of all but its pictures: streams, packets, tags, chapters; and what of it another may hold."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream

from unmask_video.container import film_stream, open_input
from unmask_video.encoders import MUXERS
from unmask_video.remux import film_tags, fits, is_cover, is_made_by_muxer

GAP = b"\0\0"
"""MP4's subtitle of no text, which fills the time between two lines."""


@dataclass(frozen=True)
class Track:
    """A stream that is not the film's pictures."""

    kind: str
    """audio, subtitle, attachment, data or video (a cover picture, or a second film)."""
    codec: str
    tags: dict[str, str]
    disposition: int
    times: tuple[Fraction, ...]
    """Seconds, of each packet."""
    hashes: tuple[str, ...]
    """sha256 of each packet, or of an attachment."""

    @property
    def name(self) -> str:
        notes = (self.codec, self.tags.get("language", "und").replace("und", ""), self.tags.get("filename", ""))
        return f"{self.kind} ({', '.join(note for note in notes if note)})"


@dataclass(frozen=True)
class Contents:
    """All but the pictures."""

    tracks: tuple[Track, ...]
    tags: dict[str, str]
    """That are true of any copy of the film."""
    film_tags: dict[str, str]
    """Of its first stream, likewise."""
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    """Start and end in seconds, title."""
    film_end: Fraction | None
    """When the last picture ends, in seconds, where the container knows."""


def contents(path: Path) -> Contents:
    """Read the whole file. Raises CannotOpen."""
    with open_input(path) as film:
        stream = film_stream(film)
        others = others_of(film)
        told: dict[int, list[tuple[Fraction, str]]] = {other.index: [] for other in others}
        copied = [other for other in others if other.type != "attachment"]
        for packet in film.demux(copied) if copied else ():
            content = _bare(bytes(packet), packet.stream)
            if packet.size and not (packet.stream.type == "subtitle" and content == GAP):
                when = packet.pts if packet.pts is not None else packet.dts
                when = 0 if is_cover(packet.stream) else when
                told[packet.stream_index].append(((when or 0) * packet.time_base, sha256(content).hexdigest()))
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title", "")) for c in film.chapters()
        ]
        end = None
        if stream.duration and "mp4" in film.format.name:
            end = ((stream.start_time or 0) + stream.duration) * stream.time_base
        return Contents(
            tuple(_track(other, told[other.index]) for other in others), film_tags(film.metadata),
            film_tags(stream.metadata), tuple(chapters), end,
        )  # fmt: skip


def _bare(content: bytes, stream: Stream) -> bytes:
    """AAC without the heads (ADTS) that MPEG-TS wants and others do without."""
    if stream.type == "audio" and stream.codec_context and stream.codec_context.name == "aac" and content[:1] == b"\xff":
        if len(content) > 7 and content[1] & 0xF6 == 0xF0:
            return content[7 if content[1] & 1 else 9 :]
    return content


def _track(stream: Stream, packets: list[tuple[Fraction, str]]) -> Track:
    codec = stream.codec_context.name if stream.codec_context else (stream.name or "") * (stream.type == "data")
    if stream.type == "attachment":
        packets = [(Fraction(0), sha256(bytes(stream.data)).hexdigest())]
    times, hashes = zip(*packets, strict=True) if packets else ((), ())
    return Track(stream.type, codec, film_tags(stream.metadata), int(stream.disposition), times, hashes)


def others_of(film: InputContainer) -> list[Stream]:
    """What is not the film's pictures, and not made of its chapters or its tags."""
    return [other for other in film.streams if other is not film_stream(film) and not is_made_by_muxer(other)]


def holds(suffix: str, path: Path, number: int) -> bool:
    """Whether a container can hold the `number`th of a film's `tracks`."""
    with open_input(path) as film:
        stream = others_of(film)[number]
        return (stream.type != "video" or is_cover(stream)) and fits(stream, MUXERS[suffix])
