"""`bench` and `doctor`: what the work costs, and what works here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25

from unmask_video import cli, doctor, landmarks
from unmask_video.errors import BadEnvironment


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_photo(folder / "face.png", portrait())
    return write_footage(folder / "in.mp4", Footage(masked()[0], (192, 192)), Film(size=(192, 192), pts=frames_25(20)))


def call(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str, str]:
    code = cli.exit_code([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_bench_tells_what_a_film_costs(film: Path, capsys: pytest.CaptureFixture) -> None:
    before = sorted(film.parent.iterdir())
    code, told, _ = call(capsys, "bench", film, "-r", film.parent / "face.png", "--json")
    found = json.loads(told)
    assert code == 0 and found["frames"] == 20 and found["masked"] >= 0.9
    assert {"search", "track", "steady", "segment", "match", "inpaint", "smooth", "paste"} == set(found["stages"])
    parts = sum(stage["cpu"] for stage in found["stages"].values())
    assert 0.2 * found["whole"]["cpu"] < parts <= found["whole"]["cpu"], "of the whole, nothing twice"
    assert 0 < found["codec"]["wall"] < found["whole"]["wall"] and found["peak_mib"] > 50
    extra = (found["whole"]["cpu"] - found["codec"]["cpu"]) / 20 * 1000 / found["facemesh_ms"]
    assert found["added_facemesh"] == pytest.approx(extra) and 0 < found["first_seconds"] < found["whole"]["wall"]
    assert sorted(film.parent.iterdir()) == before, "and keeps nothing"


def test_bench_is_a_table_for_people_and_knows_peers(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, told = call(capsys, "bench", film, "--compare")
    assert code == 2 and "pip install deface" in told
    fake = tmp_path / "deface"
    fake.write_text('#!/bin/sh\nsleep 0.3\ncp "$3" "$5"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    code, told, _ = call(capsys, "bench", film, "--compare", "--runs", 2)
    lines = {line[:18].strip(): line for line in told.splitlines()}
    assert code == 0 and {"unmask-video", "deface", "deface, opencv", "whole", "paste", "first frame"} <= set(lines)
    assert 1 <= float(lines["deface"].split()[1]) <= 67, "20 frames in no less than a third of a second"
    fake.write_text("#!/bin/sh\necho out of blur >&2\nexit 3\n")
    code, _, told = call(capsys, "bench", film, "--compare")
    assert code == 2 and "out of blur" in told and len(told.splitlines()) == 1


def test_bench_refuses_what_is_no_film(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "notes.mp4").write_text("no film")
    code, _, told = call(capsys, "bench", tmp_path / "notes.mp4")
    assert code == 2 and len(told.strip().splitlines()) == 1


def test_doctor_tries_what_is_here(capsys: pytest.CaptureFixture) -> None:
    code, told, _ = call(capsys, "doctor", "--json")
    found = {one["what"]: one for one in json.loads(told)}
    assert code == 0 and found["provider cpu"]["works"] and found["encoder libx264"]["works"]
    assert not found["encoder h264_videotoolbox"]["works"] or os.uname().sysname == "Darwin"
    code, told, _ = call(capsys, "doctor")
    assert code == 0 and "ok  provider cpu" in told and "python" in told


def test_doctor_warns_of_two_runtimes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "1.0" if package.startswith("onnxruntime") else "")
    _, told, _ = call(capsys, "doctor")
    assert "no  onnxruntime, -gpu" in told and "pip uninstall onnxruntime onnxruntime-gpu" in told


def test_doctor_says_so_where_nothing_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise BadEnvironment("the weights are damaged; install the package again")

    monkeypatch.setattr(landmarks, "session", broken)
    code, told, error = call(capsys, "doctor")
    assert code == 2 and "no  provider cpu" in told and "the weights are damaged" in told and "provider cpu" in error
    assert CliRunner().invoke(cli.doctor, ["--help"]).exit_code == 0


def test_help_knows_them(capsys: pytest.CaptureFixture) -> None:
    assert "unmask-video bench [OPTIONS] CLIP" in call(capsys, "bench", "--help")[1]
    assert "`doctor`" in call(capsys, "--help")[1]
