"""Two processes learn what one with the double batch learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning.fabric")

from lightning.fabric import Fabric  # noqa: E402
from small_recipes import nothing_is_fetched, samples_of, tiny  # noqa: E402, F401

from training import train  # noqa: E402
from training.recipes import Recipe  # noqa: E402
from training.train import Run  # noqa: E402

STEPS = 3


def losses_of(fabric: Fabric, recipe: Recipe, folder: Path) -> list[dict[str, float]]:
    """Of each step."""
    torch.set_num_threads(1)
    run, told = Run.start(fabric, recipe, folder / "checkpoint.pt"), []

    class Told(Run):
        def advance(self, *arguments: Any) -> dict[str, float]:
            told.append(super().advance(*arguments))
            return told[-1]

    run.__class__ = Told
    train.train(run, samples_of(recipe), samples_of(recipe), math.inf)
    return told


@pytest.mark.parametrize("name", ["unveilify", "gated_reference"])
def test_two_processes_learn_like_one_with_the_double_batch(name: str, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir(), alone.mkdir()
    two = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork").launch(
        losses_of, tiny(name, batch=1, steps=STEPS, patience=0), together
    )
    one = losses_of(Fabric(accelerator="cpu", devices=1), tiny(name, batch=2, steps=STEPS, patience=0), alone)
    assert len(two) == len(one) == STEPS and one[0] != one[1]
    for a, b in zip(two, one, strict=True):
        assert a == pytest.approx(b, rel=5e-3, abs=1e-5)
    a, b = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (together, alone))
    assert a["samples"] == b["samples"] == 2 * STEPS
    torch.manual_seed(0)
    at_first = tiny(name).network().state_dict()
    apart, moved = (
        sum((x["network"][k] - y[k]).abs().sum() for k in at_first) for x, y in ((a, b["network"]), (b, at_first))
    )
    assert 0 < moved and apart < 0.05 * moved, "Adam makes much of tiny slopes, so not to the last bit"
