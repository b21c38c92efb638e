"""Paint in what a face mask hides: `unmask("in.mp4", "out.mp4", reference=["face.jpg"])`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from unmask_video.errors import (
    BadEnvironment,
    BadOption,
    BadReference,
    CannotDecode,
    CannotEncode,
    CannotOpen,
    NotTheSame,
    Stopped,
    UnknownModel,
    UnmaskError,
)
from unmask_video.options import Options
from unmask_video.report import Person, Progress, Report

if TYPE_CHECKING:
    from unmask_video.pipeline import unmask

__version__ = "0.1.0"

# OpenCV reads both when it is loaded. What it cannot read is told in a sentence of ours, and its own limit would let a photo
# of a few kilobytes take three gigabytes.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "120000000")

__all__ = [
    "BadEnvironment",
    "BadOption",
    "BadReference",
    "CannotDecode",
    "CannotEncode",
    "CannotOpen",
    "NotTheSame",
    "Options",
    "Person",
    "Progress",
    "Report",
    "Stopped",
    "UnknownModel",
    "UnmaskError",
    "__version__",
    "unmask",
]


def __getattr__(name: str) -> Any:
    # Late, so that importing the package and asking for help load no video library and no network.
    if name == "unmask":
        from unmask_video.pipeline import unmask

        return unmask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
