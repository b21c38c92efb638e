"""What unmasking costs as films get more faces, larger and longer: films made of one clip, each unmasked by the command itself.

    python -m training.scaling masked.mp4 scaling/
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path

import av
import click
import cv2
import matplotlib.figure
import numpy as np

from unmask_video import decode
from unmask_video.ahead import one_thread_each
from unmask_video.bench import codec_alone, facemesh_ms
from unmask_video.errors import UnmaskError
from unmask_video.options import Options
from unmask_video.picture import thumbnail

RATE = 25
PRESET = "ultrafast"
GRIDS = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (4, 2)}
"""Columns and rows of the clip in a film of so many faces."""


@dataclass(frozen=True)
class Film:
    """One that is made of the clip."""

    faces: int = 1
    height: int = 720
    seconds: int = 10

    @property
    def size(self) -> tuple[int, int]:
        return self.height * 16 // 9 // 4 * 4, self.height


@dataclass(frozen=True)
class Taken:
    """What a film took, the program's start with it."""

    film: Film
    frames: int
    cpu_ms: float
    """Of a frame."""
    codec_cpu_ms: float
    """Of decoding and encoding it alone."""
    facemesh_ms: float
    """One run of FaceMesh, see `bench.Bench`."""
    units: float
    """The rest, in runs of FaceMesh, of a face in a frame."""
    fps: float
    codec_fps: float
    peak_mib: float
    memory: tuple[tuple[float, float], ...]
    """Seconds, and MiB that the program then held."""


FILMS = (
    *(Film(faces=n) for n in GRIDS),
    *(Film(height=h) for h in (360, 1080, 2160)),
    *(Film(height=360, seconds=s) for s in (60, 600)),
)


def pictures(clip: Path, film: Film) -> Iterator[np.ndarray]:
    """RGB uint8 [h, w, 3], sides multiples of 4: the clip, and again from its end to its start, so that nothing jumps; tiled."""
    (width, height), (columns, rows) = film.size, GRIDS[film.faces]
    tile = width // columns, height // rows
    with decode.open_video(clip) as video:
        once = [thumbnail(frame, 1280) for frame in islice(video.frames(), 10 * RATE)]
    loop = chain.from_iterable(repeat([*once, *once[-2:0:-1]]))
    for rgb in islice(loop, film.seconds * RATE):
        h, w = rgb.shape[:2]
        scale = max(tile[0] / w, tile[1] / h)
        large = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        y, x = (large.shape[0] - tile[1]) // 2, (large.shape[1] - tile[0]) // 2
        part = large[y : y + tile[1], x : x + tile[0]]
        yield np.ascontiguousarray(np.tile(part, (rows, columns, 1)))


def write(clip: Path, film: Film, target: Path) -> Path:
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": PRESET})
        stream.pix_fmt, (stream.width, stream.height) = "yuv420p", film.size
        for rgb in pictures(clip, film):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        out.mux(stream.encode())
    return target


def measure(clip: Path, film: Film, folder: Path) -> Taken:
    """The film made, unmasked by the command, and decoded and encoded alone."""
    source, target = write(clip, film, folder / "source.mp4"), folder / "out.mp4"
    before = facemesh_ms()
    begin = time.process_time(), time.perf_counter()
    with one_thread_each():
        codec_alone(source, target, Options(preset=PRESET))
    codec_cpu, codec_wall = time.process_time() - begin[0], time.perf_counter() - begin[1]
    target.unlink()
    wall, cpu, memory = command([str(source), str(target), "--preset", PRESET, "--overwrite"])
    unit = (before + facemesh_ms()) / 2  # a machine that others use is at times faster and at times slower
    frames = film.seconds * RATE
    source.unlink()
    target.unlink()
    return Taken(
        film, frames, cpu / frames * 1e3, codec_cpu / frames * 1e3, unit, (cpu - codec_cpu) / frames / film.faces * 1e3 / unit,
        frames / wall, frames / codec_wall, max(mib for _, mib in memory), tuple(memory),
    )  # fmt: skip


def command(words: list[str]) -> tuple[float, float, list[tuple[float, float]]]:
    """Seconds by the clock and on the CPU of a run of the program, and its memory, looked at four times a second."""
    begin, memory = time.perf_counter(), []
    process = subprocess.Popen([sys.executable, "-m", "unmask_video", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while True:
        done, status, used = os.wait4(process.pid, os.WNOHANG)
        if done:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        memory.append((time.perf_counter() - begin, held(process.pid)))
        time.sleep(0.25)
    if process.returncode:
        raise click.ClickException(process.stderr.read().decode().strip().splitlines()[-1])
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, memory


def held(pid: int) -> float:
    """MiB of a process that are in memory (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(taken: list[Taken]) -> str:
    """Markdown."""
    lines = ["| faces | size | length | frames a second | codec alone | CPU-ms a frame | codec alone | FaceMesh a face | MiB |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for t in taken:
        size, length = "{} x {}".format(*t.film.size), f"{t.film.seconds} s"
        lines.append(
            f"| {t.film.faces} | {size} | {length} | {t.fps:.1f} | {t.codec_fps:.0f} | {t.cpu_ms:.0f} | {t.codec_cpu_ms:.1f} |"
            f" {t.units:.1f} | {t.peak_mib:.0f} |"
        )
    return "\n".join(lines)


def plot(taken: list[Taken], target: Path) -> None:
    """Cost by faces, by size, and memory over the longest film."""
    figure = matplotlib.figure.Figure(figsize=(12, 3.5), layout="constrained")
    faces, sizes, memory = figure.subplots(1, 3)
    plain = Film()
    some = [t for t in taken if replace(t.film, faces=1) == plain]
    faces.plot([t.film.faces for t in some], [t.cpu_ms for t in some], "o-")
    faces.set(xlabel="faces (1280 x 720)", ylabel="CPU-ms a frame", ylim=(0, None))
    some = sorted((t for t in taken if replace(t.film, height=720) == plain), key=lambda t: t.film.height)
    area = [t.film.size[0] * t.film.size[1] / 1e6 for t in some]
    sizes.plot(area, [t.cpu_ms for t in some], "o-", label="unmask-video")
    sizes.plot(area, [t.codec_cpu_ms for t in some], "o-", label="codec alone")
    sizes.set(xlabel="millions of pixels", ylabel="CPU-ms a frame", ylim=(0, None))
    sizes.legend()
    longest = max(taken, key=lambda t: t.film.seconds)
    memory.plot(*zip(*longest.memory, strict=True))
    memory.set(xlabel=f"seconds ({longest.film.seconds} s of film)", ylabel="MiB", ylim=(0, None))
    figure.savefig(target, dpi=80)


@click.command()
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--longest", default=FILMS[-1].seconds, show_default=True, help="Leave out films of more seconds.")
@click.option("--largest", default=2160, show_default=True, help="Leave out films of more lines.")
def main(clip: Path, folder: Path, longest: int, largest: int) -> None:
    """Make films of CLIP, which shows one masked face for up to ten seconds, and write table, CSV and plot into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    try:
        for film in (f for f in FILMS if f.seconds <= longest and f.height <= largest):
            taken.append(measure(clip, film, folder))
            click.echo(table(taken).splitlines()[-1])
    except UnmaskError as error:
        raise click.ClickException(str(error)) from None
    (folder / "scaling.md").write_text(table(taken) + "\n", "utf-8")
    with (folder / "memory.csv").open("w", newline="") as out:
        rows = ((t.film.faces, t.film.height, t.film.seconds, *point) for t in taken for point in t.memory)
        csv.writer(out).writerows([("faces", "height", "seconds", "at", "mib"), *rows])
    plot(taken, folder / "scaling.png")
    units = [t.facemesh_ms for t in taken]
    click.echo(f"FaceMesh: {min(units):.2f} to {max(units):.2f} ms; written to {folder}")


if __name__ == "__main__":
    main()
