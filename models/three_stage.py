"""Three networks in a row: a U-Net finds the mask, an autoencoder paints the face, SRCNN sharpens its luminance.

Jagannathan, Mupparapu, Hernandez Mejia, Pyrcz, Face Unmasking Using Image Segmentation and Inpainting (University of
Texas at Austin). They train the three one after the other. Sizes are those of `PAPER` at 256 px.

    layer               size                  the paper                      chosen where it is silent
    mask, down 1..4     64, 128, 256, 512;    two 3x3, each with ReLU; 2x2   Ronneberger's widths
                        256..32 px            max pool after 1..3
    mask, up 3..1       256, 128, 64          transposed convolution, then   2x2 by stride 2, no ReLU; concatenated;
                                              one convolution that merges    3x3, ReLU
    mask, head          2, 256 px             two convolutions, softmax      3x3, ReLU, 1x1
    cleaning                                  OpenCV, erosion and dilation   opening, then closing, 5x5 square
    painter, encode 1   32, 256 px            3x3, normal initialisation,    He's initialisation
    painter, encode 2   64, 128 px            ReLU; 2x2 max pool after       pool before batch norm where both are
    painter, encode 3   128, 64 px            1..4, batch norm after 2..5
    painter, encode 4   256, 32 px
    painter, encode 5   512, 16 px
    painter, decode     256, 128, 64, 32;     transposed 3x3, stride 2       ReLU
                        32..256 px
    painter, head       3, 256 px             "stride of 3", three colours   3x3, stride 1 (3 would shrink); sigmoid
    sharpener           64, 32, 1; 256 px     9x9, padded 5x5, 5x5, each     the border is repeated by the 6 px that
                                              with ReLU, on Y of YCrCb       the other two take away

The paper's mask is the greater of two logits. Here a steep ramp decides on their difference, so that ONNX Runtime and
PyTorch, CPU and GPU decide alike. Opening and closing are max pooling, so that they run inside the graph: OpenCV's
morphologyEx, its border included. The sharpener's last ReLU starts at a bias of 0.5, or half of all starts would be
dead. Adding Y's change to R, G and B is what OpenCV's ways to YCrCb and back come to when Cr and Cb are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask_video.models.layers import to_bytes, to_net

PAPER = {"mask_widths": (64, 128, 256, 512), "widths": (32, 64, 128, 256, 512), "size": 256}
"""10.2 million parameters, 38 GMAC."""
SHIPPED = {"mask_widths": (24, 48, 96, 192), "widths": (32, 64, 128, 256, 512), "size": 128}
"""4.2 million parameters, 2.7 GMAC; painter and sharpener are the paper's own."""
STEEP = 8.0
"""Slope of the mask's decision in a logit."""
SQUARE = 5
"""Side in pixels of what opening and closing take away or fill."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Of R, G and B, as in OpenCV's YCrCb."""
BORDER = 6
"""Pixels that the sharpener's two unpadded layers take from each side."""


class ThreeStage(nn.Module):
    """image [B, 3, S, S] in 0..255 -> face [B, 3, S, S] in 0..255, S = `size`.

    Where it sees no mask the face is the image itself.
    """

    inputs: tuple[str, ...] = ("image",)

    def __init__(
        self, *, mask_widths: tuple[int, ...] = SHIPPED["mask_widths"], widths: tuple[int, ...] = SHIPPED["widths"],
        size: int = SHIPPED["size"],
    ) -> None:  # fmt: skip
        """`mask_widths`: of the U-Net's levels; `widths`: of the autoencoder's, largest picture first.

        `size`: of the crops that it learns from, in pixels, a multiple of 16; holes of another size it fills badly.
        """
        super().__init__()
        self.size = size
        self.mask = MaskNet(mask_widths)
        self.painter = Painter(widths)
        self.sharpener = Sharpener()

    def forward(self, image: Tensor) -> Tensor:
        found = self.stages(image)
        return image * (1 - found["hole"]) + to_bytes(found["sharp"]) * found["hole"]

    def stages(self, image: Tensor) -> dict[str, Tensor]:
        """All [B, C, S, S]: mask, logits of one channel; hole, the cleaned decision in 0..1; pictures in -1..1.

        painted is the autoencoder's whole face, sharp the same with luminance by SRCNN; luminance [B, 1, S, S] is
        sharp's; face is sharp, merged into the visible picture.
        """
        picture = to_net(image)
        mask = self.mask(picture)
        hole = cleaned((mask * STEEP + 0.5).clamp(0, 1))
        painted = self.paint(image, hole)
        sharp, level = self.sharpen(painted)
        face = picture * (1 - hole) + sharp * hole
        return {"mask": mask, "hole": hole, "painted": painted, "sharp": sharp, "luminance": level, "face": face}

    def paint(self, image: Tensor, hole: Tensor) -> Tensor:
        """image in 0..255, hole in 0..1 -> the painter's whole face in -1..1. The paper trains it on true masks."""
        return self.painter(image / 255 * (1 - hole)) * 2 - 1

    def sharpen(self, painted: Tensor) -> tuple[Tensor, Tensor]:
        """painted [B, 3, S, S] in -1..1 -> the same with new luminance, and that luminance [B, 1, S, S] in -1..1."""
        before = luminance(painted)
        level = self.sharpener(F.pad((before + 1) / 2, (BORDER,) * 4, mode="replicate")) * 2 - 1
        return painted + (level - before), level


def luminance(picture: Tensor) -> Tensor:
    """Y of YCrCb: [B, 3, S, S] RGB -> [B, 1, S, S], in the same range."""
    red, green, blue = picture.split(1, dim=1)
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def cleaned(mask: Tensor) -> Tensor:
    """Opened, which takes specks away, then closed, which fills pinholes: [B, 1, S, S] in 0..1, likewise."""
    return eroded(dilated(dilated(eroded(mask))))


def dilated(mask: Tensor) -> Tensor:
    """cv2.dilate with a square: pixels outside the picture count for nothing."""
    return F.max_pool2d(mask, SQUARE, stride=1, padding=SQUARE // 2)


def eroded(mask: Tensor) -> Tensor:
    """cv2.erode with a square."""
    return -dilated(-mask)


class MaskNet(nn.Module):
    """picture [B, 3, S, S] in -1..1 -> logits [B, 1, S, S], mask against no mask.

    The difference of the head's two logits: its sigmoid is their softmax, and binary cross-entropy on it is the
    paper's categorical cross-entropy on them.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        ends = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, 3), nn.ReLU(), conv(b, b, 3), nn.ReLU()) for a, b in ((3, widths[0]), *ends)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, skip, 2, stride=2) for skip, below in reversed(ends))
        self.merge = nn.ModuleList(nn.Sequential(conv(2 * skip, skip, 3), nn.ReLU()) for skip, _ in reversed(ends))
        self.head = nn.Sequential(conv(widths[0], widths[0], 3), nn.ReLU(), nn.Conv2d(widths[0], 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down[:-1]:
            skips.append(down(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        bare, masked = self.head(x).split(1, dim=1)
        return masked - bare


class Painter(nn.Module):
    """The autoencoder: visible picture [B, 3, S, S] in 0..1, masks black -> whole picture in 0..1. No skips."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        ends = list(zip(widths, widths[1:], strict=False))
        encode = [conv(3, widths[0], 3), nn.ReLU(), nn.MaxPool2d(2)]
        for before, after in ends:
            pool = [] if after == widths[-1] else [nn.MaxPool2d(2)]
            encode += [conv(before, after, 3), nn.ReLU(), *pool, nn.BatchNorm2d(after)]
        decode = []
        for after, before in reversed(ends):
            decode += [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
        self.encode, self.decode = nn.Sequential(*encode), nn.Sequential(*decode)
        self.head = conv(widths[0], 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decode(self.encode(x))).sigmoid()


class Sharpener(nn.Module):
    """SRCNN (Dong et al., arXiv 1501.00092): luminance [B, 1, H, W] in 0..1 -> [B, 1, H - 12, W - 12] in 0..1.

    33 x 33 patches give the 21 x 21 that the paper trains on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 9), nn.ReLU(), nn.Conv2d(64, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 1, 5)
        )
        nn.init.constant_(self.layers[-1].bias, 0.5)

    def forward(self, level: Tensor) -> Tensor:
        return self.layers(level).relu().clamp(max=1)


def conv(before: int, after: int, kernel: int) -> nn.Conv2d:
    """Keeps sizes; He's normal initialisation."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
