"""The beginning of a film in which nobody is masked is written while the film is searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from faces import Footage, portrait, write_photo
from helpers import frames_25
from test_journal import assert_same_film
from test_pipeline import FILM, make, moving, read

from unmask_video import CannotEncode, Options, Progress, Report, Stopped, decode, encode, opening, pipeline, smooth, unmask
from unmask_video.opening import Opening
from unmask_video.pieces import Pieces

LONG = replace(FILM, pts=frames_25(150))
CALM, LATE, EARLY = 1000, 110, 0
"""Number of the first frame in which somebody is masked."""
Make = Callable[[int], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photo(tmp_path / "face.png", portrait())
    return tmp_path


@pytest.fixture
def film(folder: Path) -> Make:
    """Writes a film of six seconds; a folder with that, and with a photo."""

    def made(first: int) -> Path:
        bare, worn = Footage(portrait()), moving()
        make(folder, LONG, footage=lambda k: (worn if k >= first else bare)(k))
        return folder

    return made


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[Opening]:
    """Of all films."""
    made, init = [], Opening.__init__

    def noted(self: Opening, *rest: Any, **named: Any) -> None:
        made.append(self)
        init(self, *rest, **named)

    monkeypatch.setattr(Opening, "__init__", noted)
    return made


def run(folder: Path, target: str, progress: Callable[[Progress], None] | None = None, **options: Any) -> Report:
    return unmask(
        folder / "in.mp4", folder / target, reference=folder / "face.png", options=Options(**{"crf": 30} | options),
        progress=progress,
    )  # fmt: skip


def without(folder: Path, **options: Any) -> Path:
    """The same film, written in a pass of its own."""
    with mock.patch.object(opening, "HELD", 0):
        run(folder, "whole.mp4", **options)
    return folder / "whole.mp4"


@pytest.mark.parametrize("resume", [True, False])
def test_a_calm_film_is_decoded_once(film: Make, resume: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = film(CALM)
    whole = without(folder, resume=resume)
    monkeypatch.setattr(pipeline, "convert", lambda *_, **__: pytest.fail("decoded twice"))
    report = run(folder, "out.mp4", resume=resume)
    assert (report.frames, report.face_frames, report.copied) == (150, 0, False)
    assert 0 < report.first_seconds < report.seconds and report.codec_seconds > 0
    assert_same_film(folder / "out.mp4", whole)


@pytest.mark.parametrize("resume", [True, False])
def test_a_mask_comes_in_later(film: Make, openings: list[Opening], resume: bool) -> None:
    folder = film(LATE)
    whole = without(folder, resume=resume)
    report = run(folder, "out.mp4", resume=resume)
    assert openings[0].written == 0 and openings[1].written > 30 and 30 < report.filled <= 40
    assert_same_film(folder / "out.mp4", whole)


@pytest.mark.parametrize(
    "first, options",
    [
        (EARLY, {}), (CALM, {"trim_start": 1.0}), (CALM, {"trim_end": 3.0}), (CALM, {"mine_references": "off"}),
        (CALM, {"crf": None}),
    ],
)  # fmt: skip
def test_otherwise_nothing_is_written_early(film: Make, openings: list[Opening], first: int, options: dict[str, Any]) -> None:
    folder = film(first)
    run(folder, "out.mp4", **options)
    assert openings[0].written == 0 and len(read(folder / "out.mp4")) >= 75


def test_what_was_written_early_is_kept_at_a_stop(film: Make) -> None:
    folder = film(LATE)

    def stop(now: Progress) -> None:
        if now.stage == "search" and now.frame == 140:
            raise KeyboardInterrupt

    with mock.patch.object(encode, "SEGMENT", 16), mock.patch.object(smooth, "SEGMENT", 16):
        whole = without(folder)
        with pytest.raises(Stopped, match="frames are kept"):
            run(folder, "out.mp4", stop)
        kept = Pieces(folder / ".out.mp4.unmask")
        kept.take_up()
        assert kept.frames >= 16
        run(folder, "out.mp4")
    assert_same_film(folder / "out.mp4", whole)


def test_an_encoder_that_fails_early_leaves_nothing_behind(film: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = film(CALM)
    monkeypatch.setattr(encode, "to_picture", mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(CannotEncode, match="free the disk"):
        run(folder, "out.mp4", resume=False)
    assert sorted(path.name for path in folder.iterdir()) == ["face.png", "in.mp4"]


def test_what_was_wrong_with_a_calm_film_is_told(film: Make, openings: list[Opening], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = film(CALM)
    look = decode.Video._read

    def warned(self: decode.Video, *rest: Any) -> Any:
        self._warn("time stands still")
        return look(self, *rest)

    monkeypatch.setattr(decode.Video, "_read", warned)
    assert run(folder, "out.mp4").warnings.count("time stands still") == 1 and openings[0].written == 150


def test_a_damaged_film_is_gone_through(film: Make, openings: list[Opening]) -> None:
    folder = film(CALM)
    data = bytearray((folder / "in.mp4").read_bytes())
    start = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[start : start + 400] = bytes(400)
    (folder / "in.mp4").write_bytes(data)
    report = run(folder, "out.mp4")
    assert report.damaged > 0 and report.frames == len(read(folder / "out.mp4")) and openings[0].written < 150
