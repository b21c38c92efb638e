"""Synthetic films for tests, made with PyAV alone, and what a film's file says, to compare two of them.

Nothing here uses the package under test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts", ".avi": "avi"}
CLOCKWISE_90 = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
"""Sends the coded picture's right to below: what a phone held upright writes (players turn clockwise)."""
UPSIDE_DOWN = (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)
COUNTERCLOCKWISE_90 = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
MIRRORED = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
SOUND_RATE = 48000
KLV = bytes.fromhex("060e2b34020b01010e01030101000000")
"""The key of a local set of SMPTE 336M, as in the telemetry of drones."""


@dataclass(frozen=True)
class Film:
    """A film to be made by `write_film`."""

    size: tuple[int, int] = (96, 64)
    """Width, height."""
    pts: Sequence[int] = tuple(range(0, 12 * 512, 512))
    """Time stamp of each frame, in ticks."""
    last_duration: int = 512
    """Ticks."""
    time_base: Fraction = Fraction(1, 12800)
    rate: Fraction = Fraction(25)
    codec: str = "libx264"
    """FFmpeg's name of the encoder."""
    options: dict[str, str] = field(default_factory=lambda: {"crf": "12", "preset": "ultrafast"})
    pixel_format: str = "yuv420p"
    """As drawn: planar YUV or grey."""
    stored_format: str | None = None
    """As given to the encoder, if not the same."""
    color_range: int = 0
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    sample_aspect: Fraction | None = None
    display_matrix: tuple[int, ...] | None = None
    sound: Sequence[str] = ()
    """One track for each: its language, e.g. "eng"."""
    sound_codec: str = "aac"
    sound_seconds: float = 0.5
    sound_start: int = 0
    """Ticks of 1/48000 s."""
    subtitles: Sequence[tuple[int, int, str]] = ()
    """Start and duration in milliseconds, text."""
    data: str = ""
    """Codec of a track of five packets; "bin_data" is how MP4 holds the telemetry of cameras."""
    muxer_options: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    chapters: Sequence[tuple[int, int, str]] = ()
    """Start and end in milliseconds, title."""


def frames_25(count: int, start: int = 0) -> tuple[int, ...]:
    """Time stamps of `count` frames at 25 a second, in ticks of 1/12800 s."""
    return tuple(start + 512 * i for i in range(count))


def write_film(path: Path, film: Film) -> Path:
    """Make the film and return its path."""
    with av.open(str(path), "w", format=MUXERS[path.suffix]) as out:
        out.metadata.update(film.metadata)
        out.set_chapters([_chapter(i, *chapter) for i, chapter in enumerate(film.chapters)])
        out.container_options.update(film.muxer_options)
        if film.metadata and path.suffix in (".mp4", ".mov"):
            out.container_options["movflags"] = "use_metadata_tags"
        if (film.pts[0] or film.sound_start) and path.suffix in (".mp4", ".mov"):
            out.container_options["movie_timescale"] = "384000"
        video = _add_pictures(out, film)
        sounds = [_add_sound(out, film, language) for language in film.sound]
        writing = "mov_text" if path.suffix in (".mp4", ".mov") else "subrip"
        text = out.add_mux_stream(writing, time_base=Fraction(1, 1000)) if film.subtitles else None
        data = out.add_mux_stream(film.data, time_base=Fraction(1, 1000)) if film.data else None
        out.start_encoding()
        packets = [p for track, sound in enumerate(sounds) for p in _sound_packets(sound, film, track)]
        packets += [_text_packet(text, line, writing) for line in film.subtitles]
        packets += [_data_packet(data, number) for number in range(5 if data else 0)]
        packets += _picture_packets(video, film)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def write_sound(path: Path, film: Film) -> Path:
    """The film's sound alone."""
    with av.open(str(path), "w", format=MUXERS[path.suffix]) as out:
        sounds = [_add_sound(out, film, language) for language in film.sound]
        for track, sound in enumerate(sounds):
            out.mux(_sound_packets(sound, film, track))
    return path


def picture(index: int, size: tuple[int, int], pixel_format: str) -> list[np.ndarray]:
    """The planes of frame `index`: a smooth pattern without symmetry, brighter from frame to frame."""
    pixels = av.VideoFormat(pixel_format, *size)
    top = (1 << pixels.components[0].bits) - 1
    planes = []
    for number, part in enumerate(pixels.components):
        y, x = np.mgrid[0.5 : part.height, 0.5 : part.width] / [[[part.height]], [[part.width]]]
        level = [0.2 + 0.2 * x + 0.2 * y * y + 0.02 * (index % 15), 0.4 + 0.2 * x, 0.6 - 0.2 * y][number]
        planes.append((level * top).astype(np.uint8 if top < 256 else np.uint16))
    return planes


def rows(plane: av.video.plane.VideoPlane, dtype: type) -> np.ndarray:
    """The plane as an array [h, w] that can be written to."""
    stride = plane.line_size // np.dtype(dtype).itemsize
    return np.frombuffer(plane, dtype, plane.height * stride).reshape(plane.height, stride)[:, : plane.width]


def _add_pictures(out: av.container.OutputContainer, film: Film) -> av.VideoStream:
    video = out.add_stream(film.codec, film.rate, options=dict(film.options), time_base=film.time_base)
    video.width, video.height = film.size
    video.pix_fmt = film.stored_format or film.pixel_format
    video.color_range, video.colorspace = film.color_range, film.matrix
    video.color_primaries, video.color_trc = film.primaries, film.transfer
    if film.sample_aspect:
        video.sample_aspect_ratio = film.sample_aspect
    if film.display_matrix:
        video.set_display_matrix(film.display_matrix)
    return video


def _picture_packets(video: av.VideoStream, film: Film) -> list[av.Packet]:
    steps = np.diff([*film.pts, film.pts[-1] + film.last_duration]).tolist()
    durations = dict(zip(film.pts, steps, strict=True))
    packets = []
    for index, pts in enumerate(film.pts):
        frame = av.VideoFrame(*film.size, film.pixel_format)
        for plane, values in zip(frame.planes, picture(index, film.size, film.pixel_format), strict=True):
            rows(plane, values.dtype)[:] = values
        frame.color_range, frame.colorspace = film.color_range, film.matrix
        frame.color_primaries, frame.color_trc = film.primaries, film.transfer
        frame.pts, frame.time_base, frame.duration = pts, film.time_base, durations[pts]
        packets += video.encode(frame)
    packets += video.encode(None)
    for packet in packets:
        packet.duration = durations[packet.pts]
    return packets


def _add_sound(out: av.container.OutputContainer, film: Film, language: str) -> av.AudioStream:
    sound = out.add_stream(film.sound_codec, SOUND_RATE)
    sound.codec_context.layout = "mono"
    sound.codec_context.open()
    sound.metadata["language"] = language
    return sound


def _sound_packets(sound: av.AudioStream, film: Film, track: int) -> list[av.Packet]:
    samples = sound.codec_context.frame_size or 1024
    kind = sound.codec_context.format.name
    packets = []
    for start in range(0, int(film.sound_seconds * SOUND_RATE), samples):
        wave = 0.1 * np.sin(2 * np.pi * 440 * (track + 1) / SOUND_RATE * np.arange(start, start + samples))
        values = wave.astype(np.float32) if kind.startswith("flt") else (wave * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(values[None], format=kind, layout="mono")
        frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
        frame.pts = film.sound_start + start
        packets += sound.encode(frame)
    return packets + sound.encode(None)


def _text_packet(stream: av.stream.Stream, line: tuple[int, int, str], writing: str) -> av.Packet:
    start, duration, words = line
    data = words.encode()
    packet = av.Packet(len(data).to_bytes(2, "big") + data if writing == "mov_text" else data)
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = start
    packet.duration = duration
    return packet


def _data_packet(stream: av.stream.Stream, number: int) -> av.Packet:
    packet = av.Packet(KLV + bytes([4, *b"some"[:3], number]))
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = number * 90
    packet.duration = 90
    return packet


def _chapter(number: int, start: int, end: int, title: str) -> dict:
    times = {"start": start, "end": end, "time_base": Fraction(1, 1000)}
    return {"id": number, "metadata": {"title": title}} | times


@dataclass(frozen=True)
class Facts:
    """What a film's file says. Two films with equal facts play alike."""

    times: list[Fraction]
    """Seconds, of every frame in display order."""
    durations: list[Fraction]
    """Seconds for which each frame is shown: up to the next, the last to the film's end."""
    sound: list[list[tuple[Fraction, str]]]
    """Of every track: time in seconds and sha256 of every packet."""
    subtitles: list[list[tuple[Fraction, Fraction, bytes]]]
    """Of every track: time, duration, content."""
    languages: list[str | None]
    """Of the sound tracks."""
    display_matrix: tuple[int, ...] | None
    colour: tuple[int, int, int, int]
    """Range, primaries, transfer, matrix."""
    sample_aspect: Fraction | None
    pixel_format: str
    size: tuple[int, int]
    codec: str
    metadata: dict[str, str]
    chapters: list[tuple[Fraction, Fraction, str]]

    @property
    def count(self) -> int:
        return len(self.times)


def facts(path: Path) -> Facts:
    """Read the whole file."""
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        frames = [_frame_facts(f) for f in film.decode(video)]
        first = frames[0]
        times = [f["time"] for f in frames]
        end = times[-1] + frames[-1]["duration"]
        if "mp4" in film.format.name:  # its durations are steps between decoded frames, not shown ones
            end = (video.start_time + video.duration) * video.time_base
        return Facts(
            times=times,
            durations=[after - time for time, after in zip(times, [*times[1:], end], strict=True)],
            sound=[_packets(path, s.index) for s in film.streams.audio],
            subtitles=[_lines(path, s.index) for s in film.streams.subtitles],
            languages=[s.language for s in film.streams.audio],
            display_matrix=first["display_matrix"],
            colour=first["colour"],
            sample_aspect=video.sample_aspect_ratio or None,
            pixel_format=first["pixel_format"],
            size=first["size"],
            codec=video.codec_context.codec.canonical_name,
            metadata=dict(film.metadata),
            chapters=[
                (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title", ""))
                for c in film.chapters()
            ],
        )


def _frame_facts(frame: av.VideoFrame) -> dict:
    turned = [s for s in frame.side_data if s.type.name == "DISPLAYMATRIX"]
    colour = (frame.color_range, frame.color_primaries, frame.color_trc, frame.colorspace)
    return {
        "time": frame.pts * frame.time_base,
        "duration": (frame.duration or 0) * frame.time_base,
        "display_matrix": tuple(np.frombuffer(turned[0], np.int32, 9).tolist()) if turned else None,
        "colour": tuple(int(value) for value in colour),
        "pixel_format": frame.format.name,
        "size": (frame.width, frame.height),
    }


def _packets(path: Path, index: int) -> list[tuple[Fraction, str]]:
    with av.open(str(path)) as film:
        packets = [p for p in film.demux(film.streams[index]) if p.size]
        return [(p.pts * p.time_base, hashlib.sha256(bytes(p)).hexdigest()) for p in packets]


def _lines(path: Path, index: int) -> list[tuple[Fraction, Fraction, bytes]]:
    with av.open(str(path)) as film:
        packets = [p for p in film.demux(film.streams[index]) if p.size]
        return [(p.pts * p.time_base, p.duration * p.time_base, bytes(p)) for p in packets]
