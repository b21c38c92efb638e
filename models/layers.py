"""What our networks share: pixel values in and out, shrinking, and moving a picture by a flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def to_net(picture: Tensor) -> Tensor:
    """0..255 -> -1..1."""
    return picture / 127.5 - 1


def to_bytes(picture: Tensor) -> Tensor:
    """-1..1 -> 0..255, cut off at both ends."""
    return ((picture + 1) * 127.5).clamp(0, 255)


def resize(picture: Tensor, size: int | Tensor) -> Tensor:
    """Bilinear [B, C, s, s] -> [B, C, size, size]; shrinks with aliasing."""
    return F.interpolate(picture, size=(size, size), mode="bilinear", align_corners=False)


def shrink(picture: Tensor, size: int) -> Tensor:
    """[B, C, s, s] -> [B, C, size, size] by a triangle filter, without aliasing.

    As two products of matrices, for runtimes disagree on the edges of the operator that ONNX has for it.
    """
    side = picture.shape[-1]
    at = torch.arange(side, device=picture.device, dtype=picture.dtype) + 0.5
    wanted = (torch.arange(size, device=picture.device, dtype=picture.dtype) + 0.5) * (side / size)
    share = (1 - (wanted[:, None] - at).abs() / max(side / size, 1)).clamp(min=0)
    share = share / share.sum(1, keepdim=True)
    return share @ picture @ share.T


def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and ReLU, without a norm: the fewest operations a second on a CPU go to waste."""
    layer = nn.Conv2d(before, after, 3, stride, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, which alone is left at the start (Zhang et al., arXiv 1901.09321)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


def move(picture: Tensor, flow: Tensor) -> Tensor:
    """Each pixel from where `flow` points: picture [B, C, S, S], flow [B, 2, S, S] in sides of the picture, x first.

    By cubics: what is moved by parts of a pixel would be blurred by straight lines.
    """
    size = picture.shape[-1]
    steps = (torch.arange(size, device=picture.device, dtype=picture.dtype) + 0.5) / size
    at = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))[None] + flow
    at = at.permute(0, 2, 3, 1) * 2 - 1
    return F.grid_sample(picture, at, mode="bicubic", padding_mode="border", align_corners=False)
