"""Films go in and come out: every time stamp, tag, sound packet and subtitle, whatever the format."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import (
    CLOCKWISE_90,
    COUNTERCLOCKWISE_90,
    MIRRORED,
    UPSIDE_DOWN,
    Facts,
    Film,
    facts,
    frames_25,
    picture,
    rows,
    write_film,
)

from unmask_video import decode, encode
from unmask_video.frame import Frame

VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "crf": "10"}}
B_FRAMES = {"options": {"preset": "veryfast", "bf": "3", "crf": "12"}}
VARIABLE = {"pts": (0, 512, 1400, 1500, 3000, 3001, 5000, 9000, 9100, 9512), "last_duration": 700}
CHAPTERS = ((0, 200, "Hello"), (200, 480, "World"))
SUBTITLES = ((40, 100, "first"), (200, 120, "second"))
CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER"}


def rewrite(source: Path, target: Path, **options: object) -> list[str]:
    """Decode and encode every frame; the warnings."""
    trim = [options.get("start_seconds", 0.0), options.get("stop_seconds")]
    with decode.open_video(source) as video:
        with encode.Writer(target, video, **options) as out:
            for frame in video.frames(*trim):
                out.write(frame)
        return video.warnings + out.warnings


def round_trip(folder: Path, film: Film, source: str = ".mp4", target: str = ".mp4", **options: object):
    """Facts of the film written and rewritten, the warnings, and the new file."""
    old, new = write_film(folder / f"old{source}", film), folder / f"new{target}"
    warnings = rewrite(old, new, **options)
    return facts(old), facts(new), warnings, new


def read(path: Path, *trim: float | None) -> list[Frame]:
    with decode.open_video(path) as video:
        return list(video.frames(*trim))


def assert_same_timing_and_sound(old: Facts, new: Facts) -> None:
    assert new.times == old.times
    assert new.durations == old.durations
    assert new.sound == old.sound
    assert new.languages == old.languages


def assert_shows(path: Path, film: Film) -> None:
    """Every frame shows what was drawn, in order; the encoders may lose 2 % of the range on average."""
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(len(film.pts)))
    for frame in frames:
        drawn = picture(frame.index, film.size, frame.pixel_format)
        top = (1 << frame.colour.bits) - 1
        for plane, expected in zip(frame.planes, drawn, strict=True):
            assert plane.shape == expected.shape
            assert np.abs(plane.astype(float) - expected).mean() < 0.008 * top


@pytest.mark.parametrize(
    ("codec", "film", "source", "target"),
    [
        ("h264", Film(), ".mp4", ".mp4"),
        ("h264", Film(), ".mp4", ".mov"),
        ("h264", Film(**B_FRAMES), ".mov", ".mkv"),
        ("h264", Film(), ".mkv", ".webm"),
        ("h264", Film(), ".avi", ".m4v"),
        ("hevc", Film(codec="libx265", options={"x265-params": "log-level=none"}), ".mp4", ".mkv"),
        ("vp9", Film(**VP9), ".webm", ".mp4"),
        ("vp9", Film(**VP9), ".webm", ".webm"),
        ("av1", Film(codec="libsvtav1", options={"preset": "10", "crf": "20"}), ".mkv", ".mov"),
    ],
)
def test_films_of_all_kinds_come_out_alike(
    tmp_path: Path, codec: str, film: Film, source: str, target: str
) -> None:
    old, new, warnings, path = round_trip(tmp_path, film, source, target)
    assert old.codec == codec
    assert_same_timing_and_sound(old, new)
    assert_shows(path, film)
    assert new.codec == ("vp9" if target == ".webm" else "h264")
    assert warnings == []


@pytest.mark.parametrize(
    ("encoder", "codec"),
    [("libx264", "h264"), ("libx265", "hevc"), ("h264", "h264"), ("hevc", "hevc"), ("ffv1", "ffv1")]
    + [("libsvtav1", "av1"), ("av1", "av1"), ("libvpx-vp9", "vp9"), ("vp9", "vp9")],
)
def test_the_encoder_can_be_chosen(tmp_path: Path, encoder: str, codec: str) -> None:
    old, new, warnings, path = round_trip(tmp_path, Film(), ".mp4", ".mkv", encoder=encoder)
    assert (new.codec, new.times, warnings) == (codec, old.times, [])
    assert_shows(path, Film())


@pytest.mark.parametrize("film", [Film(**VARIABLE), Film(**VARIABLE, **B_FRAMES)], ids=["plain", "b-frames"])
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_a_variable_frame_rate_stays_exact(tmp_path: Path, film: Film, encoder: str) -> None:
    old, new, warnings, path = round_trip(tmp_path, film, encoder=encoder)
    assert [time / film.time_base for time in old.times] == list(film.pts)
    assert_same_timing_and_sound(old, new)
    assert_shows(path, film)
    assert warnings == []


def test_frames_know_how_long_they_are_shown(tmp_path: Path) -> None:
    film = Film(**VARIABLE, **B_FRAMES)
    frames = read(write_film(tmp_path / "film.mp4", film))
    assert [frame.pts for frame in frames] == list(film.pts)
    assert [frame.duration for frame in frames] == [512, 888, 100, 1500, 1, 1999, 4000, 100, 412, 700]


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_millisecond_containers_stay_exact_among_themselves(tmp_path: Path, suffix: str) -> None:
    times = {"pts": (0, 40, 75, 76, 200, 210, 300, 500), "time_base": Fraction(1, 1000), "last_duration": 33}
    kind = VP9 | {"sound_codec": "libopus"} if suffix == ".webm" else {}
    old, new, warnings, _ = round_trip(tmp_path, Film(**times, **kind, sound=("eng",)), suffix, suffix)
    assert_same_timing_and_sound(old, new)
    assert warnings == []


def test_rounding_is_told(tmp_path: Path) -> None:
    old, new, warnings, _ = round_trip(tmp_path, Film(**VARIABLE), ".mp4", ".mkv")
    assert old.times != new.times
    assert max(abs(a - b) for a, b in zip(old.times, new.times, strict=True)) <= Fraction(1, 2000)
    assert warnings == [".mkv holds times in steps of 1/1000 s, so some were rounded to the nearest"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_late_starts_of_film_and_sound_stay(tmp_path: Path, suffix: str) -> None:
    film = Film(pts=frames_25(10, start=1111), sound=("eng",), sound_start=2777)
    old, new, warnings, _ = round_trip(tmp_path, film, suffix, suffix)
    assert old.times[0] == (Fraction(1111, 12800) if suffix != ".mkv" else Fraction(87, 1000))
    assert old.sound[0][0][0] > 0
    assert_same_timing_and_sound(old, new)
    assert warnings == []


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_everything_beside_the_pictures_stays(tmp_path: Path, suffix: str) -> None:
    film = Film(
        sound=("eng", "fra"),
        subtitles=SUBTITLES,
        chapters=CHAPTERS,
        metadata={"title": "A film", "com.example.key": "value"},
    )
    old, new, warnings, _ = round_trip(tmp_path, film, suffix, suffix)
    assert old.languages == ["eng", "fra"] and len(old.sound[1]) > 20 and old.sound[0] != old.sound[1]
    assert_same_timing_and_sound(old, new)
    assert new.subtitles == old.subtitles and len(old.subtitles[0]) >= 2
    assert new.chapters == old.chapters and [c[2] for c in new.chapters] == ["Hello", "World"]
    kept = {key.lower(): value for key, value in new.metadata.items() if key not in CONTAINER_TAGS}
    assert kept.items() >= {"title": "A film", "com.example.key": "value"}.items()
    assert warnings == []


def test_a_film_without_sound_gets_none(tmp_path: Path) -> None:
    assert round_trip(tmp_path, Film())[1].sound == []


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    old, new, warnings, _ = round_trip(tmp_path, Film(sound=("eng",), subtitles=SUBTITLES), audio=False)
    assert len(old.sound) == 1 and new.sound == [] and new.subtitles == old.subtitles and warnings == []


def test_webm_says_which_sound_it_cannot_hold(tmp_path: Path) -> None:
    old, new, warnings, path = round_trip(tmp_path, Film(sound=("eng",)), ".mp4", ".webm")
    assert new.codec == "vp9" and new.times == old.times and new.sound == []
    assert warnings == ["audio track 1 (aac, eng) is left out: .webm cannot hold it; choose .mkv"]


def test_subtitles_that_do_not_fit_are_named(tmp_path: Path) -> None:
    _, new, warnings, _ = round_trip(tmp_path, Film(subtitles=SUBTITLES), ".mkv", ".mp4")
    assert new.subtitles == []
    assert warnings == ["subtitle track 1 (srt) is left out: .mp4 cannot hold it; choose .mkv"]


def test_only_the_run_in_of_sound_is_lost_in_matroska(tmp_path: Path) -> None:
    old, new, warnings, _ = round_trip(tmp_path, Film(sound=("eng",)), ".mp4", ".mkv")
    assert old.sound[0][0][0] < 0, "AAC begins before 0, where players do not play"
    assert [sha for _, sha in new.sound[0]] == [sha for _, sha in old.sound[0][1:]]
    assert new.times == old.times
    assert any("run-in of audio track 1 (aac, eng)" in sentence for sentence in warnings)


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("matrix", "degrees"), [(CLOCKWISE_90, 270), (UPSIDE_DOWN, 180), (COUNTERCLOCKWISE_90, 90)]
)
def test_turned_films_stay_turned(tmp_path: Path, matrix: tuple[int, ...], degrees: int, target: str) -> None:
    film = Film(display_matrix=matrix)
    old, new, warnings, path = round_trip(tmp_path, film, ".mp4", target)
    with decode.open_video(tmp_path / "old.mp4") as video:
        assert video.info.rotation_deg == degrees == next(iter(video.frames())).rotation_deg
    assert new.display_matrix == old.display_matrix == matrix
    assert new.size == (96, 64), "the coded picture is not turned"
    assert_shows(path, film)
    assert warnings == []


def test_turning_counterclockwise_brings_heads_up() -> None:
    coded = np.arange(6).reshape(2, 3)
    clockwise = np.rot90(coded, k=-1)
    # The matrix says where a point of the coded picture is shown: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = CLOCKWISE_90[:5]
    shown = np.empty((3, 2), int)
    for y, x in np.ndindex(2, 3):
        x2, y2 = (a * x + c * y) // 65536, (b * x + d * y) // 65536
        shown[y2, x2 + 1] = coded[y, x]  # moved right, for turning sends it left of 0
    assert (shown == clockwise).all()
    assert (np.rot90(coded, k=decode.rotation_deg(CLOCKWISE_90) // 90) == shown).all()


def test_mirrored_films_stay_mirrored_and_upright(tmp_path: Path) -> None:
    old, new, warnings, _ = round_trip(tmp_path, Film(display_matrix=MIRRORED))
    assert new.display_matrix == old.display_matrix == MIRRORED and warnings == []
    with decode.open_video(tmp_path / "old.mp4") as video:
        assert video.info.rotation_deg == 0
    assert "mirrored" in rewrite(tmp_path / "old.mp4", tmp_path / "new.mkv")[0]


@pytest.mark.parametrize("start", [0.5, 0.52, 0.3333])
def test_trims_begin_at_zero_and_keep_the_sound_in_step(tmp_path: Path, start: float) -> None:
    chapters = ((0, 400, "a"), (400, 1600, "b"))
    film = Film(pts=frames_25(40), sound=("eng",), sound_seconds=1.6, chapters=chapters)
    old, new, warnings, path = round_trip(tmp_path, film, start_seconds=start, stop_seconds=1.2)
    inside = [time for time in old.times if Fraction(str(start)) <= time < Fraction("1.2")]
    assert new.times == [time - inside[0] for time in inside]
    assert new.durations == [Fraction(1, 25)] * len(inside)
    expected = [(time - inside[0], sha) for time, sha in old.sound[0] if inside[0] <= time < Fraction(6, 5)]
    assert new.sound[0] == expected and new.sound[0][0][0] < Fraction(1024, 48000)
    assert [name for *_, name in new.chapters] == (["a", "b"] if start < 0.4 else ["b"])
    assert warnings == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0.04, 0.6, 0.95, 1.24])
def test_a_trim_gives_the_same_frames_as_the_whole(tmp_path: Path, suffix: str, start: float) -> None:
    options = {"preset": "veryfast", "bf": "3", "g": "8", "x264-params": "open-gop=1:scenecut=0"}
    path = write_film(tmp_path / f"film{suffix}", Film(pts=frames_25(40), options=options))
    whole, part = read(path), read(path, start, 1.5)
    first = whole[0].time_seconds
    inside = [frame for frame in whole if start - 1e-6 <= frame.time_seconds - first < 1.5 - 1e-6]
    assert [frame.pts for frame in part] == [frame.pts for frame in inside]
    assert [frame.duration for frame in part] == [frame.duration for frame in inside]
    assert all((a.planes[0] == b.planes[0]).all() for a, b in zip(part, inside, strict=True))
    assert [frame.index for frame in part] == list(range(len(part)))


def test_planes_are_what_libav_decodes_and_cannot_be_changed(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", replace(Film(**B_FRAMES), size=(98, 66)))
    with av.open(str(path)) as film:
        expected = [[rows(plane, np.uint8).copy() for plane in f.planes] for f in film.decode(video=0)]
    frames = read(path)
    for frame, planes in zip(frames, expected, strict=True):
        assert all((a == b).all() for a, b in zip(frame.planes, planes, strict=True))
    with pytest.raises(ValueError, match="read-only"):
        frames[0].planes[0][0, 0] = 1
