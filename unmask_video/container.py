"""What decode, remux and encode share about libav: safe opening, pixel formats, picture tags."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from unmask_video.errors import CannotOpen
from unmask_video.frame import Colour, Frame, VideoInfo

# A playlist or a script can name any other file. Both walls are needed: each alone has a hole.
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"
SAFE = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
KINDS = "mp4, mov, mkv, webm, avi, mpeg, ts, flv, ogg or wmv"
READ_ERRORS = (av.FFmpegError, OSError)
"""What reading and decoding may raise: libav's errors, and those of the file beneath it."""
BUFFER_BYTES = 1 << 18

PLANAR = re.compile(r"(?:yuvj?4(?:20|22|44)p|gray)(?:(?:9|10|12|14|16)le)?")
"""The pixel formats whose planes a Frame carries as they are."""

LOWER_FIRST = (3, 4)
"""FFmpeg's ids of the orders of fields in which the lower is shown first."""
BT709, UNSPECIFIED, BT601 = 1, 2, 6
"""FFmpeg's ids of matrices; "unspecified" is the same for primaries and transfer curves."""
MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 7: "bt709", 9: "bt2020", 10: "bt2020"}
"""FFmpeg's ids of matrices that we know; FCC (4) and SMPTE 240M (7) are taken for their near twins."""
PQ = 16
"""FFmpeg's id of the transfer curve of SMPTE ST 2084."""


@dataclass(frozen=True)
class Tags:
    """How the first stream's pictures are to be shown; numbers are FFmpeg's ids."""

    color_range: int
    """0 unspecified, 1 limited, 2 full."""
    primaries: int
    transfer: int
    matrix: int
    sample_aspect: Fraction | None
    """Width by height of one pixel; None if unspecified."""
    display_matrix: tuple[int, ...] | None
    """The nine numbers that turn (and perhaps mirror) the coded picture; None: shown as coded."""
    fields: str = ""
    """Of an interlaced film, which is first: "tff", the upper, or "bff"."""
    display: tuple[float, ...] = ()
    """That an HDR10 film was made on: x and y (CIE 1931) of its red, green, blue and white, then its least and its most
    light in cd/m2; empty if the film does not say."""
    light: tuple[int, ...] = ()
    """cd/m2, of an HDR10 film's brightest pixel, and of the brightest picture's mean; empty if it does not say."""


@dataclass(frozen=True)
class Limits:
    """What a file may ask for; more is refused before it is done."""

    pixels: int = 36_000_000
    """Of a picture: 8K."""
    frames: int = 5_000_000
    """Two days at 25 a second."""
    streams: int = 64


class Source(Protocol):
    """What the writing side needs to know of a film; `decode.Video` is one."""

    path: Path
    info: VideoInfo
    tags: Tags
    first_seconds: Fraction


@contextmanager
def open_input(path: Path, limits: Limits = Limits()) -> Iterator[InputContainer]:
    """Open a video file so that nothing but this file is read. Raises CannotOpen."""
    with _open_file(path) as file:
        _refuse_playlist(path, file.read(64))
        file.seek(0)
        container = _open_container(path, file, limits)
        try:
            yield container
        finally:
            container.close()


def _open_file(path: Path) -> BinaryIO:
    try:
        _check_file(path)
        return path.open("rb")
    except OSError as error:
        why = error.strerror or error
        raise CannotOpen(f"{path} cannot be read ({why}); check its permissions, or copy it") from None


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CannotOpen(f"{path} is a folder; give a video file")
    if not path.exists():
        raise CannotOpen(f"{path} does not exist; check the path")
    if not path.is_file():  # opening a pipe could wait for ever
        raise CannotOpen(f"{path} is not a plain file; give a video file")
    if path.stat().st_size == 0:
        raise CannotOpen(f"{path} is empty; give a video file")


def _refuse_playlist(path: Path, head: bytes) -> None:
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"#EXTM3U", b"ffconcat")):
        raise CannotOpen(f"{path} is a playlist, which could name any other file; give the video file itself")


def _open_container(path: Path, file: BinaryIO, limits: Limits) -> InputContainer:
    options = SAFE | {"max_streams": str(limits.streams + 1)}
    try:
        container = av.open(file, options=options, metadata_errors="replace", buffer_size=BUFFER_BYTES)
    except (*READ_ERRORS, ValueError) as error:
        why = getattr(error, "strerror", None) or "its format is unknown"
        sentence = f"{path} is not a video that can be read ({why}); give a whole {KINDS} file"
        raise CannotOpen(sentence) from None
    try:
        _refuse_excess(path, container, limits)
    except CannotOpen:
        container.close()
        raise
    return container


def _refuse_excess(path: Path, container: InputContainer, limits: Limits) -> None:
    if len(container.streams) > limits.streams:
        raise CannotOpen(f"{path} has more than {limits.streams} streams; allow more by --max-streams")
    for stream in container.streams.video:
        if (context := stream.codec_context) and context.width * context.height > limits.pixels:
            size, most = f"{context.width}x{context.height}", limits.pixels / 1e6
            raise CannotOpen(f"{path} has pictures of {size}, more than {most:g} megapixels; allow more by --max-megapixels")
        if stream.frames > limits.frames:
            raise CannotOpen(f"{path} says that it has {stream.frames} frames, more than {limits.frames}; see --max-frames")


def film_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is a film, not a cover picture; None without one."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def convert(
    frame: av.VideoFrame,
    reformatter: VideoReformatter,
    *,
    pixel_format: str,
    size: tuple[int, int],
    tags: Tags,
) -> av.VideoFrame:
    """The picture in another YUV layout and size (w, h); YUV stays in its own matrix and range.

    Between 8-bit layouts of the same subsampling every sample stays as it is.
    """
    spread = ColorRange.JPEG if tags.color_range == ColorRange.JPEG else ColorRange.MPEG
    rgb = frame.format.is_rgb or frame.format.has_palette
    return reformatter.reformat(
        frame,
        *size,
        pixel_format,
        dst_colorspace=(Colorspace.ITU709 if tags.matrix == BT709 else Colorspace.ITU601) if rgb else None,
        interpolation=ACCURATE,
        src_color_range=ColorRange.JPEG if rgb else spread,
        dst_color_range=spread,
    )


def tags_of(first: av.VideoFrame, stream: VideoStream) -> Tags:
    """What the first picture and its stream say; for RGB what its YUV will be."""
    matrix, spread = int(first.colorspace), int(first.color_range)
    if first.format.is_rgb or first.format.has_palette:
        matrix, spread = BT709 if first.height >= 720 else BT601, int(ColorRange.MPEG)
    elif first.format.name.startswith("yuvj"):
        spread = int(ColorRange.JPEG)
    return Tags(
        color_range=spread,
        primaries=int(first.color_primaries),
        transfer=int(first.color_trc),
        matrix=matrix,
        sample_aspect=stream.sample_aspect_ratio or None,
        display_matrix=_display_matrix(first),
        fields=("bff" if int(stream.codec_context.field_order) in LOWER_FIRST else "tff") if first.interlaced_frame else "",
        display=_display(first),
        light=tuple(_numbers(first, "CONTENT_LIGHT_LEVEL").tolist()),
    )


def colour_of(tags: Tags, pixel_format: str, height: int) -> Colour:
    """What the numbers of a picture in a planar format mean; what its tags do not say is told by its height."""
    matrix = MATRICES.get(tags.matrix, "bt709" if height >= 720 else "bt601")
    bits = av.VideoFormat(pixel_format).components[0].bits
    return Colour(matrix, tags.color_range == ColorRange.JPEG, bits, pq=tags.transfer == PQ)


def _numbers(frame: av.VideoFrame, kind: str) -> np.ndarray:
    """What is said beside a picture, int32; empty if it is not said."""
    return next((np.frombuffer(side, np.int32) for side in frame.side_data if side.type.name == kind), np.zeros(0, np.int32))


def _display(frame: av.VideoFrame) -> tuple[float, ...]:
    """libav's AVMasteringDisplayMetadata: ten fractions, and whether colours and light are known."""
    numbers = _numbers(frame, "MASTERING_DISPLAY_METADATA")
    if len(numbers) != 22 or not numbers[1:20:2].all() or not numbers[20:].all():
        return ()
    return tuple((numbers[:20:2] / numbers[1:20:2]).tolist())


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    matrix = tuple(_numbers(frame, "DISPLAYMATRIX").tolist())
    return None if matrix in ((), (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)) else matrix


def rotation_deg(display_matrix: tuple[int, ...] | None) -> int:
    """Degrees counterclockwise, 0, 90, 180 or 270, that bring the coded picture's top up.

    Read from where the matrix sends the picture's downward edge, so that a mirrored picture, too,
    gets its heads up.
    """
    if display_matrix is None:
        return 0
    right, down = display_matrix[3], display_matrix[4]
    return round(math.degrees(math.atan2(right, down)) / 90) * 90 % 360


def planar_format(pixels: av.VideoFormat) -> str:
    """The planar YUV or grey format that holds these pixels with the least loss."""
    if PLANAR.fullmatch(pixels.name):
        return pixels.name
    colours = [c for c in pixels.components if not c.is_alpha]
    bits = max(c.bits for c in colours)
    depth = next((d for d in (8, 9, 10, 12, 14, 16) if d >= bits), 16)
    suffix = "" if depth == 8 else f"{depth}le"
    if len(colours) == 1 and not pixels.has_palette:
        return f"gray{suffix}"
    across, down = round(pixels.width / colours[-1].width), round(pixels.height / colours[-1].height)
    chroma = "444" if across == 1 or pixels.is_rgb or pixels.has_palette else "422" if down == 1 else "420"
    return f"yuv{chroma}p{suffix}"


def planes(picture: av.VideoFrame) -> tuple[np.ndarray, ...]:
    """Read-only views [h, w] of the picture's planes; they keep its memory alive."""
    dtype = np.dtype(np.uint8 if picture.format.components[0].bits == 8 else np.uint16)
    views = []
    for plane in picture.planes:
        stride = abs(plane.line_size) // dtype.itemsize
        view = np.frombuffer(plane, dtype, stride * plane.height).reshape(plane.height, stride)
        view = view[:: -1 if plane.line_size < 0 else 1, : plane.width]
        view.flags.writeable = False  # the decoder predicts later pictures from this memory
        views.append(view)
    return tuple(views)


def to_picture(
    frame: Frame, reformatter: VideoReformatter, *, pixel_format: str, tags: Tags
) -> av.VideoFrame:
    """The frame in libav's own memory, in the pixel format asked for, with its tags; without its times."""
    layout = frame.pixel_format.replace("yuvj", "yuv")
    if len(frame.planes) == 1 and not pixel_format.startswith("gray"):
        layout = layout.replace("gray", "yuv420p")  # libav would stretch grey's range
    picture = av.VideoFrame(frame.width, frame.height, layout)
    _fill(picture, frame)
    picture.color_range, picture.colorspace = tags.color_range, tags.matrix
    if layout != pixel_format:
        size = (frame.width, frame.height)
        picture = convert(picture, reformatter, pixel_format=pixel_format, size=size, tags=tags)
        picture.color_range, picture.colorspace = tags.color_range, tags.matrix
    picture.color_primaries, picture.color_trc = tags.primaries, tags.transfer
    return picture


def _fill(picture: av.VideoFrame, frame: Frame) -> None:
    """Copy the frame's planes; what the frame has no plane for becomes neutral grey."""
    dtype, neutral = frame.planes[0].dtype, 1 << (frame.colour.bits - 1)
    for index, plane in enumerate(picture.planes):
        stride = plane.line_size // dtype.itemsize
        rows = np.frombuffer(plane, dtype, plane.height * stride).reshape(plane.height, stride)
        rows[:, : plane.width] = frame.planes[index] if index < len(frame.planes) else neutral
