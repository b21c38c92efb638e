"""What a stopped run has done, kept beside its target so that the same command goes on: networks' answers, encoded pieces.

Everything between is cheap or follows from these, so it is done again; that is why a film does not depend on how often
its making was interrupted. A folder belongs to one input, one target, one version and one set of options.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from unmask_video.errors import BadOption, CannotEncode, Stopped, UnmaskError
from unmask_video.pieces import Pieces

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

log = logging.getLogger(__name__)

SAVE_SECONDS = 10.0
"""From one file of answers to the next."""
SAMPLED = 1 << 20
"""Bytes at the input's beginning, middle and end that tell it from others."""
PATIENCE = 5.0
"""Seconds that a process which is just ending may hold its folder, as those of a killed batch do that is begun again at once."""
LOADED = 3
"""Files of answers at a time: they are asked for in about the order in which they were given."""
Arrays = dict[str, np.ndarray]
DAMAGED = (OSError, ValueError, EOFError, BadZipFile)
"""What reading a torn file of answers may raise."""


class Journal(Pieces):
    """A folder beside `target`, made when there is something to keep; a context manager.

    Left without an error it is removed, unless it `stays`; so it is if nothing was worth keeping, or where trying again
    would not help.

    Args:
        target: the film that is being made.
        facts: all that the film depends on, as values that JSON takes.

    Raises:
        BadOption: the folder is of other facts, another process works in it, or it cannot be locked.
    """

    def __init__(self, target: Path, facts: dict[str, Any]) -> None:
        super().__init__(folder_of(target))
        self.facts = json.loads(json.dumps(facts))
        self.stays = False
        self.lock: BinaryIO | None = None
        self.old: deque[Path] = deque()
        self.open: deque[Stored] = deque()
        self.fresh: dict[str, Arrays] = {}
        self.saved, self.busy = time.monotonic(), threading.RLock()
        self.answers = 0
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise BadOption(f"{self.folder} is no folder of this tool; remove it, or give --no-resume")
        if self.folder.is_dir():
            self._take_up()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        final = kind is None or isinstance(error, UnmaskError) and not isinstance(error, (CannotEncode, Stopped))
        if not final and self.worth_keeping:
            with suppress(CannotEncode):  # the disk is full, and what was saved before stands
                self.save()
        if kind is None and self.stays:
            self._close()
            return
        if final or not self.worth_keeping:
            self._remove()
            return
        self._close()
        kept = f"{self.frames} frames are kept in {self.folder}; the same command goes on with them"
        if kind and issubclass(kind, KeyboardInterrupt):
            raise Stopped(f"stopped; {kept}") from None
        log.warning("%s", kept)

    @property
    def worth_keeping(self) -> bool:
        return bool(self.pieces or self.answers or self.stays)

    # --- the folder ----------------------------------------------------------------------------

    def make(self) -> Path:
        """The folder, with the facts in it, locked."""
        if self.lock is None:
            self._lock()
            write_whole(self.folder / "facts.json", json.dumps(self.facts).encode())
        return self.folder

    def _take_up(self) -> None:
        self._lock()
        if not (self.folder / "facts.json").exists():  # stopped before anything was kept, or while it was removed
            self._remove()
            return
        try:
            self._compare()
        except BadOption:
            self._close()
            raise
        for part in self.folder.glob("*.part*"):
            part.unlink()
        self.take_up()
        self.old.extend(sorted(self.folder.glob("answers-*.npz")))
        self.answers = len(self.old)
        log.info("%s: going on after %d frames", self.folder, self.frames)

    def _compare(self) -> None:
        try:
            facts = json.loads((self.folder / "facts.json").read_bytes())
            other = [name for name in self.facts.keys() | facts.keys() if self.facts.get(name) != facts.get(name)]
        except (OSError, ValueError, AttributeError):
            raise BadOption(f"{self.folder} is damaged; delete it to begin anew, or give --no-resume") from None
        if other:
            what = ", ".join(sorted(other))
            raise BadOption(
                f"{self.folder} holds half a film that was begun with another {what}; give the same command to go on,"
                " delete the folder to begin anew, or give --no-resume"
            )

    def _lock(self) -> None:
        """The folder is there, and this process's until it ends, however that is. Raises BadOption."""
        path, until = self.folder / "lock", time.monotonic() + PATIENCE
        while True:
            try:
                super().make()
                self.lock = path.open("ab")
                if fcntl:
                    fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self.lock.fileno()), path.stat()):
                    return
            except (BlockingIOError, FileNotFoundError):  # held, or just removed
                if time.monotonic() > until:
                    self._close()
                    raise BadOption(f"another process works in {self.folder}; wait for it, or choose another output") from None
            except OSError as error:  # some shared disks know no locks
                self._close()
                raise BadOption(
                    f"{self.folder} cannot be locked ({error.strerror}); choose another output, or give --no-resume"
                ) from None
            self._close()
            time.sleep(0.05)

    def _close(self) -> None:
        if self.lock:
            self.lock.close()
        self.lock = None

    def _remove(self) -> None:
        """The folder, if it is this process's; nobody else takes it up meanwhile."""
        if not self.lock:
            return
        if os.name == "nt":  # where open files stay
            self._close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._close()

    # --- answers -------------------------------------------------------------------------------

    def remember(self, name: str, answer: Callable[[], Arrays]) -> Arrays:
        """The answer of that name as it was given before a stop, or now."""
        with self.busy:
            if (known := self._look_up(name)) is not None:
                return known
        given = answer()
        with self.busy:
            self.fresh[name] = given
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self.save()
        return given

    def save(self) -> None:
        """Raises CannotEncode."""
        with self.busy:
            if self.fresh:
                flat = {f"{name}|{part}": values for name, arrays in self.fresh.items() for part, values in arrays.items()}
                out = io.BytesIO()
                np.savez(out, **flat)
                write_whole(self.make() / f"answers-{self.answers:06}.npz", out.getvalue())
                self.answers += 1
                self.fresh = {}
            self.saved = time.monotonic()

    def _look_up(self, name: str) -> Arrays | None:
        for stored in self.open:
            if parts := stored.parts.get(name):
                with suppress(*DAMAGED):  # damaged: given anew
                    return {part: stored.file[f"{name}|{part}"] for part in parts}
        while self.old:
            try:
                self.open.append(Stored(self.old.popleft()))
            except DAMAGED:
                continue  # given anew
            if len(self.open) > LOADED:
                self.open.popleft()
            if name in self.open[-1].parts:
                return self._look_up(name)
        return None


class Stored:
    """A file of answers."""

    def __init__(self, path: Path) -> None:
        self.file = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        self.parts: dict[str, list[str]] = {}
        for entry in self.file.files:
            name, part = entry.split("|")
            self.parts.setdefault(name, []).append(part)


def folder_of(target: Path) -> Path:
    """Where what is done of a film is kept until it is whole."""
    return target.with_name(f".{target.name[:60]}.unmask")


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all. Raises CannotEncode."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        why = error.strerror
        raise CannotEncode(f"{path} could not be written ({why}); free the disk, and give the same command again") from None


def fingerprint(path: Path) -> str:
    """Of a file: its size, and what it begins with, holds in the middle, and ends with."""
    size = path.stat().st_size
    told = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, max(size // 2 - SAMPLED // 2, 0), max(size - SAMPLED, 0)):
            file.seek(start)
            told.update(file.read(SAMPLED))
    return told.hexdigest()
