"""What training wants little of: pure functions, each giving named terms that a recipe weighs.

Unless a function says otherwise, pictures are float [B, 3, H, W] RGB in -1..1, and `hidden` is float [B, 1, H, W]
in 0..1, 1 where the face was hidden and is painted. Every term is a mean over the batch, so that weights hold for
any batch size and any crop size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.identity import FaceNetwork, identity_crop
from training.lpips import LPIPS

Terms = dict[str, Tensor]
"""Scalars by name; the names are the keys of a recipe's weights."""
SIGMA, RADIUS = 1.5, 5
"""Of the Gaussian of `ssim`, in pixels: 11 x 11, as Wang et al. have it."""


def weighted(terms: Terms, weights: dict[str, float]) -> Tensor:
    """Sum of weight times term, a scalar.

    Raises:
        ValueError: a weight has no term or a term has no weight; a misspelt name must not drop a loss in silence.
    """
    if set(terms) != set(weights):
        known = f"terms {sorted(terms)}, weights {sorted(weights)}"
        raise ValueError(f"each term needs a weight and each weight a term: {known}")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of values [B, C, H, W] weighted by where [B, 1, H, W]: [B]; 0 where the weights are."""
    area = where.sum((1, 2, 3)).clamp(min=1)
    return (values * where).sum((1, 2, 3)) / (area * values.shape[1])


def _gaussian(picture: Tensor) -> Tensor:
    """[B, C, H, W] blurred by the 11 x 11 Gaussian, where that fits in: [B, C, H - 10, W - 10]."""
    x = torch.arange(-RADIUS, RADIUS + 1, device=picture.device, dtype=torch.float32)
    row = torch.exp(-(x**2) / (2 * SIGMA**2))
    row = (row / row.sum()).expand(picture.shape[1], 1, 1, -1)
    # Differences of blurred pictures drown in half precision.
    with torch.autocast(picture.device.type, enabled=False):
        across = F.conv2d(picture.float(), row, groups=picture.shape[1])
        return F.conv2d(across, row.transpose(2, 3), groups=picture.shape[1])


def reconstruction(face: Tensor, truth: Tensor, hidden: Tensor) -> Terms:
    """L1 inside and outside of the hole, each a mean over its own area, so that small holes count like large ones."""
    away = (face - truth).abs()
    return {"hole": _mean_where(away, hidden).mean(), "valid": _mean_where(away, 1 - hidden).mean()}


def ssim(face: Tensor, truth: Tensor) -> Terms:
    """1 - SSIM (Wang, Bovik, Sheikh, Simoncelli 2004), over where the 11 x 11 window fits in; 0..2."""
    x, y = face.float() + 1, truth.float() + 1  # 0..2: brightness is compared by ratio, so black must be 0
    a, b = _gaussian(x), _gaussian(y)
    spread_a, spread_b, common = _gaussian(x * x) - a * a, _gaussian(y * y) - b * b, _gaussian(x * y) - a * b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # 2 is the range of the data
    alike = (2 * a * b + c1) * (2 * common + c2) / ((a * a + b * b + c1) * (spread_a + spread_b + c2))
    return {"ssim": 1 - alike.mean()}


def gram(features: Tensor) -> Tensor:
    """Gram matrices of features [B, C, H, W], divided by C * H * W: [B, C, C]."""
    flat = features.flatten(2)
    # Divided before the product: the sum over a large map leaves half precision's range.
    flat = flat / (flat.shape[1] * flat.shape[2]) ** 0.5
    return flat @ flat.transpose(1, 2)


def perceptual_and_style(face: Tensor, truth: Tensor, net: LPIPS) -> Terms:
    """Mean L1 of features and of their Gram matrices, summed over the net's five maps.

    After Johnson, Alahi, Fei-Fei (arXiv 1603.08155), with L1 as Lumetti, Silvestri, Di Bartolomeo have it, who take
    VGG-19 and weights of 0.05 and 40; `net` here is VGG16 (`LPIPS("vgg")`) or AlexNet.
    """
    pairs = list(zip(net.features(face), net.features(truth), strict=True))
    return {
        "perceptual": torch.stack([F.l1_loss(a, b) for a, b in pairs]).sum(),
        "style": torch.stack([F.l1_loss(gram(a), gram(b)) for a, b in pairs]).sum(),
    }


def lpips(face: Tensor, truth: Tensor, net: LPIPS) -> Terms:
    """LPIPS (Zhang et al., arXiv 1801.03924) with the net's backbone."""
    return {"lpips": net(face, truth).mean()}


def total_variation(face: Tensor, hidden: Tensor) -> Terms:
    """Mean difference of neighbours, across plus down, in the hole widened by a pixel: its seam counts, too."""
    near = F.max_pool2d(hidden, 3, stride=1, padding=1)
    across = _mean_where((face[..., 1:] - face[..., :-1]).abs(), near[..., 1:] * near[..., :-1])
    down = _mean_where((face[..., 1:, :] - face[..., :-1, :]).abs(), near[..., 1:, :] * near[..., :-1, :])
    return {"tv": (across + down).mean()}


def flow_at(flow: Tensor, points: Tensor) -> Terms:
    """How far a flow misses the points of the face, in sides of the crop (L1 of x plus L1 of y).

    Args:
        flow: [B, 2, h, w] in sides of the crop, x first: what is at a place comes from place plus flow.
        points: [B, N, 5]: where a point is to be, x, y in 0..1; where it is now, x, y; whether it counts, 1 or 0.
    """
    there, now, counts = points.split([2, 2, 1], dim=2)
    found = F.grid_sample(flow, there[:, None] * 2 - 1, padding_mode="border", align_corners=False)[:, :, 0]
    missed = (found.transpose(1, 2) - (now - there)).abs().sum(2, keepdim=True)
    return {"flow": (missed * counts).sum() / counts.sum().clamp(min=1)}


def identity(net: FaceNetwork, face: Tensor, truth: Tensor) -> Terms:
    """1 - cosine of who the two whole faces are, 0..2; pictures square and cut as `face.align` does."""
    a, b = net(identity_crop(face)), net(identity_crop(truth))
    return {"identity": 1 - (a * b).sum(1).mean()}


def contrastive(feature_a: Tensor, feature_b: Tensor) -> Terms:
    """1 - cosine of mean-pooled features [B, C, h, w] of a picture and of itself, flipped and recoloured; 0..2.

    The contrastive loss of Lumetti, Silvestri, Di Bartolomeo: C is 512, the widest features of their generator (not
    of the discriminator). Their formula is a cross-entropy over negatives, but they "don't use negative examples";
    without these the formula is constant, and what is left to learn from is the likeness of the pair. They stop no
    gradient, so neither does this: it must not stand alone, for equal features everywhere would please it.
    """
    a, b = (f.float().mean((2, 3)) for f in (feature_a, feature_b))
    return {"contrastive": 1 - F.cosine_similarity(a, b, dim=1).mean()}


def hinge_generator(fake_logits: Tensor) -> Terms:
    """The generator's side of the hinge loss (Lim and Ye, arXiv 1705.02894); logits of any shape."""
    return {"adversarial": -fake_logits.mean()}


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Terms:
    """The discriminator's side of the hinge loss; 0 once all real logits are above 1 and all fake ones below -1."""
    return {"discriminator": F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()}


def non_saturating_generator(fake_logits: Tensor) -> Terms:
    """-log of the believed probability of being real (Goodfellow et al., arXiv 1406.2661)."""
    return {"adversarial": F.softplus(-fake_logits).mean()}


def non_saturating_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Terms:
    """Cross-entropy of telling real from fake, both sides summed; 2 log 2 for one who knows nothing."""
    return {"discriminator": F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()}


def r1(real_logits: Tensor, real_images: Tensor) -> Terms:
    """Squared gradient of each picture's mean logit, summed over its pixels (Mescheder et al., arXiv 1801.04406).

    `real_images` must require a gradient before the discriminator sees them; the paper's gamma / 2 is the weight.
    """
    logits = real_logits.flatten(1).mean(1).sum()
    (slope,) = torch.autograd.grad(logits, real_images, create_graph=True)
    return {"r1": slope.square().sum((1, 2, 3)).mean()}


def squared_dice(logits: Tensor, mask: Tensor) -> Terms:
    """Dice loss with squares below the line, over all pixels of the batch (Ha, Park, Kim, equation 1).

    Args:
        logits: [B, 1, H, W].
        mask: [B, 1, H, W] in 0..1, the truth.
    """
    p = logits.sigmoid()
    # A batch of bare faces, found bare, would divide nothing by nothing.
    return {"dice": 1 - 2 * (p * mask).sum() / (p.square().sum() + mask.square().sum()).clamp(min=1e-6)}


def segmentation(logits: Tensor, presence: Tensor, mask: Tensor, present: Tensor) -> Terms:
    """Cross-entropy and Dice of the mask, cross-entropy of its presence.

    Args:
        logits: [B, 1, H, W], of the mask.
        presence: [B], logits of there being one.
        mask: [B, 1, H, W] in 0..1, the truth.
        present: [B], 1 or 0; Dice counts only where there is a mask.
    """
    p = logits.sigmoid()
    dice = 1 - (2 * (p * mask).sum((1, 2, 3)) + 1) / ((p + mask).sum((1, 2, 3)) + 1)
    return {
        "mask": F.binary_cross_entropy_with_logits(logits, mask),
        "dice": (dice * present).sum() / present.sum().clamp(min=1),
        "presence": F.binary_cross_entropy_with_logits(presence, present),
    }
