"""What the PyTorch engine gains by batches, streams, CUDA graphs and half precision; and how the whole pipeline fares.

    python -m training.benchmark --device cuda --film clip.mp4 --json figures.json
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from training.recipes import RECIPES
from training.tables import Line
from unmask_video import models
from unmask_video.engine import SIZES, SLOTS, Engine, load_parameters, load_torch
from unmask_video.errors import UnmaskError
from unmask_video.models.swift import VIEW, Plan, Swift
from unmask_video.runtime import INPUTS

MODELS = ("swift", "gated_reference", "unveilify", "imputed", "residual_attention", "three_stage")
CROP = 256
"""Pixels of crops of networks that take any size."""
COLUMNS = ("model", "batch", "streams", "graphs", "half", "crops_a_second", "busy", "apart")


def build(name: str) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...], int]:
    """A network, its inputs and outputs, and its size in pixels; the published ones untrained, for that costs the same."""
    torch.manual_seed(0)
    if name == "swift":
        network = Swift()
        load_parameters(network, models.load_bytes("swift"))
        return Plan(network), Swift.inputs, ("flow", "light"), VIEW
    network = next(recipe for key, recipe in RECIPES.items() if key in (f"{name}-cpu", f"{name}-cpu-painter")).network()
    return network, tuple(network.inputs), ("face",), getattr(network, "size", None) or CROP


def given(inputs: tuple[str, ...], size: int, batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    top = {"hidden": 1.0}
    return {k: rng.uniform(0, top.get(k, 255.0), (batch, INPUTS[k], size, size)).astype(np.float32) for k in inputs}


@contextmanager
def running(built: tuple, device: str, **how: Any) -> Any:
    network, inputs, outputs, _ = built
    engine = Engine(network, inputs, outputs, device=device, **how)
    try:
        yield engine
    finally:
        engine.close()


def speed(built: tuple, device: str, batch: int, seconds: float, **how: Any) -> tuple[float, float]:
    """Crops a second of so many threads that each wait for their answer, and the part of the time the device computes."""
    item = given(built[1], built[3])
    with running(built, device, most=batch, **how) as engine, ThreadPoolExecutor(2 * batch) as pool:
        list(pool.map(engine.run, [item] * 4 * batch))  # chooses algorithms, captures graphs
        end, done = time.perf_counter() + seconds, 0
        begin = time.perf_counter()
        while time.perf_counter() < end:
            done += len(list(pool.map(engine.run, [item] * 4 * batch)))
        rate = done / (time.perf_counter() - begin)
        return rate, min(1.0, rate / batch * computing(engine, built, batch)) if device == "cuda" else float("nan")


def computing(engine: Engine, built: tuple, batch: int) -> float:
    """Seconds that the device computes on one batch, by its own clock."""
    inputs = [torch.from_numpy(x).to(engine.device) for x in given(built[1], built[3], batch).values()]
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.inference_mode():
        engine._network(inputs)
        begin.record()
        for _ in range(10):
            engine._network(inputs)
        end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 10 / 1e3


def apart(built: tuple, device: str) -> float:
    """Most that half precision differs from single, in steps of 255."""
    found = []
    for half in (False, True):
        with running(built, device, half=half, graphs=False) as engine:
            found.append(engine.run(given(built[1], built[3])))
    scale = {"flow": CROP, "light": 1.0, "face": 1.0}
    return max(float(np.abs(found[0][k] - found[1][k]).max()) * scale[k] for k in found[0])


def lines(names: tuple[str, ...], device: str, batches: tuple[int, ...], seconds: float) -> list[Line]:
    told = []
    for name in names:
        built = build(name)
        differ = apart(built, device)
        # On the CPU 16 bits are emulated, and there are no graphs to replay.
        other = (False, True) if device == "cuda" else (False,)
        for batch, slots, graphs, half in product(batches, (1, SLOTS), other, other):
            rate, busy = speed(built, device, batch, seconds, slots=slots, graphs=graphs, half=half)
            told.append(dict(zip(COLUMNS, (name, batch, slots, graphs, half, rate, busy, differ), strict=True)))
            click.echo(row(told[-1]))
    return told


def row(line: Line) -> str:
    return " ".join(f"{line[k]:>18.2f}" if isinstance(line[k], float) else f"{line[k]!s:>18}" for k in COLUMNS)


def film(clip: Path, photos: tuple[str, ...], device: str) -> dict[str, Any]:
    """The whole pipeline, and its frames a second over those of decoding and encoding alone."""
    from unmask_video.bench import measure  # late: some machines lack the video libraries
    from unmask_video.options import Options

    options = Options(execution_providers=("torch" if device == "cuda" else "cpu",), preset="ultrafast")
    found = measure(clip, photos, options, runs=3)
    click.echo(f"\n{found.table()}\n\nframes a second over codec alone: {found.codec.wall / found.whole.wall:.2f}")
    return found.to_json()


@click.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--models", "names", default=",".join(MODELS), show_default=True, help="Networks, with commas between them.")
@click.option("--batches", default=",".join(map(str, SIZES)), show_default=True, help="Most crops at once.")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Of each figure.")
@click.option("--film", "clip", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Measure the pipeline on it.")
@click.option("--reference", multiple=True, help="A photo for it.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures.")
def main(
    device: str, names: str, batches: str, seconds: float, clip: Path | None, reference: tuple[str, ...], target: Path | None
) -> None:  # fmt: skip
    """Crops a second of the engine by batch, streams, graphs and precision; with --film the whole pipeline's frames."""
    chosen, sizes = tuple(names.split(",")), batches.split(",")
    if wrong := [name for name in chosen if name not in MODELS]:
        raise click.BadParameter(f"there is no network {wrong[0]!r}; give some of {', '.join(MODELS)}", param_hint="--models")
    if wrong := [size for size in sizes if not size.isdigit() or int(size) not in SIZES]:
        raise click.BadParameter(f"{wrong[0]!r} is no batch; give some of {', '.join(map(str, SIZES))}", param_hint="--batches")
    try:
        load_torch(device)
        click.echo(f"{torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}, PyTorch {torch.__version__}\n")
        click.echo(" ".join(f"{k:>18s}" for k in COLUMNS))
        figures: dict[str, Any] = {"engine": lines(chosen, device, tuple(map(int, sizes)), seconds)}
        if clip:
            figures["film"] = film(clip, reference, device)
    except UnmaskError as error:
        raise click.ClickException(str(error)) from None
    if target:
        target.write_text(json.dumps(figures, indent=1), "utf-8")


if __name__ == "__main__":
    main()
