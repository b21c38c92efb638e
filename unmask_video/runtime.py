"""ONNX Runtime sessions: checked weights, one thread each, and only the providers that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import onnxruntime as ort

from unmask_video import models
from unmask_video.errors import BadEnvironment

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""What `--execution-providers` may name."""

ort.set_default_logger_severity(3)


@cache
def session(name: str, providers: tuple[str, ...] = ("cpu",)) -> ort.InferenceSession:
    """A session for network `name` of `models.FILES`, made once for each set of providers.

    Raises:
        BadEnvironment: the weights are damaged, or a provider does not work here.
    """
    try:
        data = models.load_bytes(name)
    except ValueError as error:
        raise BadEnvironment(f"{error}") from None
    return open_session(data, providers)


def open_session(data: bytes, providers: Sequence[str]) -> ort.InferenceSession:
    """A session for ONNX bytes. One thread and no spinning: stages run side by side instead."""
    wanted = [PROVIDERS[p] for p in providers]
    missing = [p for p in providers if PROVIDERS[p] not in ort.get_available_providers()]
    if missing:
        here = [k for k, v in PROVIDERS.items() if v in ort.get_available_providers()]
        raise BadEnvironment(
            f"the execution provider {missing[0]} does not work here, only {', '.join(here)};"
            ' install "unmask-video[gpu]" in place of onnxruntime, or leave the option out'
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made = ort.InferenceSession(data, options, providers=wanted)
    if made.get_providers()[0] != wanted[0]:
        raise BadEnvironment(f"the execution provider {providers[0]} is installed but does not start on this machine")
    return made
