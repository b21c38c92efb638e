"""Commands of `unmask-video`, each in a process of its own on some machine of a Ray cluster."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask_video.errors import BadEnvironment
from unmask_video.processes import GIB_EACH, started
from unmask_video.reference import split_choice, split_person

GIB = 2**30
LOST = -1
"""In place of an exit code, where the machine or Ray's own process went away."""
GPU = ("cuda", "tensorrt", "torch")


class RayNodes:
    """A cluster's machines, or this one's cores where no cluster is named.

    Args:
        address: of the cluster; "auto" is one that runs here; None: one is begun, for as long as this lasts.
        workers: commands at a time; None is as many as the cluster has room for.
        words: of all commands; whether they need a graphics card is told by them.

    Raises:
        BadEnvironment: Ray is not installed, or the cluster is not reached.
    """

    patience = 4
    """Further tries of what was lost: clusters lose machines."""

    def __init__(self, address: str | None, workers: int | None, words: list[str]) -> None:
        self.ray, self.running, self.lock = _ray(address), set(), threading.Lock()
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        graphics = any(name in GPU for word in words for name in word.rpartition("=")[2].split(","))
        self.needs = {"num_cpus": min([2.0, *(node.get("CPU", 0.0) or 2.0 for node in nodes)]), "num_gpus": int(graphics)}
        self.workers = workers or max(1, sum(_room(node, self.needs) for node in nodes))
        self.command = self.ray.remote(max_retries=0, num_returns="streaming", **self.needs)(run_here)

    def call(self, words: list[str], told: Callable[[str], object]) -> int:
        """The command's exit code, `LOST` if the machine went away; each line that it writes to stderr is told."""
        given = self.command.remote(words, photos_in(words))
        with self.lock:
            self.running.add(given)
        node = "a machine"
        try:
            for line in given:
                said = self.ray.get(line)
                if isinstance(said, int):
                    return said
                if said.startswith(NODE):
                    node = said.removeprefix(NODE)
                else:
                    told(said)
        except self.ray.exceptions.RayError as error:
            told(f"its worker on {node} was lost ({type(error).__name__})")
        finally:
            with self.lock:
                self.running.discard(given)
        return LOST

    def stop(self) -> None:
        """What runs ends, and keeps what it has done."""
        with self.lock:
            for given in self.running:
                self.ray.cancel(given)

    def close(self) -> None:
        self.ray.shutdown()


NODE = "\0node "


@dataclass(frozen=True)
class Photo:
    """That a command names; a cluster's machines may not see it."""

    word: str
    """`--reference=WHO=PHOTO#N`, of which these are the parts."""
    who: str
    name: str
    choice: str
    content: bytes


def run_here(words: list[str], photos: list[Photo]) -> Iterator[str | int]:
    """On a cluster's machine: which it is, the command's lines, at last its exit code."""
    yield f"{NODE}{os.uname().nodename if hasattr(os, 'uname') else ''}, process {os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="unmask-video-") as folder:
        for number, photo in enumerate(photos):
            kept = Path(folder, str(number), photo.name)
            kept.parent.mkdir()
            kept.write_bytes(photo.content)
            words = [f"--reference={photo.who}{kept}{photo.choice}" if word == photo.word else word for word in words]
        with started(words) as process:
            try:
                for line in process.stderr:
                    yield line.rstrip()
            finally:
                if process.poll() is None:
                    process.terminate()
        yield process.returncode


def photos_in(words: list[str]) -> list[Photo]:
    found = []
    for word in (word for word in words if word.startswith("--reference=")):
        who, name = split_person(word.removeprefix("--reference="))
        path, choice = split_choice(name)
        if path.is_file():
            mark = f"#{choice}" if choice else ""
            found.append(Photo(word, f"{who}=" if who else "", path.name, mark, path.read_bytes()))
    return found


def _room(node: dict[str, float], needs: dict[str, float]) -> int:
    """Commands that a machine runs at a time."""
    room = [node.get("CPU", 0.0) // needs["num_cpus"], node.get("memory", 8 * GIB) // (GIB_EACH * GIB)]
    return int(min([*room, *([node.get("GPU", 0.0) // needs["num_gpus"]] if needs["num_gpus"] else [])]))


def _ray(address: str | None) -> Any:
    try:
        import ray  # late: only this engine needs it
    except ImportError:
        raise BadEnvironment('Ray is not installed; pip install "unmask-video[cluster]", or do without --engine ray') from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise BadEnvironment(f"the Ray cluster {address or 'here'} cannot be reached ({error}); look after --address") from None
    return ray
