"""Where the live picture goes: the window's drawing, the page, recordings, a camera for other programs."""

from __future__ import annotations

import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unmask_video.errors import BadEnvironment, BadOption, CannotEncode
from unmask_video.page import Page
from unmask_video.recording import Recording, VirtualCamera
from unmask_video.source import Shot
from unmask_video.window import LINE, Window, drawn


def test_the_window_shows_a_split_and_help() -> None:
    before, after = np.full((60, 100, 3), 50, np.uint8), np.full((60, 100, 3), 200, np.uint8)
    plain, split, helps = (drawn(before, after, "25 fps", s, h) for s, h in ((None, False), (0.3, False), (None, True)))
    assert plain.shape == (60 + LINE, 100, 3) and np.array_equal(plain[:60], after) and plain[60:].max() == 255
    assert (split[:60, :28] == 50).all() and (split[:60, 32:] == 200).all()
    assert (helps[:60, :100] <= 255).all() and helps[2, 2].max() == 50


def test_an_opencv_without_windows_says_what_to_do() -> None:
    if "GUI:                           NONE" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has windows")
    with pytest.raises(BadEnvironment, match="opens no windows; pip uninstall opencv-python-headless"):
        Window()


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page(0)
    yield made
    made.close()


def test_the_page_shows_pictures_to_this_machine_alone(page: Page) -> None:
    after = np.full((48, 64, 3), (30, 120, 200), np.uint8)
    root = f"http://127.0.0.1:{page.port}"
    with urllib.request.urlopen(root, timeout=5) as answer:
        assert "/stream" in answer.read().decode()
    with urllib.request.urlopen(root + "/stream", timeout=5) as stream:
        for _ in range(20):
            page.show(after, after, None, "25 fps")
            time.sleep(0.02)
        data = stream.read(1500)
    jpeg = data[data.index(b"\xff\xd8") : data.index(b"\xff\xd9") + 2]
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(found.astype(int) - after).mean() < 3
    assert urllib.request.urlopen(root + "/status", timeout=5).read() == b"25 fps"
    assert page._server.server_address[0] == "127.0.0.1"
    asked = urllib.request.Request(root, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked, timeout=5)


def test_whom_others_let_in_may_ask_by_any_name() -> None:
    made = Page(0, "0.0.0.0")
    asked = urllib.request.Request(f"http://127.0.0.1:{made.port}/status", headers={"Host": "door.example"})
    assert urllib.request.urlopen(asked, timeout=5).status == 200
    made.close()


def test_a_recording_that_cannot_be_written_ends_the_loop_in_a_sentence(tmp_path: Path) -> None:
    made = Recording(tmp_path / "out.mp4")
    picture = np.zeros((1, 1, 3), np.uint8)  # which no encoder takes
    made.show(picture, picture, Shot(None, 0.0), "")
    made._thread.join(5)
    assert made.keys() == "q"
    with pytest.raises(CannotEncode, match="broke off"):
        made.close()


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadOption, match="give --serve another port"):
            Page(taken.getsockname()[1])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_recording_keeps_every_picture_at_its_time(suffix: str, tmp_path: Path) -> None:
    made = Recording(tmp_path / f"out{suffix}")
    pictures = [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(20)]
    for k, picture in enumerate(pictures):
        made.show(picture, picture, Shot(None, 100.0 + k * 0.05 + (k % 3) * 0.004), "")
    made.close()
    with av.open(str(made.target)) as film:
        found = [(float(f.pts * f.time_base), f.to_ndarray(format="bgr24").mean()) for f in film.decode(video=0)]
    assert [t for t, _ in found] == pytest.approx([k * 0.05 + (k % 3) * 0.004 for k in range(20)], abs=0.002)
    assert [level for _, level in found] == pytest.approx([10.0 * k for k in range(20)], abs=4)


def test_a_recording_replaces_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"mine")
    with pytest.raises(BadOption, match="exists; choose another name, or allow it with --overwrite"):
        Recording(tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"


class FakeCamera:
    made: list[FakeCamera] = []

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.width, self.height, self.fps, self.sent = width, height, fps, []
        self.made.append(self)

    def send(self, rgb: np.ndarray) -> None:
        self.sent.append(rgb)

    def close(self) -> None:
        self.sent.append(None)


def test_other_programs_see_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", type("module", (), {"Camera": FakeCamera}))
    made = VirtualCamera(25.0)
    for width in (64, 64, 80):
        picture = np.full((48, width, 3), (10, 20, 30), np.uint8)
        made.show(picture, picture, Shot(None, 0.0), "")
    made.close()
    first, second = FakeCamera.made
    assert (first.width, second.width) == (64, 80) and len(first.sent) == 3 and first.sent[-1] is None is second.sent[-1]
    assert (first.sent[0] == [30, 20, 10]).all(), "RGB"


def test_without_pyvirtualcam_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(BadEnvironment, match="pip install pyvirtualcam"):
        VirtualCamera(25.0)
