"""Films in which no face is painted come out as they went in, to the byte."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from faces import Footage, portrait, write_photo
from helpers import frames_25
from test_pipeline import COUNT, FILM, assert_alike, make, moving, read, run

from unmask_video import decode, pipeline, track
from unmask_video.frame import Colour, Frame
from unmask_video.pace import Pace, due
from unmask_video.picture import thumbnail

BLANK = np.zeros((16, 16), np.uint8)


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


@pytest.mark.parametrize(("rate", "gap"), [(25, 1), (30000 / 1001, 1), (60, 1), (13, 1), (8, 1.5), (3, 1.6), (0, 1.6)])
@pytest.mark.parametrize("seconds", [10, 61, 7200])
def test_films_of_any_length_are_looked_at_so_often_that_no_mask_goes_by(
    folder: Path, seconds: int, rate: float, gap: float
) -> None:
    with decode.open_video(make(folder)) as video:
        info = replace(video.info, frame_count=round((rate or 25) * seconds), average_rate=Fraction(rate))
    tempo, copied = (Pace.of(info, track.EVERY, copied=may_be) for may_be in (False, True))
    assert tempo.every == (0.4 if seconds < 60 or not rate else 0.8)
    assert tempo.gap == pytest.approx(gap if seconds >= 60 and rate else 1.0) and tempo.gap <= copied.gap
    shown = (Frame((BLANK,), "gray", Colour("bt601", True, 8), 0, k, k, 1, 1 / Fraction(rate or 25)) for k in range(2000))
    times = [frame.time_seconds for frame, _ in due(shown, tempo.every, tempo.beat)]
    assert np.diff(times).max() < tempo.gap + 1 / (rate or 25), "but for a frame"


def test_a_search_that_sees_no_mask_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    convert = pipeline.convert
    monkeypatch.setattr(pipeline, "convert", lambda *given, **more: (called.append(1), convert(*given, **more)))
    make(folder, footage=Footage(portrait()))
    assert run(folder).frames == COUNT and not called, "no frame was gone through a second time"
    assert run(folder, target="searched.mp4", mine_references="off").copied and called.pop()
    make(folder)
    assert run(folder, target="masked.mp4").filled > 0
