"""How each network is trained. A recipe is a name on the command line; nothing else decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from training.losses import Terms
from training.tasks import FILL, SEGMENT, Task
from unmask_video.models.segmenter import Segmenter
from unmask_video.models.swift import Swift

WARM_UP = 200
"""Steps in which the rate of `cosine` rises."""
LAST = 0.02
"""Share of the rate that `cosine` ends with."""


def cosine(step: int, steps: int) -> float:
    """Share of the rate at a step of all steps: up in `WARM_UP` steps, then down to `LAST` of it."""
    return min(1.0, (step + 1) / WARM_UP) * (LAST + (1 - LAST) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2)


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
RECIPES: dict[str, Recipe] = {
    "segmenter": SEGMENTER,
    "segmenter-cpu": replace(SEGMENTER, batch=16, steps=9_000),
    "swift": SWIFT,
    "swift-cpu": replace(SWIFT, size=128, batch=16, steps=5_000, average=0.998),
}
"""What the first argument of `training.train` may be; each `-cpu` takes under an hour on two cores."""
