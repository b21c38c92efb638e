"""The adversary: which patches of a picture are painted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Conv2d
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(torch.nn.Module):
    """Convolutions of stride 2 with spectral norm and LeakyReLU 0.2, then one logit a place: SN-PatchGAN.

    Yu et al. (arXiv 1806.03589), spectral norm by Miyato et al. (arXiv 1802.05957). Six blocks of 5 x 5 are what
    Lumetti, Silvestri, Di Bartolomeo have; pix2pix has 4 x 4.
    """

    def __init__(self, channels_in: int, widths: tuple[int, ...], kernel: int = 5) -> None:
        """`channels_in` counts picture and `given` together: 4 for RGB and a mask; one block for each of `widths`."""
        super().__init__()
        ends = zip((channels_in, *widths), widths, strict=False)
        blocks = [Conv2d(a, b, kernel, stride=2, padding=(kernel - 1) // 2) for a, b in ends]
        self.blocks = torch.nn.ModuleList(spectral_norm(block) for block in blocks)
        # Yu et al. take every channel of the last block for a logit; one logit a place weighs these channels itself.
        self.judge = spectral_norm(Conv2d(widths[-1], 1, 1))

    def forward(self, picture: Tensor, given: Tensor) -> Tensor:
        """Logits [B, 1, h, w], above 0 for real, one for each 2 ** len(widths) px.

        Args:
            picture: [B, 3, H, W] in -1..1, real or with a painted hole.
            given: [B, channels_in - 3, H, W], what it was painted from: the hole as 0 and 1, or a reference photo.
        """
        x = torch.cat([picture, given], 1)
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
        return self.judge(x)
