"""Learning by every recipe, going on after a stop, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faces import cut

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("lightning.fabric")

from lightning.fabric import Fabric  # noqa: E402

from training import losses, train  # noqa: E402
from training.checkpoint import register  # noqa: E402
from training.discriminator import Discriminator  # noqa: E402
from training.faces import Faces  # noqa: E402
from training.lpips import LPIPS  # noqa: E402
from training.patterns import Patterns  # noqa: E402
from training.recipes import RECIPES, WARM_UP, Adversary, Recipe  # noqa: E402
from training.samples import InOrder  # noqa: E402
from training.tasks import FILL, Batch, Learn, batch_of  # noqa: E402
from training.train import Run  # noqa: E402
from unmask_video.models.segmenter import SIZE  # noqa: E402
from unmask_video.runtime import open_session  # noqa: E402

torch.set_num_threads(1)  # as training does: many small tests on a busy machine fight over threads
TWO = ("anna/film-1.jpg", "anna/sitting-1.jpg")
CPU = torch.device("cpu")


def tiny(name: str, **changes: Any) -> Recipe:
    """A recipe with small samples and few of them; LPIPS has to be there, or to be fetched, where it is trained on."""
    if RECIPES[name].task is FILL:
        try:
            LPIPS("alex")
        except CalledProcessError as error:
            pytest.skip(f"the weights of LPIPS are not in runs/ and could not be fetched: {error}")
    return replace(RECIPES[name], size=64, batch=2, **changes)


def start(recipe: Recipe, folder: Path) -> Run:
    return Run.start(Fabric(accelerator="cpu", devices=1), recipe, folder / "checkpoint.pt")


def samples_of(recipe: Recipe) -> Any:
    return recipe.task.samples(cut(*TWO), Patterns(), recipe.size, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_steps_of_every_recipe_lower_its_loss(name: str, tmp_path: Path) -> None:
    run = start(tiny(name), tmp_path)
    run.step = WARM_UP  # before, the rate is too low to see anything
    batch, learn = batch_of(samples_of(run.recipe), range(2), CPU), run.recipe.task.terms(run.plain)
    before, sums = [p.clone() for p in run.mean.parameters()], []
    for _ in range(16):
        terms = run.advance(batch, learn)
        sums.append(sum(run.recipe.weights[k] * v for k, v in terms.items()))
    assert sums[-1] < 0.8 * sums[0] and run.step == WARM_UP + 16
    for key, value in run.plain.named_parameters():
        assert value.grad is not None and torch.isfinite(value.grad).all() and value.grad.any(), f"{key} learns nothing"
    assert any((a != b).any() for a, b in zip(before, run.mean.parameters(), strict=True)), "the average follows"
    scores = run.recipe.task.score(run.mean.module.eval(), batch)
    assert all(torch.isfinite(v).all() for v in scores.values())


def same(a: Any, b: Any) -> bool:
    """Bit for bit, all the way down."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, (list, tuple)) else a == b


@pytest.mark.parametrize("name", ["segmenter", "swift"])
def test_stopped_training_goes_on_as_if_it_had_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, advance = tiny(name, steps=4), Run.advance
    monkeypatch.setattr(train, "SAVE_EVERY", 2)

    def breaks(run: Run, *arguments: Any) -> dict[str, float]:
        if run.step == 3:
            raise KeyboardInterrupt
        return advance(run, *arguments)

    folders = [tmp_path / "whole", tmp_path / "broken"]
    for folder in folders:
        folder.mkdir()
    train.train(start(recipe, folders[0]), samples_of(recipe), math.inf)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "advance", breaks)
        train.train(start(recipe, folders[1]), samples_of(recipe), math.inf)
    again = start(recipe, folders[1])
    assert again.step == 2 and again.seconds > 0, "the third step was lost, the second was saved"
    train.train(again, samples_of(recipe), math.inf)
    whole, broken = (torch.load(f / "checkpoint.pt", weights_only=True) for f in folders)
    assert whole["step"] == broken["step"] == 4
    assert all(same(whole[part], broken[part]) for part in ("network", "mean", "optimiser"))
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
    train.train(run, samples_of(run.recipe), 0)
    assert run.step == 1 and start(run.recipe, tmp_path).step == 1


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


# --- the command ----------------------------------------------------------------------------------

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `training.train` in a folder of its own with tiny recipes; weights go to `weights` there."""
    for name in ("segmenter", "swift"):
        monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], size=64, batch=2))
    monkeypatch.setattr(train, "SCORED", 16)
    monkeypatch.setattr(train, "TELL_EVERY", 3)
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    monkeypatch.setattr("training.export.register", partial(register, folder=tmp_path / "weights"))
    empty = Faces((), np.zeros((0, 192, 192, 3), np.uint8), np.zeros((0, 468, 3), np.float32))
    given = {"faces": cut(*TWO, "ben/film-1.jpg"), "others": cut("carl/film-1.jpg", "carl/film-2.jpg"), "none": empty}
    for name, found in given.items():
        np.savez(f"{name}.npz", names=np.array(found.names, str), images=found.images, landmarks=found.landmarks)
    Path("text.npz").write_text("these are no faces\n" * 20)
    np.savez("half.npz", names=np.array(["a"]))
    return lambda words: CliRunner().invoke(train.main, words.split())


def written() -> set[str]:
    return {p.as_posix() for p in Path().rglob("*") if p.is_file()}


GOOD = "faces.npz --held-out others.npz "


@pytest.mark.parametrize("name", ["segmenter", "swift"])
def test_a_dry_run_tells_and_writes_nothing(name: str, command: Command) -> None:
    tiny(name)
    before = written()
    done = command(f"{name} {GOOD} --dry-run --export")
    assert done.exit_code == 0, done.exception
    assert "2 steps, " in done.output and "samples a second" in done.output and "MiB" in done.output
    told = {"segmenter": ("iou", "masked", "bare"), "swift": ("psnr", "warped_psnr")}[name]
    assert all(f"{k} " in done.output.partition("held out: ")[2] for k in told)
    assert written() == before


def test_a_run_writes_all_it_promises_and_is_then_done(command: Command) -> None:
    done, before = command(f"segmenter {GOOD} --steps 3"), set(written())
    assert done.exit_code == 0 and "step 3 of 3" in done.output, done.exception
    picture = cv2.imread("runs/segmenter/held-out.png")
    assert picture.shape == (16 * 64, 3 * 64, 3) and picture.std() > 20
    assert [p for p in before if p.startswith("runs/segmenter/") and "events.out.tfevents" in p]
    first = torch.load("runs/segmenter/checkpoint.pt", weights_only=True)
    done = command(f"segmenter {GOOD} --steps 3 --export")
    assert done.exit_code == 0 and "step 3" not in done.output, "nothing was left to do"
    second = torch.load("runs/segmenter/checkpoint.pt", weights_only=True)
    assert first["step"] == 3 and same(first, second), "not even the seconds"
    (entry,) = json.loads(Path("weights/files.json").read_text()).values()
    assert entry["file"] in done.output and {p.name for p in Path("weights").iterdir()} == {"files.json", entry["file"]}
    assert "3 steps" in entry["origin"] and "iou" in entry["origin"]
    made = open_session(Path("weights", entry["file"]).read_bytes(), ("cpu",))
    assert made.run(None, {"image": np.zeros((1, 3, SIZE, SIZE), np.float32)})[0].shape == (1, 1, SIZE, SIZE)
    assert command(f"segmenter {GOOD} --steps 5").exit_code == 0
    assert torch.load("runs/segmenter/checkpoint.pt", weights_only=True)["step"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("monet faces.npz", "swift"),
        ("segmenter", "FACES"),
        ("segmenter gone.npz", "gone.npz"),
        ("segmenter faces.npz --held-out gone.npz", "gone.npz"),
        ("segmenter faces.npz --held-out faces.npz", "2 people of --held-out are in FACES too, anna first"),
        ("segmenter faces.npz", "too few faces to keep some out"),
        ("segmenter none.npz --held-out others.npz", "faces"),
        ("segmenter faces.npz --held-out none.npz", "faces"),
        ("segmenter text.npz", "text.npz"),
        ("segmenter half.npz", "half.npz"),
        ("segmenter faces.npz --patterns text.npz --held-out others.npz", "text.npz"),
        (f"segmenter {GOOD} --steps 0", "--steps"),
        (f"segmenter {GOOD} --precision 8", "16-mixed"),
    ],
)
def test_wrong_words_are_told_in_a_sentence(words: str, said: str, command: Command) -> None:
    before = written()
    done = command(words)
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, done.exception
    *_, sentence = done.output.strip().splitlines()
    assert sentence.startswith("Error: ") and done.output.count("Error: ") == 1 and said in sentence
    assert written() == before
