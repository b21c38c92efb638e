"""The networks that the papers' losses look through where they are at hand, and those that stand in for them.

torchvision's VGG-19 is fetched into `runs/`, or found there; else VGG16, the backbone of LPIPS. An ArcFace of yours is
found as `runs/arcface.onnx` (InsightFace's, or another that `training.identity` can read); else MobileFaceNet.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.error import URLError

import torch
from google.protobuf.message import DecodeError
from torch import Tensor
from torch.hub import load_state_dict_from_url

from training.identity import FaceNetwork, mobilefacenet
from training.lpips import BACKBONES, CACHE, LPIPS, maps

VGG19_FILE = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
"""torchvision's; the name holds the first digits of its sha256, which are checked."""


class VGG19(torch.nn.Module):
    """Maps of pictures, after the last convolution of each of its five blocks. All parameters are buffers."""

    backbone = replace(
        BACKBONES["vgg"], strides=(1,) * 16, paddings=(1,) * 16, pooled=(1, 3, 7, 11), kept=(1, 3, 7, 11, 15)
    )

    def __init__(self, state: dict[str, Tensor]) -> None:
        """`state` is that of `torchvision.models.vgg19`."""
        super().__init__()
        kernels = [k for k, v in state.items() if k.startswith("features.") and v.ndim == 4]
        for n, name in enumerate(kernels):
            self.register_buffer(f"kernel{n}", state[name])
            self.register_buffer(f"bias{n}", state[name.replace("weight", "bias")])
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def features(self, image: Tensor) -> list[Tensor]:
        """Five maps of pictures [B, 3, H, W] in -1..1: [B, C, h, w] with C = 64, 128, 256, 512, 512."""
        return maps(self, self.backbone, ((image + 1) / 2 - self.mean) / self.deviation)


def perceptual() -> VGG19 | LPIPS:
    """VGG-19, or VGG16 and a sentence that says so."""
    try:
        return VGG19(load_state_dict_from_url(VGG19_FILE, str(CACHE), "cpu", progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError) as error:
        print(f"torchvision's VGG-19 could not be fetched ({error}): VGG16 stands in")
        return LPIPS("vgg")


def face_network() -> FaceNetwork:
    """The ArcFace of `runs/`, or MobileFaceNet and a sentence that says so.

    Raises:
        ValueError: the file is none that can be read.
    """
    path = CACHE / "arcface.onnx"
    if not path.exists():
        print(f"there is no {path}: MobileFaceNet stands in for ArcFace")
        return mobilefacenet()
    try:
        return FaceNetwork(path.read_bytes())
    except (ValueError, IndexError, DecodeError) as error:
        raise ValueError(f"{path} is no face network that can be read ({error}); give one in ONNX, or none") from None
