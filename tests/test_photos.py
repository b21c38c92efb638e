"""Every kind of photo: what is promised of it, and what came of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import portrait, tools
from rows import ROWS

from unmask_video import BadReference
from unmask_video.reference import read_picture

Image = pytest.importorskip("PIL.Image")


def write(kind: str, path: Path) -> Path:
    """The portrait, as that kind of file."""
    shown = Image.fromarray(portrait())
    darker = Image.fromarray(portrait() // 2)
    if kind == "CMYK":
        shown.convert("CMYK").save(path, "JPEG", quality=95)
    elif kind == "grey":
        shown.convert("L").save(path, "PNG")
    elif kind == "palette":
        shown.quantize(256).save(path, "PNG")
    elif kind == "16 bit":
        path.write_bytes(cv2.imencode(".png", portrait()[..., ::-1].astype(np.uint16) * 257)[1].tobytes())
    elif kind == "transparent":
        layers = np.dstack([portrait(), np.full(portrait().shape[:2], 255, np.uint8)])
        layers[:40] = (255, 0, 0, 0)
        Image.fromarray(layers).save(path, "PNG")
    elif kind in ("animated GIF", "animated WebP", "animated PNG"):
        shown.save(path, kind.split()[1], save_all=True, append_images=[darker])
    else:
        shown.save(path, kind, quality=95)
    return path


@pytest.mark.parametrize(
    "kind", ["JPEG", "WebP", "CMYK", "grey", "palette", "16 bit", "transparent", "animated GIF", "animated WebP", "animated PNG"]
)
def test_photos_of_every_kind_are_read(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path / "photo")
    picture, wanted = read_picture(path), portrait().copy()
    if kind == "grey":
        wanted = np.repeat(np.asarray(Image.fromarray(wanted).convert("L"))[..., None], 3, axis=2)
    if kind == "transparent":
        wanted[:40] = 255
    away = np.abs(picture.astype(int) - wanted).mean()
    assert picture.shape == wanted.shape and away < (9 if kind in ("CMYK", "animated GIF", "palette") else 3), away
    (found,) = tools().photos([str(path)])
    assert len(found) == 1
    ROWS.append((f"photo: {kind}", "read, the first picture of several", f"{away:.1f} of 255 off"))


def test_a_photo_of_8k_is_read(tmp_path: Path) -> None:
    shown = Image.new("RGB", (7680, 4320), (90, 110, 130))
    shown.paste(Image.fromarray(portrait()).resize((2160, 2160)), (2000, 1000))
    shown.save(tmp_path / "photo.jpg", quality=90)
    write("PNG", tmp_path / "small.png")
    large, small = (tools().photos([str(tmp_path / name)])[0][0].image for name in ("photo.jpg", "small.png"))
    away = np.abs(cv2.resize(large, (64, 64)).astype(int) - cv2.resize(small, (64, 64))).mean()
    assert away < 6
    ROWS.append(("photo: 8K", "read, and the same face found", f"{away:.1f} of 255 off"))


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "folder", "missing"])
def test_what_is_no_photo_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        whole = write("JPEG", path).read_bytes()
        path.write_bytes({"cut": whole[:300], "empty": b"", "text": b"no photo at all\n" * 30}[kind])
    with pytest.raises(BadReference) as caught:
        read_picture(path)
    ROWS.append((f"photo: {kind}", "refused in a sentence", str(caught.value).replace(f"{path} ", "")[:70]))
