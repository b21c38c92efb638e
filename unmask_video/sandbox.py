"""The command again in a process of its own, with limits: what kills it cannot hurt whoever asked for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from unmask_video.errors import BadEnvironment, CannotDecode

MIB = 1 << 20


def confined(words: list[str], *, memory_mib: int, minutes: int) -> int:
    """The exit code of `unmask-video` with these words but for `--sandbox`.

    Raises:
        BadEnvironment: this system knows no limits.
        CannotDecode: the process died.
    """
    command = [sys.executable, "-m", "unmask_video", *(word for word in words if word != "--sandbox")]
    with subprocess.Popen(command, preexec_fn=_limits(memory_mib, minutes)) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:  # the process got it, too, and tidies up
                continue
    if process.returncode >= 0:
        return process.returncode
    name = signal.Signals(-process.returncode).name
    why = f"took more than {minutes} minutes" if name in ("SIGXCPU", "SIGKILL") else f"died of {name}"
    raise CannotDecode(
        f"the sandbox {why}, so the input may be damaged or meant to do harm; raise --sandbox-memory or --sandbox-minutes"
        " if you trust it"
    )


def _limits(memory_mib: int, minutes: int) -> Callable[[], None]:
    try:
        import resource  # not on Windows
    except ImportError:
        raise BadEnvironment("this system has no sandbox; do without --sandbox, or use Linux or macOS") from None

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib * MIB, memory_mib * MIB))
        resource.setrlimit(resource.RLIMIT_CPU, (minutes * 60, minutes * 60 + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return limit
