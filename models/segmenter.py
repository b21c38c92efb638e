"""Which pixels of a face crop are mask, and whether there is a mask at all.

A U-Net (Ronneberger et al., arXiv 1505.04597) on a space-to-depth stem with additive skips: made for the
CPU, where plain 3x3 convolutions at half resolution are the cheapest per pixel.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SIZE, SMALL = 192, 144
"""Pixels of its crop, and of a small face's, for which there are parameters of their own."""
WIDTHS = (32, 48, 96, 128)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the crop."""


def block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Segmenter(nn.Module):
    """image [B, 3, S, S] in 0..255 -> mask logits [B, 1, S, S], presence logit [B]; S is the `size`."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size = size
        self.down = nn.ModuleList()
        before = 12
        for level, width in enumerate(WIDTHS):
            self.down.append(nn.Sequential(block(before, width, 2 if level else 1), block(width, width)))
            before = width
        self.bottom = nn.Sequential(block(before, before), block(before, before))
        self.reduce = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))
        self.up = nn.ModuleList(block(a, a) for a in WIDTHS[:-1])
        # One more look where pixels are finest: ear loops are a pixel wide.
        self.fine = nn.Sequential(nn.Conv2d(WIDTHS[0], WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]))
        self.head = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)
        self.presence = nn.Linear(WIDTHS[-1], 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(image / 127.5 - 1, 2)
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.bottom(x)
        present = self.presence(x.mean(dim=(2, 3)))[:, 0]
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(skips[:-1]), strict=True):
            x = up(F.interpolate(reduce(x), scale_factor=2.0, mode="bilinear", align_corners=False) + skip)
        return F.pixel_shuffle(self.head(F.relu(x + self.fine(x))), 2), present
