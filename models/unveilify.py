"""A U-Net whose decoder is a StyleGAN generator, styled by an identity photo.

Joo, Lee, Kim, Na, Lee, You: "UnVeilify: A Path Towards Personalized Face Mask Removal". The paper names the parts and
gives no sizes, so these are those of the works that it cites: U-Net (Ronneberger et al., arXiv 1505.04597), pSp
(Richardson et al., arXiv 2008.00951), StyleGAN (Karras et al., arXiv 1812.04948) and, whose generator pSp drives,
StyleGAN2 (arXiv 1912.04958). The authors' own code is public (hyoungjoojin/UnVeilify on GitHub; below: code). Sizes
are those of `PAPER`.

| part | layer | size | where it stands |
|---|---|---|---|
| U-Net encoder | at each level two 3x3 and ReLU | 64 x 256, 128 x 128, 256 x 64 | 3.3; layers: U-Net |
| | 2x2 maximum to the next level | 512 x 32, 16, 8, 4 | 3.3 "downsampled"; widths: StyleGAN |
| pSp encoder | 3x3, PReLU | 64 x 256 | 3.2 "a ResNet backbone"; pSp: IR-SE-50 |
| | IR-SE blocks, 3, 4, 14 and 3, each stage of stride 2 | 64 x 128 ... 512 x 16 | as above |
| | pyramid of the last three stages, 1x1 across | 512 x 16, 32, 64 | 3.2 "hierachial feature pyramid"; pSp |
| | for each layer 3x3 of stride 2 down to 1 px, linear | 3, 4 and 7 x 512 | 3.2 "style vectors"; pSp |
| | each style divided by its root mean square | 14 x 512 | 5.1 "normalizing"; how: StyleGAN's latents |
| generator | begins with the U-Net's 4 px map; modulated 3x3 | 512 x 4 | 3.3 start; StyleGAN2 |
| | twofold size, two modulated 3x3, each plus the skip | 512 x 8 ... 64 x 256 | 3.3; StyleGAN2 |
| | modulated 1x1 to RGB at each level, summed over levels | 3 x 256 | silent: StyleGAN2, code |
| | tanh | 3 x 256 | silent: pix2pix, whose objective the paper follows |

3.3 adds style and skip "channel-wise, where the weight of each vector is learned": here, as StyleGAN weighs its
noise, one weight for each channel of the modulated map and one for each of the skip, all alike at first, since the
paper found them to end at almost the same. No noise, no constant start and no mapping network (3.2, 3.3).
The masked picture is given as it is (figure 2): no hole is cut or told, so `hidden` is no input.

Silent, and chosen: the crop is of 256 px, pSp's input (code: pictures of 256 px). Skips go to levels 8 to 256 px (the
map at 4 px is the start itself). The twofold size is bilinear, which is what StyleGAN's repeated pixels and [1, 2, 1]
make. Ordinary learning rates, not equalised ones.
Departures: no batch norm in the IR-SE blocks (several processes, or small batches, would learn something else); they
begin as the identity instead (Zhang et al., arXiv 1901.09321). The deepest map of the pyramid has a 1x1, too, so that
its width may be another than the style's. Weights are modulated by scaling the map before and after one shared
convolution, which is the same in exact arithmetic and one plain convolution in ONNX.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.layers import conv, resize, to_bytes, to_net

SLOPE = 0.2
"""LeakyReLU's below 0, in the generator."""
COARSE, MIDDLE = 3, 7
"""Styles up to the third come from the deepest map, up to the seventh from the next one (pSp)."""


@dataclass(frozen=True)
class Sizes:
    """Channels and depths."""

    levels: tuple[int, ...]
    """Channels of the U-Net encoder and of the generator at 4, 8, 16 ... px: their number gives the crop's size."""
    stages: tuple[int, int, int, int]
    """Channels of the identity encoder at 1/2, 1/4, 1/8 and 1/16 of the photo's side."""
    deep: tuple[int, int, int, int]
    """IR-SE blocks of each stage."""
    style: int
    """Numbers in a style vector."""

    @property
    def size(self) -> int:
        """Pixels of the crop."""
        return 2 ** (len(self.levels) + 1)

    @property
    def styles(self) -> int:
        """One for each modulated 3x3, and one for the last conversion to RGB."""
        return 2 * len(self.levels)


PAPER = Sizes((512, 512, 512, 512, 256, 128, 64), (64, 128, 256, 512), (3, 4, 14, 3), 512)
SHIPPED = Sizes((128, 128, 128, 112, 64, 32), (24, 48, 96, 128), (1, 2, 2, 1), 56)


class Unveilify(nn.Module):
    """image and reference [B, 3, S, S] in 0..255, S = `size` -> face [B, 3, S, S] in 0..255.

    The switches are the paper's ablations (table 1): `unet` False begins with a learned map and has no skips, so that
    `image` is not looked at; `identity` False has the same learned styles for everybody, so that `reference` is not;
    `normalised` False leaves the styles as long as they are.
    """

    inputs = ("image", "reference")
    size: int | None = SHIPPED.size
    """The generator's number of levels is fixed, and so is the crop's size."""

    def __init__(
        self, *, sizes: Sizes = SHIPPED, unet: bool = True, identity: bool = True, normalised: bool = True
    ) -> None:
        super().__init__()
        self.size, self.normalised = sizes.size, normalised
        self.unet = UNetEncoder(sizes.levels) if unet else None
        self.start = None if unet else nn.Parameter(torch.randn(1, sizes.levels[0], 4, 4))
        self.identity = IdentityEncoder(sizes) if identity else None
        self.styles = None if identity else nn.Parameter(torch.randn(1, sizes.styles, sizes.style))
        self.generator = Generator(sizes, skips=unet)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        return to_bytes(self.stages(image, reference)["face"])

    def stages(self, image: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """face [B, 3, S, S] in -1..1, all that the losses want."""
        styles = self.styled(to_net(reference))
        if self.unet is None:
            return {"face": self.generator(self.start.expand(len(image), -1, -1, -1), styles, [])}
        start, skips = self.unet(to_net(image))
        return {"face": self.generator(start, styles, skips)}

    def styled(self, reference: Tensor) -> Tensor:
        """reference [B, 3, S, S] in -1..1 -> styles [B, styles, style]."""
        if self.identity is None:
            styles = self.styles.expand(len(reference), -1, -1)
        else:
            styles = self.identity(reference)
        return styles * (styles.square().mean(2, keepdim=True) + 1e-8).rsqrt() if self.normalised else styles


class UNetEncoder(nn.Module):
    """picture [B, 3, S, S] -> start [B, levels[0], 4, 4] and skips, from 8 px up to S."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        down = levels[::-1]
        ends = zip((3, *down), down, strict=False)
        self.levels = nn.ModuleList(nn.Sequential(conv(a, b), conv(b, b)) for a, b in ends)

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        found = [self.levels[0](picture)]
        for level in self.levels[1:]:
            found.append(level(F.max_pool2d(found[-1], 2)))
        return found[-1], found[-2::-1]


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole map holds (Hu et al., arXiv 1709.01507), sixteenfold as in pSp, or to 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        few = max(4, width // 16)
        self.judge = nn.Sequential(nn.Conv2d(width, few, 1), nn.ReLU(), nn.Conv2d(few, width, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.judge(x.mean((2, 3), keepdim=True))


class BottleneckIRSE(nn.Module):
    """Block of ArcFace's "improved residual" network with squeeze and excitation, without its batch norms."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _fresh(nn.Conv2d(before, after, 3, padding=1), slope=0.25)
        self.bend = nn.PReLU(after)
        self.second = nn.Conv2d(after, after, 3, stride, 1)
        self.judge = SqueezeExcite(after)
        self.beside = nn.Identity() if (before, stride) == (after, 1) else _fresh(nn.Conv2d(before, after, 1, stride))
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x) + self.judge(self.second(self.bend(self.first(x))))


class IdentityEncoder(nn.Module):
    """pSp: reference [B, 3, S, S] in -1..1 -> style vectors [B, styles, style]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        first, *_ = sizes.stages
        self.stem = nn.Sequential(_fresh(nn.Conv2d(3, first, 3, padding=1), slope=0.25), nn.PReLU(first))
        ends = zip((first, *sizes.stages), sizes.stages, sizes.deep, strict=False)
        self.stages = nn.ModuleList(_stage(a, b, deep) for a, b, deep in ends)
        self.across = nn.ModuleList(_fresh(nn.Conv2d(width, sizes.style, 1)) for width in sizes.stages[:0:-1])
        side = sizes.size // 16
        sides = [side if n < COARSE else 2 * side if n < MIDDLE else 4 * side for n in range(sizes.styles)]
        self.heads = nn.ModuleList(_head(sizes.style, s) for s in sides)

    def forward(self, reference: Tensor) -> Tensor:
        coarse, middle, fine = self.pyramid(reference)
        maps = [coarse] * COARSE + [middle] * (MIDDLE - COARSE) + [fine] * (len(self.heads) - MIDDLE)
        return torch.stack([head(x) for head, x in zip(self.heads, maps, strict=True)], dim=1)

    def pyramid(self, reference: Tensor) -> list[Tensor]:
        """[B, style, h, h] at 1/16, 1/8 and 1/4 of the photo's side."""
        x, found = self.stem(reference), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        maps = [self.across[0](found[3])]
        for across, beside in zip(self.across[1:], found[2:0:-1], strict=True):
            maps.append(resize(maps[-1], beside.shape[-1]) + across(beside))
        return maps


def _stage(before: int, after: int, deep: int) -> nn.Sequential:
    return nn.Sequential(BottleneckIRSE(before, after, 2), *(BottleneckIRSE(after, after, 1) for _ in range(deep - 1)))


def _head(width: int, side: int) -> nn.Sequential:
    """pSp's "map to style": [B, width, side, side] -> [B, width]."""
    layers: list[nn.Module] = []
    for _ in range(int(math.log2(side))):
        layers += [_fresh(nn.Conv2d(width, width, 3, 2, 1), slope=0.01), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, nn.Flatten(), _fresh(nn.Linear(width, width)))


def _fresh(layer: nn.Conv2d | nn.Linear, slope: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Kaiming's weights for what bends by `slope` below 0; bias 0, so that styles begin with what is in the photo."""
    nn.init.kaiming_normal_(layer.weight, a=slope)
    nn.init.zeros_(layer.bias)
    return layer


class ModulatedConv(nn.Module):
    """x [B, before, H, W] and style [B, style] -> [B, after, H, W]: weights scaled by the style (StyleGAN2).

    Demodulated: input of variance 1 gives output of variance 1, whatever the style.
    """

    def __init__(self, before: int, after: int, *, style: int, kernel: int = 3, demodulated: bool = True) -> None:
        super().__init__()
        self.demodulated = demodulated
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel) / (before * kernel**2) ** 0.5)
        self.scale = nn.Linear(style, before)
        nn.init.normal_(self.scale.weight, std=style**-0.5)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.scale(style)
        x = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if not self.demodulated:
            return x
        energy = scale.square() @ self.weight.square().sum((2, 3)).T
        return x * (energy + 1e-8).rsqrt()[:, :, None, None]


class StyledLayer(nn.Module):
    """Modulated 3x3 plus the skip, a weight for each channel of both; LeakyReLU that keeps the variance."""

    def __init__(self, before: int, after: int, *, style: int, skip: bool) -> None:
        super().__init__()
        self.modulated = ModulatedConv(before, after, style=style)
        share = 0.5**0.5 if skip else 1.0
        self.of_style = nn.Parameter(torch.full((after, 1, 1), share))
        self.of_skip = nn.Parameter(torch.full((after, 1, 1), share)) if skip else None
        self.bias = nn.Parameter(torch.zeros(after, 1, 1))

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None) -> Tensor:
        x = self.modulated(x, style) * self.of_style + self.bias
        if self.of_skip is not None:
            x = x + skip * self.of_skip
        return F.leaky_relu(x, SLOPE) * 2**0.5


class ToRGB(nn.Module):
    """Modulated 1x1, not demodulated: [B, width, H, W] -> [B, 3, H, W]."""

    def __init__(self, width: int, *, style: int) -> None:
        super().__init__()
        self.modulated = ModulatedConv(width, 3, style=style, kernel=1, demodulated=False)
        self.bias = nn.Parameter(torch.zeros(3, 1, 1))
        with torch.no_grad():
            self.modulated.weight.mul_(0.2)  # summed over the levels, they must not drive tanh to its ends

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.modulated(x, style) + self.bias


class Generator(nn.Module):
    """start [B, levels[0], 4, 4], styles [B, styles, style], skips from 8 px up -> face [B, 3, S, S] in -1..1."""

    def __init__(self, sizes: Sizes, *, skips: bool) -> None:
        super().__init__()
        first = sizes.levels[0]
        ends = list(zip(sizes.levels, sizes.levels[1:], strict=False))
        self.begin = StyledLayer(first, first, style=sizes.style, skip=False)
        self.up = nn.ModuleList(StyledLayer(a, b, style=sizes.style, skip=skips) for a, b in ends)
        self.stay = nn.ModuleList(StyledLayer(b, b, style=sizes.style, skip=skips) for _, b in ends)
        self.to_rgb = nn.ModuleList(ToRGB(width, style=sizes.style) for width in sizes.levels)

    def forward(self, start: Tensor, styles: Tensor, skips: list[Tensor]) -> Tensor:
        """A level's conversion to RGB shares the style of the next level's first layer, as in StyleGAN2."""
        style = styles.unbind(1)
        x = self.begin(start, style[0], None)
        rgb = self.to_rgb[0](x, style[1])
        for n, (up, stay, to_rgb) in enumerate(zip(self.up, self.stay, self.to_rgb[1:], strict=True)):
            skip = skips[n] if skips else None
            x = stay(up(_twofold(x), style[2 * n + 1], skip), style[2 * n + 2], skip)
            rgb = _twofold(rgb) + to_rgb(x, style[2 * n + 3])
        return rgb.tanh()


def _twofold(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
