"""Live pictures: cameras, films in real time, streams that stall, die, come back, change and send rubbish."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import streams
from helpers import Film, frames_25, write_film
from streams import Camera

from unmask_video import cli, source
from unmask_video.errors import CannotOpen
from unmask_video.picture import bgr
from unmask_video.source import Shot, Source

SIZE = (128, 96)


def level(number: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), 40 + number % 100, np.uint8)


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera(level)
    yield made
    made.close()


def taken(came_from: Source, seconds: float) -> list[Shot]:
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until and not came_from.ended:
        if shot := came_from.newest(0.05):
            found.append(shot)
    return found


def test_a_film_is_played_in_real_time(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", Film(pts=frames_25(25)))
    began = time.monotonic()
    with Source(str(tmp_path / "film.mp4")) as came_from:
        shots = taken(came_from, 5.0)
    assert 0.85 < time.monotonic() - began < 2.0 and came_from.ended
    assert len(shots) + came_from.dropped == 25 and len(shots) > 20
    assert all(a.frame.pts < b.frame.pts and a.arrived < b.arrived for a, b in zip(shots, shots[1:], strict=False))


def test_the_newest_picture_wins(camera: Camera) -> None:
    with Source(camera.address) as came_from:
        taken(came_from, 0.5)
        time.sleep(1.0)
        shot = came_from.newest(0.5)
        assert came_from.dropped >= 15, "those that came in between"
        assert time.monotonic() - shot.arrived < 0.2 and abs(int(bgr(shot.frame).mean()) - 40 - camera.sent) <= 5


@pytest.mark.parametrize("wrong", ["stalls", "dies", "rubbish"])
def test_a_stream_that_fails_is_told_of_once_and_taken_up_again(
    wrong: str, camera: Camera, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "PATIENCE", 1.0)
    with Source(camera.address) as came_from:
        assert len(taken(came_from, 1.0)) > 10
        camera.mood = wrong
        during = taken(came_from, 3.0)
        assert len(during) < 10 and not came_from.ended
        assert "is lost; trying again" in came_from.told
        camera.mood = "plays"
        assert len(taken(came_from, 5.0)) > 10 and came_from.told == ""
    said = [record.getMessage() for record in caplog.records if "is lost; trying again until" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith(camera.address)


@pytest.mark.parametrize("protocol", ["udp", "rtsp"])
def test_a_sender_may_be_killed_and_begun_again(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = partial(subprocess.Popen, [sys.executable, streams.__file__, protocol, str(port)])
    sender = begin()
    try:
        time.sleep(1.5)
        with Source(f"{protocol}://127.0.0.1:{port}{'/x' if protocol == 'rtsp' else ''}") as came_from:
            shots = taken(came_from, 2.0)
            assert len(shots) > 20 and (shots[0].frame.width, shots[0].frame.height) == SIZE
            assert float(np.median([time.monotonic() - came_from.newest(1.0).arrived for _ in range(10)])) < 0.1
            sender.send_signal(signal.SIGKILL)
            sender.wait()
            assert len(taken(came_from, 4.0)) < 10 and not came_from.ended
            assert "is lost; trying again" in came_from.told
            sender = begin()
            assert len(taken(came_from, 9.0)) > 20 and came_from.told == ""
    finally:
        sender.kill()
        sender.wait()


def test_a_stream_may_change_its_size(camera: Camera) -> None:
    with Source(camera.address) as came_from:
        assert {(s.frame.width, s.frame.height) for s in taken(came_from, 0.7)} == {SIZE}
        camera.picture = lambda number: np.full((200, 160, 3), 90, np.uint8)
        sizes = {(s.frame.width, s.frame.height) for s in taken(came_from, 2.0)[10:]}
        assert sizes == {(160, 200)}


@pytest.mark.parametrize("name", ["no such camera", "nothing.mp4", "http://127.0.0.1:9/", "rtsp://127.0.0.1:9/x"])
def test_what_is_not_there_is_told_in_a_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    began = time.monotonic()
    assert cli.exit_code(["live", name, "--no-window", "--record", str(tmp_path / "out.mp4")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and name in told and "Traceback" not in told and time.monotonic() - began < 12
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("content", [b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:1/a.ts\n", b"ffconcat version 1.0\nfile a.mp4\n"])
def test_playlists_are_no_streams(content: bytes, camera: Camera) -> None:
    camera.part = lambda: content
    with pytest.raises(CannotOpen):
        Source(camera.address)


def test_passwords_are_not_told(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    words = ["live", "http://me:secret@127.0.0.1:9/", "--no-window", "--record", str(tmp_path / "out.mp4")]
    assert cli.exit_code(words) == 2
    told = capsys.readouterr().err
    assert "http://127.0.0.1:9/" in told and "secret" not in told


# --- cameras --------------------------------------------------------------------------------------


class FakeCapture:
    """OpenCV's camera, of three pictures."""

    there = 2

    def __init__(self, number: int) -> None:
        self.number, self.left = number, 3

    def isOpened(self) -> bool:  # noqa: N802
        return self.number == self.there

    def read(self) -> tuple[bool, np.ndarray]:
        self.left -= 1
        time.sleep(0.03)
        return self.left >= 0, np.full((97, 129, 3), (200, 100, 50), np.uint8)

    def set(self, *_: float) -> bool:
        return True

    def release(self) -> None:
        self.number = -1


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (name, index) in enumerate([("Front Cam", "0"), ("Front Cam", "1"), ("Back Cam", "0")]):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(index + "\n")
    monkeypatch.setattr(source, "SYSFS", tmp_path)
    monkeypatch.setattr(source.sys, "platform", "linux")
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)


@pytest.mark.usefixtures("plugged_in")
def test_cameras_are_known_by_number_and_by_name(capsys: pytest.CaptureFixture) -> None:
    assert source.cameras() == {0: "Front Cam", 2: "Back Cam"}
    assert source.camera_number("back") == source.camera_number("2") == 2
    with pytest.raises(CannotOpen, match="several cameras are called 'cam'; there is 0 .Front Cam., 2"):
        source.camera_number("cam")
    assert cli.exit_code(["live", "--list-cameras"]) == 0 and capsys.readouterr().out == "0  Front Cam\n2  Back Cam\n"


@pytest.mark.usefixtures("plugged_in")
def test_a_camera_that_is_pulled_out_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PAUSES", (0.1,))
    with Source("back") as came_from:
        shots = taken(came_from, 1.0)
        assert len(shots) > 6, "it came back"
        assert np.abs(bgr(shots[0].frame).astype(int) - [200, 100, 50]).max() <= 3
        monkeypatch.setattr(FakeCapture, "there", 7)
        taken(came_from, 0.5)
        assert came_from.told.startswith("back is lost")
    with pytest.raises(CannotOpen, match="there is no camera back; --list-cameras"):
        Source("back")


def test_full_range_and_matrix_reach_the_picture(tmp_path: Path) -> None:
    """`bgr` against libav's own conversion."""
    import av

    for film in (Film(pts=frames_25(2)), replace(Film(pts=frames_25(2)), color_range=2, matrix=1)):
        path = write_film(tmp_path / "film.mp4", film)
        with av.open(str(path)) as container:
            want = next(container.decode(video=0)).to_ndarray(format="bgr24")
        with Source(str(path)) as came_from:
            found = bgr(came_from.newest(1.0).frame)
        assert np.abs(found.astype(int) - want).mean() < 1.5
