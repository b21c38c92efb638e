"""Films and photos, spoilt at random, given to the command: it must end, in a sentence or with a film.

    python tests/mutations.py --count 1000 [--seed 0] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from faces import Footage, masked, portrait, write_footage
from helpers import Film, frames_25

SLOWEST = 20.0
"""Seconds."""
FILM = Film(size=(160, 160), pts=frames_25(8), options={"preset": "ultrafast", "g": "4"}, sound=("eng",), sound_seconds=0.3)
FILMS = {
    ".mp4": replace(FILM, muxer_options={"movflags": "faststart"}, subtitles=((0, 200, "one"),), metadata={"title": "A film"}),
    ".mkv": replace(FILM, chapters=((0, 200, "first"),)),
    ".webm": replace(FILM, codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}, sound=()),
}
WORKER = """
import contextlib, io, json, sys
from unmask_video import cli
for line in sys.stdin:
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = cli.exit_code(json.loads(line))
    print(json.dumps([code, told.getvalue()]), flush=True)
"""


def bits(data: bytearray, luck: random.Random) -> None:
    for _ in range(luck.choice((1, 3, 30, 300))):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)


def block(data: bytearray, luck: random.Random) -> None:
    first = luck.randrange(len(data))
    last = min(len(data), first + luck.choice((4, 100, 5000)))
    data[first:last] = luck.choice((bytes(last - first), luck.randbytes(last - first), b"\xff" * (last - first)))


def cut(data: bytearray, luck: random.Random) -> None:
    first = luck.randrange(len(data))
    del data[first : luck.choice((len(data), first + 1 + luck.randrange(2000)))]


def doubled(data: bytearray, luck: random.Random) -> None:
    first = luck.randrange(len(data))
    data[first:first] = data[first : first + luck.randrange(3000)]


def header(data: bytearray, luck: random.Random) -> None:
    """A length or a number somewhere near the beginning, or in the last part, where an index may stand."""
    first = luck.choice((luck.randrange(min(2000, len(data))), len(data) - 1 - luck.randrange(min(2000, len(data)))))
    number = luck.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, luck.randrange(1 << 32)))
    data[first : first + 4] = number.to_bytes(4, "big")


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (bits, block, cut, doubled, header)


def spoilt(data: bytes, luck: random.Random) -> tuple[str, bytes]:
    """How it was spoilt, and the result."""
    out, kind = bytearray(data), luck.choice(KINDS)
    for _ in range(luck.choice((1, 1, 2))):
        if out:
            kind(out, luck)
    return kind.__name__, bytes(out)


@dataclass
class Command:
    """A process that takes one command after the other."""

    process: subprocess.Popen | None = None

    def run(self, words: list[str]) -> tuple[int, str] | str:
        """Exit code and stderr, or what went wrong."""
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            self.process = subprocess.Popen([sys.executable, "-c", WORKER], cwd=Path(__file__).parents[1], **pipes)
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(SLOWEST):
                self.end()
                return f"hung for more than {SLOWEST:g} s"
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.process = None
            return f"crashed ({code})"
        return tuple(json.loads(line))

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


def seeds(folder: Path) -> dict[str, bytes]:
    """What is spoilt, by its ending."""
    shown = Footage(masked()[0], FILM.size)
    films = {suffix: write_footage(folder / f"seed{suffix}", shown, film) for suffix, film in FILMS.items()}
    photos = {suffix: cv2.imencode(suffix, portrait()[..., ::-1])[1].tobytes() for suffix in (".jpg", ".png")}
    return {suffix: path.read_bytes() for suffix, path in films.items()} | photos


def outcomes(count: int, seed: int, keep: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """Of so many spoilt files: name, what came of it, and what was wrong with that, if anything."""
    command = Command()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = seeds(folder)
        work = folder / "work"
        for number in range(count):
            luck = random.Random(f"{seed}/{number}")
            suffix = luck.choice(list(whole))
            kind, data = spoilt(whole[suffix], luck)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            film, photo = work / (f"in{suffix}" if suffix in FILMS else "in.mp4"), work / "face.png"
            film.write_bytes(data if suffix in FILMS else whole[".mp4"])
            photo.write_bytes(whole[".png"] if suffix in FILMS else data)
            told = command.run([str(film), str(work / "out.mp4"), "-r", str(photo)])
            wrong = told if isinstance(told, str) else fault(*told, work, {film.name, photo.name})
            if wrong and keep:
                keep.mkdir(exist_ok=True)
                (keep / f"{seed}-{number}-{kind}{suffix}").write_bytes(data)
            yield f"{number} {kind} {suffix}", "" if isinstance(told, str) else f"exit {told[0]}", wrong
    command.end()


def fault(code: int, told: str, work: Path, given: set[str]) -> str:
    """What is wrong with an outcome, or nothing."""
    left = {path.name for path in work.iterdir()} - given
    if code not in (0, 1, 2, 3):
        return f"exit {code}: {told}"
    if "Traceback" in told or "unexpected" in told:
        return told
    if code in (1, 2) and (told.count("unmask-video: ") != 1 or told.count("\n") != 1):
        return f"not one sentence: {told}"
    return f"left behind: {left}" if left != ({"out.mp4"} if code in (0, 3) else set()) else ""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=1000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--keep", type=Path)
    chosen = words.parse_args()
    seen: Counter[str] = Counter()
    for name, came, wrong in outcomes(chosen.count, chosen.seed, chosen.keep):
        seen["WRONG" if wrong else came] += 1
        if wrong:
            print(f"{name}: {wrong}", flush=True)
    print(dict(seen))
    sys.exit("WRONG" in seen)


if __name__ == "__main__":
    main()
