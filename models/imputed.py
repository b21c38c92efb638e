"""Imputed convolution: the face is painted twice, coarsely and finely, by convolutions that fill their own gaps.

Ha, Park, Kim, Facial Image Unmasking with Imputed Convolution (Seoul National University). What it leaves out it takes
from others: imputed convolution from Hukkelas et al. (arXiv 2011.01077) and their DeepPrivacy, the nets from Yu et al.
(arXiv 1806.03589, DeepFill v2). Sizes are those of `PAPER` at 256 px; the nets of `SHIPPED` have half the widths.

    layer             size                the paper                       chosen where it is silent
    mask              64..1024, 256..16   U-Net, binary mask, Dice loss   Ronneberger's widths; one logit
                      px
    coarse 1          48, 256 px          "imputed convolution blocks"    number, kernels and widths of the layers:
    coarse 2, 3       96, 128 px          (a figure shows them)           the coarse net of DeepFill v2, 5x5 first,
    coarse 4, 5, 6    192, 64 px                                          then 3x3, 2 and 4 with stride 2
    coarse 7..10      192, 64 px          dilated ones                    dilated by 2, 4, 8, 16 (DeepFill v2)
    coarse 11, 12     192, 64 px
    coarse 13, 14     96, 128 px                                          nearest neighbour before 13 and 15
    coarse 15, 16     48, 24, 256 px
    coarse 17         3, 256 px                                           imputed, tanh (DeepFill v2)
    refine            as coarse           "exactly same structure"
    norm              encoder only        layer norm                      1 to 10, over channels and places
    activation                            LeakyReLU                       slope 0.2, after the norm
    imputation        each layer          "tried for kernel sizes"        5x5 (DeepPrivacy), dilated with its layer

The paper saw tanh fail as activation; here it only bounds the finished pictures. The refine net is given the coarse
picture and the binary mask. Were the mask its certainty, it could not see the coarse picture; so it takes on the
certainty that leaves the coarse net, and the mask is a fourth channel for both. Two departures: the imputation is a
true weighted mean (DeepPrivacy divides a learned sum by the plain mean of certainty), and the own mask is decided by
a steep ramp, so that all runtimes decide alike.

The product knows better than one picture what is hidden (its mask is steadied over time and widened by the spill). So
`hidden` is what is filled, and the net's own mask stands in for it where it is empty: the paper's whole system.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.layers import to_bytes, to_net
from unmask_video.models.residual_attention import UNet

PAPER = {"widths": (48, 96, 192), "mask_widths": (64, 128, 256, 512, 1024), "size": 256}
"""38.0 million parameters (31.4 of them the mask's), 101 GMAC at 256 px."""
SHIPPED = {"widths": (24, 48, 96), "mask_widths": (8, 16, 32, 64, 128), "size": 128}
"""2.2 million parameters, 3.2 GMAC."""
WINDOW = 5
"""Side of the neighbourhood that an uncertain place is filled from."""
LEAST = 1e-4
"""Certainty below which a neighbourhood says nothing."""
STEEP = 8.0
"""Slope of the own mask's decision in a logit."""


class Imputed(nn.Module):
    """image [B, 3, S, S] in 0..255, hidden [B, 1, S, S] in 0..1 -> face [B, 3, S, S] in 0..255, S = `size`.

    Outside the hole the face is the image itself. `gated` makes the twin of gated convolutions, same sizes.
    """

    inputs: tuple[str, ...] = ("image", "hidden")

    def __init__(
        self, *, widths: tuple[int, ...] = SHIPPED["widths"], mask_widths: tuple[int, ...] = SHIPPED["mask_widths"],
        size: int = SHIPPED["size"], gated: bool = False,
    ) -> None:  # fmt: skip
        """`widths`: of the coarse and the refine net at 1, 1/2 and 1/4 of the crop; `mask_widths`: of the U-Net.

        `size`: of the crops that it learns from, in pixels, a multiple of 16; holes of another size it fills badly.
        """
        super().__init__()
        self.size = size
        self.mask = UNet(3, 1, widths=mask_widths)
        self.fillers = Fillers(widths, gated=gated)

    def forward(self, image: Tensor, hidden: Tensor) -> Tensor:
        found = self.stages(image, hidden)
        return image * (1 - found["hole"]) + to_bytes(found["refined"]) * found["hole"]

    def stages(self, image: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """All [B, C, S, S]: mask (logits) of the own U-Net; hole, 0..1, what was filled; pictures in -1..1.

        coarse and refined are as the nets painted them, whole; face is refined, pasted into the visible picture.
        """
        picture = to_net(image)
        mask = self.mask(picture)
        hole = chosen(hidden, mask)
        return {"mask": mask, "hole": hole} | self.fillers(picture, hole)


def chosen(hidden: Tensor, mask: Tensor) -> Tensor:
    """hidden [B, 1, S, S], or where a whole picture's is empty, the decision of its own mask (logits)."""
    own = (mask * STEEP + 0.5).clamp(0, 1)
    return torch.where(hidden.amax((1, 2, 3), keepdim=True) > 0, hidden, own)


class Fillers(nn.Module):
    """The coarse and the refine net, which learn together."""

    def __init__(self, widths: tuple[int, ...], *, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.coarse, self.refine = Filler(widths, gated=gated), Filler(widths, gated=gated)

    def forward(self, picture: Tensor, hole: Tensor) -> dict[str, Tensor]:
        """picture [B, 3, S, S] in -1..1, hole [B, 1, S, S] in 0..1 -> coarse, refined and face, as in `stages`."""
        seen = picture * (1 - hole)
        # Imputed convolutions leave out what is uncertain by themselves; gated ones would see it.
        coarse, certainty = self.coarse(seen if self.gated else picture, hole, 1 - hole)
        refined, _ = self.refine(seen + coarse * hole, hole, 1 - hole * (1 - certainty))
        return {"coarse": coarse, "refined": refined, "face": seen + refined * hole}


class Filler(nn.Module):
    """One of the two."""

    def __init__(self, widths: tuple[int, ...], *, gated: bool) -> None:
        super().__init__()
        block = GatedBlock if gated else ImputedBlock
        fine, half, quarter = widths
        self.encoder = nn.ModuleList([
            block(4, fine, kernel=5, norm=True),
            block(fine, half, stride=2, norm=True),
            block(half, half, norm=True),
            block(half, quarter, stride=2, norm=True),
            block(quarter, quarter, norm=True),
            block(quarter, quarter, norm=True),
            *(block(quarter, quarter, dilation=dilation, norm=True) for dilation in (2, 4, 8, 16)),
        ])  # fmt: skip
        self.decoder = nn.ModuleList([
            block(quarter, quarter), block(quarter, quarter),
            block(quarter, half, up=True), block(half, half),
            block(half, fine, up=True), block(fine, fine // 2),
        ])  # fmt: skip
        self.impute = None if gated else Impute(fine // 2)
        self.last = nn.Conv2d(fine // 2, 3, 3, padding=1)

    def forward(self, picture: Tensor, hole: Tensor, certainty: Tensor) -> tuple[Tensor, Tensor]:
        """picture [B, 3, S, S] in -1..1, hole and certainty [B, 1, S, S] in 0..1 -> picture, certainty."""
        x = torch.cat([picture, hole], dim=1)
        for block in (*self.encoder, *self.decoder):
            x, certainty = block(x, certainty)
        if self.impute is not None:
            x = self.impute(x, certainty)
        return self.last(x).tanh(), certainty


class Impute(nn.Module):
    """x [B, C, H, W], certainty [B, 1, H, W] in 0..1 -> x, its uncertain places filled from around them.

    h = c * x + (1 - c) * mean, where the mean is over the window, weighted by certainty times a learned kernel.
    """

    def __init__(self, width: int, *, dilation: int = 1) -> None:
        super().__init__()
        # In logarithms a kernel stays positive, and what it makes a mean, whatever is learned.
        self.kernel = nn.Parameter(torch.full((width, 1, WINDOW, WINDOW), -2 * log(WINDOW)))
        self.dilation = dilation

    def forward(self, x: Tensor, certainty: Tensor) -> Tensor:
        certainty = certainty.to(x.dtype)  # products of two types take five times as long
        kernel, reach, known = self.kernel.exp(), self.dilation * (WINDOW // 2), x * certainty
        total = F.conv2d(known, kernel, padding=reach, dilation=self.dilation, groups=x.shape[1])
        share = F.conv2d(certainty, kernel, padding=reach, dilation=self.dilation)
        return known + (1 - certainty) * total * (share + LEAST).reciprocal()


class ImputedBlock(nn.Module):
    """Impute, convolve, norm, LeakyReLU; and how certain the result is, by a learned kernel on one map."""

    def __init__(
        self, before: int, after: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, norm: bool = False,
        up: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.impute = Impute(before, dilation=dilation)
        self.conv = convolution(before, after, kernel=kernel, stride=stride, dilation=dilation)
        self.spread = convolution(1, 1, kernel=kernel, stride=stride, dilation=dilation, bias=False)
        nn.init.ones_(self.spread.weight)
        self.norm = nn.GroupNorm(1, after) if norm else nn.Identity()
        self.up = nn.Upsample(scale_factor=2.0) if up else nn.Identity()

    def forward(self, x: Tensor, certainty: Tensor) -> tuple[Tensor, Tensor]:
        # Imputed before it is enlarged, at a quarter of the cost.
        x, certainty = self.up(self.impute(x, certainty)), self.up(certainty)
        certainty = (self.spread(certainty) / 2).tanh().clamp(min=0)  # as DeepPrivacy: 0 where nothing is known
        return F.leaky_relu(self.norm(self.conv(x)), 0.2), certainty


class GatedBlock(nn.Module):
    """Gated convolution (Yu et al.) of the same sizes: features times a sigmoid; the certainty passes by unused."""

    def __init__(
        self, before: int, after: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, norm: bool = False,
        up: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = convolution(before, after, kernel=kernel, stride=stride, dilation=dilation)
        self.gate = convolution(before, after, kernel=kernel, stride=stride, dilation=dilation)
        self.norm = nn.GroupNorm(1, after) if norm else nn.Identity()
        self.up = nn.Upsample(scale_factor=2.0) if up else nn.Identity()

    def forward(self, x: Tensor, certainty: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(x)
        return F.leaky_relu(self.norm(self.conv(x)), 0.2) * self.gate(x).sigmoid(), certainty


def convolution(
    before: int, after: int, *, kernel: int, stride: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv2d:
    """Keeps sizes, or divides them by the stride; He's initialisation, for there is no norm in the decoder."""
    layer = nn.Conv2d(before, after, kernel, stride, dilation * (kernel // 2), dilation, bias=bias)
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
