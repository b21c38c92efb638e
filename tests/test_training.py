"""Learning by every recipe, and going on after a stop."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("lightning.fabric")


from small_recipes import CPU, nothing_is_fetched, same, samples_of, start, tiny  # noqa: E402, F401

from training import losses, train  # noqa: E402
from training.discriminator import Discriminator  # noqa: E402
from training.recipes import RECIPES, WARM_UP, Adversary, Recipe  # noqa: E402
from training.samples import InOrder  # noqa: E402
from training.tasks import FILL, Batch, Learn, batch_of  # noqa: E402
from training.train import Run  # noqa: E402


@pytest.mark.parametrize("name", RECIPES)
def test_steps_of_every_recipe_lower_its_loss(name: str, tmp_path: Path) -> None:
    run = start(tiny(name), tmp_path)
    run.step = WARM_UP  # before, the rate is too low to see anything
    batch, learn = batch_of(samples_of(run.recipe), range(2), CPU), run.recipe.task.terms(run.plain)
    before, sums = [p.clone() for p in run.mean.parameters()], []
    for _ in range(24):
        terms = run.advance(batch, learn)
        # What an adversary says is no measure: it learns, too.
        sums.append(sum(w * terms[k] for k, w in run.recipe.weights.items() if k != "adversarial"))
    # An adversary makes single steps leap.
    assert median(sums[-4:]) < 0.95 * sums[0] and run.step == WARM_UP + 24
    for key, value in run.painter.plain.named_parameters():
        assert value.grad is not None and torch.isfinite(value.grad).all() and value.grad.any(), f"{key} learns nothing"
    assert any((a != b).any() for a, b in zip(before, run.mean.parameters(), strict=True)), "the average follows"
    kept = zip(run.mean.module.buffers(), run.plain.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in kept), "norms keep the newest statistics"
    scores = run.recipe.task.score(run.mean.module.eval(), batch)
    assert all(torch.isfinite(v).all() for v in scores.values())


@pytest.mark.parametrize("name", ["segmenter", "segmenter_small", "sentry", "swift", "unveilify", "gated_reference"])
def test_stopped_training_goes_on_as_if_it_had_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, advance = tiny(name, steps=4), Run.advance
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    monkeypatch.setattr(train, "SCORED", 16)

    def breaks(run: Run, *arguments: Any) -> dict[str, float]:
        if run.step == 3:
            raise KeyboardInterrupt
        return advance(run, *arguments)

    folders = [tmp_path / "whole", tmp_path / "broken"]
    for folder in folders:
        folder.mkdir()
    train.train(start(recipe, folders[0]), samples_of(recipe), samples_of(recipe), math.inf)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "advance", breaks)
        train.train(start(recipe, folders[1]), samples_of(recipe), samples_of(recipe), math.inf)
    again = start(recipe, folders[1])
    assert again.step == 2 and again.seconds > 0, "the third step was lost, the second was saved"
    train.train(again, samples_of(recipe), samples_of(recipe), math.inf)
    whole, broken = (torch.load(f / "checkpoint.pt", weights_only=True) for f in folders)
    assert whole["step"] == broken["step"] == 4
    assert all(same(whole[part], broken[part]) for part in whole.keys() - {"seconds"})
    fresh = start(recipe, tmp_path)
    assert not same(fresh.plain.state_dict(), whole["network"]), "and there was something to learn"


def shows_its_face(whole: torch.nn.Module) -> Learn:
    """What `swift` learns, without LPIPS, shown to an adversary."""

    def learn(network: torch.nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        truth, hidden = batch["truth"] / 127.5 - 1, batch["hidden"] / 255
        face = network.stages(*(batch[k].float() for k in ("image", "hidden", "warped")))["face"]
        return {"hole": ((face - truth) * hidden).abs().mean()}, (face, truth, hidden)

    return learn


def against_an_adversary(**changes: Any) -> Recipe:
    adversary = Adversary(
        partial(Discriminator, 4, (8, 8), 3), 1e-2, losses.hinge_generator, losses.hinge_discriminator
    )
    task = replace(FILL, terms=shows_its_face)
    weights = {"hole": 1.0, "adversarial": 1.0}
    return replace(RECIPES["swift"], size=64, batch=2, task=task, weights=weights, adversary=adversary, **changes)


def test_an_adversary_learns_beside_the_network(tmp_path: Path) -> None:
    """Alone it learns to tell the two apart; while the network learns from it, it is not moved by that."""
    run = start(against_an_adversary(), tmp_path)
    run.step = WARM_UP
    batch, learn = batch_of(samples_of(run.recipe), range(2), CPU), run.recipe.task.terms(run.plain)
    judge, painter = run.judge.plain, run.painter.plain
    held = [p.clone() for p in judge.parameters()]
    run.judge.rate = 0.0
    told = run.advance(batch, learn)
    assert set(told) == {"hole", "adversarial", "discriminator"}
    assert all(torch.equal(a, b) for a, b in zip(held, judge.parameters(), strict=True)), "it moves at its own rate only"
    assert painter.head.weight.grad.any(), "and what it says reaches the network"
    run.judge.rate, run.painter.rate = 1e-2, 0.0
    told = [run.advance(batch, learn)["discriminator"] for _ in range(30)]
    assert told[-1] < 0.9 * told[0]
    run.save()
    again = start(run.recipe, tmp_path)
    assert same(dict(again.judge.plain.state_dict()), dict(judge.state_dict()))
    assert same(again.judge.optimiser.state_dict()["state"], run.judge.optimiser.state_dict()["state"])


def test_a_part_of_a_network_learns_and_the_rest_stays(tmp_path: Path) -> None:
    run = start(replace(against_an_adversary(), part="head", adversary=None, weights={"hole": 1.0}), tmp_path)
    run.step = WARM_UP
    batch = batch_of(samples_of(run.recipe), range(2), CPU)
    learn, before = run.recipe.task.terms(run.plain), {k: v.clone() for k, v in run.plain.state_dict().items()}
    run.advance(batch, lambda head, given: (learn(run.plain, given)[0], None))
    moved = {k.split(".")[0] for k, v in run.plain.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"head"}


def test_time_ends_training_after_whole_steps(tmp_path: Path) -> None:
    run = start(tiny("segmenter", steps=50), tmp_path)
    train.train(run, samples_of(run.recipe), samples_of(run.recipe), 0)
    assert run.step == 1 and start(run.recipe, tmp_path).step == 1


def test_patience_ends_training_and_lasts_over_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faces in batches of two: each step is an epoch."""
    recipe = replace(tiny("segmenter", steps=50), patience=2)
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    monkeypatch.setattr(train, "score", lambda *_: {"iou": next(scores), "bare": 1.0})
    run = start(recipe, tmp_path)
    train.train(run, samples_of(recipe), samples_of(recipe), math.inf)
    assert (run.step, run.best, run.since) == (4, 3.0, 2)
    again = start(recipe, tmp_path)
    train.train(again, samples_of(recipe), samples_of(recipe), math.inf)
    assert (again.step, again.best) == (4, 3.0), "nothing was left to do"


@pytest.mark.parametrize("processes", [1, 3])
def test_every_number_comes_once_and_in_order(processes: int) -> None:
    def part(rank: int, start: int) -> list[int]:
        order = InOrder(first=4 * processes * start, steps=5 - start, batch=4, rank=rank, processes=processes)
        assert len(list(order)) == len(order)
        return list(order)

    whole = [part(rank, 0) for rank in range(processes)]
    for step in range(5):  # one after the other: then a run that stops has seen all that came before
        together = [n for numbers in whole for n in numbers[4 * step : 4 * step + 4]]
        assert together == list(range(4 * processes * step, 4 * processes * (step + 1)))
    assert [part(rank, 3) for rank in range(processes)] == [numbers[12:] for numbers in whole], "goes on exactly"
    assert part(0, 5) == []
