"""Whether a film came out as it went in, but for the faces that were filled: asked of the two files alone.

Where fills may be is found as the tool itself finds masked faces, in the input. Everywhere else the pictures may differ by
what the encoder has lost, which is told from how much all of them differ: a block that stands out was changed.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unmask_video import decode, segment, steady, track
from unmask_video.ahead import one_thread_each, read_ahead
from unmask_video.contents import Contents, Track, contents, holds
from unmask_video.errors import CannotDecode
from unmask_video.face import Face, Mask
from unmask_video.frame import Frame
from unmask_video.geometry import apply
from unmask_video.options import Options
from unmask_video.picture import plane_scale
from unmask_video.remux import SOUND_STEP
from unmask_video.report import Progress
from unmask_video.tools import Tools

BLOCK = 16
"""Samples of a plane along the side of what is compared."""
STEP, MOST = 0.25, 64.0
"""Levels of 255: of what is told apart, and beyond which nothing is."""
ALL_OVER = 8.0
"""Difference of the hundredth block from the top at which the picture as a whole is another."""
LEAST, TIMES = 6.0, 6.0
"""A block stands out if it differs by more than `LEAST`, and by so many times that hundredth."""
CHROMA = ("gray", "420", "422", "444")
"""Of pixel formats, from least to most."""
MATROSKA, QUICKTIME = (".mkv", ".webm"), (".mp4", ".m4v", ".mov")
SILENT = {("language", "und")}
"""Tags that say what their absence says."""


@dataclass(frozen=True)
class Finding:
    """One thing that was compared."""

    what: str
    verdict: str
    """`same`; `noted`, which the container or the tool's promises do not allow to be kept; or `FAULT`."""
    told: str


def verify(
    source: str | Path, target: str | Path, *, progress: Callable[[Progress], None] | None = None
) -> list[Finding]:  # fmt: skip
    """Compare a film with what was made of it.

    Args:
        source: what went in.
        target: what came out, of the whole film.
        progress: called after every frame.

    Raises:
        CannotOpen: one of them cannot be read at all.
    """
    source, target = Path(source), Path(target)
    with one_thread_each(), decode.open_video(source) as before, decode.open_video(target) as after:
        if filecmp.cmp(source, target, shallow=False):  # as films come out in which nobody is filled
            return [Finding("the file", "same", "byte for byte")]
        old, new = contents(source), contents(target)
        seen = _Pictures(before, after)
        seen.compare(progress)
        shift = seen.shift
        return [
            *_shape(before, after), *seen.findings(old, new), *_tracks(old, new, source, target, shift),
            _tags("tags", old.tags, new.tags), _tags("the film's tags", old.film_tags, new.film_tags, target.suffix.lower()),
            _chapters(old, new, shift),
        ]  # fmt: skip


def table(found: list[Finding]) -> str:
    """For people."""
    return "\n".join(f"{f.verdict:6s} {f.what:18s} {f.told}" for f in found)


def _shape(before: decode.Video, after: decode.Video) -> Iterator[Finding]:
    """Size, pixels, colours, and how it is turned."""
    a, b = before.info, after.info
    yield _alike("size", f"{a.width}x{a.height}", f"{b.width}x{b.height}")
    yield _formats(before, after)
    yield _alike("fields", before.tags.fields or "none", after.tags.fields or "none")
    yield _alike("turned and mirrored", before.tags.display_matrix, after.tags.display_matrix)
    square = Fraction(1)
    yield _alike("pixel's shape", before.tags.sample_aspect or square, after.tags.sample_aspect or square)
    yield _alike("HDR10's light", before.tags.light or "not said", after.tags.light or "not said")
    shown = [[round(v, 4) for v in video.tags.display] or "not said" for video in (before, after)]
    yield _alike("HDR10's display", *shown)
    for name in ("color_range", "primaries", "transfer", "matrix"):
        yield _alike(f"colour's {name.removeprefix('color_')}", *(_colour(video, name) for video in (before, after)))


def _colour(video: decode.Video, name: str) -> int:
    """What is not said of the range means limited."""
    return getattr(video.tags, name) or (1 if name == "color_range" else 2)


def _formats(before: decode.Video, after: decode.Video) -> Finding:
    """More chroma or depth than before loses nothing."""
    names = [video.info.pixel_format.replace("yuvj", "yuv") for video in (before, after)]
    if names[0] == names[1]:
        return Finding("pixel format", "same", names[0])
    room = [(max(k for k, part in enumerate(CHROMA) if part in name)) for name in names]
    less = room[1] < room[0] or after.colour.bits < before.colour.bits
    return Finding("pixel format", "FAULT" if less else "noted", " became ".join(names))


def _alike(what: str, before: Any, after: Any) -> Finding:
    return Finding(what, "same" if before == after else "FAULT", str(before) if before == after else f"{before} became {after}")


@dataclass
class _Pictures:
    """Frames of both films, side by side."""

    before: decode.Video
    after: decode.Video
    counts: list[int] = field(default_factory=lambda: [0, 0])
    times: list[Fraction] = field(default_factory=list)
    """By which each frame is later than it was."""
    lengths: list[Fraction] = field(default_factory=list)
    """By which each is shown for longer."""
    heights: np.ndarray = field(default_factory=lambda: np.zeros(int(MOST / STEP) + 1, np.int64))
    """How many blocks differ by so many steps."""
    worst: tuple[float, int, tuple[int, int]] = (0.0, 0, (0, 0))
    """Difference, frame, and where, in pixels."""
    faces: int = 0
    broken: str = ""

    def compare(self, progress: Callable[[Progress], None] | None) -> None:
        tools, total = Tools.make(Options()), self.before.info.frame_count
        found = steady.steady(track.follow(self.before.frames(), tools.linker()))
        seen = read_ahead(iter(segment.segment(found, tools.segment, tools.is_masked)), 2, "unmask-analyse")
        try:
            for old, new in zip_longest(seen, self.after.frames()):
                self._pair(old, new)
                if progress:
                    progress(Progress(max(self.counts), total, self.faces, 0))
        except CannotDecode as error:
            self.broken = str(error)
        finally:
            seen.close()

    @property
    def shift(self) -> Fraction:
        """Seconds by which the whole film was moved: those before 0 are."""
        return -min(self.before.first_seconds, Fraction(0))

    @property
    def step(self) -> Fraction:
        """Seconds that times may be rounded to."""
        return max(self.before.info.time_base, self.after.info.time_base)

    def _pair(self, old: tuple[Frame, list[tuple[Face, Mask]]] | None, new: Frame | None) -> None:
        self.counts[0] += old is not None
        self.counts[1] += new is not None
        if old is None or new is None:
            return
        frame, faces = old
        self.times.append(new.pts * new.time_base - frame.pts * frame.time_base - self.shift)
        self.lengths.append(new.duration * new.time_base - frame.duration * frame.time_base)
        masked = [face for face, mask in faces if mask.present]
        self.faces += len(masked)
        for a, b in zip(frame.planes, new.planes, strict=False):
            if a.shape == b.shape:  # chroma may have been given more room
                self._blocks(frame, masked, a, b, new.colour.bits - frame.colour.bits)

    def _blocks(self, frame: Frame, faces: list[Face], a: np.ndarray, b: np.ndarray, deeper: int) -> None:
        level = 2.0 ** (frame.colour.bits - 8)
        away = cv2.subtract(b, a, dtype=cv2.CV_32F) if not deeper else b.astype(np.float32) / 2.0**deeper - a
        size = -(-a.shape[1] // BLOCK), -(-a.shape[0] // BLOCK)
        away = cv2.copyMakeBorder(away, 0, size[1] * BLOCK - a.shape[0], 0, size[0] * BLOCK - a.shape[1], cv2.BORDER_REPLICATE)
        away = np.abs(cv2.resize(away, size, interpolation=cv2.INTER_AREA)) / level
        away[_painted(frame, faces, a, away.shape)] = 0
        self.heights += np.bincount((away / STEP).clip(0, MOST / STEP).astype(np.int64).ravel(), minlength=len(self.heights))
        if (most := float(away.max())) > self.worst[0]:
            row, column = np.unravel_index(int(away.argmax()), away.shape)
            place = np.array([column, row]) * BLOCK / plane_scale(frame, a)
            self.worst = (most, frame.index, tuple(place.astype(int).tolist()))

    def findings(self, old: Contents, new: Contents) -> Iterator[Finding]:
        yield _alike("frames", *self.counts)
        if self.broken:
            yield Finding("decoding", "FAULT", self.broken)
        yield self._within("times of frames", self.times)
        yield self._within("lengths of frames", self.lengths[:-1], 2)
        if old.film_end is not None and new.film_end is not None:
            yield self._within("the film's end", [new.film_end - old.film_end - self.shift], 2)
        yield self._outside()

    def _within(self, what: str, moved: Iterable[Fraction], times: int = 1) -> Finding:
        most = max((abs(m) for m in moved), default=Fraction(0))
        if most == 0:
            return Finding(what, "same", "all" if not self.shift else f"all, {float(self.shift):g} s later, to begin at 0")
        rounded = most <= self.step * times / 2
        return Finding(what, "noted" if rounded else "FAULT", f"{'rounded' if rounded else 'moved'} by up to {float(most):.6f} s")

    def _outside(self) -> Finding:
        """Blocks of 0 steps are among those that differ: most of a lossless film's."""
        if not self.heights.any():
            return Finding("pixels outside", "noted", "not compared, for none are at the same place")
        many = np.cumsum(self.heights[::-1])[::-1]
        high = float(np.flatnonzero(many >= max(1, self.heights.sum() // 100))[-1] * STEP)
        most, frame, (x, y) = self.worst
        told = f"differ by at most {most:.1f} of 255, 99 % by {high:.1f} ({self.faces} masked faces left out)"
        if high > ALL_OVER:
            return Finding("pixels outside", "FAULT", f"the picture as a whole is another: blocks {told}")
        if most > max(LEAST, TIMES * (high + STEP)):
            return Finding("pixels outside", "FAULT", f"changed in frame {frame} at {x},{y}: blocks {told}")
        return Finding("pixels outside", "same", told)


def _painted(frame: Frame, faces: list[Face], plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Blocks that a fill may reach, bool [h, w]: a fill lies in the face's own crop."""
    mask = np.zeros(shape, np.uint8)
    for face in faces:
        corners = apply(face.crop(1), np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
        cv2.fillConvexPoly(mask, np.round(corners * plane_scale(frame, plane) / BLOCK - 0.5).astype(np.int32), 1)
    return cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0


def _tracks(old: Contents, new: Contents, source: Path, target: Path, shift: Fraction) -> Iterator[Finding]:
    rest = list(new.tracks)
    for number, one in enumerate(old.tracks):
        other = next((t for t in rest if (t.kind, t.codec) == (one.kind, one.codec)), None)
        if other is not None:
            rest.remove(other)
            yield _track(one, other, shift, source.suffix.lower(), target.suffix.lower())
        elif holds(target.suffix.lower(), source, number):
            yield Finding(one.name, "FAULT", "is missing")
        else:
            yield Finding(one.name, "noted", f"is left out, for {target.suffix} or the tool cannot hold it")
    yield from (Finding(other.name, "FAULT", "was not there before") for other in rest)


def _track(old: Track, new: Track, shift: Fraction, source: str, target: str) -> Finding:
    early = target in MATROSKA  # what comes before time 0 has no place in it
    gone = len(old.hashes) - len(new.hashes)
    if early and gone > 0 and all(time + shift < 0 for time in old.times[:gone]):
        kept = old.hashes[gone:], old.times[gone:]
    else:
        kept, gone = (old.hashes, old.times), 0
    if kept[0] != new.hashes:
        return Finding(old.name, "FAULT", f"{len(old.hashes)} packets became {len(new.hashes)} others")
    if old.kind in ("video", "attachment"):  # covers; how they are called is the container's own affair
        return Finding(old.name, "same", "the same bytes")
    most = max((abs(b - a - shift) for a, b in zip(kept[1], new.times, strict=True)), default=Fraction(0))
    limit = Fraction(1, 1000) if early else SOUND_STEP
    if most > limit:
        return Finding(old.name, "FAULT", f"moved by up to {float(most):.6f} s")
    tags, chosen = _tags(old.name, old.tags, new.tags, target), old.disposition == new.disposition
    if tags.verdict == "FAULT":
        return tags
    # MP4 has a default track of each kind, always, and others know none.
    if not chosen and any(source in kind and target in kind for kind in (MATROSKA, QUICKTIME)):
        return Finding(old.name, "FAULT", "is chosen by players otherwise than before")
    told = f"{len(new.hashes)} packets" + ("" if chosen else f", chosen by players as {target} has it")
    told += f", {gone} of the run-in before 0 left out" if gone else ""
    told += f", rounded by up to {float(most):.6f} s" if most else ""
    told += f", {tags.told}" if tags.verdict == "noted" else ""
    return Finding(old.name, "noted" if gone or most or not chosen or tags.verdict == "noted" else "same", told)


def _tags(what: str, old: dict[str, str], new: dict[str, str], track_in: str = "") -> Finding:
    """All that were said; a container may add its own. libav gives the tracks of MP4 the whole's time of creation."""
    have = {key.lower(): value for key, value in new.items()}
    lost = [key for key, value in old.items() if have.get(key.lower()) != value and (key, value) not in SILENT]
    if lost == ["creation_time"] and track_in in QUICKTIME:
        return Finding(what, "noted", "creation_time is that of the whole")
    return Finding(what, "FAULT" if lost else "same", f"lost: {', '.join(lost)}" if lost else f"{len(old)}")


def _chapters(old: Contents, new: Contents, shift: Fraction) -> Finding:
    """In milliseconds, which is what containers have."""
    told = [[(round(1000 * a), round(1000 * b), title) for a, b, title in one.chapters] for one in (old, new)]
    moved = [(a + round(1000 * shift), b + round(1000 * shift), title) for a, b, title in told[0]]
    if moved != told[1]:
        return Finding("chapters", "FAULT", f"{told[0]} became {told[1]}")
    return Finding("chapters", "same", str(len(moved)))
