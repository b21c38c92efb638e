"""Keeps what `live` shows: a film that plays up to its last second, whatever ends it; and a camera for other programs."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from unmask_video.encoders import MUXERS, check_target
from unmask_video.errors import BadEnvironment, BadOption, CannotEncode
from unmask_video.source import Shot

log = logging.getLogger(__name__)

TICKS = 1000
"""A second's, of the film's time."""
QUEUE = 30
"""Pictures that may wait for the encoder; more are left out, for the loop does not wait."""
KEY_SECONDS = 1
"""From one key frame, and one closed piece of the file, to the next."""
OPTIONS = {"preset": "superfast", "crf": "20", "tune": "zerolatency"}
WHOLE_PIECES = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class Recording:
    """An `Outlet` of `live`: the picture without sound, each frame at the time at which it came."""

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        """Raises BadOption if nothing can be written there, or something stands there."""
        check_target(target)
        if target.is_symlink() or (target.exists() and not overwrite):
            raise BadOption(f"the recording {target} exists; choose another name, or allow it with --overwrite")
        self.target, self.left_out = target, 0
        self._frames: queue.Queue[tuple[np.ndarray, int] | None] = queue.Queue(QUEUE)
        self._began: float | None = None
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="unmask-record", daemon=True)
        self._thread.start()

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        self._began = shot.arrived if self._began is None else self._began
        try:
            self._frames.put_nowait((after, round((shot.arrived - self._began) * TICKS)))
        except queue.Full:
            self.left_out += 1

    def keys(self) -> str:
        return "q" if self._failed else ""

    def close(self) -> None:
        """Raises CannotEncode if it could not be written to its end."""
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._frames.put(None, timeout=0.1)
                break
        self._thread.join()
        if self.left_out:
            log.warning("%s lacks %d pictures, for which the encoder was too slow", self.target, self.left_out)
        if self._failed:
            raise CannotEncode(f"the recording {self.target} broke off ({self._failed}); free the disk, or choose another")

    def _run(self) -> None:
        try:
            first = self._frames.get()
            if first is not None:
                self._record(*first)
        except Exception as error:  # told by `close`, on the thread that waits for it
            self._failed = str(getattr(error, "strerror", None) or error or type(error).__name__)

    def _record(self, picture: np.ndarray, ticks: int) -> None:
        suffix = self.target.suffix.lower()
        options = WHOLE_PIECES if suffix != ".mkv" else {"flush_packets": "1", "cluster_time_limit": "1000"}
        size, last = picture.shape, -1
        with av.open(str(self.target), "w", format=MUXERS[suffix], options=options) as out:
            stream = out.add_stream("libvpx-vp9" if suffix == ".webm" else "libx264", 30, options=dict(OPTIONS))
            stream.width, stream.height = (side // 2 * 2 for side in size[1::-1])
            stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, TICKS)
            stream.codec_context.time_base, stream.codec_context.gop_size = Fraction(1, TICKS), 30 * KEY_SECONDS
            while True:
                if picture.shape == size:  # a film has one size
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: stream.height, : stream.width]), "bgr24")
                    last = max(ticks, last + 1)
                    frame.pts, frame.time_base = last, Fraction(1, TICKS)
                    out.mux(stream.encode(frame))
                item = self._frames.get()
                if item is None:
                    break
                picture, ticks = item
            out.mux(stream.encode(None))


class VirtualCamera:
    """An `Outlet` of `live`: a camera that meeting programs see (pyvirtualcam)."""

    def __init__(self, fps: float) -> None:
        """Raises BadEnvironment where there is none."""
        try:
            import pyvirtualcam
        except ImportError:
            sentence = "pyvirtualcam is not installed; pip install pyvirtualcam, or do without --virtual-camera"
            raise BadEnvironment(sentence) from None
        self._make, self._fps = pyvirtualcam.Camera, fps
        self._camera: Any = None

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        height, width = after.shape[:2]
        if self._camera is None or (self._camera.height, self._camera.width) != (height, width):
            self.close()
            try:
                self._camera = self._make(width, height, self._fps)
            except RuntimeError as error:
                sentence = f"there is no virtual camera ({error}); install OBS, on Linux v4l2loopback"
                raise BadEnvironment(sentence) from None
        self._camera.send(after[..., ::-1])

    def keys(self) -> str:
        return ""

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None
