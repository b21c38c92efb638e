"""What the user can choose, checked once, at birth; and whether the files' paths can be used at all."""

from __future__ import annotations

import math
import os
import stat
import tempfile
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from unmask_video.errors import BadOption, CannotOpen, UnknownModel

UNMATCHED = ("keep", "fill")
MINE = ("on", "off")
SEGMENTERS = ("unet", "kmeans")
LANDMARKS = ("onnx", "mediapipe")
PROVIDERS = ("cpu", "cuda", "tensorrt", "torch")
CRF_MAX = 63
"""The largest of any encoder we know (VP9, AV1); H.264 and HEVC stop at 51."""


@dataclass(frozen=True)
class Options:
    """How `unmask` works. Raises BadOption or UnknownModel where a value cannot be used."""

    model: str = "swift"
    """A name in `unmask_video.models.MODELS`, or the path of your own network, see `runtime.INPUTS`."""
    unmatched: str = "keep"
    """A masked face that matches no reference: "keep" the mask, or "fill" it all the same."""
    face_index: tuple[int, ...] = ()
    """Only these people are filled, as the report numbers them: 1 for the first who comes in, of several the leftmost;
    after a cut, and after seconds in which nobody is masked, they come in anew. Empty: all."""
    never: tuple[str, ...] = ()
    """Names of people, given with their photos, who are never filled."""
    mine_references: str = "on"
    """The film's own bare frames serve as photos, too: "on" or "off"."""
    segmenter: str = "unet"
    """What finds the mask: "unet", the network, or "kmeans", colour alone."""
    landmarks: str = "onnx"
    """What runs FaceMesh: "onnx", ONNX Runtime, or "mediapipe", the package of that name."""
    encoder: str = "auto"
    """FFmpeg's name of a video encoder, for one libx264; "auto" takes what suits the target."""
    crf: int | None = None
    """Constant quality, 0 (best) to 63; None: the encoder's own default."""
    preset: str | None = None
    """The encoder's speed preset, for one "fast"; None: the encoder's own default."""
    audio: bool = True
    """Copy the sound."""
    execution_providers: tuple[str, ...] = ("cpu",)
    """What the networks run on, best first; names in `PROVIDERS`. torch, if first, is PyTorch on CUDA, which fills faces;
    what finds them runs on the next."""
    trim_start: float = 0.0
    """Seconds from the input's start."""
    trim_end: float | None = None
    """Seconds from the input's start; None: to the end."""
    strict: bool = False
    """Damaged input is an error; else what can be decoded is done, and the report says where the rest was."""
    max_megapixels: float = 36.0
    """Of a picture; larger ones are refused."""
    max_frames: int = 5_000_000
    """Of the film."""
    max_streams: int = 64
    """Of the file."""
    max_faces: int = 32
    """In a frame; of more, those that are seen best are filled."""
    overwrite: bool = False
    """Replace the target if it exists."""
    sidecar: bool = False
    """Write a file beside the target, OUT.json, that tells how it was made and from what."""
    c2pa: tuple[str, str] | None = None
    """A certificate and its key, both files in PEM, with which content credentials are signed into the film."""
    look_ahead: bool = True
    """Later frames have a say in earlier ones, which steadies them; without, all is as in `live`."""
    resume: bool = True
    """Keep what is done beside the target until the film is whole, and go on from there after a stop."""

    def __post_init__(self) -> None:
        _check_model(self.model)
        _check_choice("unmatched", self.unmatched, UNMATCHED)
        _check_choice("mine_references", self.mine_references, MINE)
        _check_faces(self.face_index)
        _check_names(self.never)
        _check_choice("segmenter", self.segmenter, SEGMENTERS)
        _check_choice("landmarks", self.landmarks, LANDMARKS)
        _check_text("encoder", self.encoder)
        _check_text("preset", self.preset or "")
        _check_crf(self.crf)
        _check_providers(self.execution_providers)
        _check_trim(self.trim_start, self.trim_end)
        for name in ("max_megapixels", "max_frames", "max_streams", "max_faces"):
            _check_most(name, getattr(self, name))


def _check_model(name: str) -> None:
    # Late, so that `unmask-video --help` does not wait for it.
    from unmask_video.models import MODELS

    if not isinstance(name, str) or "\0" in name:
        raise UnknownModel(f"the model cannot be {name!r}; choose one of {', '.join(MODELS)}, or give an ONNX file of your own")
    if name in MODELS or (name.endswith(".onnx") and Path(name).is_file()):
        return
    listed = ", ".join(MODELS)
    if name.endswith(".onnx"):
        raise UnknownModel(f"the model {name} is not a file; give the path of an ONNX file, or choose one of {listed}")
    raise UnknownModel(f"there is no model {name!r}; choose one of {listed}, or give an ONNX file of your own")


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadOption(f"{option} cannot be {value!r}; choose one of {', '.join(allowed)}")


def _check_text(option: str, value: str) -> None:
    if not isinstance(value, str):
        raise BadOption(f"{option} cannot be {value!r}; give a name of FFmpeg's")


def _check_faces(numbers: tuple[int, ...]) -> None:
    if not isinstance(numbers, tuple) or not all(isinstance(n, int) and n >= 1 for n in numbers):
        raise BadOption(f"face_index cannot be {numbers!r}; give people by number, 1 for the first who comes in")


def _check_names(names: tuple[str, ...]) -> None:
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
        raise BadOption(f"never cannot be {names!r}; give people by the names that their photos were given with")


def _check_crf(crf: int | None) -> None:
    if crf is not None and not (isinstance(crf, int) and 0 <= crf <= CRF_MAX):
        raise BadOption(f"crf cannot be {crf!r}; choose a whole number from 0 (best) to {CRF_MAX}")


def _check_providers(providers: tuple[str, ...]) -> None:
    if isinstance(providers, str) or not providers:
        names = ", ".join(PROVIDERS)
        raise BadOption(f"execution_providers cannot be {providers!r}; give one or more of {names}")
    for provider in providers:
        _check_choice("execution_providers", provider, PROVIDERS)


def _check_trim(start: float, end: float | None) -> None:
    if not (isinstance(start, Real) and math.isfinite(start) and start >= 0):
        raise BadOption(f"trim_start cannot be {start!r}; give seconds from the input's start, 0 or more")
    if end is not None and not (isinstance(end, Real) and math.isfinite(end) and end > start):
        raise BadOption(f"trim_end cannot be {end!r}; give seconds from the start, more than {start:g}")


def _check_most(option: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
        raise BadOption(f"{option} cannot be {value!r}; give a number above 0")


def check_paths(source: Path, target: Path, overwrite: bool) -> None:
    """Raise if `source` cannot be read or `target` must not or cannot be written; change nothing.

    Raises CannotOpen for the source and BadOption for the target.
    """
    _check_source(source)
    _check_target(source, target, overwrite)
    _check_folder(target)


def _check_source(source: Path) -> None:
    try:
        if source.is_dir():
            raise CannotOpen(f"the input {source} is a folder; give a video file")
        with source.open("rb"):
            pass
    except FileNotFoundError:
        raise CannotOpen(f"the input {source} does not exist; check the path") from None
    except OSError as error:
        raise CannotOpen(f"the input {source} cannot be read ({error.strerror}); check the path") from None


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    try:
        mode = os.stat(target).st_mode
    except OSError:
        mode = None
    if target.is_symlink():  # what it points to was not asked for
        raise BadOption(f"the output {target} is a symbolic link; give the name of the file itself")
    if mode is not None and os.path.samefile(source, target):
        raise BadOption(f"the output {target} is the input itself; choose another name")
    if mode is not None and not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a plain file"
        raise BadOption(f"the output {target} is {kind}; give the name of a video file")
    if os.path.lexists(target) and not overwrite:
        raise BadOption(f"the output {target} exists; choose another name, or allow it with --overwrite")


def _check_folder(target: Path) -> None:
    folder = target.parent
    if not folder.is_dir():
        raise BadOption(f"the output's folder {folder} does not exist; make it, or choose another")
    try:
        # Only trying tells: permission bits say nothing about read-only disks or the superuser.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror
        raise BadOption(f"the output's folder {folder} cannot be written ({why}); choose another") from None
