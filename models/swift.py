"""Our default: places, lights and blends the warped reference photo, and invents only what it does not show.

A small U-Net looks at the face at `VIEW` px and says, coarsely, where each part of the photo should go (a
flow) and how bright and of what colour it should be (a gain), and at `VIEW` px how far to doubt it and what to
add. All of that is applied at the crop's own size, so large faces keep the photo's sharpness. The light has no
bias: with one, a network that is not sure learns to lower the contrast, and the skin becomes smooth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask_video.models.layers import Residual, conv, move, resize, shrink, to_bytes, to_net

VIEW = 128
"""Pixels at which the network looks."""
WIDTHS = (48, 64, 96, 128)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the view."""
FINE = 16
"""Channels at the view's own size."""
FARTHEST = 0.08
"""Longest flow in sides of the crop."""
SURE = 4.0
"""The photo is trusted at first: doubt starts at the sigmoid of -4."""


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
        self.reduce = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))
        self.up = nn.ModuleList(conv(width, width) for width in WIDTHS[:-1])
        self.light, self.flow = _silent(eighth, 3), _silent(quarter, 2)
        self.widen = conv(half, FINE)
        self.fine = nn.Sequential(conv(FINE + 7, FINE), _silent(FINE, 4))

    def forward(self, image: Tensor, hidden: Tensor, warped: Tensor) -> Tensor:
        warped = to_net(warped)
        seen = torch.cat([to_net(image) * (1 - hidden), warped, hidden], dim=1)
        light, flow, fine = self.plan(shrink(seen, VIEW))
        size = image.shape[-1]
        doubt, added = resize(fine, size).split([1, 3], dim=1)
        lit = (move(warped, resize(flow, size)) + 1) * resize(light, size).exp() - 1
        return to_bytes(lit * (SURE - doubt).sigmoid() + added)

    def plan(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """view [B, 7, V, V] -> log gain [B, 3, V/8, V/8], flow [B, 2, V/4, V/4], doubt and addition [B, 4, V, V]."""
        x = self.stem(nn.functional.pixel_unshuffle(view, 2))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        found = []
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(skips), strict=True):
            x = up(resize(reduce(x), skip.shape[-1]) + skip)
            found.append(x)
        eighth, quarter, half = found
        fine = self.fine(torch.cat([resize(self.widen(half), view.shape[-1]), view], dim=1))
        return self.light(eighth).tanh(), self.flow(quarter).tanh() * FARTHEST, fine


def _silent(before: int, after: int) -> nn.Conv2d:
    """A head that says nothing at first, so that training starts from the warped reference."""
    layer = nn.Conv2d(before, after, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
