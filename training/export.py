"""A trained network as ONNX: checked against PyTorch, and put into `models/weights/` with its origin."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.checkpoint import register
from unmask_video.engine import load_parameters
from unmask_video.models import sentry
from unmask_video.models.segmenter import Segmenter
from unmask_video.models.sentry import Sentry
from unmask_video.models.swift import VIEW, Plan, Swift
from unmask_video.runtime import INPUTS, open_session

OPSET = 17
WORST = 1.0
"""Most that ONNX Runtime and PyTorch may differ, in steps of 255."""


class Probabilities(nn.Module):
    """The segmenter or the sentry with probabilities for logits, as the product wants them."""

    def __init__(self, network: Segmenter | Sentry) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        logits = self.network(image)
        return logits.sigmoid() if isinstance(logits, Tensor) else tuple(one.sigmoid() for one in logits)


def export(name: str, network: nn.Module, *, steps: int, scores: dict[str, float]) -> str:
    """Registers the network under its name, its kernels rounded to 16 bits, which halves the file; its file's name."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.copy_(parameter.half())
    data = to_onnx(network)
    told = ", ".join(f"{k} {v:.3f}" for k, v in scores.items())
    origin = f"trained by training/train.py, {steps} steps; held out: {told}"
    return register(name, data, licence="Apache-2.0", origin=origin)["file"]


def to_onnx(network: nn.Module) -> bytes:
    """ONNX bytes with the parameters under their state_dict names.

    Raises:
        ValueError: ONNX Runtime's answer is more than `WORST` off PyTorch's.
    """
    network = network.eval().cpu()
    if isinstance(network, Segmenter):
        wrapped, inputs, outputs, fixed = Probabilities(network).eval(), ("image",), ("mask", "presence"), network.size
    elif isinstance(network, Sentry):
        wrapped, inputs, outputs, fixed = Probabilities(network).eval(), ("image",), ("presence",), sentry.SIZE
    elif isinstance(network, Swift):
        wrapped, inputs, outputs, fixed = Plan(network).eval(), network.inputs, ("flow", "light"), VIEW
    else:
        wrapped, inputs, outputs, fixed = network, network.inputs, ("face",), getattr(network, "size", None)
    given = tuple(_example(name, fixed or 256) for name in inputs)
    axes = {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # about tracing sizes that are meant to be constant
        torch.onnx.export(
            wrapped, given, out, dynamo=False, opset_version=OPSET, input_names=list(inputs), output_names=list(outputs),
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,  # or norms lose their parameters' names
            dynamic_axes={k: axes for k in (*inputs, "face")} | {k: {0: "batch"} for k in ("mask", "presence", "flow", "light")},
        )  # fmt: skip
    data = halved(out.getvalue())
    apart = worst_difference(data, wrapped, inputs, (fixed,) if fixed else (128, 192, 512))
    if not apart <= WORST:
        raise ValueError(f"ONNX Runtime and PyTorch differ by {apart:.2f} of 255; the file is not written")
    return data


def halved(data: bytes) -> bytes:
    """ONNX bytes with kernels stored in 16 bits where these hold them exactly; runtimes widen them as they load the file."""
    model = onnx.load_from_string(data)
    graph, casts = model.graph, []
    for stored in graph.initializer:
        array = onnx.numpy_helper.to_array(stored)
        if array.ndim > 1 and array.dtype == np.float32 and (array.astype(np.float16) == array).all():
            casts.append(onnx.helper.make_node("Cast", [f"{stored.name}.half"], [stored.name], to=onnx.TensorProto.FLOAT))
            stored.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), f"{stored.name}.half"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()


def begin_with(network: nn.Module, file: Path) -> None:
    """The parameters in an ONNX file of `to_onnx`, or the averaged ones in a checkpoint.

    Raises:
        ValueError: the file is damaged or of another network.
    """
    if file.suffix == ".onnx":
        return load_parameters(network, file.read_bytes())
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)["mean"]
        network.load_state_dict({k.removeprefix("module."): v for k, v in kept.items() if k.startswith("module.")})
    except (RuntimeError, KeyError, EOFError, UnpicklingError):
        raise ValueError(f"{file} is damaged or of another network; give a checkpoint.pt or an .onnx of this one") from None


@torch.no_grad()
def worst_difference(data: bytes, network: nn.Module, inputs: tuple[str, ...], sizes: tuple[int, ...]) -> float:
    """Largest difference between ONNX Runtime and PyTorch in steps of 255, over crops of some sizes."""
    session, worst = open_session(data, ("cpu",)), 0.0
    for size in sizes:
        given = [_example(name, size) for name in inputs]
        want = network(*given)
        found = session.run(None, {k: v.numpy() for k, v in zip(inputs, given, strict=True)})
        for out, a, b in zip(session.get_outputs(), found, [want] if isinstance(want, Tensor) else want, strict=True):
            # np.maximum, unlike max, lets NaN through.
            worst = float(np.maximum(worst, np.abs(a - b.numpy()).max() * (1 if out.name in ("face", "light") else 255)))
    return worst


def _example(name: str, size: int) -> Tensor:
    """Something like a picture, or like a mask: smooth, with a little noise."""
    rng = torch.Generator().manual_seed(list(INPUTS).index(name) + size)
    coarse = torch.rand(1, INPUTS[name], 8, 8, generator=rng)
    picture = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return picture.round() if name == "hidden" else picture * 200 + torch.rand(picture.shape, generator=rng) * 55

