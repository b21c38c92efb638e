"""Commands of `unmask-video`, each in a process of its own on this machine."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from unmask_video.ahead import cores

GIB_EACH = 1.5
"""Memory that a process may need."""
PR_SET_PDEATHSIG, LIBC = 1, ctypes.CDLL(None) if sys.platform == "linux" else None
"""Linux tells a child when its parent dies."""


class Processes:
    """So many at a time: None is as cores and memory allow."""

    patience = 0
    """Further tries of what was lost by no fault of its own, beside those that the user allows."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or workers_for(cores(), memory_gib())
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._live: set[subprocess.Popen[str]] = set()

    def call(self, words: list[str], told: Callable[[str], object]) -> int:
        """The command's exit code, negative if it was killed; each line that it writes to stderr is told at once."""
        with started(words) as process:
            with self._lock:
                self._live.add(process)
            if self._stopped.is_set():  # just before
                process.send_signal(signal.SIGINT)
            for line in process.stderr:
                told(line)
        with self._lock:
            self._live.discard(process)
        if process.returncode < 0:
            told(f"its process was killed by {signal.Signals(-process.returncode).name}")
        return process.returncode

    def stop(self) -> None:
        """What runs ends soon and keeps what it has done."""
        self._stopped.set()
        with self._lock:
            for process in self._live:
                process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Nothing is left to be tidied up."""


def started(words: list[str]) -> subprocess.Popen[str]:
    """A process that tells on stderr; on Linux it ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-m", "unmask_video", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", errors="replace", preexec_fn=_die_with_parent if LIBC else None,
    )  # fmt: skip


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def workers_for(cores: int, memory_gib: float) -> int:
    """How many films at a time: one for two cores, for one film keeps one and a half busy, and as memory allows."""
    return max(1, min((cores + 1) // 2, int(memory_gib / GIB_EACH)))


def memory_gib() -> float:
    """That is free at present; a guess where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    return 8.0
