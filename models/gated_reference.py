"""A coarse and a refining net of gated convolutions, guided by the warped reference photo.

Lumetti, Silvestri, Di Bartolomeo: "Mask inpainting with a GAN network", whose architecture is "highly inspired by"
Yu et al. (free-form inpainting with gated convolution, arXiv 1806.03589; below: Yu) and Li et al. (DeepGIN, arXiv
2008.07173). Their own code is public (LucaLumetti/CVProject on GitHub; below: code); it settles what the paper leaves
open where it does not contradict the paper. Sizes are those of `PAPER` at 256 px.

| part | layer | size | where it stands |
|---|---|---|---|
| input | reference warped into the hole, and the hole | 4 x 256 | sections 2 ("sticked to to main photo") and 4 |
| coarse | gated 5x5; stride 2, 3x3; stride 2, two 3x3 | 32 x 256, 64 x 128, 128 x 64 | 4.3.1; layers: Yu |
| | gated 3x3, dilation 2, 4, 8, 16; two 3x3 | 128 x 64 | 4.3.1 "convolutional"; layers: Yu |
| | (resize, gated 3x3, gated 3x3) twice | 64 x 128, 32 and 16 x 256 | 4.3.1 "preceded by a resize"; layers: Yu |
| | 3x3, tanh | 3 x 256 | 4.3.1 tanh; plain convolution: Yu |
| refine | picture with the coarse net's hole, and the hole | 4 x 256 | 4.3.2; composition: Yu |
| | gated 5x5, then gated 3x3 of stride 2 four times | 32 x 256 ... 512 x 16 | 4.1.6 says 512; widths: code; kernels: Yu |
| | two SPD blocks -> `features` | 512 x 16 | 4.3.2 four in all, 4.1.6 features; place: code |
| | self-attention, two SPD blocks | 512 x 16 | 4.3.2 "the central layer"; place: code |
| | plain 3x3 and self-attention on the way across | 128 x 32, 64 x 64 | 4.3.2 16, 32, 64; "to reduce the size" |
| | (resize, gated 3x3) four times, gated 3x3 where joined | 256 x 32 ... 32 x 256 | silent: as in code |
| | 3x3, tanh | 3 x 256 | silent: as the coarse net |

Silent, and chosen: LeakyReLU's slope is 0.2 (code). The gate has weights of its own (equations 11 and 12; code
shares them). No batch norm (code has it): Yu has none, and batches here are of one to six pictures. Gated are all
layers of the refining net but SPD, attention and what is before it. SPD (figure 3) after DeepGIN: dilations 1, 2, 4, 8
and a quarter of the width each (code), LeakyReLU, a 3x3 over all of them, plus the identity. Self-attention is
that of SAGAN (Zhang et al., arXiv 1805.08318): an eighth of the width for queries and keys, no scale, and a
strength that starts at 0. The caption of figure 3 puts SPD in the coarse net, the text only in the refining net:
the text is followed. Resizing is bilinear: nearest neighbours draw a grid.
Departures: attention looks at no more than 16, 32 and 64 px (at 256 px these are its maps' own sizes), so that a crop
of 512 px costs four times, not sixteen times one of 256.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.layers import resize, to_bytes, to_net

SLOPE = 0.2
"""LeakyReLU's, below 0."""


@dataclass(frozen=True)
class Sizes:
    """Channels of both nets."""

    coarse: tuple[int, int, int]
    """At 1, 1/2 and 1/4 of the crop's side."""
    refine: tuple[int, int, int, int, int]
    """At 1, 1/2 ... 1/16 of the crop's side; the last is the width of `features`."""


PAPER = Sizes((32, 64, 128), (32, 64, 128, 256, 512))
SHIPPED = Sizes((16, 32, 64), (16, 32, 64, 128, 192))


class GatedReference(nn.Module):
    """image [B, 3, S, S] in 0..255, hidden [B, 1, S, S] in 0..1, warped [B, 3, S, S] -> face [B, 3, S, S] in 0..255.

    `warped` is what the model `tps` makes of the reference, or zeros in -1..1 (127.5) where there is none, as the
    paper has it before the reference is pasted. S is a multiple of 64 from 128 to 512.
    """

    inputs = ("image", "hidden", "warped")
    size: int | None = None
    """Any."""

    def __init__(self, *, sizes: Sizes = SHIPPED, guide_refine: bool = False, initial: str = "kaiming") -> None:
        """`guide_refine` shows the warped photo to the refining net, too; in the paper only the coarse net sees it."""
        super().__init__()
        self.guide_refine = guide_refine
        self.coarse = _coarse(sizes.coarse)
        self.refine = Refine(sizes.refine, channels_in=7 if guide_refine else 4)
        initialise(self, initial)

    def forward(self, image: Tensor, hidden: Tensor, warped: Tensor) -> Tensor:
        return to_bytes(self.stages(image, hidden, warped)["face"])

    def stages(self, image: Tensor, hidden: Tensor, warped: Tensor) -> dict[str, Tensor]:
        """face and coarse [B, 3, S, S] in -1..1; features [B, 512, S / 16, S / 16] (the last of `Sizes.refine`).

        The losses want `features` averaged over its places: of a picture, and of the same flipped and recoloured.
        """
        seen, warped = to_net(image) * (1 - hidden), to_net(warped)
        coarse = self.coarse(torch.cat([seen + warped * hidden, hidden], dim=1))
        guide = [warped] if self.guide_refine else []
        face, features = self.refine(torch.cat([seen + coarse * hidden, hidden, *guide], dim=1))
        return {"face": face, "coarse": coarse, "features": features}


class GatedConv(nn.Module):
    """[B, before, H, W] -> [B, after, H / stride, W / stride]: LeakyReLU of a feature times sigmoid of a gate.

    One convolution makes features and gates, each with weights of its own: one call is quicker than two.
    """

    def __init__(self, before: int, after: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.both = nn.Conv2d(before, 2 * after, kernel, stride, dilation * (kernel // 2), dilation)

    def forward(self, x: Tensor) -> Tensor:
        feature, gate = self.both(x).chunk(2, dim=1)
        return F.leaky_relu(feature, SLOPE) * gate.sigmoid()


class Up(nn.Module):
    """[B, before, H, W] -> [B, after, 2 H, 2 W]: a gated convolution "preceded by a resize operation"."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.gated = GatedConv(before, after)

    def forward(self, x: Tensor) -> Tensor:
        return self.gated(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class SpatialPyramidDilation(nn.Module):
    """ResNet block [B, width, H, W] -> the same, that looks near and far at once."""

    def __init__(self, width: int, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        share = width // len(dilations)
        self.branches = nn.ModuleList(nn.Conv2d(width, share, 3, padding=d, dilation=d) for d in dilations)
        self.fuse = nn.Conv2d(share * len(dilations), width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fuse(torch.cat([F.leaky_relu(branch(x), SLOPE) for branch in self.branches], dim=1))


class SelfAttention(nn.Module):
    """[B, width, H, W] -> the same: each place adds what it finds at all others, on a map of `side` px at most."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        few = max(1, width // 8)
        # A bias of the keys would add the same to all places compared: softmax does not see it.
        self.query, self.key = nn.Conv2d(width, few, 1), nn.Conv2d(width, few, 1, bias=False)
        self.value = nn.Conv2d(width, width, 1)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        # Sizes are tensors while the network is traced for ONNX.
        least = torch.clamp(side, max=self.side) if isinstance(side, Tensor) else min(side, self.side)
        return x + self.strength * resize(self.attend(resize(x, least)), side)

    def attend(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same: means of the values of all places, weighed by likeness."""
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(dim=2)
        return (weights @ value.transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class Refine(nn.Module):
    """[B, channels_in, S, S] -> face [B, 3, S, S] in -1..1 and features [B, widths[-1], S / 16, S / 16]."""

    def __init__(self, widths: tuple[int, int, int, int, int], *, channels_in: int) -> None:
        super().__init__()
        full, half, quarter, eighth, middle = widths
        self.start = nn.Sequential(GatedConv(channels_in, full, kernel=5), GatedConv(full, half, stride=2))
        self.to_quarter = GatedConv(half, quarter, stride=2)
        self.to_eighth = GatedConv(quarter, eighth, stride=2)
        self.to_features = nn.Sequential(GatedConv(eighth, middle, stride=2), *_pyramids(middle))
        self.middle = nn.Sequential(SelfAttention(middle, 16), *_pyramids(middle))
        self.across_eighth = _across(eighth, side=32)
        self.across_quarter = _across(quarter, side=64)
        self.from_middle = Up(middle, eighth)
        self.from_eighth = nn.Sequential(GatedConv(eighth + eighth // 2, eighth), Up(eighth, quarter))
        self.from_quarter = nn.Sequential(GatedConv(quarter + quarter // 2, quarter), Up(quarter, half))
        self.end = nn.Sequential(Up(half, full), nn.Conv2d(full, 3, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.to_quarter(self.start(x))
        eighth = self.to_eighth(quarter)
        features = self.to_features(eighth)
        x = self.from_middle(self.middle(features))
        x = self.from_eighth(torch.cat([x, self.across_eighth(eighth)], dim=1))
        x = self.from_quarter(torch.cat([x, self.across_quarter(quarter)], dim=1))
        return self.end(x), features


def _coarse(widths: tuple[int, int, int]) -> nn.Sequential:
    """[B, 4, S, S] -> [B, 3, S, S] in -1..1."""
    full, half, quarter = widths
    return nn.Sequential(
        GatedConv(4, full, kernel=5),
        GatedConv(full, half, stride=2), GatedConv(half, half),
        GatedConv(half, quarter, stride=2), GatedConv(quarter, quarter), GatedConv(quarter, quarter),
        *(GatedConv(quarter, quarter, dilation=d) for d in (2, 4, 8, 16)),
        GatedConv(quarter, quarter), GatedConv(quarter, quarter),
        Up(quarter, half), GatedConv(half, half),
        Up(half, full), GatedConv(full, full // 2),
        nn.Conv2d(full // 2, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


def _pyramids(width: int) -> tuple[SpatialPyramidDilation, SpatialPyramidDilation]:
    return SpatialPyramidDilation(width), SpatialPyramidDilation(width)


def _across(width: int, *, side: int) -> nn.Sequential:
    """[B, width, H, W] -> [B, width / 2, H, W], half as wide so that attention stays cheap."""
    reduce = nn.Conv2d(width, width // 2, 3, padding=1)
    return nn.Sequential(reduce, nn.LeakyReLU(SLOPE), SelfAttention(width // 2, side))


GAIN = nn.init.calculate_gain("leaky_relu", SLOPE)
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, a=SLOPE),
    "normal": lambda weight: nn.init.normal_(weight, std=weight[0].numel() ** -0.5),
    "xavier": lambda weight: nn.init.xavier_normal_(weight, gain=GAIN),
    "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=GAIN),
}
"""What `initialise` may be told (section 4). Code draws all but Kaiming's 50 times smaller, which only batch norm
makes up for: here nothing would arrive at the other end. So `normal` is LeCun's; the others know LeakyReLU."""
FEATURE, GATE, BRANCH, HEAD = 2.0, 0.1, 0.5, 0.2
"""Factors on what `KINDS` draws. Gates begin nearly half open, whatever they see, and features make up for the half:
gates that open with the signal would let strong signals grow from layer to layer. Four residual branches would multiply
the map's energy by 16: they start at half their strength. Tanh of a full-sized head is flat: heads start small."""


@torch.no_grad()
def initialise(network: GatedReference, kind: str = "kaiming") -> None:
    """Draws the weights of all convolutions anew by one of `KINDS`, sets their biases to 0 and attention to off."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            KINDS[kind](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, SelfAttention):
            nn.init.zeros_(layer.strength)
    for layer in network.modules():
        if isinstance(layer, GatedConv):
            feature, gate = layer.both.weight.chunk(2)
            feature.mul_(FEATURE)
            gate.mul_(GATE)
        elif isinstance(layer, SpatialPyramidDilation):
            layer.fuse.weight.mul_(BRANCH)
    for head in (network.coarse[-2], network.refine.end[-2]):
        head.weight.mul_(HEAD)
