"""Recipes made small, and what tests of training share."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any
from urllib.error import URLError

import pytest
from faces import cut

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("lightning.fabric")

from lightning.fabric import Fabric  # noqa: E402

from training import teachers  # noqa: E402
from training.discriminator import Discriminator  # noqa: E402
from training.lpips import LPIPS  # noqa: E402
from training.patterns import Patterns  # noqa: E402
from training.recipes import RECIPES, Recipe  # noqa: E402
from training.tasks import SEGMENT, SEGMENT_SMALL, WATCH  # noqa: E402
from training.train import Run  # noqa: E402
from unmask_video.models import gated_reference, unveilify  # noqa: E402

torch.set_num_threads(1)  # as training does: many small tests on a busy machine fight over threads
TWO = ("anna/film-1.jpg", "anna/sitting-1.jpg")
CPU = torch.device("cpu")


SIZES: dict[str, dict[str, Any]] = {
    "gated_reference": {"sizes": gated_reference.Sizes((8, 8, 8), (8, 8, 8, 8, 16))},
    "unveilify": {"sizes": unveilify.Sizes((16, 16, 16, 16, 8), (16, 16, 16, 16), (1, 1, 1, 1), 16)},
    "imputed": {"widths": (8, 8, 12), "mask_widths": (16, 32)},
    "residual_attention": {"widths": (8, 8, 8, 8, 16)},
    "three_stage": {"mask_widths": (8, 8, 8, 16), "widths": (8, 8, 8, 8, 16)},
}
"""Of published networks. With 8 channels, PyTorch 2.14 crashes in strided 1x1 convolutions on the CPU."""
RATES = {"mask": 1e-2, "fillers": 1e-2, "painter": 1e-2}
"""Of parts of networks, so that a few steps show."""


def tiny(name: str, **changes: Any) -> Recipe:
    """A recipe with small samples and few of them; LPIPS has to be there, or to be fetched, where it is trained on."""
    recipe = replace(RECIPES[name], size=64, batch=2)
    if recipe.task not in (SEGMENT, SEGMENT_SMALL, WATCH):
        try:
            LPIPS("alex")
        except CalledProcessError as error:
            pytest.skip(f"the weights of LPIPS are not in runs/ and could not be fetched: {error}")
    if recipe.name in SIZES:
        recipe = replace(recipe, network=partial(recipe.network, **SIZES[recipe.name]), rate=RATES.get(recipe.part, 1e-3))
    if recipe.adversary:
        channels, *_ = recipe.adversary.network.args
        small = replace(recipe.adversary, network=partial(Discriminator, channels, (8, 8), 3), rate=1e-4)
        recipe = replace(recipe, adversary=small)
    return replace(recipe, **changes)


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-19 has half a gigabyte, and stand-ins teach as well."""

    def refuse(*words: Any, **options: Any) -> None:
        raise URLError("no network in tests")

    monkeypatch.setattr(teachers, "load_state_dict_from_url", refuse)


def start(recipe: Recipe, folder: Path, parameters: Path | None = None) -> Run:
    return Run.start(Fabric(accelerator="cpu", devices=1), recipe, folder / "checkpoint.pt", parameters)


def samples_of(recipe: Recipe) -> Any:
    return recipe.task.samples(cut(*TWO), Patterns(), recipe.size, 0)


def same(a: Any, b: Any) -> bool:
    """Bit for bit, all the way down."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, (list, tuple)) else a == b
