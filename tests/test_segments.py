"""One film by many hands: cut anywhere, painted in any order, it is the film made in one go, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, facts, frames_25
from test_journal import left, pictures

from unmask_video import BadOption, CannotDecode, CannotEncode, Options, batch, encode, segments, smooth, table, unmask
from unmask_video.journal import folder_of
from unmask_video.table import Table

PIECE, COUNT = 16, 100
FAST = {"crf": "16", "preset": "ultrafast"}
FILM = Film(size=(256, 256), pts=frames_25(COUNT), options=FAST, sound=("eng",), sound_seconds=4.0)
FILMS = {
    "uneven.mp4": replace(
        FILM, pts=tuple(512 * k + (137 * k * k) % 400 for k in range(COUNT)), options={"crf": "16", "bf": "3", "g": "20"}
    ),
    "open.mkv": replace(FILM, options={"crf": "16", "bf": "3", "g": "12", "x264-params": "open-gop=1"}),
    "one-key.mp4": replace(FILM, options=FAST | {"g": "600"}),
    "stream.ts": FILM,
}


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Iterator[None]:
    with mock.patch.multiple(encode, SEGMENT=PIECE), mock.patch.multiple(smooth, SEGMENT=PIECE):
        with mock.patch.multiple(table, SEGMENT=PIECE), mock.patch.multiple(segments, SEGMENT=PIECE):
            yield


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_photo(folder / "face.png", portrait())
    for name, film in FILMS.items():
        write_footage(folder / name, Footage(masked()[0]), film)
    return folder


@pytest.fixture
def folder(films: Path, tmp_path: Path) -> Path:
    return shutil.copytree(films, tmp_path / "films")


def begin(folder: Path, name: str, target: str, **options: Any) -> dict[str, Any]:
    photos, chosen = [str(folder / "face.png")], Options(**options)
    return segments.begin(folder / name, folder / target, reference=photos, options=chosen, cut=True)


def paint(folder: Path, name: str, target: str, first: int, last: int, **options: Any) -> None:
    segments.paint(folder / name, folder / target, first=first, last=last, options=Options(**options))


def join(folder: Path, name: str, target: str, **options: Any) -> dict[str, Any]:
    photos = [str(folder / "face.png")]
    return segments.join(folder / name, folder / target, reference=photos, options=Options(**options))


def by_parts(folder: Path, name: str, target: str, parts: int, **options: Any) -> dict[str, Any]:
    told = begin(folder, name, target, **options)
    assert told["missing"] == list(range(told["pieces"]))
    for first, last in reversed(batch.cut(told["pieces"], parts)):
        paint(folder, name, target, first, last, **options)
    assert begin(folder, name, target, **options)["missing"] == []
    return join(folder, name, target, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [
    *((name, {}) for name in FILMS), ("uneven.mp4", {"trim_start": 0.52, "trim_end": 3.0}),
])  # fmt: skip
def test_a_film_of_parts_is_the_film_made_in_one_go(name: str, options: dict[str, Any], folder: Path) -> None:
    suffix = Path(name).suffix.replace(".ts", ".mkv")
    whole = unmask(folder / name, folder / f"whole{suffix}", reference=folder / "face.png", options=Options(**options))
    for parts in (1, 2, 7):
        told = by_parts(folder, name, f"{parts}{suffix}", parts, **options)
        assert (told["frames"], told["filled"]) == (whole.frames, whole.filled) and whole.filled == whole.frames > 50
        assert told["people"] == json.loads(json.dumps(whole.to_json()["people"])) and told["warnings"] == list(whole.warnings)
        assert pictures(folder / f"{parts}{suffix}") == pictures(folder / f"whole{suffix}")
        assert facts(folder / f"{parts}{suffix}") == facts(folder / f"whole{suffix}")
    assert left(folder) == []


@pytest.mark.parametrize(("pieces", "parts", "ends"), [
    (8, 2, [(0, 4), (4, 8)]), (8, None, [(0, 8)]), (3, 7, [(0, 1), (1, 2), (2, 3)]), (20, None, [(0, 7), (7, 13), (13, 20)]),
])  # fmt: skip
def test_parts_hold_all_pieces(pieces: int, parts: int | None, ends: list[tuple[int, int]]) -> None:
    assert batch.cut(pieces, parts) == ends


def test_pieces_that_are_there_are_not_made_again(folder: Path) -> None:
    begin(folder, "uneven.mp4", "out.mp4")
    paint(folder, "uneven.mp4", "out.mp4", 0, 3)
    kept = folder_of(folder / "out.mp4")
    before = {path: path.stat().st_mtime_ns for path in kept.glob("piece-*")}
    (kept / "piece-000001").write_bytes(b"torn")
    assert begin(folder, "uneven.mp4", "out.mp4")["missing"] == [1, *range(3, 7)]
    paint(folder, "uneven.mp4", "out.mp4", 0, 7)
    assert (kept / "piece-000000").stat().st_mtime_ns == before[kept / "piece-000000"]
    join(folder, "uneven.mp4", "out.mp4")


def test_nothing_is_joined_that_is_not_whole(folder: Path) -> None:
    begin(folder, "uneven.mp4", "out.mp4")
    paint(folder, "uneven.mp4", "out.mp4", 1, 7)
    with pytest.raises(CannotEncode, match=r"lacks what comes after 0 of 100 frames; paint it first"):
        join(folder, "uneven.mp4", "out.mp4")
    paint(folder, "uneven.mp4", "out.mp4", 0, 1)
    assert join(folder, "uneven.mp4", "out.mp4")["filled"] == COUNT


def test_another_film_or_a_damaged_table_is_told(folder: Path) -> None:
    begin(folder, "uneven.mp4", "out.mp4")
    with pytest.raises(BadOption, match=r"holds no first pass over .*open\.mkv by this version; make it anew"):
        paint(folder, "open.mkv", "out.mp4", 0, 7)
    rows = folder_of(folder / "out.mp4") / "table-000000.npz"
    rows.write_bytes(rows.read_bytes()[:-200])
    with pytest.raises(CannotDecode, match="missing or damaged in .*; begin anew"):
        paint(folder, "uneven.mp4", "out.mp4", 0, 7)
    with pytest.raises(CannotDecode, match="missing or damaged"):
        Table(folder)


def test_a_film_that_decodes_otherwise_than_at_first_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(folder, "uneven.mp4", "out.mp4")
    times = Table.times
    monkeypatch.setattr(Table, "times", lambda self, *ends: [*times(self, *ends)[:-9], 10**9])
    with pytest.raises(CannotDecode, match=r"does not decode as it did at first, from frame \d+ on; begin anew"):
        paint(folder, "uneven.mp4", "out.mp4", 2, 4)


def test_a_film_in_which_nobody_is_filled_is_copied_and_a_short_one_is_made_in_one_go(folder: Path) -> None:
    write_footage(folder / "bare.mp4", Footage(portrait()), replace(FILM, pts=frames_25(20)))
    assert begin(folder, "bare.mp4", "out.mp4")["report"]["copied"] and left(folder) == []
    assert (folder / "out.mp4").read_bytes() == (folder / "bare.mp4").read_bytes()
    photos = [str(folder / "face.png")]
    told = segments.begin(folder / "uneven.mp4", folder / "short.mp4", reference=photos, options=Options())
    assert told["pieces"] == 0 and told["report"]["filled"] == COUNT and (folder / "short.mp4").exists()
