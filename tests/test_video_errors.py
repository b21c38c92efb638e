"""What cannot be read or written: one sentence, no thread left, nothing left behind, nobody let in."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
from helpers import Film, facts, frames_25, write_film, write_sound
from test_video import read, rewrite

from unmask_video import container, decode
from unmask_video.ahead import read_ahead
from unmask_video.errors import BadOption, CannotDecode, CannotOpen, UnmaskError

LONG = Film(pts=frames_25(60), size=(192, 128), sound=("eng",), sound_seconds=2.4)


pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", LONG)


def assert_one_sentence(error: UnmaskError, *names: object) -> None:
    text = str(error)
    assert "\n" not in text and "Traceback" not in text and ". " not in text and not text.endswith(".")
    assert text.count(";") == 1, "what is wrong; what to do"
    assert all(str(name) in text for name in names)
    shown = "".join(traceback.format_exception(error))
    assert "During handling" not in shown and "direct cause" not in shown


def no_frames(path: Path) -> None:
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(path), "w", format="mp4", container_options=fragmented) as out:
        video = out.add_stream("libx264", 25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()


def damaged_header(path: Path) -> None:
    whole = write_film(path.with_name("whole.mp4"), Film()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # its index stood at its end


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (lambda path: os.mkfifo(path), "not a plain file"),
    "text": (lambda path: path.write_text("Dear diary,\nno film today.\n" * 50), "not a video"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "noise": (lambda path: path.write_bytes(os.urandom(5000)), "not a video"),
    "cut": (damaged_header, "not a video"),
    "sound": (lambda path: write_sound(path, LONG), "no moving picture (only audio)"),
    "frameless": (no_frames, "no picture that can be decoded"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_film_is_refused_with_one_sentence(tmp_path: Path, kind: str) -> None:
    make, words = UNREADABLE[kind]
    path = tmp_path / "film.mp4"
    make(path)
    with pytest.raises(CannotOpen) as caught:
        decode.open_video(path)
    assert_one_sentence(caught.value, path, words)
    assert caught.value.exit_code == 2


@contextmanager
def as_nobody() -> Iterator[None]:
    """The superuser may read everything, so tests that run as such step down."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_is_told(film: Path) -> None:
    film.chmod(0)
    with as_nobody(), pytest.raises(CannotOpen) as caught:
        decode.open_video(film)
    assert_one_sentence(caught.value, film, "Permission denied")


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.ts\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile film.mp4\n",
    "bom.txt": "\ufeff#EXTM3U\n#EXTINF:9,\nfilm.mp4\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_refused(film: Path, name: str) -> None:
    path = film.with_name(name)
    path.write_text(PLAYLISTS[name], "utf-8")
    with pytest.raises(CannotOpen) as caught:
        decode.open_video(path)
    assert_one_sentence(caught.value, path, "is a playlist")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
@pytest.mark.parametrize("wall", ["format_whitelist", "protocol_whitelist"])
def test_each_wall_alone_keeps_playlists_out(
    film: Path, name: str, wall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film.with_name(name)
    path.write_text(PLAYLISTS[name])
    write_film(film.with_suffix(".ts"), LONG)
    monkeypatch.chdir(film.parent)
    with av.open(path.name, options={"protocol_whitelist": "file"}, format=None) as unguarded:
        assert next(unguarded.decode(video=0)).width == 192, "without walls the playlist opens the film"
    monkeypatch.setattr(container, "_refuse_playlist", lambda path, head: None)
    monkeypatch.setattr(container, "SAFE", {wall: container.SAFE[wall]})
    with pytest.raises(CannotOpen, match="not a video|no picture"):
        decode.open_video(path)


def test_names_are_never_patterns_or_protocols(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("film%03d.mp4", "concat:film.mp4", "subfile,,start,0,end,0,,:film.mp4"):
        path = film.with_name(name)
        film.rename(path)
        target = path.with_name(f"{name}.out.mp4")
        rewrite(path, target)
        assert facts(target).count == 60
        path.rename(film)


@pytest.mark.parametrize(
    ("flags", "share"),
    [("faststart", share) for share in (0.5, 0.6, 0.65, 0.7, 0.8, 0.93)]
    + [("frag_keyframe+empty_moov+default_base_moof", share) for share in (0.5, 0.6, 0.8)],
)
def test_a_film_that_breaks_off_is_done_so_far_or_refused(tmp_path: Path, flags: str, share: float) -> None:
    film = Film(
        pts=frames_25(60),
        options={"preset": "ultrafast", "g": "10"},
        muxer_options={"movflags": flags},
        sound=("eng",) if flags == "faststart" else (),
        sound_seconds=2.4,
    )
    path = write_film(tmp_path / "film.mp4", film)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with decode.open_video(path, strict=True) as video, pytest.raises(CannotDecode) as caught:
        list(video.frames())
    assert_one_sentence(caught.value, path, " frames, at ", " s (")
    count = int(str(caught.value).split("after ")[1].split()[0])
    assert 60 * share * 0.6 <= count < 60
    assert len(read(path, 0.0, 0.4)) == 10, "before the damage all is well"
    with decode.open_video(path, strict=True) as video:
        assert len(list(video.frames(0.0, 0.4))) == 10, "and nothing is refused"
    rewrite(path, tmp_path / "out.mp4")
    assert count <= facts(tmp_path / "out.mp4").count < 60
    with decode.open_video(path) as video:
        list(video.frames())
        (told,) = video.damage.told(path)
        assert "is damaged near" in told or "is damaged in" in told
        assert min(video.damage.found) >= count / 25 - 0.5


@pytest.mark.parametrize("end", ["close", "break", "raise", "video"])
def test_reading_can_stop_at_any_time(film: Path, end: str) -> None:
    with decode.open_video(film) as video:
        frames = video.frames()
        next(frames)
        assert [t.name for t in threading.enumerate()].count("unmask-decode") == 1
        if end == "close":
            frames.close()
        elif end == "break":
            del frames
        elif end == "raise":
            with pytest.raises(RuntimeError):
                frames.throw(RuntimeError("enough"))
        else:
            video.close()
        assert [t.name for t in threading.enumerate()].count("unmask-decode") == 0


def test_reading_runs_only_a_few_frames_ahead(film: Path) -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    ahead = read_ahead(numbers(), 3, "unmask-test")
    assert [next(ahead) for _ in range(10)] == list(range(10))
    ahead.close()
    assert len(made) <= 10 + 3 + 2


def test_errors_of_the_reading_thread_come_home(film: Path) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise CannotDecode("the second is broken; mend it")

    ahead = read_ahead(broken(), 3, "unmask-test")
    assert next(ahead) == 1
    with pytest.raises(CannotDecode, match="the second is broken"):
        next(ahead)


def test_a_film_can_be_read_twice(film: Path) -> None:
    with decode.open_video(film) as video:
        first, second = ([frame.pts for frame in video.frames()] for _ in range(2))
        assert first == second == list(LONG.pts)
        assert video.busy_seconds > 0


@pytest.mark.parametrize(("start", "stop"), [(-1.0, None), (float("nan"), None), (1.0, 1.0), (1.0, 0.5)])
def test_impossible_trims_are_refused(film: Path, start: float, stop: float | None) -> None:
    with decode.open_video(film) as video, pytest.raises(BadOption) as caught:
        video.frames(start, stop)
    assert_one_sentence(caught.value, "the trim cannot")


def test_a_trim_behind_the_end_is_told_and_leaves_nothing(film: Path) -> None:
    with pytest.raises(BadOption) as caught:
        rewrite(film, film.with_name("out.mp4"), start_seconds=99.0)
    assert_one_sentence(caught.value, film, "99 s")
    assert list(film.parent.iterdir()) == [film]
