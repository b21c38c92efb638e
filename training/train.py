"""Trains a network by its recipe; the same command goes on where it stopped, with the same result.

    python -m training.train RECIPE FACES.npz [FACES.npz ...] --patterns TEMPLATES.tar [--minutes 40] [--export]

FACES come from `training.data`. Runs on the CPU, on a GPU or on several; on several machines under `torchrun`.
Writes checkpoints, a picture and TensorBoard's curves to `runs/RECIPE`.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import click
import cv2
import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from training.export import begin_with, export
from training.faces import split
from training.kept import Kept
from training.losses import weighted
from training.lpips import CACHE
from training.patterns import Patterns, load_patterns
from training.recipes import RECIPES, Recipe
from training.samples import InOrder
from training.tasks import Batch, Learn, batch_of, mean_scores

SAVE_EVERY, TELL_EVERY = 200, 100
"""Steps."""
SCORED = 608
"""Held-out samples that the score is told of."""


@dataclass
class Learner:
    """A network that learns."""

    plain: torch.nn.Module
    network: torch.nn.Module
    """`plain`, as Fabric runs it."""
    optimiser: torch.optim.Optimizer
    rate: float
    """The highest."""

    @staticmethod
    def make(fabric: Fabric, plain: torch.nn.Module, recipe: Recipe, rate: float) -> Learner:
        rates = {"lr": rate, "betas": recipe.betas, "weight_decay": recipe.decay}
        network, optimiser = fabric.setup(plain, torch.optim.AdamW(plain.parameters(), **rates))
        if hasattr(plain, "stages"):
            network.mark_forward_method("stages")
        return Learner(plain, network, optimiser, rate)

    def learn(self, fabric: Fabric, loss: torch.Tensor, share: float) -> None:
        """One step at a share of the rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * share
        self.optimiser.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(self.network, self.optimiser, max_norm=1.0)
        self.optimiser.step()


@dataclass
class Run:
    """A network on its way."""

    fabric: Fabric
    recipe: Recipe
    checkpoint: Path
    plain: torch.nn.Module
    """All of the network, whatever part of it learns."""
    mean: AveragedModel
    """The moving average of its parameters: what ships."""
    painter: Learner
    judge: Learner | None
    """The adversary, where the recipe has one."""
    step: int = 0
    samples: int = 0
    """Seen by all processes."""
    seconds: float = 0.0
    best: float = -math.inf
    """Score of an epoch, where the recipe has patience."""
    since: int = 0
    """Epochs since then."""

    @staticmethod
    def start(fabric: Fabric, recipe: Recipe, checkpoint: Path, parameters: Path | None = None) -> Run:
        """A fresh network, or one with the parameters of a file; the checkpoint's if that exists."""
        torch.manual_seed(0)
        plain = recipe.network().to(memory_format=torch.channels_last)
        if parameters:
            begin_with(plain, parameters)
        # Norms keep the newest statistics: averages of theirs would fit nobody's parameters (a painter came out grey).
        mean = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=False)
        painter, judge = Learner.make(fabric, plain.get_submodule(recipe.part), recipe, recipe.rate), None
        if recipe.adversary:
            judge = Learner.make(fabric, recipe.adversary.network(), recipe, recipe.adversary.rate)
        if recipe.part:
            plain.eval().get_submodule(recipe.part).train()
        run = Run(fabric, recipe, checkpoint, plain.to(fabric.device), mean.to(fabric.device), painter, judge)
        if checkpoint.exists():
            state = run.state()
            try:
                fabric.load(checkpoint, state)
            except (RuntimeError, KeyError, EOFError, UnpicklingError):
                raise ValueError(f"{checkpoint} is damaged or of another network; move it away or give another --run") from None
            for name in run.counters():
                setattr(run, name, state[name])
        return run

    def state(self) -> dict[str, Any]:
        parts = {"network": self.plain, "mean": self.mean, "optimiser": self.painter.optimiser}
        if self.judge:
            parts |= {"judge": self.judge.network, "judge_optimiser": self.judge.optimiser}
        return parts | self.counters()

    def counters(self) -> dict[str, float]:
        names = ("step", "samples", "seconds") + (("best", "since") if self.recipe.patience else ())
        return {name: getattr(self, name) for name in names}

    def save(self) -> None:
        fresh = self.checkpoint.with_suffix(".part")
        self.fabric.save(fresh, self.state())
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            fresh.replace(self.checkpoint)

    def advance(self, batch: Batch, learn: Learn) -> dict[str, float]:
        """One step of the network, and one of its adversary; the terms of their losses, over all processes."""
        recipe, share = self.recipe, self.recipe.schedule(self.step, self.recipe.steps)
        terms, shown = learn(self.painter.network, batch)
        if self.judge:
            painted, real, given = shown
            self.judge.plain.requires_grad_(False)
            with self.fabric.autocast():
                terms |= recipe.adversary.fool(self.judge.plain(painted, given))
            self.judge.plain.requires_grad_(True)
        self.painter.learn(self.fabric, weighted(terms, recipe.weights), share)
        if self.judge:
            # Both in one pass: between two, spectral norms would move on, which backward does not allow.
            logits = self.judge.network(torch.cat([real, painted.detach()]), torch.cat([given, given]))
            judged = recipe.adversary.judge(*logits.chunk(2))
            self.judge.learn(self.fabric, sum(judged.values()), share)
            terms |= judged
        self.mean.update_parameters(self.plain)
        self.step += 1
        self.samples += recipe.batch * self.fabric.world_size
        told = self.fabric.all_reduce(torch.stack([value.detach() for value in terms.values()]))
        return dict(zip(terms, told.tolist(), strict=True))

    def end_epoch(self, score: float) -> None:
        self.best, self.since = (score, 0) if score > self.best else (self.best, self.since + 1)


def train(run: Run, samples: Dataset, held_out: Dataset, minutes: float) -> None:
    """Steps until the recipe's are done, its patience is at its end or the minutes over; a checkpoint at the end."""
    fabric, recipe = run.fabric, run.recipe
    order = InOrder(
        first=run.samples, steps=max(recipe.steps - run.step, 0), batch=recipe.batch, rank=fabric.global_rank,
        processes=fabric.world_size,
    )  # fmt: skip
    workers = max(1, (os.cpu_count() or 2) // max(1, fabric.world_size) - 1)
    loader = fabric.setup_dataloaders(
        DataLoader(samples, recipe.batch, sampler=order, num_workers=workers, prefetch_factor=4),
        use_distributed_sampler=False,
    )
    learn, began, told = recipe.task.terms(run.plain), time.monotonic(), {}
    before, epoch = run.seconds, max(1, len(samples.faces.names) // (recipe.batch * fabric.world_size))
    gc.collect()  # a forked worker that finds what is left of an encoder would wait for threads that it has not
    for batch in loader if run.since < (recipe.patience or 1) else ():
        terms = run.advance(batch, learn)
        run.seconds = before + time.monotonic() - began
        told = {k: 0.98 * told.get(k, v) + 0.02 * v for k, v in terms.items()}
        if run.step % TELL_EVERY == 0 or run.step == recipe.steps:
            fabric.log_dict(told, run.step)
            listed = ", ".join(f"{k} {v:.4f}" for k, v in told.items())
            fabric.print(f"step {run.step} of {recipe.steps}, {run.seconds:.0f} s: {listed}", flush=True)
        if recipe.patience and run.step % epoch == 0:
            run.end_epoch(next(iter(score(run, held_out, None, SCORED).values())))
        if run.step % SAVE_EVERY == 0:
            run.save()
        # One decides for all, or some would wait for ever for those who have stopped.
        if fabric.broadcast(time.monotonic() - began > minutes * 60) or 0 < recipe.patience <= run.since:
            break
    run.save()


def speed(run: Run) -> str:
    """Samples a second and the most memory, of this process."""
    rate = run.step * run.recipe.batch * run.fabric.world_size / max(run.seconds, 1e-6)
    if run.fabric.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**20
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return f"{run.step} steps, {rate:.0f} samples a second, {memory:.0f} MiB"


@torch.no_grad()
def score(run: Run, held_out: Dataset, picture: Path | None, count: int) -> dict[str, float]:
    """The averaged network on held-out faces; its first 16 are drawn as a picture."""
    network, task, found = run.mean.module.eval(), run.recipe.task, []
    for first in range(0, count, 16):
        batch = batch_of(held_out, range(first, first + 16), run.fabric.device)
        found.append(task.score(network, batch))
        if first == 0 and picture:
            rows = task.picture(network, batch).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
            cv2.imwrite(str(picture), np.concatenate(rows)[..., ::-1])
    return mean_scores(found)


@click.command()
@click.argument("recipe", type=click.Choice(sorted(RECIPES)))
@click.argument("faces", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--held-out", type=click.Path(exists=True, dir_okay=False),
              help="Faces to be scored on, none of them in FACES; else every 20th person of FACES is kept out.")
@click.option("--patterns", type=click.Path(exists=True, path_type=Path), help="Tar of mask templates (MaskTheFace's layout).")
@click.option("--start", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parameters to start from: this network as ONNX, or the checkpoint.pt of another run.")
@click.option("--run", type=click.Path(path_type=Path, file_okay=False), help="Folder for what is written; else runs/RECIPE.")
@click.option("--minutes", default=math.inf, type=click.FloatRange(0), help="Stop after so long; the same command goes on.")
@click.option("--steps", type=click.IntRange(1), help="Length of the whole training in place of the recipe's.")
@click.option("--batch", type=click.IntRange(1), help="Samples a step and process, in place of the recipe's.")
@click.option("--keep", type=click.IntRange(1),
              help="Draw only so many samples, once for all runs, keep them in runs/kept and learn from them over and over.")
@click.option("--devices", default="auto", help="How many GPUs, or processes on the CPU.")
@click.option("--nodes", default=1, help="How many machines; start the command with torchrun on each.")
@click.option("--precision", default="32-true", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]))
@click.option("--dry-run", is_flag=True, help="Two steps and a score, written nowhere.")
@click.option("--export", "exported", is_flag=True, help="Put the network into models/weights/ at the end.")
def main(
    recipe: str, faces: tuple[str, ...], held_out: str | None, patterns: Path | None, start: Path | None, run: Path | None,
    minutes: float, steps: int | None, batch: int | None, keep: int | None, devices: str, nodes: int, precision: str,
    dry_run: bool, exported: bool,
) -> None:  # fmt: skip
    """Train the network of RECIPE on the FACES that `training.data` has cut."""
    chosen = RECIPES[recipe]
    chosen = replace(chosen, steps=2 if dry_run else steps or chosen.steps, batch=batch or chosen.batch)
    folder = run or Path("runs") / recipe
    with tempfile.TemporaryDirectory() as nowhere, in_a_sentence(chosen):
        place = Path(nowhere) if dry_run else folder
        fabric = fabric_of(devices, nodes, precision, None if dry_run else folder)
        known, others = split(faces, held_out)
        made_of = load_patterns(patterns) if patterns else Patterns()
        samples = partial(chosen.task.samples, patterns=made_of, size=chosen.size)
        place.mkdir(parents=True, exist_ok=True)
        going = Run.start(fabric, chosen, place / "checkpoint.pt", start)
        learned, held_out = samples(known, seed=0), samples(others, seed=1)
        learned = Kept.under(CACHE / "kept", learned, keep) if keep and not dry_run else learned
        train(going, learned, held_out, minutes)
        scores = score(going, held_out, place / "held-out.png", 16 if dry_run else SCORED)
    fabric.log_dict(scores, going.step)
    fabric.print(speed(going) + "; held out: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
    if exported and not dry_run and fabric.is_global_zero:
        click.echo(export(chosen.name, going.mean.module, steps=going.step, scores=scores))


def fabric_of(devices: str, nodes: int, precision: str, folder: Path | None) -> Fabric:
    """The machines, launched; curves go to the folder where TensorBoard is installed."""
    if devices != "auto" and not (devices.isdigit() and int(devices)):
        raise ValueError(f"{devices!r} is no number of devices; give auto, or 1 and more")
    loggers = TensorBoardLogger(folder, name="", version="") if folder and find_spec("tensorboard") else []
    fabric = Fabric(devices=devices, num_nodes=nodes, precision=precision, loggers=loggers)
    fabric.launch()
    return fabric


@contextmanager
def in_a_sentence(recipe: Recipe) -> Iterator[None]:
    """What cannot be used, and memory that is too small, told without a traceback."""
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    except (MemoryError, torch.cuda.OutOfMemoryError):
        half = max(1, recipe.batch // 2)
        raise click.ClickException(f"a batch of {recipe.batch} does not fit into memory; give --batch {half}") from None


if __name__ == "__main__":
    main()
