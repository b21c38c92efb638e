"""Films in which no face is painted come out as they went in, to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces import Footage, portrait, write_photo
from helpers import frames_25
from test_pipeline import COUNT, FILM, assert_alike, make, moving, read, run

from unmask_video import decode, pipeline, work
from unmask_video.picture import thumbnail


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a reference photo and nothing else."""
    write_photo(tmp_path / "face.png", portrait())
    return tmp_path


def test_a_film_in_which_nobody_is_painted_is_copied(folder: Path) -> None:
    source = make(folder, footage=Footage(portrait()))
    report = run(folder)
    assert report.copied and "copied" in report.summary() and report.frames == COUNT and not report.ratio
    assert (folder / "out.mp4").read_bytes() == source.read_bytes()
    for number, asked in enumerate(({"crf": 30}, {"audio": False}, {"trim_start": 0.1}, {"preset": "fast"})):
        assert not run(folder, target=f"{number}.mp4", **asked).copied
        assert (folder / f"{number}.mp4").read_bytes() != source.read_bytes()
    assert not run(folder, target="out.mkv").copied


def test_a_mask_that_comes_late_loses_nothing_of_what_was_before(folder: Path) -> None:
    bare, worn, film = Footage(portrait()), moving(), replace(FILM, pts=frames_25(50))
    source = make(folder, film, footage=lambda index: (bare if index < 35 else worn)(index))
    report = run(folder)
    assert not report.copied and report.frames == 50 and report.filled >= 12
    assert_alike(source, folder / "out.mp4")
    for index, frame in enumerate(read(folder / "out.mp4")):
        assert np.abs(thumbnail(frame, 256).astype(float) - bare(index)).mean() < 6


@pytest.mark.parametrize("seconds, every", [(0, 0.4), (10, 0.4), (45, 0.6), (60, 0.8), (7200, 0.8)])
def test_films_of_any_length_are_looked_at_so_often_that_no_mask_goes_by(folder: Path, seconds: int, every: float) -> None:
    with decode.open_video(make(folder)) as video:
        assert work.pace(replace(video.info, frame_count=25 * seconds)) == pytest.approx(every)


def test_a_search_that_sees_no_mask_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    convert = pipeline.convert
    monkeypatch.setattr(pipeline, "convert", lambda *given, **more: (called.append(1), convert(*given, **more)))
    make(folder, footage=Footage(portrait()))
    assert run(folder).frames == COUNT and not called, "no frame was gone through a second time"
    assert run(folder, target="searched.mp4", mine_references="off").copied and called.pop()
    make(folder)
    assert run(folder, target="masked.mp4").filled > 0
