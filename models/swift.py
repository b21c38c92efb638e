"""Our default: puts the warped reference photo where it belongs, and into the light that the face stands in.

A small network looks at the face at `VIEW` px and says, on a grid of `VIEW` / 8, where each part of the photo should
go (a flow) and how much brighter and of what other tint it should be (an offset). Both are applied at the crop's own
size, so large faces keep the photo's sharpness. Nothing else is changed: a network that may also scale the photo's
colours, or paint over it, learns to lower the contrast wherever it is not sure, and the skin becomes smooth and dark.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask_video.models.layers import Residual, conv, move, resize, shrink, to_bytes, to_net

VIEW = 128
"""Pixels at which the network looks."""
WIDTHS = (48, 64, 96, 128)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the view."""
FARTHEST = 0.08
"""Longest flow in sides of the crop."""
BRIGHTEST = 0.25
"""Largest offset, where black is -1 and white 1."""


class Swift(nn.Module):
    """image [B, 3, S, S] in 0..255, hidden [B, 1, S, S] in 0..1, warped [B, 3, S, S] -> face [B, 3, S, S] in 0..255.

    `warped` is what the model `tps` makes of the reference (or of the mean face, where there is none).
    """

    inputs = ("image", "hidden", "warped")

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.stem = nn.Sequential(conv(4 * 7, half), Residual(half))
        self.down = nn.ModuleList(
            nn.Sequential(conv(before, after, 2), *(Residual(after) for _ in range(deep)))
            for before, after, deep in ((half, quarter, 1), (quarter, eighth, 2), (eighth, sixteenth, 2))
        )
        self.reduce, self.up = nn.Conv2d(sixteenth, eighth, 1), conv(eighth, eighth)
        self.head = _silent(eighth, 5)

    def forward(self, image: Tensor, hidden: Tensor, warped: Tensor) -> Tensor:
        return to_bytes(self.stages(image, hidden, warped)["face"])

    def stages(self, image: Tensor, hidden: Tensor, warped: Tensor) -> dict[str, Tensor]:
        """face [B, 3, S, S], where black is -1 and white 1; flow [B, 2, V / 8, V / 8] in sides of the crop;
        light [B, 3, V / 8, V / 8], the offset.
        """
        flow, light = self.plan(self.seen(image, hidden, warped))
        size = image.shape[-1]
        return {"face": move(to_net(warped), resize(flow, size)) + resize(light, size), "flow": flow, "light": light}

    def seen(self, image: Tensor, hidden: Tensor, warped: Tensor) -> Tensor:
        """What it looks at, [B, 7, S, S]: the face without the mask, the photo, and where the mask is."""
        return torch.cat([to_net(image) * (1 - hidden), to_net(warped), hidden], dim=1)

    def plan(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """seen [B, 7, S, S] -> flow [B, 2, V / 8, V / 8] in sides of the crop, offset [B, 3, V / 8, V / 8]."""
        x = self.stem(nn.functional.pixel_unshuffle(shrink(seen, VIEW), 2))
        for down in self.down:
            skip, x = x, down(x)
        x = self.up(resize(self.reduce(x), skip.shape[-1]) + skip)
        flow, light = self.head(x).tanh().split([2, 3], dim=1)
        return flow * FARTHEST, light * BRIGHTEST


class Plan(nn.Module):
    """What swift wants to do with the warped photo, which the product does itself, faster: flow and light, see `stages`."""

    def __init__(self, network: Swift) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, hidden: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
        flow, light = self.network.plan(self.network.seen(image, hidden, warped))
        return flow, light * 127.5


def _silent(before: int, after: int) -> nn.Conv2d:
    """A head that says nothing at first, so that training starts from the warped reference."""
    layer = nn.Conv2d(before, after, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
