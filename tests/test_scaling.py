"""Films with more faces, larger and longer ones: made, unmasked by the command, and told."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("matplotlib")

from faces import Footage, masked, write_footage  # noqa: E402
from helpers import Film, facts, frames_25  # noqa: E402

from training import scaling  # noqa: E402


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_footage(tmp_path / "in.mp4", Footage(masked()[0]), Film(size=(256, 256), pts=frames_25(6)))


@pytest.mark.parametrize("faces", scaling.GRIDS)
def test_films_have_so_many_faces_of_the_clip(faces: int, clip: Path) -> None:
    shown = list(islice(scaling.pictures(clip, scaling.Film(faces=faces, height=360)), 14))
    columns, rows = scaling.GRIDS[faces]
    assert {p.shape for p in shown} == {(360, 640, 3)} and columns * rows == faces
    first, tile = shown[0], (360 // rows, 640 // columns)
    for y in range(rows):
        for x in range(columns):
            assert (first[y * tile[0] :][: tile[0], x * tile[1] :][:, : tile[1]] == first[: tile[0], : tile[1]]).all()
    jumps = [np.abs(a.astype(int) - b).mean() for a, b in zip(shown, shown[1:], strict=False)]
    assert max(jumps) < 1.5 * np.median(jumps), "it runs back and forth"


def test_a_film_is_measured_and_told(clip: Path, tmp_path: Path) -> None:
    taken = scaling.measure(clip, scaling.Film(height=256, seconds=1), tmp_path)
    assert taken.frames == 25 and taken.cpu_ms > taken.codec_cpu_ms > 0 and taken.fps < taken.codec_fps
    assert taken.units == pytest.approx((taken.cpu_ms - taken.codec_cpu_ms) / taken.facemesh_ms) and 50 < taken.peak_mib < 5000
    assert not (tmp_path / "source.mp4").exists() and not (tmp_path / "out.mp4").exists()
    others = [replace(taken, film=film) for film in scaling.FILMS]
    scaling.plot(others, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    lines = scaling.table(others).splitlines()
    assert len(lines) == 2 + len(scaling.FILMS) and "| 8 | 1280 x 720 | 10 s |" in "\n".join(lines)


@pytest.mark.slow
def test_the_command_writes_table_memory_and_plot(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "FILMS", (scaling.Film(height=256, seconds=1), scaling.Film(height=256, seconds=2)))
    done = CliRunner().invoke(scaling.main, [str(clip), str(tmp_path / "told")])
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "told").iterdir()} == {"scaling.md", "scaling.png", "memory.csv"}
    with (tmp_path / "told" / "memory.csv").open() as file:
        assert {row["seconds"] for row in csv.DictReader(file)} == {"1", "2"}


def test_films_are_as_large_and_long_as_they_say(clip: Path, tmp_path: Path) -> None:
    film = scaling.Film(height=144, seconds=1)
    told = facts(scaling.write(clip, film, tmp_path / "film.mp4"))
    assert len(told.times) == 25 and film.size == (256, 144)
