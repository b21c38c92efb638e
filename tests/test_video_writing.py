"""A film is written whole or not at all, and options that cannot be are refused before any work."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from helpers import Film, facts, frames_25, write_film
from test_video import rewrite
from test_video_errors import LONG, assert_one_sentence

from unmask_video import decode, encode
from unmask_video.ahead import cores
from unmask_video.encoders import x264_options
from unmask_video.errors import BadEnvironment, BadOption, CannotEncode
from unmask_video.frame import VideoInfo

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", LONG)


def write_some(film: Path, target: Path, count: int) -> None:
    """Write `count` frames, then fail."""
    with decode.open_video(film) as video, encode.Writer(target, video) as out:
        for frame in video.frames():
            if frame.index == count:
                raise RuntimeError("the network broke")
            out.write(frame)


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("stands", [True, False])
def test_an_error_leaves_nothing_behind_and_the_old_file_whole(film: Path, count: int, stands: bool) -> None:
    target = film.with_name("out.mp4")
    if stands:
        target.write_bytes(b"what was there")
    with pytest.raises(RuntimeError, match="the network broke"):
        write_some(film, target, count)
    assert set(film.parent.iterdir()) == ({film, target} if stands else {film})
    assert not stands or target.read_bytes() == b"what was there"


def test_the_film_appears_only_when_it_is_whole(film: Path) -> None:
    target = film.with_name("out.mp4")
    target.write_bytes(b"old")
    with decode.open_video(film) as video:
        with encode.Writer(target, video) as out:
            for frame in video.frames():
                out.write(frame)
                assert target.read_bytes() == b"old"
            hidden = [p.name for p in film.parent.iterdir() if p not in (film, target)]
            assert hidden == [f".out.part-{os.getpid()}.mp4"]
        assert out.busy_seconds > 0
    assert facts(target).count == 60
    assert sorted(p.name for p in film.parent.iterdir()) == ["film.mp4", "out.mp4"]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: to the writer as good as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_full_disk_is_told_and_leaves_nothing(film: Path, suffix: str, size: int) -> None:
    target = film.with_name(f"out{suffix}")
    target.write_bytes(b"old")
    with pytest.raises(CannotEncode) as caught, disk_of(size):
        rewrite(film, target, crf=0)
    assert_one_sentence(caught.value, target)
    assert target.read_bytes() == b"old" and len(list(film.parent.iterdir())) == 2


def test_an_error_of_the_encoding_thread_comes_home(film: Path) -> None:
    with decode.open_video(film) as video, pytest.raises(ValueError, match="nonsense"):
        frame = replace(next(video.frames()), pixel_format="nonsense")
        with encode.Writer(film.with_name("out.mp4"), video) as out:
            for _ in range(200):  # far more than the queue holds
                out.write(frame)
    assert list(film.parent.iterdir()) == [film]


def test_a_lost_wake_up_does_not_hang(film: Path) -> None:
    """Ctrl-C in the middle of a queue's notify leaves a waiter in it who is gone, and takes the next one's wake-up."""
    gone = threading.Lock()
    gone.acquire()
    target = film.with_name("out.mp4")
    with pytest.raises(KeyboardInterrupt), decode.open_video(film) as video, encode.Writer(target, video) as out:
        while not out._frames.not_empty._waiters:
            time.sleep(0.01)
        out._frames.not_empty._waiters.appendleft(gone)
        raise KeyboardInterrupt
    assert list(film.parent.iterdir()) == [film]


def test_a_film_of_no_frames_is_not_written(film: Path) -> None:
    with decode.open_video(film) as video, pytest.raises(CannotEncode) as caught:
        with encode.Writer(film.with_name("out.mp4"), video):
            pass
    assert_one_sentence(caught.value, "no frame came")
    assert list(film.parent.iterdir()) == [film]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"crf": 52}, BadOption, ["52", "libx264", "0 (best) to 51"]),
        ({"crf": -1}, BadOption, ["-1", "0 (best) to 51"]),
        ({"crf": 64, "encoder": "av1"}, BadOption, ["64", "libsvtav1", "63"]),
        ({"crf": 20, "encoder": "mpeg4"}, BadOption, ["mpeg4", "libx264, libx265, libsvtav1, libvpx-vp9"]),
        ({"preset": "swift"}, BadOption, ["'swift'", "ultrafast", "placebo"]),
        ({"preset": "14", "encoder": "libsvtav1"}, BadOption, ["'14'", "13"]),
        ({"encoder": "h266"}, BadEnvironment, ["'h266'", "auto, libx264, libx265, libsvtav1, libvpx-vp9"]),
        ({"encoder": "aac"}, BadEnvironment, ["'aac'", "auto, libx264"]),
    ],
)
def test_impossible_options_are_refused_before_any_work(
    film: Path, options: dict, error: type[Exception], words: list[str]
) -> None:
    with decode.open_video(film) as video, pytest.raises(error) as caught:
        encode.Writer(film.with_name("out.mp4"), video, **options)
    assert_one_sentence(caught.value, *words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("suffix", "encoder"), [(".webm", "libx264"), (".mp4", "gif")])
def test_an_encoder_that_the_container_cannot_hold_is_refused(film: Path, suffix: str, encoder: str) -> None:
    with pytest.raises(BadOption) as caught:
        rewrite(film, film.with_name(f"out{suffix}"), encoder=encoder)
    assert_one_sentence(caught.value, suffix, encoder)
    assert list(film.parent.iterdir()) == [film]


def test_an_encoder_that_does_not_work_here_is_told(film: Path) -> None:
    with pytest.raises(BadEnvironment) as caught:
        rewrite(film, film.with_name("out.mp4"), encoder="h264_v4l2m2m")
    assert_one_sentence(caught.value, "h264_v4l2m2m", "auto, libx264")
    assert list(film.parent.iterdir()) == [film]


@pytest.mark.parametrize(
    ("name", "words"),
    [("out.gif", "'.gif'"), ("out", "''"), ("no/out.mp4", "No such file"), ("folder.mp4", "is a folder")],
)
def test_impossible_targets_are_refused(film: Path, name: str, words: str) -> None:
    film.with_name("folder.mp4").mkdir()
    before = sorted(film.parent.iterdir())
    with pytest.raises(BadOption) as caught:
        encode.check_target(film.parent / name)
    assert_one_sentence(caught.value, words)
    assert sorted(film.parent.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(BadOption) as caught:
        encode.check_target("/proc/out.mp4")
    assert_one_sentence(caught.value, "/proc", "cannot be written")


def test_a_possible_target_is_left_as_it_is(tmp_path: Path) -> None:
    encode.check_target(tmp_path / "out.MP4")
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_never_overwritten(film: Path) -> None:
    before = film.read_bytes()
    link = film.with_name("link.mp4")
    link.symlink_to(film)
    for target in (film, link):
        with pytest.raises(BadOption, match="is the input itself"):
            rewrite(film, target)
    assert film.read_bytes() == before


def test_quality_and_speed_can_be_chosen(film: Path) -> None:
    sizes = []
    for options in ({"crf": 10}, {"crf": 40}, {"crf": 10, "preset": "ultrafast"}):
        rewrite(film, film.with_name("out.mp4"), **options)
        sizes.append(film.with_name("out.mp4").stat().st_size)
    assert sizes[1] < sizes[0] < sizes[2]


@pytest.mark.parametrize(("width", "height", "threads"), [(3840, 2160, True), (2160, 3840, True), (1920, 1080, False)])
def test_large_films_are_encoded_by_no_more_threads_than_there_are_cores(width: int, height: int, threads: bool) -> None:
    """Each holds as much as several pictures, and libx264 would start half as many again."""
    info = VideoInfo(width, height, "yuv420p", 0, Fraction(25), Fraction(1, 25), 0, "h264")
    found = x264_options({}, "libx264", info).get("x264-params", "").split(":")
    assert (f"threads={cores()}" in found) == threads


@pytest.mark.parametrize("moment", ["writing", "ending"])
def test_an_interruption_leaves_nothing_behind(
    film: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with decode.open_video(film) as video, pytest.raises(KeyboardInterrupt):
        with encode.Writer(film.with_name("out.mp4"), video) as out:
            for frame in video.frames():
                out.write(frame)
                if frame.index == 30 and moment == "writing":
                    interrupt()
            monkeypatch.setattr(os, "fsync", interrupt)
    assert list(film.parent.iterdir()) == [film]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_nothing_is_written_that_depends_on_memory_that_nobody_wrote(tmp_path: Path) -> None:
    """libx264's macroblock tree does with AVX-512, in pictures whose blocks do not fill its registers."""
    write_film(tmp_path / "film.mp4", Film(size=(720, 404), pts=frames_25(60), options={"crf": "12", "preset": "ultrafast"}))
    again = "import sys; from pathlib import Path; from unmask_video import bench; from unmask_video.options import Options;"
    again += "bench.codec_alone(Path(sys.argv[1]), Path(sys.argv[2]), Options())"
    found = set()
    for garbage in (1, 3, 165):
        target = tmp_path / f"{garbage}.mp4"
        command = [sys.executable, "-c", again, str(tmp_path / "film.mp4"), str(target)]
        subprocess.run(command, env=os.environ | {"MALLOC_PERTURB_": str(garbage)}, check=True)
        found.add(target.read_bytes())
    assert len(found) == 1
