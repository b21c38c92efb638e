"""Small sets of photos for tests of scoring: the portrait in a few looks, in folders and tars."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
from faces import portrait, write_photo

from unmask_video.face import Face, Mask
from unmask_video.frame import Frame


def ellipse(frame: Frame, face: Face, belief: float = 1.0) -> Mask:
    """A segmenter without a network: about where a mask is, whatever is there."""
    alpha = np.zeros((192, 192), np.float32)
    cv2.ellipse(alpha, (96, 120), (52, 44), 0, 0, 360, 1.0, -1)
    return Mask(alpha, belief, False)


def looks() -> list[np.ndarray]:
    """Four photos, uint8 [h, w, 3]: none is like another, one is no square."""
    bare = portrait()
    return [bare, (bare * 0.7).astype(np.uint8), bare[:, ::-1].copy(), cv2.GaussianBlur(bare[:, 20:-40], (0, 0), 1.5)]


def write_people(folder: Path) -> Path:
    """Two people with two photos each."""
    for name, rgb in zip(("a/1.png", "a/2.png", "b/1.png", "b/2.png"), looks(), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_photo(folder / name, rgb)
    return folder


def write_tar(path: Path, files: dict[str, bytes], *, gz: bool = False) -> Path:
    with tarfile.open(path, "w:gz" if gz else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


def damaged(folder: Path) -> dict[str, Path]:
    """By what the sentence must say: data that cannot be used."""
    for name in ("empty", "broken", "faceless"):
        (folder / name).mkdir()
    (folder / "broken" / "x.jpg").write_bytes(b"")
    write_photo(folder / "faceless" / "x.png", np.full((200, 200, 3), 128, np.uint8))
    files = {f"{k}.png": png(portrait()) for k in range(3)}
    whole = write_tar(folder / "whole.tar", files).read_bytes()
    zipped = write_tar(folder / "whole.tar.gz", files, gz=True).read_bytes()
    third = whole.index(b"2.png")
    wrong = {"text": b"no tar " * 500, "cut": whole[: len(whole) // 2], "end": whole[:third], "zip": zipped[:-9000],
             "header": whole[:third] + b"x" * 400 + whole[third + 400 :]}  # fmt: skip
    for name, data in wrong.items():
        (folder / f"{name}.tar").write_bytes(data)
    bad = {f"{name}.tar is no tar, or a damaged one": folder / f"{name}.tar" for name in wrong}
    return bad | {
        "holds no photos": folder / "empty", "no case (1 unreadable)": folder / "broken",
        "no case (1 no face found)": folder / "faceless", "does not exist": folder / "missing",
    }  # fmt: skip
