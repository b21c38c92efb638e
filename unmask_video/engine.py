"""PyTorch runs a network for many threads at once: what they ask for is put into batches, which overlap on CUDA streams.

Each of a few slots has its own stream, page-locked memory to and from the device, and a CUDA graph for each batch size;
while one slot computes, another copies. On the CPU the same route is taken without them. Torch is imported late.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from unmask_video import models
from unmask_video.errors import BadEnvironment, BadOption

SIZES = (1, 2, 4, 8, 16, 32)
"""Batches are padded to one of these: each has a graph of its own."""
SLOTS = 2
"""Batches under way: one computes while another is copied."""
VIEW = 128
"""Pixels at which `swift` looks, see `models.swift`."""
Arrays = dict[str, np.ndarray]

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Slot:
    """Where one batch lives: its stream, and its memory on both sides, for crops of one size."""

    stream: Any
    memory: dict[int, dict[Any, Any]] = field(default_factory=dict)
    """By batch size: page-locked inputs and outputs by name, and the inputs on the device by (name, "device")."""
    graphs: dict[int, tuple[Any, tuple[Any, ...]]] = field(default_factory=dict)
    """By batch size: the captured graph and its outputs on the device."""


class Engine:
    """A network on one device, for any number of threads.

    Args:
        network: takes float32 [B, C, S, S] of each of `inputs` and gives a tensor for each of `outputs`.
        device: "cuda" or "cpu".
        half: compute in 16 bits; what comes back is float32.
        graphs: replay CUDA graphs; without effect on the CPU.
        slots: batches under way; 1 is no overlap.
        most: largest batch; halved when the device's memory does not hold it.

    Raises:
        BadEnvironment: the device does not work here.
    """

    def __init__(
        self, network: Any, inputs: tuple[str, ...], outputs: tuple[str, ...], *, device: str = "cuda", half: bool = True,
        graphs: bool = True, slots: int = SLOTS, most: int = SIZES[-1],
    ) -> None:  # fmt: skip
        self.torch = torch = load_torch(device)
        self.device, self.inputs, self.outputs, self.most = torch.device(device), inputs, outputs, most
        self.cuda = self.device.type == "cuda"
        self.graphs, self.dtype = graphs and self.cuda, torch.float16 if half else torch.float32
        self.network = network.eval().requires_grad_(False)
        self.network = self.network.to(self.device, self.dtype, memory_format=torch.channels_last)
        self.waiting: queue.Queue[tuple[Arrays, Future[Arrays]] | None] = queue.Queue()
        self.free: queue.Queue[int] = queue.Queue()
        self.slots: dict[tuple[int, int], Slot] = {}
        self.streams = [torch.cuda.Stream() if self.cuda else None for _ in range(slots)]
        self.capturing = threading.Lock()
        self.gathering = threading.Lock()
        self.threads = [threading.Thread(target=self._work, args=(k,), name=f"engine-{k}", daemon=True) for k in range(slots)]
        for thread in self.threads:
            thread.start()

    def run(self, given: Arrays) -> Arrays:
        """Outputs of one item, float32 [1, ...] each, of inputs float32 [1, C, S, S]; waits for a batch.

        Raises:
            BadEnvironment: the device failed.
        """
        answer: Future[Arrays] = Future()
        self.waiting.put((given, answer))
        return answer.result()

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        for _ in self.threads:
            self.waiting.put(None)
        for thread in self.threads:
            thread.join()

    def _work(self, number: int) -> None:
        while batch := self._gather():
            try:
                self._answer(batch, number)
            except Exception as error:  # it belongs to those who wait
                told = BadEnvironment(f"the network failed on {self.device.type} ({first_line(error)}); try another provider")
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(told)

    def _gather(self) -> list[tuple[Arrays, Future[Arrays]]]:
        """What waits now, up to a batch, of crops of one size; empty at the end."""
        with self.gathering:
            first = self.waiting.get()
            if first is None:
                return []
            batch = [first]
            while len(batch) < self.most:
                try:
                    more = self.waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None or shapes(more[0]) != shapes(first[0]):
                    self.waiting.put(more)
                    break
                batch.append(more)
            return batch

    def _answer(self, batch: list[tuple[Arrays, Future[Arrays]]], number: int) -> None:
        """Compute a batch and hand out its parts; in halves where memory does not hold it."""
        try:
            found = self.compute({name: np.concatenate([given[name] for given, _ in batch]) for name in self.inputs}, number)
        except self.torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            self.most = max(1, len(batch) // 2)
            log.warning("the device has too little memory for %d crops at once: from now on %d", len(batch), self.most)
            self.slots.clear()
            for half in (batch[: self.most], batch[self.most :]):
                self._answer(half, number)
            return
        for k, (_, answer) in enumerate(batch):
            answer.set_result({name: values[k : k + 1] for name, values in found.items()})

    def compute(self, given: Arrays, number: int = 0) -> Arrays:
        """Outputs of a batch, float32 [B, ...], of inputs float32 [B, C, S, S], in slot `number`."""
        torch, count = self.torch, len(given[self.inputs[0]])
        padded = next(size for size in SIZES if size >= count)
        slot = self.slots.setdefault((number, given[self.inputs[0]].shape[-1]), Slot(self.streams[number]))
        with torch.inference_mode(), torch.cuda.stream(slot.stream) if self.cuda else nullcontext():
            memory = self._memory(slot, padded, given)
            for name in self.inputs:
                memory[name][:count] = torch.from_numpy(given[name])
                memory[name, "device"].copy_(memory[name], non_blocking=True)
            results = self._forward(slot, padded, memory)
            for name, result in zip(self.outputs, results, strict=True):
                if name not in memory:
                    memory[name] = torch.empty(result.shape, pin_memory=self.cuda)
                memory[name].copy_(result, non_blocking=True)
            if self.cuda:
                slot.stream.synchronize()  # this slot's alone: the others go on
        return {name: memory[name][:count].numpy().copy() for name in self.outputs}

    def _memory(self, slot: Slot, padded: int, given: Arrays) -> dict[Any, Any]:
        """Where a batch goes in; made once."""
        torch = self.torch
        if padded not in slot.memory:
            memory: dict[Any, Any] = {}
            for name in self.inputs:
                shape = (padded, *given[name].shape[1:])
                memory[name] = torch.zeros(shape, pin_memory=self.cuda)
                memory[name, "device"] = torch.zeros(shape, device=self.device)
            slot.memory[padded] = memory
        return slot.memory[padded]

    def _forward(self, slot: Slot, padded: int, memory: dict[Any, Any]) -> tuple[Any, ...]:
        inputs = [memory[name, "device"] for name in self.inputs]
        if not self.graphs:
            return self._network(inputs)
        if padded not in slot.graphs:
            with self.capturing:  # one at a time: nobody else may allocate meanwhile
                self._network(inputs)  # lets cuDNN choose before it is captured
                slot.stream.synchronize()
                graph = self.torch.cuda.CUDAGraph()
                with self.torch.cuda.graph(graph, stream=slot.stream, capture_error_mode="thread_local"):
                    outputs = self._network(inputs)
                slot.graphs[padded] = graph, outputs
        graph, outputs = slot.graphs[padded]
        graph.replay()
        return outputs

    def _network(self, inputs: list[Any]) -> tuple[Any, ...]:
        form = self.torch.channels_last
        found = self.network(*(x.to(self.dtype, memory_format=form) for x in inputs))
        return found if isinstance(found, tuple) else (found,)


@cache
def engine_for(model: str, device: str = "cuda") -> Engine:
    """The engine of a name in `models.MODELS`, made once.

    Raises:
        BadOption: PyTorch has no network of that name.
        BadEnvironment: our own weights are damaged, or the device does not work here.
    """
    if model != "swift":
        raise BadOption(f"PyTorch cannot run the model {model}; give another --execution-providers, or --model swift")
    load_torch(device)
    from unmask_video.models.swift import Plan, Swift

    try:
        network = Swift()
        load_parameters(network, models.load_bytes(model))
    except ValueError as error:
        raise BadEnvironment(f"{error}") from None
    return Engine(Plan(network), Swift.inputs, ("flow", "light"), device=device, half=device == "cuda")


def shapes(given: Arrays) -> list[tuple[int, ...]]:
    return [array.shape for array in given.values()]


def load_torch(device: str) -> Any:
    """PyTorch, with the device tried.

    Raises:
        BadEnvironment: it is not installed, or the device does not work.
    """
    try:
        import torch
    except ImportError:
        raise BadEnvironment('PyTorch is not installed; pip install "unmask-video[gpu]", or choose another provider') from None
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise BadEnvironment(f"PyTorch does not reach {device} here ({first_line(error)}); choose another provider") from None
    return torch


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def load_parameters(network: Any, data: bytes) -> None:
    """The parameters in ONNX bytes of `training.export.to_onnx` into a network of the same class.

    Raises:
        ValueError: the file is of another network.
    """
    import onnx  # late: machines that only train may lack it
    import torch

    graph = onnx.load_from_string(data).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:  # kernels may be stored in 16 bits, and equal parameters once, under one of their names
        if node.op_type in ("Cast", "Identity") and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    stored = {name.removeprefix("network."): array for name, array in stored.items()}
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    if wrong := [k for k, v in wanted.items() if k not in stored or stored[k].shape != v.shape]:
        raise ValueError(f"the file is of another network: it lacks {wrong[0]} of shape {list(wanted[wrong[0]].shape)}")
    network.load_state_dict({k: torch.from_numpy(stored[k].copy()) for k in wanted}, strict=False)
