"""The main job on real input: examples/demo.mp4 without its mask, and a sheet of before and after.

    python examples/demo.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from unmask_video import Options, unmask
from unmask_video.decode import open_video
from unmask_video.picture import thumbnail

HERE = Path(__file__).parent
SOURCE, TARGET, REFERENCE = HERE / "demo.mp4", HERE / "demo-unmasked.mp4", HERE / "demo-reference.jpg"
SHEET = TARGET.with_suffix(".png")
SHOWN = 5


def pictures(path: Path, count: int) -> list[np.ndarray]:
    """`count` frames spread over a film, uint8 [h, w, 3] RGB."""
    with open_video(path) as video:
        wanted = set(np.linspace(5, video.info.frame_count - 5, count).astype(int))
        return [thumbnail(frame, 480) for frame in video.frames() if frame.index in wanted]


def sheet(before: Path, after: Path, path: Path) -> None:
    """Before above after, side by side in time."""
    rows = [np.hstack(pictures(film, SHOWN)) for film in (before, after)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def main() -> None:
    print(f"{SOURCE.name} -> {TARGET.name}, guided by {REFERENCE.name}", flush=True)
    report = unmask(SOURCE, TARGET, reference=REFERENCE, options=Options(overwrite=True))
    print(report.summary())
    sheet(SOURCE, TARGET, SHEET)
    print(f"sheet        {SHEET} (before above, after below)")


if __name__ == "__main__":
    main()
