"""The engine's benchmark: a line for each way, on whatever device there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from faces import Footage, masked, write_footage  # noqa: E402
from helpers import Film, frames_25  # noqa: E402

from training import benchmark  # noqa: E402


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(benchmark.main, [str(w) for w in words])


def test_each_way_has_a_line_and_the_film_its_ratio(tmp_path: Path) -> None:
    clip = write_footage(tmp_path / "in.mp4", Footage(masked()[0]), Film(size=(256, 256), pts=frames_25(8)))
    words = ("--device", "cpu", "--models", "swift", "--batches", "1,2", "--seconds", 0.02, "--film", clip)
    done = run(*words, "--json", tmp_path / "told.json")
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "told.json").read_text())
    assert [(line["batch"], line["streams"]) for line in told["engine"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(line["crops_a_second"] > 1 and 0 < line["apart"] < 2 for line in told["engine"])
    assert told["film"]["frames"] == 8 and "frames a second over codec alone" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", benchmark.MODELS)
def test_every_network_goes_through_the_engine_and_halves_within_two_steps(name: str) -> None:
    built = benchmark.build(name)
    assert benchmark.apart(built, "cpu") < 2
    assert benchmark.speed(built, "cpu", 2, 0.01, half=False)[0] > 0


def test_what_cannot_be_is_told_in_one_sentence() -> None:
    assert "there is no network 'abacus'" in run("--models", "abacus").output
    assert "'3' is no batch" in run("--batches", "3").output
    if not torch.cuda.is_available():
        done = run("--models", "swift")
        assert done.exit_code == 1 and "does not reach cuda here" in done.output and "Traceback" not in done.output
