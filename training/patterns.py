"""What drawn masks may be made of: photographed templates and textures."""

from __future__ import annotations

import configparser
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np


@dataclass(frozen=True, eq=False)
class Template:
    """A photographed mask with six key points."""

    image: np.ndarray
    """uint8 [h, w, 4] RGBA."""
    points: np.ndarray
    """float32 [6, 2]: top left, middle, right; bottom left, middle, right."""
    side: int
    """-1: the head looks to the viewer's left, 1: right, 0: into the camera."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """What masks are made of: both may be empty."""

    templates: tuple[Template, ...] = ()
    textures: tuple[np.ndarray, ...] = ()
    """uint8 [h, w, 3] RGB."""


def load_patterns(tar: Path) -> Patterns:
    """Templates and textures from a tar laid out as MaskTheFace's `masks` folder (MIT, A. Anwar).

    Raises:
        ValueError: it is no such tar.
    """
    try:
        with tarfile.open(tar) as archive:
            data = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
        listing = next(v for k, v in data.items() if k.endswith("masks.cfg")).decode()
    except (tarfile.TarError, EOFError, StopIteration):
        raise ValueError(f"{tar} is no tar of mask templates; it needs masks.cfg and templates/ as MaskTheFace has") from None
    config = configparser.ConfigParser()
    config.read_string(listing)
    decode = lambda raw: cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)  # noqa: E731
    templates, textures = [], []
    for name in config.sections():
        if "template" not in config[name]:
            continue
        file = Path(config[name]["template"]).name
        raw = next((v for k, v in data.items() if k.endswith(f"templates/{file}")), None)
        image = decode(raw) if raw is not None else None
        if image is not None and image.shape[2] == 4 and "gas" not in name:
            points = [[float(x) for x in config[name][f"mask_{k}"].split(",")] for k in "abcdef"]
            side = -1 if name.endswith("_left") else 1 if name.endswith("_right") else 0
            templates.append(Template(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), np.float32(points), side))
    for name, raw in data.items():
        if "texture" in name and (image := decode(raw)) is not None:
            image = image if image.ndim == 3 else cv2.merge([image] * 3)
            textures.append(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB))
    return Patterns(tuple(templates), tuple(textures))
