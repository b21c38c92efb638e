"""How each network is trained. A recipe is a name on the command line; nothing else decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from training.tasks import FILL, SEGMENT, Task
from unmask_video.models.segmenter import Segmenter
from unmask_video.models.swift import Swift


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on, besides its faces."""

    name: str
    """Of the network in `models/weights/`."""
    network: Callable[[], nn.Module]
    task: Task
    weights: dict[str, float]
    """Of each term of the loss."""
    size: int
    """Pixels of a sample."""
    batch: int
    """Samples a step and process."""
    steps: int
    rate: float
    """AdamW's learning rate after `WARM_UP` steps; falls to `LAST` of it as a cosine over the steps."""
    average: float
    """Share of itself that the moving average of the parameters keeps each step; the average is what ships."""


WARM_UP = 200
LAST = 0.02

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
    weights={"hole": 1.0, "valid": 0.0, "lpips": 2.0, "detail": 0.1},
    size=256,
    batch=32,
    steps=100_000,
    rate=5e-4,
    average=0.999,
)
RECIPES: dict[str, Recipe] = {
    "segmenter": SEGMENTER,
    "segmenter-cpu": replace(SEGMENTER, batch=16, steps=9_000),
    "swift": SWIFT,
    "swift-cpu": replace(SWIFT, size=192, batch=8, steps=5_000, average=0.998),
}
"""What the first argument of `training.train` may be; each `-cpu` takes under an hour on two cores."""
