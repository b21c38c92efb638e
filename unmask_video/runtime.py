"""ONNX Runtime sessions: checked weights, one thread each, and only the providers that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from unmask_video import models
from unmask_video.engine import VIEW, engine_for, first_line
from unmask_video.errors import BadEnvironment, BadOption

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "torch": "",
}
"""What `--execution-providers` may name, and ONNX Runtime's names: PyTorch is none of its own, and only fills."""

INPUTS = {"image": 3, "hidden": 1, "warped": 3, "reference": 3}
"""What a network that fills faces may ask for, and its channels, each float32 [1, channels, S, S].

image: the masked crop, RGB in 0..255. hidden: what is to be filled, 0..1. warped: what the model `tps` makes of
the reference. reference: the reference photo, aligned like the crop but not warped.
"""

OUTPUTS = {"face": 3, "flow": 2, "light": 3}
"""What it may give, and its channels: `face`, or `flow` and `light`.

face: float32 [1, 3, S, S], RGB in 0..255. flow and light: float32 [1, channels, s, s] of any size s, whence in
`warped` each part of the face comes, in sides of the crop, x first, and what is added to it, RGB of 255; S may then
be less than the crop's.
"""

LARGEST = 1024
"""Most pixels along a side of a crop that a network may be made for."""

ort.set_default_logger_severity(4)  # what fails is raised as well


def session(name: str, providers: tuple[str, ...] = ("cpu",)) -> ort.InferenceSession:
    """A session for network `name` of `models.FILES`, made once for each set of providers.

    What finds faces and masks has no PyTorch twin: without another provider than that, it runs on the CPU.

    Raises:
        BadEnvironment: the weights are damaged, or a provider does not work here.
    """
    return _session(name, tuple(p for p in providers if p != "torch") or ("cpu",))


@cache
def _session(name: str, providers: tuple[str, ...]) -> ort.InferenceSession:
    try:
        data = models.load_bytes(name)
    except ValueError as error:
        raise BadEnvironment(f"{error}") from None
    return open_session(data, providers)


def open_session(data: bytes, providers: Sequence[str]) -> ort.InferenceSession:
    """A session for ONNX bytes. One thread and no spinning: stages run side by side instead.

    It keeps the memory of the largest picture that it saw ready for the next, which takes a third less time.
    """
    wanted = [PROVIDERS[p] for p in providers]
    missing = [p for p in providers if PROVIDERS[p] not in ort.get_available_providers()]
    if missing:
        here = [k for k, v in PROVIDERS.items() if v in ort.get_available_providers()]
        raise BadEnvironment(
            f"the execution provider {missing[0]} does not work here, only {', '.join(here)};"
            ' install "unmask-video[gpu]" in place of onnxruntime, or leave the option out'
        )
    options = ort.SessionOptions()
    options.enable_mem_pattern = False  # which takes half as much room again, and no less time
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made = ort.InferenceSession(data, options, providers=wanted)
    if made.get_providers()[0] != wanted[0]:
        raise BadEnvironment(f"the execution provider {providers[0]} is installed but does not start on this machine")
    return made


def giving_back() -> ort.RunOptions:
    """Of a run after which a session gives back the memory that it keeps."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


@dataclass(frozen=True)
class FillNetwork:
    """A network that fills faces: any of `INPUTS` in, `face`, or `flow` and `light`, out; see `OUTPUTS`."""

    call: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
    """Its outputs by name, of its inputs by name."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    size: int | None
    """Pixels of the crops that it wants; None: any multiple of 64."""
    view: int | None
    """Pixels of what it is shown of them; None: as they are. Only who gives `flow` and `light` may see less."""

    def run(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Its outputs, without the batch's axis. Raises BadEnvironment where the network fails or gives something else."""
        try:
            found = self.call(given)
        except BadEnvironment:
            raise
        except Exception as error:  # ONNX Runtime's own errors have no common base
            raise BadEnvironment(f"the network failed at work ({first_line(error)}); try another --model") from None
        for name, values in found.items():
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise BadEnvironment(f"the network's {name} holds what are no numbers; try another --model")
            sides = given[self.inputs[0]].shape[2:] if name == "face" else values.shape[2:]
            wanted = (1, OUTPUTS[name], *sides)
            if values.shape != wanted or len(wanted) != 4:
                raise BadEnvironment(f"the network's {name} is {list(values.shape)}, not {list(wanted)}; try another --model")
        return {name: values[0].astype(np.float32, copy=False) for name, values in found.items()}


def fill_network(model: str, providers: tuple[str, ...] = ("cpu",)) -> FillNetwork:
    """The network of a name in `models.MODELS`, or of the user's own file `....onnx`.

    Raises:
        BadOption: the file is no network that fills faces.
        BadEnvironment: our own weights are damaged, or a provider does not work here.
    """
    if providers[0] == "torch":
        engine = engine_for(model)
        return FillNetwork(engine.run, engine.inputs, engine.outputs, None, VIEW)
    if not model.endswith(".onnx"):
        return _checked(model, session(model, providers))
    try:
        data = Path(model).read_bytes()
    except OSError as error:
        raise BadOption(f"the model {model} cannot be read ({error.strerror}); check the path") from None
    try:
        return _checked(model, open_session(data, providers))
    except BadEnvironment:
        raise
    except Exception as error:
        raise BadOption(f"the model {model} is no ONNX file that works here ({first_line(error)})") from None


def _checked(model: str, made: ort.InferenceSession) -> FillNetwork:
    """Its inputs and its output are what we can give and take."""
    if not made.get_inputs():
        raise BadOption(f"the model {model} has no input; name its inputs any of {', '.join(INPUTS)}")
    sizes = set()
    for put in made.get_inputs():
        allowed = ", ".join(INPUTS)
        if put.name not in INPUTS:
            raise BadOption(f"the model {model} wants an input {put.name!r}; name its inputs any of {allowed}")
        known = [size if isinstance(size, int) else None for size in put.shape]
        if put.type != "tensor(float)" or len(known) != 4 or known[0] not in (1, None) or known[1] != INPUTS[put.name]:
            shape = f"{put.type} {put.shape}"
            raise BadOption(f"the model {model} wants {put.name} as {shape}; make it float [1, {INPUTS[put.name]}, S, S]")
        sizes |= set(put.shape[2:])
    inputs, given = tuple(put.name for put in made.get_inputs()), {out.name for out in made.get_outputs()}
    plans = {"flow", "light"} <= given and "warped" in inputs and "face" not in given
    outputs = ("flow", "light") if plans else ("face",)
    if not given.issuperset(outputs):
        raise BadOption(f"the model {model} has no output named face; name it so, as float [1, 3, S, S] RGB in 0..255")
    fixed = {s for s in sizes if isinstance(s, int)}
    if len(fixed) > 1 or any(not 64 <= s <= LARGEST or s % 64 for s in fixed):
        raise BadOption(f"the model {model} is made for crops of {fixed} px; make it one multiple of 64 from 64 to {LARGEST}")
    size = next(iter(fixed), None)
    call = partial(bound if made.get_providers()[0] != PROVIDERS["cpu"] else plain, made, outputs)
    return FillNetwork(call, inputs, outputs, *((size, None) if outputs == ("face",) else (None, size)))


def plain(made: ort.InferenceSession, outputs: tuple[str, ...], given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(outputs, made.run(outputs, given), strict=True))


def bound(made: ort.InferenceSession, outputs: tuple[str, ...], given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same by IO binding: ONNX Runtime copies to and from its device once, on its own stream."""
    binding = made.io_binding()
    for name, array in given.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))
    for name in outputs:
        binding.bind_output(name)
    made.run_with_iobinding(binding)
    return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))
