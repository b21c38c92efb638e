"""The live window (OpenCV): the picture, a line of figures, a split to compare with what the camera sees."""

from __future__ import annotations

import cv2
import numpy as np

from unmask_video.errors import BadEnvironment
from unmask_video.source import Shot

NAME = "unmask-video"
HELP = ("q  quit", "space  compare; the mouse moves the line", "m  next model", "r  take this face as reference",
        "s  snapshot", "h  help")  # fmt: skip
FONT, SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
HELP_WIDTH = 330
"""Pixels."""
LINE = 20
"""Pixels from one line of text to the next."""


class Window:
    """An `Outlet` of `live`."""

    def __init__(self) -> None:
        """Raises BadEnvironment where OpenCV has no windows, or no screen."""
        try:
            cv2.namedWindow(NAME, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)  # no buttons of OpenCV's own
        except cv2.error:
            raise BadEnvironment(
                "this OpenCV opens no windows; pip uninstall opencv-python-headless, then pip install opencv-python, "
                "or give --no-window with --serve, --record or --virtual-camera"
            ) from None
        self._compares = self._helps = False
        self._split = 0.5
        cv2.setMouseCallback(NAME, self._moved)
        self._width = 1

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        self._width = after.shape[1]
        cv2.imshow(NAME, drawn(before, after, status, self._split if self._compares else None, self._helps))

    def keys(self) -> str:
        """Also lets the window live; its own keys are dealt with here."""
        pressed = ""
        while (code := cv2.pollKey()) >= 0:
            pressed += chr(code & 0xFF)
        self._compares ^= pressed.count(" ") % 2 == 1
        self._helps ^= pressed.count("h") % 2 == 1
        if cv2.getWindowProperty(NAME, cv2.WND_PROP_VISIBLE) < 1:  # it was closed by the mouse
            pressed += "q"
        return pressed

    def close(self) -> None:
        cv2.destroyWindow(NAME)

    def _moved(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        if flags & cv2.EVENT_FLAG_LBUTTON or event == cv2.EVENT_MOUSEMOVE:
            self._split = min(max(x / self._width, 0.0), 1.0)


def drawn(before: np.ndarray, after: np.ndarray, status: str, split: float | None, helps: bool) -> np.ndarray:
    """What the window shows: uint8 [h + LINE, w, 3] BGR; left of `split` (a share of the width) what was before."""
    height, width = after.shape[:2]
    picture = np.zeros((height + LINE, width, 3), np.uint8)
    picture[:height] = after
    if split is not None:
        column = round(split * width)
        picture[:height, :column] = before[:, :column]
        picture[:height, max(column - 1, 0) : column + 1] = 255
    if helps:
        picture[: LINE * (len(HELP) + 1), : min(width, HELP_WIDTH)] //= 4
    for line, low in [*((text, LINE * (n + 1)) for n, text in enumerate(HELP if helps else ())), (status, height + 14)]:
        plain = line.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
        cv2.putText(picture, plain, (6, low), FONT, SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
