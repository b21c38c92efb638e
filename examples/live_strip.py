"""Makes examples/live.jpg: four moments of what `unmask-video live examples/demo.mp4` shows while it compares.

    python examples/live_strip.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from unmask_video import Options
from unmask_video.live import Live
from unmask_video.source import Shot, Source
from unmask_video.window import drawn

HERE = Path(__file__).parent
EVERY, MOMENTS = 20, 4
"""Pictures from one moment to the next, and how many moments."""


class Strip:
    """An outlet that keeps what the window would show, its line further right each time."""

    def __init__(self) -> None:
        self.count, self.kept = 0, []

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        self.count += 1
        if self.count % EVERY == 0:
            self.kept.append(drawn(before, after, status, 0.62 - 0.12 * len(self.kept), helps=False))

    def keys(self) -> str:
        return "q" if len(self.kept) == MOMENTS else ""

    def close(self) -> None:
        pass


def main() -> None:
    strip = Strip()
    with Source(str(HERE / "demo.mp4")) as source:
        Live(source, [strip], [str(HERE / "demo-reference.jpg")], Options(), fps=25).run()
    cv2.imwrite(str(HERE / "live.jpg"), np.hstack(strip.kept), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
