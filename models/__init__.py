"""The networks: their files, their licences, and which of them fill faces.

Import this package as `unmask_video.models`; the folder is mapped there by pyproject.toml.
"""

from __future__ import annotations

if __name__ != "unmask_video.models":
    raise ImportError(f"import this package as unmask_video.models, not as {__name__}; run `pip install -e .` first")

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class WeightsFile:
    """One file of parameters in `weights/`."""

    file: str
    """Name in `weights/`; ends in the first 8 digits of its sha256."""
    sha256: str
    """Of the whole file, hexadecimal; checked before every use."""
    licence: str
    """SPDX name."""
    origin: str
    """Who made it, and from what."""


def _listed() -> dict[str, WeightsFile]:
    text = (files(__name__) / "weights" / "files.json").read_text("utf-8")
    return {name: WeightsFile(**entry) for name, entry in json.loads(text).items()}


FILES: dict[str, WeightsFile] = _listed()
"""Every file of parameters by the name of its network; written by `training/port.py` and `training/checkpoint.py`."""

MODELS: dict[str, str] = {
    "tps": "no network: the reference photo, warped by a thin-plate spline and relit",
    "swift": "what tps gives, put where it belongs and into the face's light by a small network; works without a photo, too",
    "gated_reference": "published: gated convolutions that see the warped photo (Lumetti, Silvestri, Di Bartolomeo)",
    "unveilify": "published: a StyleGAN generator styled by the photo, which need not be warped (Joo et al.)",
    "imputed": "published: convolutions that fill their own gaps, without a photo (Ha, Park, Kim)",
    "residual_attention": "published: a U-Net with attention that is shown no mask, and no photo (Hosen, Islam)",
    "three_stage": "published: a mask, an autoencoder and a sharpener in a row, without a photo (Jagannathan et al.)",
}
"""What `--model` may name, and what it is in one line."""


def load_bytes(name: str) -> bytes:
    """The parameters of network `name` (a key of `FILES`) as ONNX.

    Raises:
        ValueError: the file is missing or its sha256 is not the listed one.
    """
    entry = FILES[name]
    path = files(__name__) / "weights" / entry.file
    if not path.is_file():
        raise ValueError(f"the weights file {entry.file} of {name} is missing; install the package again")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"the weights file {entry.file} of {name} is damaged: its sha256 begins with {found[:8]}"
            f" in place of {entry.sha256[:8]}; install the package again"
        )
    return data
