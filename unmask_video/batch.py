"""A folder of films in, a folder of films out: each step by a process of its own, so that no film can hurt another.

A short film is one step; a long one is a first pass, parts that are painted side by side, and their joining, see `segments`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from unmask_video import remote
from unmask_video.encoders import MUXERS
from unmask_video.errors import BadOption, UnmaskError
from unmask_video.journal import write_whole
from unmask_video.outcome import NOT_BEGUN, Outcome

READ = (*MUXERS, ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".mxf")
"""Endings of what is taken for a film; what cannot be written goes into .mkv."""
PART = 6
"""Pieces of a part, if nobody says how many parts there are: a minute at 25 frames a second."""
FAILED = 1
"""Exit code of work that may succeed the next time."""
STATE = {0: "done", 3: "partly", 4: "stopped"}
"""By exit code; all else has failed."""


class Engine(Protocol):
    """Where commands run, see `processes` and `ray_nodes`."""

    workers: int
    patience: int

    def call(self, words: list[str], told: Callable[[str], object]) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """One film."""

    name: str
    """Its path within the folder."""
    source: str
    """A path, or an address that fsspec knows."""
    target: str
    words: tuple[str, ...] | None = ()
    """Options of its own; None: nobody in it may be filled, and it is copied."""


def plan(folder: str, out: str, template: str) -> tuple[list[Job], list[Outcome]]:
    """The films below a folder, in order, and the files there that are none; links are not followed.

    Raises BadOption for a folder or a template that cannot be used.
    """
    if "{stem}" not in template or re.search(r"[{}/\\]", re.sub(r"{(stem|suffix)}", "", template)):
        raise BadOption(f"the name {template!r} cannot be used; write it with {{stem}} and {{suffix}}: {{stem}}-bare{{suffix}}")
    jobs, left, taken = [], [], {}
    for name in remote.below(folder) if remote.is_remote(folder) else _below(Path(folder), Path(out)):
        path, suffix = PurePosixPath(name), PurePosixPath(name).suffix.lower()
        if suffix not in READ:
            left.append(Outcome(name, "", "left", "is no film by its name"))
            continue
        made = template.format(stem=path.stem, suffix=suffix if suffix in MUXERS else ".mkv")
        target = f"{out.rstrip('/')}/{path.with_name(made)}"
        if PurePosixPath(made).suffix.lower() not in MUXERS:
            raise BadOption(f"the name {template!r} gives {made}; let it end in one of {', '.join(MUXERS)}, or in {{suffix}}")
        if target in taken:
            why = f"would come out as {target}, as {taken[target]} does; choose another --name"
            left.append(Outcome(name, target, "failed", why))
            continue
        taken[target] = name
        jobs.append(Job(name, f"{folder.rstrip('/')}/{name}", target))
    return jobs, left


def _below(folder: Path, out: Path) -> list[str]:
    if not folder.is_dir():
        raise BadOption(f"the input {folder} is not a folder; give one of films, or leave the word batch out")
    if not remote.is_remote(str(out)) and out.resolve() == folder.resolve():
        raise BadOption(f"the output {out} is the input itself; give another folder")
    return [path.relative_to(folder).as_posix() for path in _files(folder, out)]


def _files(folder: Path, out: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink() or entry.resolve() == out.resolve():
            continue
        if entry.is_dir():
            yield from _files(entry, out)
        elif entry.is_file():
            yield entry


def not_begun(jobs: list[Job], outcomes: list[Outcome]) -> list[Outcome]:
    """Films of which nothing is known yet."""
    known = {outcome.name for outcome in outcomes}
    return [Outcome(job.name, job.target, "stopped", NOT_BEGUN) for job in jobs if job.name not in known]


@dataclass
class Batch:
    """The work on many films."""

    words: list[str]
    """Options of `unmask-video`, the same for all."""
    engine: Engine
    retry: int = 1
    """Further tries of what failed but may not the next time."""
    parts: int | None = None
    """That each film is cut into; None: long ones, as it suits."""
    overwrite: bool = False
    """Make anew what is there."""
    verify: bool = True
    halt_on_error: bool = False
    sheets: Path | None = None
    """Folder for a picture of each film, before and after."""
    progress: Callable[[str, dict[str, Any]], None] = lambda name, line: None
    """Told of each film's progress, on the thread that waits for it, as `--progress json` has it."""

    def __post_init__(self) -> None:
        self._stop, self._free = threading.Event(), threading.BoundedSemaphore(self.engine.workers)

    def run(self, jobs: list[Job]) -> Iterator[Outcome]:
        """What becomes of each film, as they are finished; whatever ends this, no process is left."""
        with ThreadPoolExecutor(self.engine.workers, thread_name_prefix="unmask-film") as pool:
            try:
                for done in as_completed([pool.submit(self._work, job) for job in jobs]):
                    yield done.result()
            finally:
                self.stop()
                pool.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """What runs ends soon and keeps what it has done; nothing else is begun."""
        self._stop.set()
        self.engine.stop()

    def _work(self, job: Job) -> Outcome:
        outcome = Outcome(job.name, job.target, "stopped", NOT_BEGUN)
        if self._stop.is_set():
            return outcome
        began = time.monotonic()
        try:
            if not self.overwrite and remote.exists(job.target):
                outcome.state, outcome.why = "there", ""
                return outcome
            Making(self, job, outcome).run()
        except (OSError, UnmaskError) as error:  # which is this film's alone
            outcome.state, outcome.why = "failed", str(error)
        outcome.seconds = round(time.monotonic() - began, 2)
        if self.halt_on_error and not outcome.good:
            self.stop()  # here, for this thread would begin the next at once
        return outcome

    def call(self, words: list[str], told: Callable[[str], object]) -> int | None:
        """The exit code of a command, begun when there is room; None: it was not, for all is to stop."""
        with self._free:
            return None if self._stop.is_set() else self.engine.call(words, told)


@dataclass
class Making:
    """One film's steps."""

    batch: Batch
    job: Job
    outcome: Outcome
    painted: dict[str, int] = field(default_factory=dict)
    """Frames of each part."""

    def run(self) -> None:
        if not remote.is_remote(self.job.target):
            Path(self.job.target).parent.mkdir(parents=True, exist_ok=True)
        outcome = self.outcome
        if self.job.words is None:
            code, _ = self.step("copy", "its copying")
            outcome.why = outcome.why if code else "shows nobody who may be filled, so it was copied"
        else:
            code = self.make()
        outcome.state = "stopped" if code is None else STATE.get(code, "failed")
        if outcome.state == "done" and self.job.words is not None:
            outcome.why = ""
        if outcome.state == "partly":
            outcome.why = "part of its data is damaged"
        if outcome.state in ("done", "partly") and outcome.report:
            self.look()

    def make(self) -> int | None:
        parts, workers = self.batch.parts, self.batch.engine.workers
        first = "whole" if parts == 1 or (parts is None and workers == 1) else "cut" if parts else "begin"
        code, told = self.step(first, "its first step")
        self.outcome.report = told.get("report", {})
        if code != 0 or not told["pieces"]:
            return code
        parts = cut(told["pieces"], parts)
        open_parts = [part for part in parts if set(range(*part)) & set(told["missing"])]
        self.outcome.parts = len(parts)
        with ThreadPoolExecutor(workers, thread_name_prefix="unmask-part") as pool:
            made = [pool.submit(self.paint, part, f"part {parts.index(part) + 1} of {len(parts)}") for part in open_parts]
            codes = [one.result() for one in made]
        if bad := [code for code in codes if code != 0]:
            return bad[0]
        code, told = self.step("join", "its joining")
        self.outcome.report = told.get("report", self.outcome.report)
        return code

    def paint(self, part: tuple[int, int], name: str) -> int | None:
        code, _ = self.step(f"paint:{part[0]}:{part[1]}", name)
        return code

    def look(self) -> None:
        """Pictures of the worst moments, and whether nothing but faces has changed."""
        times = ",".join(f"{when:g}" for when in self.outcome.report["worst"])
        if not (self.batch.verify or times):
            return
        code, told = self.step(f"{'check' if self.batch.verify else 'look'}:{times}", "looking at it")
        if code is None:
            return
        if code and self.batch.verify:
            why, self.outcome.why = self.outcome.why, ""
            self.outcome.checks = [{"what": "verify", "verdict": "FAULT", "told": f"ended with {code}: {why}"}]
            return
        self.outcome.checks = told.get("checks", [])
        if self.batch.sheets and told.get("sheet"):
            picture = self.batch.sheets / f"{self.job.name}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_whole(picture, base64.b64decode(told["sheet"]))

    def step(self, step: str, name: str) -> tuple[int | None, dict[str, Any]]:
        """The exit code and what was told; tried again if that may help."""
        found: dict[str, Any] = {}
        why = ""

        def told(line: str) -> None:
            nonlocal why
            try:
                said = json.loads(line)
            except ValueError:
                why = line.strip() or why  # its last word is the reason
                return
            if "stage" in said:
                self.show(said, step)
            else:
                found.update(said)
                if "report" in said:  # by which the film lay elsewhere
                    said["report"] |= {"source": self.job.source, "target": self.job.target}

        again = ["--overwrite"] if self.batch.overwrite else []
        own = self.job.words or ()
        words = [self.job.source, self.job.target, *self.batch.words, *own, *again, "--step", step, "--progress", "json"]
        tries = 0
        while True:
            tries += 1
            code = self.batch.call(words, told)
            most = max(self.batch.retry, self.batch.engine.patience) if code is not None and code < 0 else self.batch.retry
            self.outcome.tries, self.outcome.why = max(self.outcome.tries, tries), why or self.outcome.why
            if code is None or not (code == FAILED or code < 0) or tries > most:
                return code, found
            self.outcome.events.append(f"{name}: {why}; it is done again")

    def show(self, said: dict[str, Any], step: str) -> None:
        if step.startswith("paint"):
            self.painted[step] = said["frame"]
            said |= {"frame": sum(self.painted.values()), "total": self.outcome.report["frames"]}
        self.batch.progress(self.job.name, said)


def cut(pieces: int, parts: int | None) -> list[tuple[int, int]]:
    """First and last piece, the latter not counted, of each part of a film; no more parts than pieces."""
    count = min(parts or max(1, round(pieces / PART)), pieces)
    ends = [round(k * pieces / count) for k in range(count + 1)]
    return list(zip(ends, ends[1:], strict=False))
