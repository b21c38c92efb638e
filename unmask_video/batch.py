"""A folder of films in, a folder of films out: each by a process of its own, so that none can hurt another."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unmask_video import __version__, decode
from unmask_video.ahead import cores
from unmask_video.encoders import MUXERS
from unmask_video.errors import BadOption, UnmaskError
from unmask_video.journal import write_whole
from unmask_video.remux import copy_whole

READ = (*MUXERS, ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".mxf")
"""Endings of what is taken for a film; what cannot be written goes into .mkv."""
GIB_EACH = 1.5
"""Memory that a process may need."""
REPORT = "report.json"
STATES = ("done", "partly", "there", "failed", "stopped", "left")
"""partly: what could be done of damaged data; there: since an earlier run; left: no film."""
NOT_BEGUN = "was stopped before its end; the same command goes on"
FAILED = 1
"""Exit code of work that may succeed the next time."""
PR_SET_PDEATHSIG, LIBC = 1, ctypes.CDLL(None) if sys.platform == "linux" else None
"""Linux tells a child when its parent dies."""


@dataclass(frozen=True)
class Job:
    """One film."""

    name: str
    """Its path within the folder."""
    source: Path
    target: Path
    words: tuple[str, ...] | None = ()
    """Options of its own; None: nobody in it may be filled, and it is copied."""


@dataclass
class Outcome:
    """What became of one file."""

    name: str
    target: str
    state: str
    """One of `STATES`."""
    why: str = ""
    """Why it is not done, in a sentence."""
    seconds: float = 0.0
    tries: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    """`Report.to_json`; empty if there is none."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    """What `verify` found; empty if it was not asked."""

    @property
    def faults(self) -> list[str]:
        return [check["what"] for check in self.checks if check["verdict"] == "FAULT"]

    @property
    def good(self) -> bool:
        """Nothing is left to be done, and nothing is wrong."""
        return self.state in ("done", "there", "left") and not self.faults


def plan(folder: Path, out: Path, template: str) -> tuple[list[Job], list[Outcome]]:
    """The films below a folder, in order, and the files there that are none; links are not followed.

    Raises BadOption for a folder or a template that cannot be used.
    """
    if not folder.is_dir():
        raise BadOption(f"the input {folder} is not a folder; give one of films, or leave the word batch out")
    if out.resolve() == folder.resolve():
        raise BadOption(f"the output {out} is the input itself; give another folder")
    if "{stem}" not in template or re.search(r"[{}/\\]", re.sub(r"{(stem|suffix)}", "", template)):
        raise BadOption(f"the name {template!r} cannot be used; write it with {{stem}} and {{suffix}}: {{stem}}-bare{{suffix}}")
    jobs, left, taken = [], [], {}
    for source in _files(folder, out):
        name = source.relative_to(folder)
        suffix = source.suffix.lower()
        if suffix not in READ:
            left.append(Outcome(str(name), "", "left", "is no film by its name"))
            continue
        made = template.format(stem=source.stem, suffix=suffix if suffix in MUXERS else ".mkv")
        target = out / name.parent / made
        if target.suffix.lower() not in MUXERS:
            raise BadOption(f"the name {template!r} gives {made}; let it end in one of {', '.join(MUXERS)}, or in {{suffix}}")
        if target in taken:
            why = f"would come out as {target}, as {taken[target]} does; choose another --name"
            left.append(Outcome(str(name), str(target), "failed", why))
            continue
        taken[target] = name
        jobs.append(Job(str(name), source, target))
    return jobs, left


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
    return [Outcome(job.name, str(job.target), "stopped", NOT_BEGUN) for job in jobs if job.name not in known]


def workers_for(cores: int, memory_gib: float) -> int:
    """How many films at a time: one for two cores, for one film keeps one and a half busy, and as memory allows."""
    return max(1, min((cores + 1) // 2, int(memory_gib / GIB_EACH)))


def workers_here() -> int:
    return workers_for(cores(), memory_gib())


def memory_gib() -> float:
    """That is free at present; a guess where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    return 8.0


@dataclass
class Batch:
    """The work on many films."""

    words: list[str]
    """Options of `unmask-video`, the same for all."""
    workers: int
    """Films at a time."""
    retry: int = 1
    """Further tries of what failed but may not the next time."""
    overwrite: bool = False
    """Make anew what is there."""
    verify: bool = True
    halt_on_error: bool = False
    progress: Callable[[str, dict[str, Any]], None] = lambda name, line: None
    """Told of each film's progress, on the thread that waits for it, as `--progress json` has it."""

    def __post_init__(self) -> None:
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._live: set[subprocess.Popen[str]] = set()

    def run(self, jobs: list[Job]) -> Iterator[Outcome]:
        """What becomes of each film, as they are finished; whatever ends this, no process is left."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="unmask-film") as pool:
            try:
                for done in as_completed([pool.submit(self._work, job) for job in jobs]):
                    yield done.result()
            finally:
                self.stop()
                pool.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """What runs ends soon and keeps what it has done; nothing else is begun."""
        self._stop.set()
        with self._lock:
            for process in self._live:
                process.send_signal(signal.SIGINT)

    def _work(self, job: Job) -> Outcome:
        outcome = Outcome(job.name, str(job.target), "stopped", NOT_BEGUN)
        if self._stop.is_set():
            return outcome
        if job.target.exists() and not self.overwrite:
            outcome.state, outcome.why = "there", ""
            return outcome
        began = time.monotonic()
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            self._make(job, outcome)
        except (OSError, UnmaskError) as error:  # which is this film's alone
            outcome.state, outcome.why = "failed", str(error)
        if self.halt_on_error and not outcome.good:
            self.stop()  # here, for this thread would begin the next at once
        outcome.seconds = round(time.monotonic() - began, 2)
        return outcome

    def _make(self, job: Job, outcome: Outcome) -> None:
        if job.words is None:
            decode.open_video(job.source).close()  # or what is no film would count as done
            copy_whole(job.source, job.target)
            outcome.state, outcome.why = "done", "shows nobody who may be filled, so it was copied"
            return
        code = FAILED
        while (code == FAILED or code < 0) and outcome.tries <= self.retry and not self._stop.is_set():
            outcome.tries += 1
            code = self._unmask(job, outcome)
        if self.verify and outcome.state in ("done", "partly"):
            self._verify(job, outcome)

    def _unmask(self, job: Job, outcome: Outcome) -> int:
        def told(line: str) -> None:
            try:
                said = json.loads(line)
            except ValueError:
                outcome.why = line.strip() or outcome.why  # its last word is the reason
                return
            if "report" in said:
                outcome.report = said["report"]
            else:
                self.progress(job.name, said)

        again = ["--overwrite"] if self.overwrite else []
        code, _ = self._call([str(job.source), str(job.target), *self.words, *job.words, *again, "--progress", "json"], told)
        outcome.state = {0: "done", 3: "partly", 4: "stopped"}.get(code, "failed")
        if code < 0:
            outcome.why = f"its process was killed by {signal.Signals(-code).name}"
        elif code in (0, 3):
            outcome.why = "part of its data is damaged" if code else ""
        return code

    def _verify(self, job: Job, outcome: Outcome) -> None:
        said: list[str] = []
        code, out = self._call(["verify", str(job.source), str(job.target), "--json"], said.append)
        try:
            outcome.checks = json.loads(out)
        except ValueError:
            outcome.checks = [{"what": "verify", "verdict": "FAULT", "told": f"ended with {code}: {''.join(said).strip()}"}]

    def _call(self, words: list[str], told: Callable[[str], Any]) -> tuple[int, str]:
        """The command's exit code and what it wrote; each line of its stderr is told at once."""
        command = [sys.executable, "-m", "unmask_video", *words]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
            preexec_fn=_die_with_parent if LIBC else None,
        ) as process:  # fmt: skip
            with self._lock:
                self._live.add(process)
            if self._stop.is_set():  # just before
                process.send_signal(signal.SIGINT)
            for line in process.stderr:
                told(line)
            out = process.stdout.read()
        with self._lock:
            self._live.discard(process)
        return process.returncode, out


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


# --- the report -----------------------------------------------------------------------------------


def remembered(outcome: Outcome, before: dict[str, Outcome]) -> Outcome:
    """What an earlier run told of a film that is there since then."""
    earlier = before.get(outcome.name)
    if outcome.state != "there" or earlier is None or earlier.target != outcome.target:
        return outcome
    return replace(earlier, state="partly" if earlier.state == "partly" else "there")


def read_report(out: Path) -> dict[str, Outcome]:
    """Of an earlier run, by name; empty if there is none that can be read."""
    try:
        films = json.loads((out / REPORT).read_bytes())["films"]
        return {film["name"]: Outcome(**film) for film in films}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_report(out: Path, words: list[str], outcomes: list[Outcome]) -> None:
    films = [asdict(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.name)]
    states = {state: sum(film["state"] == state for film in films) for state in STATES}
    told = {"version": __version__, "options": words, "states": states, "films": films}
    write_whole(out / REPORT, json.dumps(told, indent=1).encode())
