"""Where a film can be written, by which encoder, how that is set, and in which pixel format it writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
from av.video.codeccontext import VideoCodecContext

from unmask_video.ahead import cores
from unmask_video.container import PLANAR, Tags
from unmask_video.errors import BadEnvironment, BadOption
from unmask_video.frame import VideoInfo

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
NICKNAMES = {"h264": "libx264", "hevc": "libx265", "h265": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
X26_PRESETS = tuple("ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split())
BITS_PER_PIXEL = 0.2
"""For encoders whose quality setting we do not know: plenty for H.264."""


@dataclass(frozen=True)
class Setting:
    """What we know of an encoder."""

    crf: int
    """The default: hardly any loss to be seen."""
    crf_max: int
    preset: str
    """The default."""
    presets: tuple[str, ...]
    preset_option: str = "preset"
    """FFmpeg's name of the option."""
    fixed: tuple[tuple[str, str], ...] = ()
    """Options that are always set."""


SETTINGS = {
    "libx264": Setting(18, 51, "veryfast", X26_PRESETS),
    "libx265": Setting(20, 51, "veryfast", X26_PRESETS, fixed=(("x265-params", "log-level=error"),)),
    "libsvtav1": Setting(28, 63, "8", tuple(map(str, range(14)))),
    "libvpx-vp9": Setting(
        28,
        63,
        "6",
        tuple(map(str, range(9))),
        preset_option="cpu-used",
        fixed=(("deadline", "realtime"), ("row-mt", "1")),
    ),
}

LARGE = 2560 * 1440
"""Pixels from which each picture counts: libx264 would hold a gibibyte of 4K."""
AVX_512 = 13
"""OpenCV's CV_CPU_AVX_512F."""
KEEPS_FIELDS = "libx264"
"""The encoder that writes interlaced films."""
OWN_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll", 50_000, 10_000),
    "libx265": ("x265-params", "master-display", "max-cll", 50_000, 10_000),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", 1, 1),
}
"""FFmpeg's name of an encoder's own options; those of HDR10's display and light; units of colours and of light in 1."""


def check_target(target: str | Path) -> None:
    """Raise BadOption if no film can be written there; change nothing. To be called before any work."""
    target = Path(target)
    if target.suffix.lower() not in MUXERS:
        raise BadOption(f"the output {target} ends in {target.suffix!r}; choose one of {', '.join(MUXERS)}")
    if target.is_dir():
        raise BadOption(f"the output {target} is a folder; give the name of a video file")
    try:
        # Only trying tells: permission bits say nothing about read-only disks or the superuser.
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        why = error.strerror
        raise BadOption(f"the folder {target.parent} cannot be written ({why}); choose another") from None


def choose_encoder(encoder: str, suffix: str) -> str:
    """FFmpeg's name of the encoder that is meant. Raises BadEnvironment if there is none of that name."""
    if encoder == "auto":
        encoder = "libvpx-vp9" if suffix == ".webm" else "libx264"
    name = NICKNAMES.get(encoder, encoder)
    if not _exists(name):
        raise BadEnvironment(f"there is no video encoder {encoder!r} here; choose one of {working()}")
    return name


def _exists(encoder: str) -> bool:
    try:
        return av.Codec(encoder, "w").type == "video"
    except av.codec.codec.UnknownCodecError:
        return False


def working() -> str:
    return ", ".join(["auto", *filter(_exists, SETTINGS)])


def probe(encoder: str, target: Path) -> str:
    """Why an encoder does not work here; empty if it wrote a few frames to `target`, a .mkv file."""
    if not _exists(encoder):
        return "this FFmpeg does not have it"
    be_quiet()
    try:
        with av.open(str(target), "w", format="matroska") as out:
            stream = out.add_stream(encoder, 25, options=dict(SETTINGS[encoder].fixed) if encoder in SETTINGS else {})
            stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
            for index in range(3):
                picture = av.VideoFrame(256, 256, "yuv420p")
                picture.pts = index
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
    except (av.FFmpegError, ValueError, OSError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def be_quiet() -> None:
    """Else libsvtav1 writes its settings to stderr."""
    os.environ.setdefault("SVT_LOG", "1")


def encoder_options(encoder: str, crf: int | None, preset: str | None) -> dict[str, str]:
    """FFmpeg's options. Raises BadOption for a value outside the encoder's range."""
    setting = SETTINGS.get(encoder)
    if setting is None:
        if crf is not None:
            raise BadOption(f"crf is not known for {encoder}; leave it out, or choose one of {working()}")
        return {} if preset is None else {"preset": preset}
    if crf is not None and not 0 <= crf <= setting.crf_max:
        raise BadOption(f"crf cannot be {crf} for {encoder}; choose 0 (best) to {setting.crf_max}")
    if preset is not None and preset not in setting.presets:
        names = ", ".join(setting.presets)
        raise BadOption(f"preset cannot be {preset!r} for {encoder}; choose one of {names}")
    quality = str(setting.crf if crf is None else crf)
    return {"crf": quality, setting.preset_option: preset or setting.preset} | dict(setting.fixed)


def x264_options(options: dict[str, str], encoder: str, info: VideoInfo) -> dict[str, str]:
    """FFmpeg's options; libx264 is to give the same film each time, and to hold few very large pictures."""
    if encoder != "libx264":
        return options
    # With AVX-512 its macroblock tree reads memory that nobody wrote, so that a picture's last corner is another each time.
    own = ["asm=AVX2"] if cv2.checkHardwareSupport(AVX_512) else []
    if info.width * info.height >= LARGE:
        # A thread holds 73 MiB of 4K, and libx264 would have half as many again as there are cores.
        own += ["rc-lookahead=4", "sync-lookahead=0", f"threads={cores()}"]
    return options | ({"x264-params": ":".join(own)} if own else {})


def with_tags(options: dict[str, str], encoder: str, tags: Tags) -> dict[str, str]:
    """FFmpeg's options, and among them the tags that an encoder has to be told by options of its own."""
    if encoder not in OWN_OPTIONS:
        return options
    name, display, light, chromaticity, luminance = OWN_OPTIONS[encoder]
    own = [options[name]] if name in options else []
    if tags.fields and encoder == KEEPS_FIELDS:
        own.append(f"{tags.fields}=1")
    if tags.display:
        points = [f"{v * chromaticity:.5g}" for v in tags.display[:8]]
        least, most = (f"{v * luminance:.10g}" for v in tags.display[8:])
        (red, green, blue, white) = (",".join(points[n : n + 2]) for n in (0, 2, 4, 6))
        own.append(f"{display}=G({green})B({blue})R({red})WP({white})L({most},{least})")
    if tags.light:
        own.append(f"{light}={tags.light[0]},{tags.light[1]}")
    return options | ({name: ":".join(own)} if own else {})


def needs_even_sizes(encoder: str) -> bool:
    """Whether it takes subsampled pictures of even sizes only; so do graphics cards."""
    return encoder.startswith(("libx26", "h264_", "hevc_", "av1_"))


def choose_format(wanted: str, size: tuple[int, int], *, offered: Iterable[str], even_sizes: bool) -> str:
    """The offered pixel format that loses least of `wanted`: chroma first, then depth."""
    chroma, bits = _detail(wanted)

    def cost(name: str) -> tuple[int, int, int, int]:
        c, b = _detail(name)
        return max(0, chroma - c), max(0, bits - b), max(0, c - chroma), max(0, b - bits)

    known = [name for name in offered if PLANAR.fullmatch(name) and not name.startswith("yuvj")]
    fits = [name for name in known if not (even_sizes and _halves_odd(name, size))]
    return min(fits, key=cost, default="yuv420p")


def pixel_format_for(encoder: str, info: VideoInfo) -> str:
    """The one that loses least of the film's."""
    offered = [pixels.name for pixels in av.Codec(encoder, "w").video_formats or ()]
    even = needs_even_sizes(encoder)
    return choose_format(info.pixel_format.replace("yuvj", "yuv"), (info.width, info.height), offered=offered, even_sizes=even)


def set_up(context: VideoCodecContext, encoder: str, info: VideoInfo, tags: Tags) -> None:
    """Tell an encoder what it will be given."""
    context.width, context.height, context.pix_fmt = info.width, info.height, pixel_format_for(encoder, info)
    context.color_range, context.colorspace = tags.color_range, tags.matrix
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    context.thread_type = "AUTO"  # PyAV's own choice makes libx264 cut pictures into slices
    if tags.sample_aspect:
        context.sample_aspect_ratio = tags.sample_aspect
    if encoder not in SETTINGS:
        context.bit_rate = int(BITS_PER_PIXEL * info.width * info.height * rate_of(info))


def rate_of(info: VideoInfo) -> Fraction:
    """Frames a second, or a guess."""
    return info.average_rate or Fraction(25)


def open_encoder(context: VideoCodecContext, encoder: str) -> None:
    """Raises BadEnvironment if it does not work here."""
    be_quiet()
    try:
        context.open()
    except av.FFmpegError as error:
        raise BadEnvironment(
            f"the encoder {encoder} does not work here for {context.width}x{context.height} {context.pix_fmt}"
            f" ({error.strerror}); choose one of {working()}"
        ) from None


def _detail(pixel_format: str) -> tuple[int, int]:
    chroma = ("gray", "420", "422", "444")
    pixels = av.VideoFormat(pixel_format)
    return next(i for i, name in enumerate(chroma) if name in pixels.name), pixels.components[0].bits


def _halves_odd(pixel_format: str, size: tuple[int, int]) -> bool:
    width, height = size
    return bool("420" in pixel_format and (width % 2 or height % 2) or "422" in pixel_format and width % 2)


def unheld_tags(tags: Tags, *, suffix: str, encoder: str) -> list[str]:
    """Sentences on the tags that the container cannot say."""
    if suffix not in (".mkv", ".webm"):
        return []
    sentences = []
    matrix = tags.display_matrix
    if matrix is not None and matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0:
        sentences.append(f"{suffix} cannot say that the film is to be mirrored; choose .mp4 or .mov")
    # H.264 and HEVC say it themselves.
    if tags.sample_aspect not in (None, 1) and encoder in ("libvpx-vp9", "libsvtav1"):
        sentences.append(f"pixels that are not square are not kept in {suffix} by {encoder}; choose .mp4")
    return sentences
