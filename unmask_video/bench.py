"""What the work costs: against decoding and encoding alone, against one run of FaceMesh, and against a peer."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unmask_video import decode, landmarks
from unmask_video.encoders import MUXERS
from unmask_video.errors import BadEnvironment
from unmask_video.face import mean_face
from unmask_video.options import Options
from unmask_video.picture import photo
from unmask_video.pipeline import unmask
from unmask_video.report import Report
from unmask_video.work import writer

PEERS = {"deface": ("deface", "--backend", "onnxrt"), "deface, opencv": ("deface", "--backend", "opencv")}
"""What goes the same way, to blur faces: the first words of commands that take IN -o OUT."""


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    wall: float
    """Seconds by the clock."""
    cpu: float
    """Seconds on all cores together."""


@dataclass(frozen=True)
class Bench:
    """What unmasking a film cost; medians over the runs, all made in turn."""

    clip: str
    frames: int
    masked: float
    """Masked faces a frame."""
    copied: bool
    """No face was painted, so the whole was to look through the film and to copy it."""
    runs: int
    facemesh_ms: float
    """One run of FaceMesh, as it is published, on one core: the unit. Ours takes less."""
    codec: Cost
    """Decoding and encoding alone, with the same settings."""
    whole: Cost
    stages: dict[str, Cost]
    first_seconds: float
    """From the call until the first frame was ready."""
    peak_mib: float
    """Most memory that the process ever held; 0 where that is not known."""
    peers: dict[str, float]
    """Seconds by the clock of whole programs, this one among them; empty if that was not asked for."""

    @property
    def added(self) -> float:
        """CPU time of a frame beyond the codec's, in runs of FaceMesh."""
        return (self.whole.cpu - self.codec.cpu) / self.frames * 1e3 / self.facemesh_ms

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"added_facemesh": self.added}

    def table(self) -> str:
        """For people."""
        frames, codec, whole = self.frames, self.codec, self.whole
        each = lambda cost: f"{cost.cpu / frames * 1e3:8.2f} {cost.wall / frames * 1e3:8.2f}"  # noqa: E731
        nothing = ", no face painted: copied" if self.copied else ""
        face = f", {self.added / self.masked:.1f} a masked face" if self.masked > 0.01 else ""
        lines = [
            f"{self.clip}: {frames} frames, {self.masked:.2f} masked faces a frame, {self.runs} runs{nothing}", "",
            f"{'ms a frame':18s} {'CPU':>8s} {'clock':>8s}",
            *(f"{name:18s} {each(cost)}" for name, cost in self.stages.items()),
            f"{'codec alone':18s} {each(codec)}", f"{'whole':18s} {each(whole)}", "",
            f"frames a second    {frames / whole.wall:.1f}, codec alone {frames / codec.wall:.1f}",
            f"ratio              {whole.wall / codec.wall:.2f} by the clock, {whole.cpu / codec.cpu:.2f} on the CPU",
            f"added              {self.added:.1f} FaceMesh a frame{face} (FaceMesh: {self.facemesh_ms:.2f} ms)",
            f"first frame        {self.first_seconds:.2f} s",
        ]  # fmt: skip
        lines += [f"most memory        {self.peak_mib:.0f} MiB"] if self.peak_mib else []
        lines += [f"{name:18s} {frames / taken:.1f} frames a second, with its start" for name, taken in self.peers.items()]
        return "\n".join(lines)


def measure(clip: Path, photos: Sequence[str], options: Options, *, runs: int = 1, compare: bool = False) -> Bench:
    """Unmask a film `runs` times into nothing, in turn with the codec alone, and with peers.

    Raises:
        UnmaskError: as `unmask` does; BadEnvironment if there is no peer to compare with.
    """
    programs = dict(_peers()) if compare else {}
    alone, whole, reports, units, peers = [], [], [], [], {name: [] for name in programs}
    with TemporaryDirectory() as folder:
        target = Path(folder) / f"out{clip.suffix if clip.suffix.lower() in MUXERS else '.mp4'}"
        for _ in range(runs):
            units.append(facemesh_ms())
            alone.append(_timed(lambda: codec_alone(clip, target, options))[0])
            target.unlink(missing_ok=True)
            cost, report = _timed(lambda: unmask(clip, target, reference=photos, options=options))
            target.unlink()
            units.append(facemesh_ms())  # a machine that others use is at times faster and at times slower
            whole.append(cost)
            reports.append(report)
            for name, command in programs.items():
                peers[name].append(_program(command(clip, target, photos, options)))
                target.unlink(missing_ok=True)
    last = reports[-1]
    return Bench(
        clip.name, last.frames, last.masked / last.frames, last.copied, runs, statistics.median(units), _median(alone),
        _median(whole), _stages(reports), statistics.median(r.first_seconds for r in reports), peak_mib(),
        {name: statistics.median(seconds) for name, seconds in peers.items()},
    )  # fmt: skip


def facemesh_ms() -> float:
    """CPU time of one run of FaceMesh, as it is published, on a face, cut out of its picture: the median of 40."""
    find, face = landmarks.onnx_backend(network_name="facemesh_published"), mean_face()
    picture, region = photo(face.image), landmarks.region_of_landmarks(face.landmarks)
    taken = []
    for _ in range(40):
        begin = time.thread_time()
        find(picture, [region])
        taken.append(time.thread_time() - begin)
    return statistics.median(taken) * 1e3


def codec_alone(clip: Path, target: Path, options: Options) -> None:
    """Every frame decoded and encoded as it is."""
    with decode.open_video(clip) as video, writer(video, target, options) as out:
        for frame in video.frames(options.trim_start, options.trim_end):
            out.write(frame)


def peak_mib() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    # In KiB, but on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _timed(work: Callable[[], Any]) -> tuple[Cost, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu), made


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def _stages(reports: list[Report]) -> dict[str, Cost]:
    return {name: _median([Cost(wall, cpu) for cpu, wall in (r.stages[name] for r in reports)]) for name in reports[0].stages}


def _peers() -> list[tuple[str, Callable[[Path, Path, Sequence[str], Options], list[str]]]]:
    """This program and those of `PEERS` that are installed, as commands."""
    if not shutil.which("deface"):
        raise BadEnvironment("there is no deface to compare with; pip install deface onnxruntime into a place on the PATH")

    def ours(clip: Path, target: Path, photos: Sequence[str], options: Options) -> list[str]:
        named = ("model", "unmatched", "mine_references", "encoder", "crf", "preset")
        chosen = [f"--{name.replace('_', '-')}={value}" for name in named if (value := getattr(options, name)) is not None]
        return [sys.executable, "-m", "unmask_video", str(clip), str(target), *chosen, *(f"--reference={p}" for p in photos)]

    others = {name: lambda clip, target, *_, words=words: [*words, str(clip), "-o", str(target)] for name, words in PEERS.items()}
    return [("unmask-video", ours), *others.items()]


def _program(command: list[str]) -> float:
    """Seconds that a command takes."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise BadEnvironment(f"{Path(command[0]).name} failed ({last}); leave --compare out")
    return time.perf_counter() - begin
