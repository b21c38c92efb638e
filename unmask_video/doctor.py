"""What works on this machine: proven by running it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from unmask_video import landmarks, runtime
from unmask_video.ahead import cores
from unmask_video.encoders import SETTINGS, probe
from unmask_video.engine import first_line
from unmask_video.face import mean_face
from unmask_video.picture import photo

PACKAGES = ("av", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu", "torch", "mediapipe")
PREFER = ("h264_nvenc", "h264_qsv", "h264_vaapi", "h264_videotoolbox", "hevc_nvenc", "av1_nvenc")
"""Encoders of graphics cards."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    what: str
    works: bool
    told: str
    """How it went, or why not."""
    needed: bool = False
    """Nothing goes without it."""


def examine() -> list[Finding]:
    """Everything that the product can use, tried here."""
    found = [Finding("python", True, f"{platform.python_version()}, {platform.system()} {platform.machine()}, {cores()} cores")]
    found += [Finding(name, True, told) for name in PACKAGES if (told := installed(name))]
    found += _both_runtimes()
    for name in (name for name in runtime.PROVIDERS if name != "torch"):
        found.append(measures(f"provider {name}", partial(landmarks.onnx_backend, (name,)), needed=name == "cpu"))
    found += [pytorch(), measures("landmarks mediapipe", landmarks.mediapipe_backend)]
    return found + [encoder(name) for name in (*SETTINGS, *PREFER)]


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _both_runtimes() -> list[Finding]:
    if not (installed("onnxruntime") and installed("onnxruntime-gpu")):
        return []
    why = "both are installed and overwrite each other; pip uninstall onnxruntime onnxruntime-gpu, then install one"
    return [Finding("onnxruntime, -gpu", False, why)]


def measures(what: str, backend: Callable[[], landmarks.Measure], *, needed: bool = False) -> Finding:
    """A backend of FaceMesh, tried on a face."""
    try:
        face = mean_face()
        ((points, _),) = backend()(photo(face.image), [landmarks.region_of_landmarks(face.landmarks)])
    except Exception as error:  # what other packages raise has no common base
        return Finding(what, False, first_line(error), needed)
    return Finding(what, bool(np.isfinite(points).all()), "ran FaceMesh", needed)


def pytorch() -> Finding:
    """The default model on CUDA, tried on nothing in particular."""
    try:
        network = runtime.fill_network("swift", ("torch",))
        sizes = {name: (1, runtime.INPUTS[name], network.view, network.view) for name in network.inputs}
        network.run({name: np.zeros(size, np.float32) for name, size in sizes.items()})
    except Exception as error:
        return Finding("provider torch", False, first_line(error))
    return Finding("provider torch", True, "ran swift on CUDA")


def encoder(name: str) -> Finding:
    """Some frames written by a video encoder."""
    with TemporaryDirectory() as folder:
        why = probe(name, Path(folder) / "probe.mkv")
    return Finding(f"encoder {name}", not why, why or "wrote a film", needed=name == "libx264")


def table(found: list[Finding]) -> str:
    """For people."""
    return "\n".join(f"{'ok ' if f.works else 'no '} {f.what:22s} {f.told}" for f in found)
