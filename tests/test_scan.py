"""Who is in a folder of films."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import Footage, masked, points, portrait, tools, write_footage
from helpers import Film, frames_25

from unmask_video import cast_folder, cli, scan
from unmask_video.face import Reference
from unmask_video.scan import Stretch, together

FILM = Film(size=(256, 256), pts=frames_25(60), options={"crf": "16", "preset": "ultrafast"})


def stretch(
    direction: int, film: str = "a", begin: float = 0.0, end: float = 1.0, *, clear: float = 0.9, looks: int = 4
) -> Stretch:  # fmt: skip
    """Of a person who is one direction of many, as clear as that."""
    vector = np.zeros(192, np.float32)
    vector[direction] = clear
    return Stretch(film, np.zeros(4), 0, begin, end, vector * looks, looks)


def groups(found: list[Stretch], known: list[list[Reference]] | None = None, **more: float) -> list[set[int]]:
    return [set(group) for group in together(found, known or [], **more)]


def test_stretches_of_one_person_come_together() -> None:
    found = [stretch(0), stretch(1, "b"), stretch(0, "b", 5, 6), stretch(1, "c"), stretch(0, "d")]
    assert sorted(groups(found), key=min) == [{0, 2, 4}, {1, 3}]
    assert groups([]) == []


def test_two_at_one_moment_of_one_film_are_two_people() -> None:
    found = [stretch(0, begin=0, end=2), stretch(0, begin=1, end=3), stretch(0, begin=4, end=5)]
    assert sorted(map(len, groups(found))) == [1, 2] and not any({0, 1} <= group for group in groups(found))


def test_a_group_is_joined_by_the_mean_of_all_its_looks() -> None:
    blurred = stretch(0, "c", clear=0.6)
    assert groups([stretch(0, clear=1.0, looks=40), blurred]) == [{0, 1}]
    assert sorted(groups([stretch(0, clear=0.9, looks=40), blurred]), key=min) == [{0}, {1}]


def test_known_people_come_first_and_are_never_joined() -> None:
    one = stretch(0)
    photo = Reference("photo", portrait(), points(), one.total / one.looks)
    assert groups([stretch(1), one], [[photo], [photo]]) == [{1}, set(), {0}]


def test_a_film_is_one_stretch_of_one_face(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "bare.mp4", Footage(portrait()), FILM)
    (bare,) = scan.stretches(path, "bare", tools())
    assert (bare.looks, bare.masked, len(bare.views)) == (5, 0, 5) and (bare.begin, bare.end) == pytest.approx((0, 2), abs=0.3)
    path = write_footage(tmp_path / "worn.mp4", Footage(masked()[0]), FILM)
    (worn,) = scan.stretches(path, "worn", tools())
    assert worn.masked == worn.looks and not worn.views
    assert together([bare, worn]) == [[0, 1]]


def test_best_views_are_few_and_none_twice() -> None:
    one = stretch(0)
    one.views = [(quality, Reference(str(quality), portrait(), points(), one.total)) for quality in (1.0, 9.0, 3.0, 5.0, 7.0)]
    assert [view.name for view in scan.best_views([one])] == ["9.0", "7.0", "5.0", "3.0"]


def test_a_cast_is_written_named_and_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    write_footage(tmp_path / "in/bare.mp4", Footage(portrait()), FILM)
    write_footage(tmp_path / "in/worn.mp4", Footage(masked()[0]), FILM)
    (tmp_path / "in/junk.mp4").write_bytes(b"junk")
    words = ["scan", str(tmp_path / "in"), "--cast", str(tmp_path / "cast")]
    assert cli.exit_code(words) == 3
    captured = capsys.readouterr()
    assert "1 people in 2 films" in captured.out and "not a video" in captured.err
    (person,) = cast_folder.load(tmp_path / "cast")
    assert (person.name, person.consent) == ("person 1", "unknown") and 1 <= len(person.photos) <= scan.VIEWS
    assert list((tmp_path / "cast/person 1/masked").glob("*.jpg"))
    page = (tmp_path / "cast/index.html").read_text()
    assert "bare.mp4, worn.mp4" in page and person.photos[0].name in page
    assert cv2.imread(str(tmp_path / "cast/contact.png")).shape == (118, 960, 3)

    told = tmp_path / "cast/person 1/person.toml"
    told.write_text(told.read_text().replace("person 1", "Anna").replace("unknown", "yes"))
    photos = {path: path.read_bytes() for path in person.photos}
    (tmp_path / "in/junk.mp4").unlink()
    assert cli.exit_code(words) == 0
    (anna,) = cast_folder.load(tmp_path / "cast")
    assert (anna.name, anna.consent) == ("Anna", "yes") and all(path.read_bytes() == was for path, was in photos.items())
    assert cli.exit_code(["batch", *(str(tmp_path / name) for name in ("in", "out")), "--cast", str(tmp_path / "cast")]) == 0
    assert "Anna" in (tmp_path / "out/report.html").read_text()


def test_who_was_only_seen_masked_is_found_again_and_what_was_written_stays(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_footage(tmp_path / "in/worn.mp4", Footage(masked()[0]), FILM)
    words = ["scan", str(tmp_path / "in"), "--cast", str(tmp_path / "cast")]
    folders = lambda: sorted(path.name for path in (tmp_path / "cast").iterdir() if path.is_dir())  # noqa: E731
    assert cli.exit_code(words) == 0 and folders() == ["person 1"]
    assert cli.exit_code(words) == 0 and folders() == ["person 1"], "not a second time"
    told = tmp_path / "cast/person 1/person.toml"
    told.write_text(told.read_text().replace("unknown", "no"))
    assert cli.exit_code(words) == 0 and folders() == ["person 1", "person 2"] and "no" in told.read_text()


def test_a_long_film_is_looked_at_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_footage(tmp_path / "bare.mp4", Footage(portrait()), FILM)
    monkeypatch.setattr(scan, "MOST_LOOKS", 3)
    monkeypatch.setattr(scan, "KEPT", 2)
    (bare,) = scan.stretches(path, "bare", tools())
    assert bare.looks == 3 and len(bare.views) == 2


def test_nothing_to_scan_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.exit_code(["scan", str(tmp_path), "--cast", str(tmp_path / "cast")]) == 2
    assert "no film below" in capsys.readouterr().err and not (tmp_path / "cast").exists()
