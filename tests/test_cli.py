"""The command, through the shell: what it says, what it leaves behind, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from unmask_video import BadReference, Options, Person, Progress, Report, Stopped, cli
from unmask_video.options import PROVIDERS

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "unmask_video"]


def write_film(path: Path, frames: int, *, size: int = 96) -> None:
    """A film of moving stripes, no face in it."""
    stripes = np.add.outer(np.arange(size * 3 // 2), np.arange(size)).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for k in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(stripes, k, 1), format="yuv420p")))
        out.mux(stream.encode(None))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_film(folder / "film.mp4", 30)
    write_film(folder / "none.mkv", 0)
    write_sound(folder / "sound.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no film\n" * 100)
    (folder / "text.jpg").write_text("this is no photo\n" * 100)
    (folder / "text.onnx").write_text("this is no network\n" * 100)
    (folder / "old.mp4").write_bytes(b"what stood here before")
    face = astronaut()[..., ::-1]
    cv2.imwrite(str(folder / "face.png"), face)
    cv2.imwrite(str(folder / "two.png"), np.hstack([face, face]))
    cv2.imwrite(str(folder / "wall.png"), np.full((200, 200, 3), 120, np.uint8))
    return folder


@pytest.fixture
def folder(material: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(material, tmp_path / "work")
    os.link(copy / "film.mp4", copy / "same.mp4")
    (copy / "link.mp4").symlink_to(copy / "film.mp4")
    return copy


def call(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command; `@` stands for the folder."""
    words = [word.replace("@", f"{folder}/") for word in arguments.split()]
    return subprocess.run([*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_refused(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    """One sentence on stderr that holds `words`, nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("unmask-video: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


GOOD = "@film.mp4 @out.mp4 -r @face.png "
REFUSED = {
    "missing input": ("@gone.mp4 @out.mp4 -r @face.png", "gone.mp4 does not exist"),
    "input is a folder": ("@ @out.mp4 -r @face.png", "is a folder"),
    "input is text": ("@text.mp4 @out.mp4 -r @face.png", "text.mp4"),
    "input is empty": ("@empty.mp4 @out.mp4 -r @face.png", "empty.mp4"),
    "input is sound only": ("@sound.mp4 @out.mp4 -r @face.png", "audio"),
    "input has no frames": ("@none.mkv @out.mp4 -r @face.png", "none.mkv"),
    "missing reference": ("@film.mp4 @out.mp4 -r @gone.jpg", "gone.jpg"),
    "reference is text": ("@film.mp4 @out.mp4 -r @text.jpg", "text.jpg"),
    "reference without a face": ("@film.mp4 @out.mp4 -r @wall.png", "no face"),
    "reference with two faces": ("@film.mp4 @out.mp4 -r @two.png", "two.png#1"),
    "reference has no such face": ("@film.mp4 @out.mp4 -r @face.png#2", "#2"),
    "second reference is bad": (GOOD + "-r @wall.png", "no face"),
    "bad reference, target may go": ("@film.mp4 @old.mp4 --overwrite -r @wall.png", "no face"),
    "target is the source": ("@film.mp4 @film.mp4 --overwrite -r @face.png", "is the input itself"),
    "target is linked to the source": ("@film.mp4 @same.mp4 --overwrite -r @face.png", "is the input itself"),
    "target leads to the source": ("@film.mp4 @link.mp4 --overwrite -r @face.png", "is the input itself"),
    "target exists": ("@film.mp4 @old.mp4 -r @face.png", "--overwrite"),
    "target is a folder": ("@film.mp4 @ --overwrite -r @face.png", "is a folder"),
    "target's folder is missing": ("@film.mp4 @gone/out.mp4 -r @face.png", "gone does not exist"),
    "target's container is unknown": ("@film.mp4 @out.txt -r @face.png", ".mkv"),
    "unknown model": (GOOD + "--model monet", "tps"),
    "missing model file": (GOOD + "--model @gone.onnx", "gone.onnx does not exist"),
    "model file is text": (GOOD + "--model @text.onnx", "text.onnx"),
    "impossible crf": (GOOD + "--crf 99", "99"),
    "crf beyond the encoder": (GOOD + "--crf 60 --encoder libx264", "60"),
    "crf is no number": (GOOD + "--crf best", "best"),
    "unknown preset": (GOOD + "--preset warp9", "warp9"),
    "unknown encoder": (GOOD + "--encoder quill", "quill"),
    "unknown unmatched": (GOOD + "--unmatched maybe", "keep"),
    "unknown segmenter": (GOOD + "--segmenter eyes", "unet"),
    "unknown landmarks": (GOOD + "--landmarks eyes", "mediapipe"),
    "unknown provider": (GOOD + "--execution-providers cpu,abacus", "abacus"),
    "no provider": (GOOD + "--ep ,", "cuda"),
    "trim ends before its start": (GOOD + "--trim-start 1 --trim-end 0.5", "trim_end"),
    "trim starts after the end": (GOOD + "--trim-start 00:10:00", "600"),
    "trim before the start": (GOOD + "--trim-start=-1", "-1"),
    "trim is no time": (GOOD + "--trim-end soon", "00:01:02.5"),
    "unknown progress": (GOOD + "--progress loud", "plain"),
    "unknown log level": (GOOD + "--log-level loud", "debug"),
    "unknown option": (GOOD + "--magic", "--magic"),
    "no files": ("-r @face.png", "IN OUT"),
    "one file": ("@film.mp4 -r @face.png", "IN OUT"),
    "three files": ("@film.mp4 @out.mp4 @face.png", "face.png"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case: str, folder: Path) -> None:
    arguments, words = REFUSED[case]
    before = contents(folder)
    assert_refused(call(arguments, folder), 2, words)
    assert contents(folder) == before


def test_unwritable_folder(folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    target = "/proc" if os.geteuid() == 0 else locked  # nothing is locked to the superuser
    assert_refused(call(f"@film.mp4 {target}/out.mp4 -r @face.png", folder), 2, "cannot be written")
    assert not list(locked.iterdir())


def test_done(folder: Path) -> None:
    before = contents(folder)
    done = call(GOOD, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "frames       30\n" in done.stdout and f"written      {folder}/out.mp4\n" in done.stdout
    after = contents(folder)
    assert after.pop("out.mp4") and after == before


def test_other_ways_to_name_the_files(folder: Path) -> None:
    done = call("run --output @old.mp4 --overwrite -i @film.mp4 --reference @face.png --ep cpu", folder)
    assert done.returncode == 0, done.stderr
    with av.open(str(folder / "old.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 30


def test_json_progress(folder: Path) -> None:
    done = call(GOOD + "--progress json", folder)
    *steps, last = map(json.loads, done.stderr.splitlines())
    assert set(steps[-1]) == {"stage", "file", "frame", "total", "fps", "eta_s", "faces", "filled"}
    assert (steps[-1]["file"], steps[-1]["frame"], steps[-1]["total"]) == ("film.mp4", 30, 30)
    assert last["report"]["frames"] == 30 and last["report"]["target"] == f"{folder}/out.mp4"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(number: signal.Signals, folder: Path) -> None:
    write_film(folder / "long.mp4", 5000)
    before = contents(folder)
    words = f"{folder}/long.mp4 {folder}/old.mp4 --overwrite --progress json -r {folder}/face.png".split()
    with subprocess.Popen([*COMMAND, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stderr.readline())["total"] == 5000
        process.send_signal(number)
        rest = process.stderr.read().splitlines()
    assert process.returncode == 4
    assert rest[-1].startswith("unmask-video: stopped") and "Traceback" not in "".join(rest)
    assert contents(folder) == before


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run([*COMMAND, "--help"], cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.perf_counter() - begin)
    assert done.returncode == 0 and "--trim-start" in done.stdout
    assert min(seconds) < 0.7


def test_cpu_path_loads_no_torch(folder: Path) -> None:
    words = [word.replace("@", f"{folder}/") for word in GOOD.split()]
    code = (
        f"import sys, unmask_video.cli as cli; code = cli.exit_code({words!r})\n"
        "print(code, sorted({'torch', 'mediapipe', 'tensorflow', 'jax', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


# --- in this process, with another `unmask` -------------------------------------------------------


def report(**changes: Any) -> Report:
    alice = Person(1, frames=90, masked=80, filled=70, reference="alice.jpg", reason="seen from behind")
    bob = Person(2, frames=10, masked=10, filled=0, reference=None, reason="matches no reference")
    return replace(
        Report(Path("in.mp4"), Path("out.mp4"), 100, 100, 90, 70, (alice, bob), 10.0, 4.0, ("chapters are lost",)),
        **changes,
    )


Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command with an `unmask` that raises `error` or reports; exit code and what was asked."""

    def run(*words: str, error: BaseException | None = None) -> tuple[int, dict[str, Any]]:
        asked: dict[str, Any] = {}

        def unmask(source: Path, target: Path, **rest: Any) -> Report:
            asked.update(rest, source=source, target=target)
            rest["progress"](Progress(frame=50, total=100, faces=50, filled=40))
            if error is not None:
                raise error
            return report()

        monkeypatch.setitem(sys.modules, "unmask_video.pipeline", SimpleNamespace(unmask=unmask))
        return cli.exit_code(["in.mp4", "out.mp4", *words]), asked

    return run


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadReference("no face was found"), 2, "no face was found"),
        (Stopped("stopped by the user"), 4, "stopped by the user"),
        (KeyboardInterrupt(), 4, "stopped, and nothing was left behind"),
        (MemoryError(), 1, "there is not enough memory"),
        (RuntimeError("two\nlines"), 1, "unexpected error (RuntimeError: two lines)"),
    ],
)
def test_errors_end_as_one_sentence(
    error: BaseException, code: int, words: str, pretend: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretend(error=error)[0] == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"unmask-video: {words}") and said.err.count("\n") == 1


def test_values_arrive(pretend: Call) -> None:
    words = "-r a.jpg -r b.jpg#2 --unmatched fill --segmenter kmeans --landmarks mediapipe --encoder libx265"
    more = "--crf 20 --preset fast --no-audio --ep cuda --ep cpu --trim-start 10s --trim-end 00:01:02.5"
    code, asked = pretend(*words.split(), *more.split(), "--overwrite")
    assert code == 0 and asked["reference"] == ("a.jpg", "b.jpg#2")
    assert asked["options"] == Options(
        unmatched="fill", segmenter="kmeans", landmarks="mediapipe", encoder="libx265", crf=20, preset="fast",
        audio=False, execution_providers=("cuda", "cpu"), trim_start=10.0, trim_end=62.5, overwrite=True,
    )  # fmt: skip


def test_defaults_are_those_of_options(pretend: Call) -> None:
    assert pretend()[1]["options"] == Options()


def test_providers_are_those_of_runtime() -> None:
    from unmask_video import runtime

    assert set(PROVIDERS) == set(runtime.PROVIDERS)


def test_displays(pretend: Call, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for kind in ("auto", "none", "bar", "plain", "json"):
        assert pretend("--progress", kind)[0] == 0
        said[kind] = capsys.readouterr().err
    assert said["auto"] == said["none"] == ""
    assert "50/100" in said["bar"] and "40 of 50 faces filled" in said["bar"]
    assert said["plain"].startswith("frame 50 of 100, ") and said["plain"].endswith("40 of 50 faces filled\n")
    assert json.loads(said["json"].splitlines()[0])["filled"] == 40


def test_report() -> None:
    assert report().kept == {"seen from behind": 10, "matches no reference": 10}
    assert report().ratio == 2.5 and report(codec_seconds=0.0).ratio == 0.0
    summary = report().summary()
    for words in ("100 of 2 people, 90 masked", "20: seen from behind (10); matches", "2.5 times", "chapters"):
        assert words in summary
    assert json.loads(json.dumps(report().to_json()))["people"][1]["reference"] is None
