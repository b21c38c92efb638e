"""The command, through the shell: what it says, what it leaves behind, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

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
        out.mux([*stream.encode(sound), *stream.encode(None)])


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_film(folder / "film.mp4", 30)
    write_film(folder / "none.mkv", 0)
    write_sound(folder / "sound.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no film\n" * 100)
    (folder / "text.jpg").write_text("this is no photo\n" * 100)
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
    return shell([*COMMAND, *expand(arguments, folder)])


def expand(arguments: str, folder: Path) -> list[str]:
    return [word.replace("@", f"{folder}/") for word in arguments.split()]


def shell(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)


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
    "target leads to the source": ("@film.mp4 @link.mp4 --overwrite -r @face.png", "is a symbolic link"),
    "target exists": ("@film.mp4 @old.mp4 -r @face.png", "--overwrite"),
    "target is a folder": ("@film.mp4 @ --overwrite -r @face.png", "is a folder"),
    "target's folder is missing": ("@film.mp4 @gone/out.mp4 -r @face.png", "gone does not exist"),
    "target's container is unknown": ("@film.mp4 @out.txt -r @face.png", ".mkv"),
    "unknown model": (GOOD + "--model monet", "tps"),
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
    *steps, last = map(json.loads, call(GOOD + "--progress json", folder).stderr.splitlines())
    assert set(steps[-1]) == {"stage", "file", "frame", "total", "fps", "eta_s", "faces", "filled"}
    assert (steps[-1]["file"], steps[-1]["frame"], steps[-1]["total"]) == ("film.mp4", 30, 30)
    assert last["report"]["frames"] == 30 and last["report"]["target"] == f"{folder}/out.mp4"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(number: signal.Signals, folder: Path) -> None:
    write_film(folder / "long.mp4", 5000)
    before = contents(folder)
    words = expand("@long.mp4 @old.mp4 --overwrite --progress json -r @face.png", folder)
    # A shell's background jobs are deaf to Ctrl-C, and so would be their children.
    heard = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}
    with subprocess.Popen([*COMMAND, *words], cwd=ROOT, **heard) as process:
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
        done = shell([*COMMAND, "--help"])
        seconds.append(time.perf_counter() - begin)
    assert done.returncode == 0 and "--trim-start" in done.stdout
    assert min(seconds) < 0.7


def test_cpu_path_loads_no_torch(folder: Path) -> None:
    code = (
        f"import sys, unmask_video.cli as cli; code = cli.exit_code({expand(GOOD, folder)!r})\n"
        "print(code, sorted({'torch', 'mediapipe', 'tensorflow', 'jax', 'matplotlib'} & set(sys.modules)))"
    )
    done = shell([sys.executable, "-c", code])
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
