"""Pixel formats, sizes and colour tags: what goes in comes out, or one sentence says what did not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25, picture, write_film
from test_video import VP9, assert_same_timing_and_sound, assert_shows, read, rewrite, round_trip

from unmask_video import Options, decode, unmask
from unmask_video.container import planar_format
from unmask_video.encoders import choose_format
from unmask_video.frame import Colour
from unmask_video.picture import thumbnail

RAW = Film(codec="rawvideo", options={})
LOSSLESS = {"codec": "ffv1", "options": {}}
TAGGED = [(2, 1, 1, 1), (1, 9, 16, 9), (1, 6, 6, 6), (1, 5, 6, 5), (1, 9, 18, 9)]
"""Range, primaries, transfer, matrix: full BT.709, PQ, BT.601 of both kinds, HLG."""


def tags(values: tuple[int, int, int, int]) -> dict[str, int]:
    return dict(zip(("color_range", "primaries", "transfer", "matrix"), values, strict=True))


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray", "yuvj420p"],
)
def test_depth_and_chroma_stay(tmp_path: Path, pixel_format: str) -> None:
    film = Film(pixel_format=pixel_format, color_range=2 if "j" in pixel_format else 0)
    old, new, warnings, path = round_trip(tmp_path, film)
    assert new.pixel_format == old.pixel_format
    assert pixel_format in (old.pixel_format, "gray"), "libav decodes grey H.264 to YUV"
    assert_same_timing_and_sound(old, new)
    if pixel_format != "gray":
        assert_shows(path, film)
    assert warnings == []


@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuv422p", "yuv444p", "gray", "gray10le"]
    + ["yuv420p9le", "yuv422p10le", "yuv444p12le", "yuv420p16le"],
)
def test_the_way_from_file_to_file_changes_no_sample(
    tmp_path: Path, pixel_format: str, size: tuple[int, int]
) -> None:
    film = Film(**LOSSLESS, pixel_format=pixel_format, size=size)
    old, new, warnings, path = round_trip(tmp_path, film, ".mkv", ".mkv", encoder="ffv1")
    assert new.pixel_format == old.pixel_format == pixel_format and new.size == size
    for frame in read(path):
        drawn = picture(frame.index, size, pixel_format)
        assert all((a == b).all() for a, b in zip(frame.planes, drawn, strict=True))
        assert frame.colour.bits == av.VideoFormat(pixel_format).components[0].bits
        assert frame.planes[0].dtype == (np.uint8 if frame.colour.bits == 8 else np.uint16)
    assert warnings == []


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize(
    ("size", "written"), [((97, 65), "yuv444p"), ((97, 64), "yuv444p"), ((96, 65), "yuv422p")]
)
def test_odd_sizes_are_written_with_more_chroma(
    tmp_path: Path, size: tuple[int, int], written: str, encoder: str
) -> None:
    film = Film(**VP9, size=size)
    old, new, warnings, path = round_trip(tmp_path, film, ".webm", ".mp4", encoder=encoder)
    assert (new.size, new.pixel_format, new.times) == (size, written, old.times)
    assert_shows(path, film)
    expected = f"{encoder} cannot write yuv420p of {size[0]}x{size[1]}; the film is written as {written}"
    assert warnings == [expected]


@pytest.mark.parametrize(("encoder", "suffix"), [("libvpx-vp9", ".webm"), ("libsvtav1", ".mp4")])
def test_odd_sizes_stay_where_the_encoder_takes_them(tmp_path: Path, encoder: str, suffix: str) -> None:
    film = Film(**VP9, size=(97, 65))
    _, new, warnings, path = round_trip(tmp_path, film, ".webm", suffix, encoder=encoder)
    assert (new.size, new.pixel_format, warnings) == ((97, 65), "yuv420p", [])
    assert_shows(path, film)


def test_full_chroma_of_odd_sizes_leaves_luma_as_it_is(tmp_path: Path) -> None:
    write_film(tmp_path / "old.mkv", Film(**LOSSLESS, size=(97, 65)))
    rewrite(tmp_path / "old.mkv", tmp_path / "new.mkv", crf=0)  # lossless in H.264
    for frame in read(tmp_path / "new.mkv"):
        assert (frame.planes[0] == picture(frame.index, (97, 65), "yuv420p")[0]).all()


@pytest.mark.parametrize(
    ("wanted", "size", "offered", "chosen"),
    [
        ("yuv422p10le", (96, 64), ["yuv420p", "yuv420p10le"], "yuv420p10le"),
        ("yuv420p12le", (96, 64), ["yuv420p", "yuv420p10le", "yuv444p10le"], "yuv420p10le"),
        ("gray", (96, 64), ["yuv444p", "yuv420p", "nv12"], "yuv420p"),
        ("yuv420p10le", (97, 64), ["yuv420p10le", "yuv422p10le", "yuv444p", "yuv444p10le"], "yuv444p10le"),
        ("yuv422p", (96, 65), ["yuv420p", "yuv422p", "yuv444p"], "yuv422p"),
        ("yuv420p", (96, 64), ["nv12"], "yuv420p"),
    ],
)
def test_the_nearest_format_loses_least(
    wanted: str, size: tuple[int, int], offered: list[str], chosen: str
) -> None:
    assert choose_format(wanted, size, offered=offered, even_sizes=True) == chosen


def test_a_format_that_the_encoder_lacks_is_told(tmp_path: Path) -> None:
    film = Film(pixel_format="yuv422p10le")
    _, new, warnings, path = round_trip(tmp_path, film, ".mp4", ".mp4", encoder="av1")
    assert new.pixel_format == "yuv420p10le"
    assert warnings == ["libsvtav1 cannot write yuv422p10le; the film is written as yuv420p10le"]
    levels = [frame.planes[0].mean() for frame in read(path)]
    assert np.allclose(levels, [picture(i, film.size, "yuv420p10le")[0].mean() for i in range(12)], atol=8)


def test_grey_gets_neutral_chroma_where_it_must_have_some(tmp_path: Path) -> None:
    film = Film(**LOSSLESS, pixel_format="gray")
    _, new, warnings, path = round_trip(tmp_path, film, ".mkv", ".webm")
    assert warnings == ["libvpx-vp9 cannot write gray; the film is written as yuv420p"]
    for frame in read(path):
        drawn = picture(frame.index, film.size, "gray")[0]
        assert np.abs(frame.planes[0].astype(int) - drawn).mean() < 2, "the range is not stretched"
        assert all(np.abs(plane.astype(int) - 128).max() <= 2 for plane in frame.planes[1:])


@pytest.mark.parametrize(
    ("stored", "planar"), [("nv12", "yuv420p"), ("yuyv422", "yuv422p"), ("uyvy422", "yuv422p")]
)
@pytest.mark.parametrize("color_range", [1, 2])
def test_other_layouts_are_read_without_loss(
    tmp_path: Path, stored: str, planar: str, color_range: int
) -> None:
    film = replace(RAW, pixel_format=planar, stored_format=stored, color_range=color_range)
    path = write_film(tmp_path / "film.mkv", film)
    with decode.open_video(path) as video:
        frames = list(video.frames())
        assert video.warnings == [f"{stored} pictures are read as {planar}"]
    for frame in frames:
        expected = picture(frame.index, film.size, planar)
        assert all((a == b).all() for a, b in zip(frame.planes, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "planar"),
    [("p010le", "yuv420p10le"), ("nv16", "yuv422p"), ("yuv440p", "yuv444p"), ("yuv411p", "yuv422p")]
    + [("yuv410p", "yuv420p"), ("pal8", "yuv444p"), ("gbrp10le", "yuv444p10le"), ("rgb565le", "yuv444p")]
    + [("ya8", "gray"), ("monow", "gray"), ("gray16be", "gray16le"), ("yuva444p12le", "yuv444p12le")]
    + [("yuvj444p", "yuvj444p"), ("gray14le", "gray14le"), ("yuv420p10be", "yuv420p10le")],
)
def test_every_layout_has_a_planar_twin(name: str, planar: str) -> None:
    assert planar_format(av.VideoFormat(name, 97, 65)) == planar


@pytest.mark.parametrize(
    ("codec", "stored", "matrix"), [("ffv1", "bgra", 2), ("libx264rgb", "rgb24", 2), ("ffv1", "yuva420p", 6)]
)
def test_rgb_and_transparency_are_read_as_yuv(tmp_path: Path, codec: str, stored: str, matrix: int) -> None:
    film = Film(codec=codec, options={}, pixel_format="yuv444p", stored_format=stored, matrix=matrix)
    path = write_film(tmp_path / "film.mkv", film)
    with decode.open_video(path) as video:
        frames = list(video.frames())
        assert len(video.warnings) == 1 and "are read as yuv" in video.warnings[0]
        assert video.tags.matrix == 6
    with av.open(str(path)) as shown:
        for frame, truth in zip(frames, shown.decode(video=0), strict=True):
            m, offset = frame.colour.to_rgb()
            full = [np.kron(p, np.ones((64 // p.shape[0], 96 // p.shape[1]))) for p in frame.planes]
            rgb = np.stack(full, axis=-1) @ m.T + offset
            expected = truth.to_ndarray(format="rgb24").astype(float)
            assert np.abs(rgb.clip(0, 255) - expected).mean() < 2.5


@pytest.mark.parametrize("values", TAGGED)
@pytest.mark.parametrize(
    ("encoder", "suffix"), [("libx264", ".mp4"), ("libx265", ".mkv"), ("libsvtav1", ".mp4")]
)
def test_colour_tags_stay(
    tmp_path: Path, values: tuple[int, int, int, int], encoder: str, suffix: str
) -> None:
    film = Film(pixel_format="yuv420p10le", **tags(values))
    old, new, warnings, path = round_trip(tmp_path, film, suffix, suffix, encoder=encoder)
    assert old.colour == new.colour == values
    assert_shows(path, film)
    assert warnings == []


def test_vp9_keeps_matrix_and_range(tmp_path: Path) -> None:
    _, new, _, path = round_trip(tmp_path, Film(**tags((2, 1, 1, 1))), ".mp4", ".webm")
    assert new.colour == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("values", "height", "matrix"),
    [((1, 1, 1, 1), 64, "bt709"), ((1, 6, 6, 6), 64, "bt601"), ((1, 5, 6, 5), 64, "bt601")]
    + [((1, 9, 16, 9), 64, "bt2020"), ((0, 2, 2, 2), 64, "bt601"), ((0, 2, 2, 2), 720, "bt709")],
)
def test_frames_know_their_colours(
    tmp_path: Path, values: tuple[int, int, int, int], height: int, matrix: str
) -> None:
    film = Film(size=(96, height), pts=(0,), **tags(values))
    colour = read(write_film(tmp_path / "film.mp4", film))[0].colour
    assert (colour.matrix, colour.full_range, colour.bits) == (matrix, False, 8)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv420p10le"])
def test_full_range_is_seen_and_kept(tmp_path: Path, pixel_format: str) -> None:
    film = Film(pixel_format=pixel_format, color_range=2)
    _, new, warnings, path = round_trip(tmp_path, film)
    assert new.colour[0] == 2 and warnings == []
    assert all(frame.colour.full_range for frame in read(path))
    assert_shows(path, film)


@pytest.mark.parametrize(
    ("encoder", "suffix"), [("libx264", ".mp4"), ("libx264", ".mkv"), ("libsvtav1", ".mp4")]
)
def test_pixels_that_are_not_square_stay(tmp_path: Path, encoder: str, suffix: str) -> None:
    film = Film(sample_aspect=Fraction(4, 3))
    old, new, warnings, _ = round_trip(tmp_path, film, ".mp4", suffix, encoder=encoder)
    assert old.sample_aspect == new.sample_aspect == Fraction(4, 3) and warnings == []


def test_pixels_that_webm_makes_square_are_told(tmp_path: Path) -> None:
    _, new, warnings, _ = round_trip(tmp_path, Film(sample_aspect=Fraction(4, 3)), ".mp4", ".webm")
    assert new.sample_aspect in (None, 1)
    assert warnings == ["pixels that are not square are not kept in .webm by libvpx-vp9; choose .mp4"]


def test_light_above_white_comes_back() -> None:
    colour, numbers = Colour("bt2020", False, 10, pq=True), np.linspace(0, 255, 999, dtype=np.float32)
    shown = colour.shown(numbers)
    assert (np.diff(shown) >= 0).all() and shown[-1] > 1000, "10,000 nits"
    assert np.abs(colour.coded(shown) - numbers)[5:].max() < 0.05
    white = 255 * 0.5806889  # 203 nits (ITU-R BT.2408, table 1: 58 %)
    assert abs(float(colour.shown(np.float32([white]))[0]) - 255) < 0.5
    plain = Colour("bt709", False, 8)
    assert plain.shown(numbers) is numbers and plain.coded(numbers) is numbers


def test_a_pq_films_faces_are_seen_and_filled_as_in_any_other(tmp_path: Path) -> None:
    """The same portrait in both ways: what is painted looks the same."""
    write_photo(tmp_path / "face.png", portrait())
    film = Film(size=(256, 256), pts=frames_25(6), pixel_format="yuv420p10le", codec="ffv1", options={}, color_range=1, matrix=9)
    found = {}
    for name, transfer in (("plain", 1), ("pq", 16)):
        colour = Colour("bt2020", False, 10, pq=transfer == 16)
        still = colour.coded(masked()[0].astype(np.float32)).round().astype(np.uint8)
        path = write_footage(tmp_path / f"{name}.mkv", Footage(still), replace(film, transfer=transfer, primaries=9))
        done = unmask(path, tmp_path / f"{name}-out.mkv", reference=tmp_path / "face.png", options=Options(encoder="ffv1"))
        assert done.filled == 6
        with decode.open_video(tmp_path / f"{name}-out.mkv") as video:
            found[name] = [thumbnail(frame, 256).astype(int) for frame in video.frames()][3]
        assert video.colour.pq == (transfer == 16)
    hidden = cv2.resize(masked()[1], (256, 256)) > 0.9
    assert np.abs(found["plain"] - found["pq"])[hidden].mean() < 6
