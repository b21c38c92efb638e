"""Where live pictures come from: a camera, a film in real time, or a stream by its address. The newest one counts."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from unmask_video import decode
from unmask_video.container import READ_ERRORS, colour_of, convert, film_stream, planar_format, planes, rotation_deg, tags_of
from unmask_video.errors import CannotOpen, UnmaskError
from unmask_video.frame import Colour, Frame

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"(rtsp|rtsps|http|https|udp|tcp|rtp)://", re.IGNORECASE)
PROTOCOLS = "rtp,udp,tcp,http,https,tls,httpproxy,crypto"
STREAMS = "rtsp,mpegts,mpjpeg,mjpeg,matroska,webm,flv,mov,h264,hevc"
"""libav's demuxers that a stream may need; playlists, which name other addresses, are not among them."""
STREAM_OPTIONS = {
    "protocol_whitelist": PROTOCOLS, "format_whitelist": STREAMS, "fflags": "nobuffer", "flags": "low_delay",
    "rtsp_transport": "tcp", "analyzeduration": "500000", "probesize": "200000", "max_delay": "0",
}  # fmt: skip
PATIENCE = 5.0
"""Seconds without a picture after which a stream or a camera counts as lost."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each new attempt; the last goes on."""
TICKS = 90_000
"""A second's, of the frames' time."""
SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture, and when it came."""

    frame: Frame
    arrived: float
    """`time.monotonic` at which its data was there, not decoded yet."""


class Source:
    """A thread that reads pictures as they come; of those that nobody took, the newest is kept. A context manager."""

    def __init__(self, name: str) -> None:
        """`name`: a camera's number or name, a film's path, or an address. Raises CannotOpen if nothing is there."""
        self.name = shown(name)
        self.dropped = 0
        """Pictures that were replaced by newer ones before anybody took them."""
        self.told = ""
        """What is wrong at present; empty if nothing is."""
        self._shots = _reader(name)
        self._waits = not _is_film(name)
        self._ready, self._newest, self._count = threading.Condition(), None, 0
        self._ended, self._stop, self._error = False, threading.Event(), None
        opened = self._shots(self._stop)
        first = _first(opened, name)  # a camera that is not there is told at once, and not tried again
        self._thread = threading.Thread(target=self._run, args=(opened, first), name="unmask-source", daemon=True)

    def __enter__(self) -> Source:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE + 1)

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self._ended and self._newest is None

    def newest(self, seconds: float) -> Shot | None:
        """The newest picture that was not taken yet, as soon as there is one; None if there is none in so many seconds.

        Raises what ended the reading for good.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._newest is not None or self._ended, seconds)
            shot, self._newest = self._newest, None
            if shot is None and self._error is not None:
                raise self._error
            return shot

    def _put(self, picture: _Picture) -> None:
        with self._ready:
            self.dropped += self._newest is not None
            self._newest = Shot(picture.frame(self._count), picture.arrived)
            self._count += 1
            self.told = ""
            self._ready.notify_all()

    def _run(self, opened: Generator[_Picture, None, None], first: _Picture) -> None:
        attempt = 0
        try:
            self._put(first)
            while not self._stop.is_set():
                with contextlib.suppress(*LOST), contextlib.closing(opened):
                    for picture in opened:
                        self._put(picture)
                        attempt = 0
                        if self._stop.is_set():
                            return
                if not self._waits:
                    return
                pause = PAUSES[min(attempt, len(PAUSES) - 1)]
                self.told = f"{self.name} is lost; trying again in {pause:g} s"
                if attempt == 0:  # once; while nothing comes there is no picture to say it on
                    log.warning("%s is lost; trying again until it comes back", self.name)
                self._stop.wait(pause)
                attempt, opened = attempt + 1, self._shots(self._stop)
        except BaseException as error:
            self._error = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify_all()


LOST = (*READ_ERRORS, UnmaskError, ValueError)
"""What a source may raise that is gone, or sends rubbish."""


@dataclass(frozen=True, eq=False)
class _Picture:
    """One, as it came."""

    planes: tuple[np.ndarray, ...]
    pixel_format: str
    colour: Colour
    rotation: int
    arrived: float

    def frame(self, index: int) -> Frame:
        ticks = round(self.arrived * TICKS)
        return Frame(self.planes, self.pixel_format, self.colour, self.rotation, index, ticks, 0, Fraction(1, TICKS))


Reader = Callable[[threading.Event], Generator[_Picture, None, None]]


def _is_film(name: str) -> bool:
    return not ADDRESS.match(name) and Path(name).is_file()


def _reader(name: str) -> Reader:
    """How it is read. Raises CannotOpen where there is nothing of the name."""
    if ADDRESS.match(name):
        return lambda stop: _from_address(name, stop)
    if _is_film(name):
        return lambda stop: _from_film(Path(name), stop)
    number = camera_number(name)
    return lambda stop: _from_camera(name, number, stop)


def shown(name: str) -> str:
    """Without what lets one in."""
    return re.sub(r"//[^/@]*@", "//", name)


def _first(pictures: Iterator[_Picture], name: str) -> _Picture:
    try:
        return next(pictures)
    except (StopIteration, *READ_ERRORS, ValueError) as error:
        why = getattr(error, "strerror", None) or "it sends nothing that can be decoded"
        raise CannotOpen(f"{shown(name)} gives no picture ({why}); check that it runs and that its name is right") from None


def _from_film(path: Path, stop: threading.Event) -> Generator[_Picture, None, None]:
    """At the film's own pace."""
    with decode.open_video(path) as video:
        began = None
        for frame in video.frames():
            began = time.monotonic() - frame.time_seconds if began is None else began
            due = began + frame.time_seconds
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            yield _Picture(frame.planes, frame.pixel_format, frame.colour, frame.rotation_deg, max(due, time.monotonic()))


def _from_address(address: str, stop: threading.Event) -> Generator[_Picture, None, None]:
    reformatter = VideoReformatter()
    with av.open(address, options=STREAM_OPTIONS, timeout=(PATIENCE, PATIENCE)) as container:
        stream = film_stream(container)
        if stream is None or stream.codec_context is None:
            raise CannotOpen(f"{shown(address)} sends no moving picture; give the address of a video stream")
        stream.thread_type = "SLICE"  # whole frames ahead would come late
        last = time.monotonic()
        for packet in container.demux(stream):
            arrived = time.monotonic()
            for picture in _decoded(packet):
                last = arrived
                tags, layout = tags_of(picture, stream), planar_format(picture.format)
                native = picture
                if picture.format.name != layout:
                    size = picture.width, picture.height
                    native = convert(picture, reformatter, pixel_format=layout, size=size, tags=tags)
                colour = colour_of(tags, layout, picture.height)
                yield _Picture(planes(native), layout, colour, rotation_deg(tags.display_matrix), arrived)
            if stop.is_set() or arrived - last > PATIENCE:  # what comes may be rubbish
                return


def _decoded(packet: av.Packet) -> list[av.VideoFrame]:
    """Rubbish in between is passed over."""
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


# --- cameras --------------------------------------------------------------------------------------


def _from_camera(name: str, number: int, stop: threading.Event) -> Generator[_Picture, None, None]:
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise CannotOpen(f"there is no camera {name}; --list-cameras tells which there are")
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else old pictures come first
        while not stop.is_set():
            there, picture = camera.read()
            if not there:
                raise CannotOpen(f"the camera {name} is gone; plug it in again")
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            yuv = cv2.cvtColor(picture[:height, :width], cv2.COLOR_BGR2YUV_I420)
            luma, chroma = yuv[:height], yuv[height:].reshape(2, height // 2, width // 2)
            yield _Picture((luma, *chroma), "yuv420p", Colour("bt601", False, 8), 0, time.monotonic())
    finally:
        camera.release()


def cameras() -> dict[int, str]:
    """The cameras that are there: number -> name."""
    if sys.platform == "linux":
        found = sorted(SYSFS.glob("video*"), key=lambda path: int(path.name[5:]))
        return {int(path.name[5:]): (path / "name").read_text().strip() for path in found if _captures(path)}
    found = {}
    for number in range(10):  # no other way tells without a library of each system
        camera = cv2.VideoCapture(number)
        if camera.isOpened():
            found[number] = f"camera {number}"
        camera.release()
    return found


def _captures(node: Path) -> bool:
    """The first of a device's nodes gives pictures, the others tell about them."""
    index = node / "index"
    return not index.exists() or index.read_text().strip() == "0"


def camera_number(name: str) -> int:
    """Of a camera by number, or by a part of its name. Raises CannotOpen if there is none, or several."""
    if name.isdigit():
        return int(name)
    there = cameras()
    fits = [number for number, told in there.items() if name.lower() in told.lower()]
    if len(fits) != 1:
        listed = ", ".join(f"{number} ({told})" for number, told in there.items()) or "no camera"
        kind = "several cameras are" if fits else "no camera, film or address is"
        raise CannotOpen(f"{kind} called {name!r}; there is {listed}")
    return fits[0]
