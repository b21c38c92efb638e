"""The command that trains: what it writes, what it tells, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faces import cut

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("lightning.fabric")

from small_recipes import TWO, nothing_is_fetched, same, tiny  # noqa: E402, F401

from training import train  # noqa: E402
from training.checkpoint import register  # noqa: E402
from training.faces import Faces  # noqa: E402
from training.recipes import RECIPES  # noqa: E402
from unmask_video.models.segmenter import SIZE  # noqa: E402
from unmask_video.runtime import open_session  # noqa: E402

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `training.train` in a folder of its own with tiny recipes; weights go to `weights` there."""
    for name in ("segmenter", "segmenter_small", "sentry", "swift"):
        monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], size=64, batch=2))
    monkeypatch.setattr(train, "SCORED", 16)
    monkeypatch.setattr(train, "TELL_EVERY", 3)
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    monkeypatch.setattr("training.export.register", partial(register, folder=tmp_path / "weights"))
    empty = Faces((), np.zeros((0, 192, 192, 3), np.uint8), np.zeros((0, 468, 3), np.float32))
    given = {"faces": cut(*TWO, "ben/film-1.jpg"), "others": cut("carl/film-1.jpg", "carl/film-2.jpg"), "none": empty}
    for name, found in given.items():
        np.savez(f"{name}.npz", names=np.array(found.names, str), images=found.images, landmarks=found.landmarks)
    Path("text.npz").write_text("these are no faces\n" * 20)
    np.savez("half.npz", names=np.array(["a"]))
    return lambda words: CliRunner().invoke(train.main, words.split())


def written() -> set[str]:
    return {p.as_posix() for p in Path().rglob("*") if p.is_file()}


GOOD = "faces.npz --held-out others.npz "


@pytest.mark.parametrize("name", ["segmenter", "segmenter_small", "sentry", "swift"])
def test_a_dry_run_tells_and_writes_nothing(name: str, command: Command) -> None:
    tiny(name)
    before = written()
    done = command(f"{name} {GOOD} --dry-run --export")
    assert done.exit_code == 0, done.exception
    assert "2 steps, " in done.output and "samples a second" in done.output and "MiB" in done.output
    masks = ("iou", "masked", "bare")
    told = {"segmenter": masks, "segmenter_small": masks, "sentry": ("spared", "missed"), "swift": ("psnr", "warped_psnr")}[name]
    assert all(f"{k} " in done.output.partition("held out: ")[2] for k in told)
    assert written() == before


def test_a_run_writes_all_it_promises_and_is_then_done(command: Command) -> None:
    done, before = command(f"segmenter {GOOD} --steps 3"), set(written())
    assert done.exit_code == 0 and "step 3 of 3" in done.output, done.exception
    picture = cv2.imread("runs/segmenter/held-out.png")
    assert picture.shape == (16 * 64, 3 * 64, 3) and picture.std() > 20
    assert [p for p in before if p.startswith("runs/segmenter/") and "events.out.tfevents" in p]
    first = torch.load("runs/segmenter/checkpoint.pt", weights_only=True)
    done = command(f"segmenter {GOOD} --steps 3 --export")
    assert done.exit_code == 0 and "step 3" not in done.output, "nothing was left to do"
    second = torch.load("runs/segmenter/checkpoint.pt", weights_only=True)
    assert first["step"] == 3 and same(first, second), "not even the seconds"
    (entry,) = json.loads(Path("weights/files.json").read_text()).values()
    assert entry["file"] in done.output and {p.name for p in Path("weights").iterdir()} == {"files.json", entry["file"]}
    assert "3 steps" in entry["origin"] and "iou" in entry["origin"]
    made = open_session(Path("weights", entry["file"]).read_bytes(), ("cpu",))
    assert made.run(None, {"image": np.zeros((1, 3, SIZE, SIZE), np.float32)})[0].shape == (1, 1, SIZE, SIZE)
    assert command(f"segmenter {GOOD} --steps 5").exit_code == 0
    assert torch.load("runs/segmenter/checkpoint.pt", weights_only=True)["step"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("monet faces.npz", "swift"),
        ("segmenter", "FACES"),
        ("segmenter gone.npz", "gone.npz"),
        ("segmenter faces.npz --held-out gone.npz", "gone.npz"),
        ("segmenter faces.npz --held-out faces.npz", "2 people of --held-out are in FACES too, anna first"),
        ("segmenter faces.npz", "too few faces to keep some out"),
        ("segmenter none.npz --held-out others.npz", "faces"),
        ("segmenter faces.npz --held-out none.npz", "faces"),
        ("segmenter text.npz", "text.npz"),
        ("segmenter half.npz", "half.npz"),
        ("segmenter faces.npz --patterns text.npz --held-out others.npz", "text.npz"),
        (f"segmenter {GOOD} --steps 0", "--steps"),
        (f"segmenter {GOOD} --precision 8", "16-mixed"),
    ],
)
def test_wrong_words_are_told_in_a_sentence(words: str, said: str, command: Command) -> None:
    before = written()
    done = command(words)
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, done.exception
    *_, sentence = done.output.strip().splitlines()
    assert sentence.startswith("Error: ") and done.output.count("Error: ") == 1 and said in sentence
    assert written() == before
