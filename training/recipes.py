"""How each network is trained. A recipe is a name on the command line; nothing else decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from training import blind, losses, published, teachers
from training.discriminator import Discriminator
from training.losses import Terms
from training.lpips import LPIPS
from training.tasks import FILL, SEGMENT, SEGMENT_SMALL, WATCH, Task
from unmask_video.models import gated_reference, imputed, residual_attention, segmenter, three_stage, unveilify
from unmask_video.models.gated_reference import GatedReference
from unmask_video.models.imputed import Imputed
from unmask_video.models.residual_attention import ResidualAttention
from unmask_video.models.segmenter import Segmenter
from unmask_video.models.sentry import Sentry
from unmask_video.models.swift import Swift
from unmask_video.models.three_stage import ThreeStage
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
    weights={"mask": 4.0, "dice": 4.0, "presence": 0.3},
    size=192,
    batch=64,
    steps=60_000,
    rate=2e-3,
    average=0.999,
)
SMALL = {"name": "segmenter_small", "network": partial(Segmenter, segmenter.SMALL), "size": segmenter.SMALL}
SEGMENTER_SMALL = replace(SEGMENTER, **SMALL, task=SEGMENT_SMALL, steps=20_000, rate=3e-4)
SENTRY = replace(
    SEGMENTER, name="sentry", network=Sentry, task=WATCH, weights={"presence": 1.0}, size=96, steps=20_000, rate=1e-3
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
UNVEILIFY = replace(
    UNVEILIFY_PAPER, network=Unveilify, task=published.unveilify("vgg"), size=unveilify.SHIPPED.size, batch=16, steps=60_000,
    rate=2e-4,
)  # fmt: skip
UNVEILIFY_CPU = replace(
    UNVEILIFY, task=published.unveilify("alex"), batch=8, steps=2_000, average=0.998, schedule=cosine, patience=0
)
IMPUTED_MASK_PAPER = Recipe(
    name="imputed",
    network=partial(Imputed, **imputed.PAPER),
    task=blind.mask(losses.squared_dice),
    weights={"dice": 1.0},
    size=256,
    batch=8,
    steps=18_750,  # 5 times 30,000 pictures
    rate=1e-3,
    average=0.999,
    schedule=flat,
    decay=0.0,
    part="mask",
)
IMPUTED_PAPER = replace(
    IMPUTED_MASK_PAPER, task=blind.imputed(teachers.perceptual), steps=26_250, part="fillers",
    weights={"adversarial": 0.1, "coarse": 1.0, "refined": 1.0, "perceptual": 0.1},  # "weighted", it says, no more
    adversary=Adversary(
        network=partial(Discriminator, 4, (64, 128, 256, 256)), rate=1e-3,
        fool=losses.hinge_generator, judge=losses.hinge_discriminator,
    ),
)  # fmt: skip
IMPUTED_MASK = replace(
    IMPUTED_MASK_PAPER, network=Imputed, size=imputed.SHIPPED["size"], batch=16, schedule=cosine
)
IMPUTED = replace(
    IMPUTED_PAPER, network=Imputed, size=imputed.SHIPPED["size"], task=blind.imputed(partial(LPIPS, "vgg")), batch=16,
    steps=60_000, schedule=cosine,
)  # fmt: skip
RESIDUAL_PAPER = Recipe(
    name="residual_attention",
    network=partial(ResidualAttention, **residual_attention.PAPER),
    task=blind.RESIDUAL_ATTENTION,
    weights={"ssim": 1.0, "l1": 1.0},
    size=256,
    batch=8,
    steps=770_000,  # 40 times 80 % of 192,599 pictures
    rate=1e-4,
    average=0.999,
    schedule=flat,
    decay=0.0,
)
RESIDUAL = replace(
    RESIDUAL_PAPER, network=ResidualAttention, size=residual_attention.SHIPPED["size"], batch=16, steps=60_000, rate=4e-4,
    schedule=cosine,
)  # fmt: skip
THREE_MASK_PAPER = Recipe(
    name="three_stage",
    network=partial(ThreeStage, **three_stage.PAPER),
    task=blind.mask(blind.cross_entropy),
    weights={"cross_entropy": 1.0},
    size=256,
    batch=16,
    steps=6_000,  # 80 times 1,200 pictures
    rate=1e-4,
    average=0.999,
    schedule=flat,
    decay=0.0,
    part="mask",
)
THREE_PAINTER_PAPER = replace(
    THREE_MASK_PAPER, task=blind.PAINTER, weights={"mse": 1.0}, part="painter", rate=6e-4,
    steps=140_000,  # 2,500 times 900 pictures
)  # fmt: skip
THREE_SHARPENER_PAPER = replace(
    THREE_PAINTER_PAPER, task=blind.SHARPENER, part="sharpener", rate=1e-4,
    batch=1, steps=25_300,  # 150 times 21,600 windows in batches of 128; the 256 of a picture come in one
)  # fmt: skip
SHORT = {"size": 128, "batch": 8, "rate": 1e-3, "average": 0.998, "schedule": cosine}
"""What CPUs can do in an hour or two."""
START = SHORT | {
    "task": published.RECONSTRUCT, "weights": {"hole": 1.0, "valid": 1.0}, "adversary": None, "patience": 0, "steps": 1_800,
    "betas": (0.9, 0.999), "rate": 5e-4,
}  # fmt: skip
"""What comes before a paper's own losses, where they would be too slow to learn everything by."""
HALF = START | {"task": published.RECONSTRUCT_HALF, "steps": 2_000}
"""The same at half the size."""
IMPUTED_HALF = replace(IMPUTED, **HALF | {"task": blind.IMPUTED_HALF, "steps": 1_400})
THREE_SHIPPED = {"network": ThreeStage, "size": three_stage.SHIPPED["size"], "schedule": cosine}
RESIDUAL_CPU = replace(RESIDUAL, **SHORT, steps=2_000)
RECIPES: dict[str, Recipe] = {
    "segmenter": SEGMENTER,
    "segmenter-cpu": replace(SEGMENTER, batch=16, steps=9_000),
    "segmenter_small": SEGMENTER_SMALL,
    "segmenter_small-cpu": replace(SEGMENTER_SMALL, batch=16, steps=1_600),
    "sentry": SENTRY,
    "sentry-cpu": replace(SENTRY, steps=3_200),
    "swift": SWIFT,
    "swift-cpu": replace(SWIFT, size=128, batch=16, steps=5_000, average=0.998),
    "gated_reference-paper": GATED_PAPER,
    "gated_reference": GATED,
    "gated_reference-cpu-half": replace(GATED, **HALF | {"batch": 16}),
    "gated_reference-cpu-start": replace(GATED, **START),
    "gated_reference-cpu": replace(
        GATED, task=published.gated(partial(LPIPS, "alex")), size=128, batch=8, steps=600, rate=2e-4, average=0.998
    ),
    "unveilify-paper": UNVEILIFY_PAPER,
    "unveilify": UNVEILIFY,
    "unveilify-cpu-start": replace(UNVEILIFY, **START | {"steps": 800}),
    "unveilify-cpu": UNVEILIFY_CPU,
    "unveilify-cpu-without-unet": replace(UNVEILIFY_CPU, network=partial(Unveilify, unet=False)),
    "unveilify-cpu-without-identity": replace(UNVEILIFY_CPU, network=partial(Unveilify, identity=False)),
    "unveilify-cpu-unnormalised": replace(UNVEILIFY_CPU, network=partial(Unveilify, normalised=False)),
    "imputed-paper-mask": IMPUTED_MASK_PAPER,
    "imputed-paper": IMPUTED_PAPER,
    "imputed-mask": IMPUTED_MASK,
    "imputed": IMPUTED,
    "imputed-gated": replace(IMPUTED, network=partial(Imputed, gated=True)),
    "imputed-cpu-mask": replace(IMPUTED_MASK, **SHORT, steps=1_000),
    "imputed-cpu-half": IMPUTED_HALF,
    "imputed-cpu-half-gated": replace(IMPUTED_HALF, network=partial(Imputed, gated=True)),
    "imputed-cpu-start": replace(IMPUTED, **START | {"task": blind.IMPUTED_START, "batch": 4, "steps": 900}),
    "imputed-cpu": replace(IMPUTED, **SHORT | {"rate": 2e-4}, task=blind.imputed(partial(LPIPS, "alex")), steps=300),
    "residual_attention-paper": RESIDUAL_PAPER,
    "residual_attention": RESIDUAL,
    "residual_attention-without-residual": replace(RESIDUAL, network=partial(ResidualAttention, residual=False)),
    "residual_attention-without-both": replace(
        RESIDUAL, network=partial(ResidualAttention, residual=False, attention=False)
    ),
    "residual_attention-cpu": RESIDUAL_CPU,
    "residual_attention-cpu-without-residual": replace(RESIDUAL_CPU, network=partial(ResidualAttention, residual=False)),
    "residual_attention-cpu-without-both": replace(
        RESIDUAL_CPU, network=partial(ResidualAttention, residual=False, attention=False)
    ),
    "three_stage-paper-mask": THREE_MASK_PAPER,
    "three_stage-paper-painter": THREE_PAINTER_PAPER,
    "three_stage-paper-sharpener": THREE_SHARPENER_PAPER,
    "three_stage-mask": replace(THREE_MASK_PAPER, **THREE_SHIPPED),
    "three_stage-painter": replace(THREE_PAINTER_PAPER, **THREE_SHIPPED),
    "three_stage-sharpener": replace(THREE_SHARPENER_PAPER, **THREE_SHIPPED),
    "three_stage-cpu-mask": replace(THREE_MASK_PAPER, **THREE_SHIPPED | SHORT, steps=1_000),
    "three_stage-cpu-painter": replace(THREE_PAINTER_PAPER, **THREE_SHIPPED | SHORT, steps=4_000),
    "three_stage-cpu-sharpener": replace(THREE_SHARPENER_PAPER, **THREE_SHIPPED | SHORT, steps=1_000),
}
"""What the first argument of `training.train` may be; each `-cpu` takes two CPU cores an hour or two."""
