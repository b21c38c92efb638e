"""The real window, on a screen of its own (Xvfb), driven by real keys and a real mouse (xdotool)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25

NEEDED = ("Xvfb", "xdotool", "import")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"{', '.join(NEEDED)} are not all here"),
    pytest.mark.skipif("QT:                          YES" not in cv2.getBuildInformation(), reason="this OpenCV has no windows"),
]
SCREEN = ":93"
SIDE = 320


class Driven:
    """The command in its window."""

    def __init__(self, folder: Path) -> None:
        write_photo(folder / "face.png", portrait())
        film = Film(size=(SIDE, SIDE), pts=frames_25(1500), options={"crf": "20", "preset": "ultrafast"})
        path = write_footage(folder / "in.mp4", Footage(masked()[0], (SIDE, SIDE)), film)
        self.folder, self.environment = folder, os.environ | {"DISPLAY": SCREEN}
        words = [sys.executable, "-m", "unmask_video", "live", str(path), "-r", str(folder / "face.png")]
        self.process = subprocess.Popen(words, env=self.environment, cwd=folder)
        self.window = ""
        self.wait(self.find)
        self.wait(lambda: self.shot().shape[0] > SIDE)  # empty at first

    def find(self) -> bool:
        words = ["xdotool", "search", "--name", "unmask-video"]
        found = subprocess.run(words, env=self.environment, capture_output=True, text=True).stdout.split()
        self.window = found[-1] if found else ""
        return bool(self.window)

    def act(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self.environment, check=True, capture_output=True)

    def key(self, name: str) -> None:
        self.act("key", "--window", self.window, name)

    def shot(self) -> np.ndarray:
        path = self.folder / "shot.png"
        subprocess.run(["import", "-window", self.window, str(path)], env=self.environment, check=True)
        return cv2.imread(str(path)).astype(int)

    def is_blue(self, column: int) -> bool:
        """Whether the mask is seen there: light blue, on a line through the mouth."""
        b, _, r = self.shot()[int(0.38 * SIDE), column]
        return bool(b - r > 15)

    @staticmethod
    def wait(true: Callable[[], bool], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, "it never came"
            time.sleep(0.2)


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    screen = subprocess.Popen(["Xvfb", SCREEN, "-screen", "0", "800x600x24"], stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    made = Driven(tmp_path)
    yield made
    made.process.kill()
    screen.kill()


def test_keys_and_mouse(driven: Driven) -> None:
    left, right = int(0.41 * SIDE), int(0.52 * SIDE)
    driven.wait(lambda: not driven.is_blue(left) and not driven.is_blue(right))
    driven.key("space")
    driven.act("mousemove", "--window", driven.window, str(int(0.47 * SIDE)), "100")
    driven.wait(lambda: driven.is_blue(left) and not driven.is_blue(right))
    driven.act("mousemove", "--window", driven.window, str(int(0.9 * SIDE)), "100")
    driven.wait(lambda: driven.is_blue(right))
    driven.key("space")
    driven.wait(lambda: not driven.is_blue(left))
    plain = driven.shot()
    driven.key("h")
    driven.wait(lambda: driven.shot()[4:100, 4:200].mean() < 0.5 * plain[4:100, 4:200].mean())
    driven.key("s")
    driven.wait(lambda: bool(list(driven.folder.glob("unmask-*.png"))))
    driven.key("q")
    assert driven.process.wait(10) == 0
