"""Photos in a folder or a tar, by person, read one after the other."""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import cv2
import numpy as np

from training.faces import person
from unmask_video.errors import BadOption

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What the name of a photo ends in; other files are passed over."""
LARGEST = 1024
"""Most pixels along a side of a photo; larger ones are shrunk, for masks are drawn at four times the size."""
UTKFACE = re.compile(r"(\d{1,3})_[01]_([0-4])_\d+")
"""Names of UTKFace: age, gender, race, date. Its photos are of as many people, whatever their folder."""
BLOCK = bytes(512)
"""What the end of a tar begins with."""


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos of a folder or a tar, unread."""

    people: tuple[tuple[str, ...], ...]
    """Names of the photos of each person."""
    read: Callable[[str], bytes]
    """The file of a name."""

    @property
    def paired(self) -> bool:
        """Somebody is on two photos."""
        return any(len(names) > 1 for names in self.people)


@contextmanager
def open_photos(source: Path) -> Iterator[Photos]:
    """The photos below a folder in the order of their names, or in a tar in its own order.

    A folder that holds everything in a tar is no part of the names.

    Raises:
        BadOption: the source holds no photos, or is no whole tar.
    """
    if source.is_dir():
        paths = {p.relative_to(source).as_posix(): p for p in sorted(source.rglob("*")) if _is_photo(p) and p.is_file()}
        yield Photos(_people(paths, source), lambda name: paths[name].read_bytes())
        return
    members = _members(source)
    with tarfile.open(source) as tar:
        yield Photos(_people(members, source), lambda name: tar.extractfile(members[name]).read())


def _is_photo(path: PurePath) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def _members(source: Path) -> dict[str, tarfile.TarInfo]:
    """The photos in a tar by name. Python ends silently where a tar is cut off or damaged; this does not."""
    try:
        with tarfile.open(source) as tar:
            found = {PurePosixPath(m.name): m for m in tar if m.isfile() and _is_photo(PurePosixPath(m.name))}
            tar.fileobj.seek(tar.offset)
            whole = tar.fileobj.read(len(BLOCK)) == BLOCK
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        whole = False
    if not whole:
        raise BadOption(f"{source} is no tar, or a damaged one; give a folder or a tar of photos, person/photo.jpg")
    tops = {path.parts[0] for path in found if len(path.parts) > 1}
    inside = len(tops) == 1 and all(len(path.parts) > 1 for path in found)
    return {str(PurePosixPath(*path.parts[1:]) if inside else path): member for path, member in found.items()}


def _people(names: Iterable[str], source: Path) -> tuple[tuple[str, ...], ...]:
    """The names, by person."""
    shelf: dict[str, list[str]] = defaultdict(list)
    for name in names:
        shelf[name if UTKFACE.match(PurePosixPath(name).name) else person(name)].append(name)
    if not shelf:
        raise BadOption(f"{source} holds no photos ({', '.join(ENDINGS)}); give a folder or a tar of person/photo.jpg")
    return tuple(map(tuple, shelf.values()))


def decode(data: bytes) -> np.ndarray | None:
    """A picture's file as uint8 [h, w, 3] RGB of at most `LARGEST` px a side; None if it is damaged."""
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        bgr = None
    if bgr is None:
        return None
    scale = LARGEST / max(bgr.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in bgr.shape[1::-1]]
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
