"""How far the work has come, on stderr: a bar, lines, or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import click

from unmask_video.report import Progress


class Bar:
    """A bar with frames a second and the time left."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.bar: Any = None
        self.stage = ""

    def __call__(self, progress: Progress) -> None:
        if self.stage != progress.stage:
            from tqdm import tqdm  # late: not needed for --help

            self.close()
            self.stage = progress.stage
            self.bar = tqdm(desc=f"{self.stage} {self.file}", unit=" frames", file=sys.stderr, dynamic_ncols=True)
        self.bar.total = progress.total or None
        if self.stage == "unmask":
            self.bar.set_postfix_str(f"{progress.filled} of {progress.faces} faces filled", refresh=False)
        self.bar.update(progress.frame - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Lines:
    """A line on stderr every few seconds, and one for the last frame."""

    def __init__(self, words: Callable[[Progress, float], str], *, every_seconds: float) -> None:
        self.words = words
        self.every_seconds = every_seconds
        # The rate is taken over the last 20 lines, so that it follows what the film is like now.
        self.marks = deque([(time.monotonic(), 0)], maxlen=20)
        self.unwritten: Progress | None = None
        self.stage = ""

    def __call__(self, progress: Progress) -> None:
        if self.stage != progress.stage:
            self.close()
            self.stage = progress.stage
            self.marks = deque([(time.monotonic(), 0)], maxlen=20)
        self.unwritten = progress
        if time.monotonic() - self.marks[-1][0] >= self.every_seconds:
            self.close()

    def close(self) -> None:
        if self.unwritten is None:
            return
        now, frame = time.monotonic(), self.unwritten.frame
        start, first = self.marks[0]
        fps = (frame - first) / max(now - start, 1e-6)
        self.marks.append((now, frame))
        click.echo(self.words(self.unwritten, fps), err=True)
        self.unwritten = None


class Films:
    """Many films at a time: on a terminal a bar for all and one for each at work; elsewhere a line for each that is finished."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm  # late: not needed for --help

        self.make = partial(tqdm, file=sys.stderr, dynamic_ncols=True, disable=not sys.stderr.isatty())
        self.all, self.lock, self.done, self.total = self.make(total=total, unit=" films"), Lock(), 0, total
        self.bars: dict[str, tuple[str, Any]] = {}

    def progress(self, name: str, line: dict[str, Any]) -> None:
        """`line` is what `--progress json` tells; any thread may call."""
        with self.lock:
            stage, bar = self.bars.get(name, ("", None))
            if stage != line["stage"]:
                if bar is not None:
                    bar.close()
                bar = self.make(desc=f"{line['stage']} {name}", unit=" frames", leave=False)
                self.bars[name] = line["stage"], bar
            bar.total = line["total"]
            bar.update(line["frame"] - bar.n)

    def finished(self, name: str, words: str) -> None:
        with self.lock:
            self.done += 1
            if name in self.bars:
                self.bars.pop(name)[1].close()
            self.all.write(f"{self.done} of {self.total}  {name}: {words}", file=sys.stderr)
            self.all.update()

    def close(self) -> None:
        with self.lock:
            for _, bar in self.bars.values():
                bar.close()
            self.all.close()


class Silence:
    """No progress."""

    def __call__(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


def seconds_left(progress: Progress, fps: float) -> float | None:
    """Seconds until the last frame; None if that cannot be known."""
    if progress.total <= 0 or fps <= 0:
        return None
    return round(max(progress.total - progress.frame, 0) / fps, 1)


def plain_words(progress: Progress, fps: float) -> str:
    total = f" of {progress.total}" if progress.total else ""
    eta = seconds_left(progress, fps)
    left = "" if eta is None else f", {eta:.0f} s left"
    done = f"frame {progress.frame}{total}, {fps:.1f} frames/s{left}"
    return f"searching, {done}" if progress.stage == "search" else f"{done}, {progress.filled} of {progress.faces} faces filled"


def json_words(file: str) -> Callable[[Progress, float], str]:
    def words(progress: Progress, fps: float) -> str:
        line = {"stage": progress.stage, "file": file, "frame": progress.frame, "total": progress.total or None}
        line |= {"fps": round(fps, 2), "eta_s": seconds_left(progress, fps)}
        return json.dumps(line | {"faces": progress.faces, "filled": progress.filled})

    return words


def make_display(kind: str, file: str) -> Bar | Lines | Silence:
    """What shows the progress of `file`; "auto" is a bar on a terminal and nothing elsewhere."""
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return Bar(file)
    if kind == "plain":
        return Lines(plain_words, every_seconds=5)
    if kind == "json":
        return Lines(json_words(file), every_seconds=0.5)
    return Silence()
