"""Whether a face may be masked at all: a small network that spares the segmenter most bare faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.segmenter import block

SIZE = 96
"""Pixels of its crop."""
WIDTHS = (64, 96, 128)
"""Channels at 1/4, 1/8 and 1/16 of the crop."""


class Sentry(nn.Module):
    """image [B, 3, 96, 96] in 0..255 -> presence logit [B]."""

    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 3 * 4**2
        for level, width in enumerate(WIDTHS):
            layers += [block(before, width, 2 if level else 1), block(width, width)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.presence = nn.Linear(2 * before, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.layers(F.pixel_unshuffle(image / 127.5 - 1, 4))
        # A mask covers much of the face, so the mean tells; a mask seen from the side is a strong sign in few places.
        return self.presence(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))[:, 0]
