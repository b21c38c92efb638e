"""Who a face is, by a network that gradients pass through: a small interpreter for ONNX graphs of face networks.

MobileFaceNet (Chen et al., arXiv 1804.07573) with the weights that the product ships, or an ArcFace (Deng et al., arXiv
1801.07698) that is given; and the crop of `unmask_video.identify`, which is the one that both were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from unmask_video import face
from unmask_video.identify import CENTRE, SIZE, SPAN
from unmask_video.models import load_bytes


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, kernel_shape: Sequence[int], strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1), group: int = 1, pads: Sequence[int] = (0, 0, 0, 0),
) -> Tensor:  # fmt: skip
    top, left, bottom, right = pads
    assert list(kernel_shape) == list(weight.shape[2:])
    if group == x.shape[1] == len(weight) and list(kernel_shape) == list(strides) == [1, 1] and not any(pads):
        # A channel, a factor: as a convolution, PyTorch on the CPU takes them one by one, most of a step's time.
        scaled = x * weight.view(1, -1, 1, 1)
        return scaled if bias is None else scaled + bias.view(1, -1, 1, 1)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, strides, 0, dilations, group)


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5, **_: float
) -> Tensor:
    return F.batch_norm(x, mean, variance, weight, bias, eps=epsilon)


def _gemm(
    x: Tensor, weight: Tensor, bias: Tensor, *, transB: int = 0, alpha: float = 1.0, beta: float = 1.0  # noqa: N803
) -> Tensor:
    return alpha * (x @ (weight.T if transB else weight)) + beta * bias


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gemm": _gemm,
    "Identity": lambda x: x,
    "Mul": torch.mul,
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
    "Relu": torch.relu,
    "Reshape": lambda x, shape: x.reshape(shape),
    "Sub": torch.sub,
    "Transpose": lambda x, perm: x.permute(perm),
}
"""By ONNX name: inputs in order, attributes by keyword."""


@dataclass(frozen=True)
class Step:
    """One node of a graph."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, int | list[int]]


def read(data: bytes) -> tuple[list[Step], dict[str, Tensor]]:
    """The nodes of an ONNX graph in order, and its constants by name.

    Raises:
        ValueError: an operator that is not in `OPERATORS`.
    """
    graph = onnx.load_model_from_string(data).graph
    if unknown := {node.op_type for node in graph.node} - set(OPERATORS):
        raise ValueError(f"unknown operators {sorted(unknown)}; known are {', '.join(OPERATORS)}")
    steps = [
        Step(
            node.op_type, tuple(node.input), node.output[0],
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in graph.node
    ]  # fmt: skip
    return steps, {c.name: torch.from_numpy(numpy_helper.to_array(c).copy()) for c in graph.initializer}


def mobilefacenet() -> FaceNetwork:
    return FaceNetwork(load_bytes("mobilefacenet"))


class FaceNetwork(torch.nn.Module):
    """Who a face is. All parameters are buffers: `.to(device)` takes them along, and nothing trains them."""

    def __init__(self, data: bytes) -> None:
        """An ONNX file whose one input is a face of 112 x 112 px, channels first or last.

        Raises:
            ValueError: see `read`.
        """
        super().__init__()
        self.steps, constants = read(data)
        (given,) = (i for i in onnx.load_model_from_string(data).graph.input if i.name not in constants)
        self.given, self.channels_last = given.name, given.type.tensor_type.shape.dim[-1].dim_value == 3
        self.names = [name for name, value in constants.items() if value.is_floating_point()]
        for k, name in enumerate(self.names):
            value = constants[name]
            # On CPUs its many 1x1 convolutions take half the time if channels lie last.
            kind = torch.channels_last if value.ndim == 4 else torch.contiguous_format
            self.register_buffer(f"constant{k}", value.contiguous(memory_format=kind))
        # Shapes stay plain numbers: on a GPU, reading them from tensors would make every call wait.
        self.shapes = {name: value.tolist() for name, value in constants.items() if not value.is_floating_point()}

    def forward(self, faces: Tensor) -> Tensor:
        """[B, D], length 1, of faces [B, 3, 112, 112] RGB as (0..255 - 127.5) / 128, which `identity_crop` gives."""
        values = {self.given: faces.permute(0, 2, 3, 1) if self.channels_last else faces, **self.shapes}
        values |= {name: self.get_buffer(f"constant{k}") for k, name in enumerate(self.names)}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            values[step.output] = OPERATORS[step.operator](*inputs, **step.attributes)
        return F.normalize(values[self.steps[-1].output].float(), dim=1)  # cosines near 1 need more than half precision


def identity_crop(picture: Tensor) -> Tensor:
    """What face networks want to see of crops [B, 3, S, S] in -1..1 as `face.align` cuts them: [B, 3, 112, 112].

    The place is that of `unmask_video.identify` for a head that does not nod; one that nods by 20 degrees is a
    hundredth of its height off. Unlike there, the lower face is not blanked: it is what a loss is about.
    """
    ratio, size = SPAN / face.SPAN, picture.shape[-1]
    factor = int(ratio * size / SIZE)
    if factor >= 2:  # as `picture.resample` does, against aliasing
        picture = F.adaptive_avg_pool2d(picture, round(size / factor))
    down = 2 * (CENTRE - face.CENTRE)[1] / face.SPAN
    place = torch.tensor([[ratio, 0, 0], [0, ratio, down]], dtype=picture.dtype, device=picture.device)
    grid = F.affine_grid(place.expand(len(picture), 2, 3), [len(picture), 3, SIZE, SIZE], align_corners=False)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False) * (127.5 / 128)
