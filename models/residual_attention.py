"""Residual attention U-Net: sees the masked face alone, without a mask, and gives the whole face.

Hosen and Islam, Masked Face Inpainting Through Residual Attention UNet (ASYU 2022). "Code" is what they published with
it (github.com/mdhosen/Mask-Face-Inpainting-Using-Residual-Attention-Unet). Sizes are those of `PAPER` at 256 px;
`SHIPPED` has three eighths of each width.

    layer               size                the paper                       chosen where it is silent
    stages down, 1..5   64, 128, 256, 512,  two 3x3, ReLU; joined with the  ReLU after each of the two (code); none
                        1024; 256..16 px    stage's input by a 1x1          after the 1x1: that path stays straight
    pooling             after stages 1..4   2x2 maximum
    gating signal       512, 256, 128, 64   "from the previous layer"       1x1, ReLU, on the stage below (code)
    gate, theta         the skip's          aligned with the signal         2x2 by stride 2 (code)
    gate, phi           the skip's          aligned with the skip, added,   1x1, then 3x3 (code)
                                            ReLU
    gate, psi           1                   1x1, sigmoid, upsampled         bilinear (Oktay et al., 1804.03999)
    gate, after         the skip's                                          1x1 (code; Oktay et al.)
    stages up, 4..1     512, 256, 128, 64   2x2 upsampling, else as down    nearest neighbour (code)
    head                3, 256 px           sigmoid                         1x1 (code)

The text joins a stage with its input by concatenation, twice, and by addition, once; the code adds. They are
concatenated here, which can learn to add: 40.8 million parameters (with addition 39.1, in the paper 39). Without the
3x3 of phi the attention U-Net would have 34 million, not the paper's 37. The paper names no normalisation, so there
is none (code: after the gates and before the sigmoid only); He's initialisation keeps so deep a net alive.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.layers import to_bytes, to_net

PAPER = {"widths": (64, 128, 256, 512, 1024), "size": 256}
"""40.8 million parameters, 67 GMAC at 256 px."""
SHIPPED = {"widths": (24, 48, 96, 192, 384), "size": 128}
"""5.7 million parameters, 2.4 GMAC."""


class ResidualAttention(nn.Module):
    """image [B, 3, S, S] in 0..255 -> face [B, 3, S, S] in 0..255, S = `size`."""

    inputs: tuple[str, ...] = ("image",)

    def __init__(
        self, *, widths: tuple[int, ...] = SHIPPED["widths"], size: int = SHIPPED["size"], residual: bool = True,
        attention: bool = True,
    ) -> None:  # fmt: skip
        """Without `residual` it is the paper's attention U-Net, without both its plain U-Net.

        Args:
            widths: channels of each level, from the largest picture to the smallest.
            size: of the crops that it learns from, in pixels, a multiple of 16; holes of another size it fills badly.
        """
        super().__init__()
        self.size = size
        self.net = UNet(3, 3, widths=widths, residual=residual, attention=attention)

    def forward(self, image: Tensor) -> Tensor:
        return to_bytes(self.stages(image)["face"])

    def stages(self, image: Tensor) -> dict[str, Tensor]:
        """face: [B, 3, S, S] in -1..1, all of it painted anew, what no mask hides as well."""
        return {"face": self.net(to_net(image)).sigmoid() * 2 - 1}


class UNet(nn.Module):
    """U-Net (Ronneberger et al., arXiv 1505.04597), with residual paths and attention gates if wanted.

    [B, before, S, S] -> [B, after, S, S], no activation at the end; S a multiple of 2 ** (len(widths) - 1).
    """

    def __init__(
        self, before: int, after: int, *, widths: tuple[int, ...], residual: bool = False, attention: bool = False
    ) -> None:
        super().__init__()
        levels = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(
            Stage(a, b, residual=residual) for a, b in zip((before, *widths), widths, strict=False)
        )
        self.gates = nn.ModuleList(Gate(skip, below) if attention else First() for skip, below in reversed(levels))
        self.up = nn.ModuleList(Stage(skip + below, skip, residual=residual) for skip, below in reversed(levels))
        self.head = convolution(widths[0], after, 1, gain="linear")

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.down[:-1]:
            skips.append(stage(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for gate, stage, skip in zip(self.gates, self.up, reversed(skips), strict=True):
            above = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(torch.cat([above, gate(skip, x)], dim=1))
        return self.head(x)


class Stage(nn.Module):
    """Two 3x3 convolutions, each with ReLU; with `residual`, joined with the stage's input by a 1x1 convolution."""

    def __init__(self, before: int, after: int, *, residual: bool) -> None:
        super().__init__()
        self.first, self.second = convolution(before, after, 3), convolution(after, after, 3)
        self.join = convolution(after + before, after, 1, gain="linear") if residual else None

    def forward(self, x: Tensor) -> Tensor:
        found = self.second(self.first(x).relu()).relu()
        return found if self.join is None else self.join(torch.cat([found, x], dim=1))


class Gate(nn.Module):
    """Attention gate on a skip [B, skip, s, s], by the stage below it [B, below, s / 2, s / 2]."""

    def __init__(self, skip: int, below: int) -> None:
        super().__init__()
        self.signal = convolution(below, skip, 1)
        self.theta = convolution(skip, skip, 2, stride=2, gain="linear")
        self.phi = nn.Sequential(convolution(skip, skip, 1, gain="linear"), convolution(skip, skip, 3, gain="linear"))
        self.psi = convolution(skip, 1, 1, gain="linear")
        self.after = convolution(skip, skip, 1, gain="linear")

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        return self.after(skip * self.coefficients(skip, below))

    def coefficients(self, skip: Tensor, below: Tensor) -> Tensor:
        """How much each place of the skip matters: [B, 1, s, s] in 0..1."""
        signal = self.phi(self.signal(below).relu())
        found = self.psi((self.theta(skip) + signal).relu()).sigmoid()
        return F.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=False)


class First(nn.Module):
    """In place of a gate, where there is no attention: the skip as it is."""

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        return skip


def convolution(before: int, after: int, kernel: int, *, stride: int = 1, gain: str = "relu") -> nn.Conv2d:
    """A convolution that keeps sizes (or halves them) and, at the start, the variance of what it is given."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2 if stride == 1 else 0)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=gain)
    nn.init.zeros_(layer.bias)
    return layer
