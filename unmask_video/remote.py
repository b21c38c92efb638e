"""Films that lie elsewhere: fetched and brought back by fsspec, which knows s3://, gs://, sftp:// and more."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unmask_video.errors import BadEnvironment, BadOption, CannotDecode, CannotEncode
from unmask_video.journal import folder_of
from unmask_video.pieces import piece_name
from unmask_video.table import HEAD, PHOTOS, rows_name

CACHE = Path(tempfile.gettempdir()) / "unmask-video-films"
"""Where films that were fetched stay, for a machine paints several parts of one."""


def is_remote(place: str) -> bool:
    return "://" in place


def system(place: str) -> tuple[Any, str]:
    """What reaches a place, and its path there. Raises BadEnvironment, BadOption."""
    try:
        import fsspec  # late: only films elsewhere need it
    except ImportError:
        raise BadEnvironment(f'to reach {place}, pip install "unmask-video[cluster]"') from None
    try:
        return fsspec.core.url_to_fs(place)
    except (ImportError, ValueError, OSError) as error:
        raise BadOption(f"{place} cannot be reached ({error}); give a path, or an address that fsspec knows") from None


def exists(place: str) -> bool:
    if not is_remote(place):
        return Path(place).exists()
    files, path = system(place)
    return files.exists(path)


def below(folder: str) -> list[str]:
    """Names of the files below a folder elsewhere, in order, but for hidden ones. Raises BadOption."""
    files, path = system(folder)
    try:
        if not files.isdir(path):
            raise BadOption(f"the input {folder} is not a folder; give one of films, or leave the word batch out")
        found = files.find(path)
    except OSError as error:
        raise BadOption(f"{folder} cannot be read ({error}); choose another") from None
    names = [name.removeprefix(path).lstrip("/") for name in found]
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


@contextmanager
def at_hand(source: str, target: str, step: str) -> Iterator[tuple[Path, Path]]:
    """A film and its target as files of this machine, with what lies beside the target that a step needs.

    What the step makes is brought back, and what it removes is removed there, unless it fails. Raises UnmaskError.
    """
    here = fetched(source) if is_remote(source) else Path(source)
    if not is_remote(target):
        yield here, Path(target)
        return
    files, path = system(target)
    away, name = path.rpartition("/")[::2]
    with tempfile.TemporaryDirectory(prefix="unmask-video-") as folder:
        made = Path(folder, name)
        beside = folder_of(made)
        try:
            for wanted in ([name] if files.exists(path) else []) + wanted_of(files, f"{away}/{beside.name}", step):
                Path(folder, wanted).parent.mkdir(exist_ok=True)
                files.get_file(f"{away}/{wanted}", str(Path(folder, wanted)))
        except OSError as error:
            raise CannotDecode(f"{target} cannot be read ({error}); give the same command again") from None
        before = _marks(Path(folder))
        yield here, made
        try:
            after = _marks(Path(folder))
            for file in sorted(file for file, mark in after.items() if before.get(file) != mark):
                _bring(files, Path(folder, file), f"{away}/{file}")
            if not beside.exists() and files.exists(f"{away}/{beside.name}"):
                files.rm(f"{away}/{beside.name}", recursive=True)
        except OSError as error:
            raise CannotEncode(f"{target} could not be written ({error}); give the same command again") from None


def wanted_of(files: Any, beside: str, step: str) -> list[str]:
    """The files beside a target that a step needs, with their folder's name."""
    if not files.exists(beside) or step.split(":")[0] in ("copy", "look", "check"):
        return []
    there = {name.rsplit("/", 1)[1] for name in files.find(beside)}
    if step.startswith("paint:"):
        first, last = map(int, step.split(":")[1:])
        parts = range(first - 1, last + 1)  # frames before and after have a say
        there &= {"facts.json", HEAD, PHOTOS} | {name for k in parts if k >= 0 for name in (rows_name(k), piece_name(k))}
    return sorted(f"{beside.rsplit('/', 1)[1]}/{name}" for name in there)


def fetched(place: str) -> Path:
    """A film from elsewhere, kept here as long as it is the same there. Raises BadOption, BadEnvironment, CannotDecode."""
    system(place)
    import fsspec

    folder = CACHE / hashlib.sha256(place.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("ab") as lock:
            with suppress(ImportError):
                import fcntl  # not on Windows

                fcntl.flock(lock, fcntl.LOCK_EX)  # one process fetches for all on this machine
            keep = {"cache_storage": str(folder), "check_files": True, "same_names": True}
            return Path(fsspec.open_local(f"filecache::{place}", filecache=keep))
    except OSError as error:
        raise CannotDecode(f"{place} cannot be read ({error}); choose another") from None


def _bring(files: Any, file: Path, place: str) -> None:
    """Whole or not at all, as far as what is there can rename."""
    files.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
    part = f"{place}.part-{secrets.token_hex(4)}"
    files.put_file(str(file), part)
    files.mv(part, place)


def _marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    found = {file.relative_to(folder).as_posix(): file.stat() for file in folder.rglob("*") if file.is_file()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
