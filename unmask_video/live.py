"""Live: the newest picture in, the same without masks out. It is never late; what it cannot keep up with it does less well."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from unmask_video import warp
from unmask_video.ahead import one_thread_each
from unmask_video.bench import peak_mib
from unmask_video.face import Face
from unmask_video.familiar import Familiar
from unmask_video.frame import Frame
from unmask_video.inpaint import tps
from unmask_video.models import MODELS
from unmask_video.options import Options
from unmask_video.picture import bgr
from unmask_video.pipeline import route
from unmask_video.reference import Views
from unmask_video.source import Shot, Source
from unmask_video.tally import Tally
from unmask_video.tools import Tools

log = logging.getLogger(__name__)

IDLE = 0.05
"""Seconds after which the outlets are looked after, if no picture comes."""
MINUTE = 60.0
REMEMBERED = 100_000
"""Pictures, an hour's, of which the figures are told."""


@dataclass(frozen=True)
class Rung:
    """How much care is taken."""

    name: str
    every: int
    """Pictures from one look for faces to the next."""
    largest: int
    """Pixels of the crops."""
    network: bool
    """Whether the model paints; else the photo is warped and relit without one."""


RUNGS = (
    Rung("full", 12, 512, True), Rung("fewer looks", 24, 256, True), Rung("small crops", 24, 128, True),
    Rung("no network", 36, 128, False),
)  # fmt: skip
SLOW, QUICK = 0.9, 0.55
"""Shares of the time between two pictures: work that takes more goes a rung down, less goes up again."""
DOWN, UP = 10, 90
"""Pictures after which that is decided."""


@dataclass
class Ladder:
    """Which rung holds the rate that is wished."""

    fps: float
    rung: int = 0
    mean: float = 0.0
    """Seconds that a picture takes, of late."""
    count: int = 0
    """Pictures since the rung was changed."""
    spent: dict[str, int] = field(default_factory=dict)
    """Pictures on each rung."""

    def now(self) -> Rung:
        return RUNGS[self.rung]

    def worked(self, seconds: float) -> None:
        """A picture took so long."""
        self.spent[self.now().name] = self.spent.get(self.now().name, 0) + 1
        self.mean = seconds if not self.count else 0.9 * self.mean + 0.1 * seconds
        self.count += 1
        share = self.mean * self.fps
        step = 1 if share > SLOW and self.count >= DOWN else -1 if share < QUICK and self.count >= UP else 0
        if step and 0 <= self.rung + step < len(RUNGS):
            self.rung, self.count = self.rung + step, 0


@dataclass
class Figures:
    """What is told of the loop."""

    late: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Seconds from each picture's arrival until it was shown."""
    shown: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """When."""
    minutes: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """What was held, and how late pictures were, minute by minute: neither is to grow."""
    due: float = math.inf
    """When the next minute is over."""

    def add(self, arrived: float) -> None:
        now = time.monotonic()
        self.late.append(now - arrived)
        self.shown.append(now)
        self.due = min(self.due, now + MINUTE)
        if now >= self.due:
            self.due += MINUTE
            count = sum(when >= now - MINUTE for when in self.shown)
            self.minutes.append(_latency(list(self.late)[-count:]) | {"memory_mib": round(memory_mib())})

    def fps(self, seconds: float = 2.0) -> float:
        """Pictures a second, of late."""
        since = time.monotonic() - seconds
        return sum(when >= since for when in list(self.shown)[-500:]) / seconds

    def told(self, source: Source, ladder: Ladder) -> dict[str, object]:
        seconds = max(self.shown[-1] - self.shown[0], 1e-3) if len(self.shown) > 1 else 1.0
        return {
            "shown": len(self.shown), "dropped": source.dropped, "seconds": round(seconds, 1),
            "fps": round((len(self.shown) - 1) / seconds, 1), **_latency(list(self.late)), "memory_mib": round(memory_mib()),
            "rungs": ladder.spent, "minutes": list(self.minutes),
        }  # fmt: skip


def _latency(late: list[float]) -> dict[str, float]:
    """Of seconds, in milliseconds."""
    ms = np.array(late or [np.nan]) * 1000
    return {"latency_median_ms": round(float(np.median(ms)), 1), "latency_95_ms": round(float(np.quantile(ms, 0.95)), 1)}


def memory_mib() -> float:
    """That this process holds at present; where the system does not tell, the most that it held."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if status.exists() else peak_mib()


class Outlet(Protocol):
    """Where pictures go: a window, a page, a file, a camera that other programs see."""

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        """uint8 [h, w, 3] BGR each, upright."""

    def keys(self) -> str:
        """What was pressed since."""

    def close(self) -> None: ...


class Live:
    """The loop. `run` ends with the source, at the key q, or when `stop` is called."""

    def __init__(
        self, source: Source, outlets: Sequence[Outlet], photos: Sequence[str], options: Options, *, fps: float
    ) -> None:
        """`options` are as those of a film; what they say of files counts for nothing. `fps`: what is to be held."""
        self.source, self.outlets = source, outlets
        self.options = replace(options, look_ahead=False, mine_references="off", resume=False)
        self.ladder, self.figures = Ladder(fps), Figures()
        self.note, self.noted = "", 0.0
        self._base = Tools.make(self.options)
        self._given: list[Views] = self._base.photos(photos)
        if self.options.model == "tps" and not photos:
            self.note = "no photo yet: look at the camera without a mask"
        self._shot: Shot | None = None
        self._held: Shot | None = None
        self._taken, self._until = 0.0, np.inf
        self._last = np.zeros((1, 1, 3), np.uint8)
        self._familiar: Familiar | None = None
        self._again = self._stopped = False

    def run(self, seconds: float | None = None) -> dict[str, object]:
        """The loop, for so long at most; what came of it. Raises what ends the source for good."""
        self._until = time.monotonic() + (seconds or np.inf)
        with one_thread_each():
            while not (self._stopped or self.source.ended):
                self._again = False
                self._follow()
        return self.told()

    def told(self) -> dict[str, object]:
        """The figures so far."""
        return self.figures.told(self.source, self.ladder)

    def stop(self) -> None:
        self._stopped = True

    # --- one run of the route: pictures of one size, one model ----------------------------------------

    def _follow(self) -> None:
        """The route of the pictures, until their size changes or another model is wished."""
        tools = replace(self._base, size=self._size, fill=self._fill, every=lambda: self.ladder.now().every)
        people = self._familiar.people if self._familiar else self._given
        cast = tools.cast(*((people, []) if self._given else ([], people)), self.options)
        self._familiar = Familiar(cast, tools, learns=not self._given)
        for after in route(self._frames(), tools, Tally(Path(self.source.name), Path(), self._familiar)):
            shot = self._shot
            self._show(shot, after)
            self.figures.add(shot.arrived)
            self.ladder.worked(time.monotonic() - self._taken)

    def _frames(self) -> Iterator[Frame]:
        """The newest pictures, each when it is asked for, numbered as they are taken."""
        size, count = None, 0
        while not (self._stopped or self._again):
            self._stopped = self._stopped or time.monotonic() > self._until
            shot, self._held = self._held or self.source.newest(IDLE), None
            if shot is None:
                if self.source.ended:
                    return
                self._look_after()
                continue
            now = (shot.frame.width, shot.frame.height, shot.frame.pixel_format)
            if size not in (None, now):
                self._held = shot
                return
            size, self._shot, self._taken = now, shot, time.monotonic()
            yield replace(shot.frame, index=count)
            count += 1

    def _size(self, face: Face) -> int:
        return min(self._base.size(face), max(self.ladder.now().largest, warp.SIZES[0]))

    def _fill(self, *given: object) -> object:
        return (self._base.fill if self.ladder.now().network else tps)(*given)

    # --- what is seen, and asked for -------------------------------------------------------------------

    def _show(self, shot: Shot, after: Frame) -> None:
        before, self._last, status = bgr(shot.frame), bgr(after), self._status()
        for outlet in self.outlets:
            outlet.show(before, self._last, shot, status)
        self._look_after()

    def _status(self) -> str:
        late = self.figures.late[-1] * 1000 if self.figures.late else 0.0
        who = ", ".join(self._familiar.names()) or "nobody known"
        note = self.source.told or (self.note if time.monotonic() - self.noted < 4 else "")
        told = [f"{self.figures.fps():.0f} fps", f"{late:.0f} ms", self.options.model, self.ladder.now().name, who, note]
        return "  ".join(part for part in told if part)

    def _look_after(self) -> None:
        for outlet in self.outlets:
            for key in outlet.keys():
                if act := KEYS.get(key):
                    act(self)

    def say(self, sentence: str) -> None:
        self.note, self.noted = sentence, time.monotonic()
        log.info("%s", sentence)

    def next_model(self) -> None:
        names = list(MODELS)
        following = names[(names.index(self.options.model) + 1) % len(names)] if self.options.model in names else names[0]
        self.options = replace(self.options, model=following)
        self._base, self._again = Tools.make(self.options), True
        self.say(f"model {following}")

    def take_reference(self) -> None:
        self.say(self._familiar.take())

    def snapshot(self) -> None:
        """The picture as it is shown, beside where the command was given."""
        name = time.strftime("unmask-%Y%m%d-%H%M%S.png")
        there = Path(name).exists()
        if there or self._shot is None or not cv2.imwrite(name, self._last):
            return self.say(f"{name} could not be written" if not there else f"{name} is there already")
        self.say(f"kept as {name}")


KEYS: dict[str, Callable[[Live], None]] = {
    "q": Live.stop, "m": Live.next_model, "r": Live.take_reference, "s": Live.snapshot,
}  # fmt: skip
"""The window itself knows what to do at the space bar and at h."""
