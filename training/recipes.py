"""How each network is trained. A recipe is a name on the command line; nothing else decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from training import losses, published, teachers
from training.discriminator import Discriminator
from training.losses import Terms
from training.lpips import LPIPS
from training.tasks import FILL, SEGMENT, Task
from unmask_video.models import gated_reference, unveilify
from unmask_video.models.gated_reference import GatedReference
from unmask_video.models.segmenter import Segmenter
from unmask_video.models.swift import Swift
from unmask_video.models.unveilify import Unveilify

WARM_UP = 200
"""Steps in which the rate of `cosine` rises."""
LAST = 0.02
"""Share of the rate that `cosine` ends with."""


def cosine(step: int, steps: int) -> float:
    """Share of the rate at a step of all steps: up in `WARM_UP` steps, then down to `LAST` of it."""
    return min(1.0, (step + 1) / WARM_UP) * (LAST + (1 - LAST) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2)


def flat(step: int, steps: int) -> float:
    return 1.0


def flat_then_down(step: int, steps: int) -> float:
    """The full rate for two thirds of the steps, then down to nothing in a straight line."""
    return min(1.0, 3 * (1 - step / steps))


@dataclass(frozen=True)
class Adversary:
    """What learns to tell painted faces from real ones, beside the network."""

    network: Callable[[], nn.Module]
    rate: float
    fool: Callable[[Tensor], Terms]
    """The network's term, of the adversary's logits of what it painted."""
    judge: Callable[[Tensor, Tensor], Terms]
    """The adversary's own term, of its logits of real and of painted pictures."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on, besides its faces."""

    name: str
    """Of the network in `models/weights/`."""
    network: Callable[[], nn.Module]
    task: Task
    weights: dict[str, float]
    """Of each term of the network's loss."""
    size: int
    """Pixels of a sample."""
    batch: int
    """Samples a step and process."""
    steps: int
    rate: float
    """AdamW's learning rate."""
    average: float
    """Share of itself that the moving average of the parameters keeps each step; the average is what ships."""
    adversary: Adversary | None = None
    schedule: Callable[[int, int], float] = cosine
    """Share of the rate, the adversary's too, at a step of all steps."""
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.01
    """AdamW's weight decay; 0 makes it Adam."""
    part: str = ""
    """What of the network learns: a submodule's name, or all of it."""
    patience: int = 0
    """Epochs without a better score on held-out faces (the first of the task's), after which training ends; 0: none do."""


SEGMENTER = Recipe(
    name="segmenter",
    network=Segmenter,
    task=SEGMENT,
    weights={"mask": 4.0, "dice": 1.0, "presence": 0.3},
    size=192,
    batch=64,
    steps=60_000,
    rate=2e-3,
    average=0.999,
)
SWIFT = Recipe(
    name="swift",
    network=Swift,
    task=FILL,
    weights={"hole": 1.0, "lpips": 2.0, "flow": 5.0, "light": 0.6},
    size=256,
    batch=32,
    steps=100_000,
    rate=1e-3,
    average=0.999,
)
GATED_PAPER = Recipe(
    name="gated_reference",
    network=partial(GatedReference, sizes=gated_reference.PAPER),
    task=published.gated(teachers.perceptual),
    weights={
        "adversarial": 1.0, "hole": 1.0, "valid": 1.0, "tv": 1.0, "perceptual": 0.05, "style": 40.0, "contrastive": 1.0,
    },
    size=256,
    batch=6,
    steps=175_000,  # 15 times the 70,000 pictures of FFHQ
    rate=1e-4,
    average=0.999,
    adversary=Adversary(
        network=partial(Discriminator, 4, (64, 128, 256, 256, 256, 256)), rate=4e-4,
        fool=losses.hinge_generator, judge=losses.hinge_discriminator,
    ),
    schedule=flat_then_down,
    betas=(0.5, 0.999),
    decay=0.0,
)  # fmt: skip
GATED = replace(
    GATED_PAPER, network=GatedReference, task=published.gated(partial(LPIPS, "vgg")), batch=16, steps=60_000
)
UNVEILIFY_PAPER = Recipe(
    name="unveilify",
    network=partial(Unveilify, sizes=unveilify.PAPER),
    task=published.unveilify("vgg", teachers.face_network),
    weights={"adversarial": 1.0, "l1": 1.0, "lpips": 5.0, "identity": 0.5},
    size=256,
    batch=4,
    steps=150_000,  # 87 times 80 % of 8,746 pairs
    rate=2e-5,
    average=0.999,
    adversary=Adversary(
        network=partial(Discriminator, 6, (64, 128, 256, 512), 4), rate=2e-5,
        fool=losses.non_saturating_generator, judge=losses.non_saturating_discriminator,
    ),
    schedule=flat,
    betas=(0.9, 0.99),
    decay=0.0,
    patience=10,
)  # fmt: skip
UNVEILIFY = replace(UNVEILIFY_PAPER, network=Unveilify, task=published.unveilify("vgg"), batch=16, steps=60_000, rate=2e-4)
RECIPES: dict[str, Recipe] = {
    "segmenter": SEGMENTER,
    "segmenter-cpu": replace(SEGMENTER, batch=16, steps=9_000),
    "swift": SWIFT,
    "swift-cpu": replace(SWIFT, size=128, batch=16, steps=5_000, average=0.998),
    "gated_reference-paper": GATED_PAPER,
    "gated_reference": GATED,
    "unveilify-paper": UNVEILIFY_PAPER,
    "unveilify": UNVEILIFY,
    "unveilify-without-unet": replace(UNVEILIFY, network=partial(Unveilify, unet=False)),
    "unveilify-without-identity": replace(UNVEILIFY, network=partial(Unveilify, identity=False)),
    "unveilify-unnormalised": replace(UNVEILIFY, network=partial(Unveilify, normalised=False)),
}
"""What the first argument of `training.train` may be; each `-cpu` takes under an hour on two cores."""
