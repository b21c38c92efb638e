"""Faces cut out of pictures for training: what is kept, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from faces import points, portrait, shared, write_photo
from pairs import write_people

from training import data
from training.faces import Faces, person
from training.photos import open_photos
from unmask_video.face import align


def cut(*words: object) -> Result:
    return CliRunner().invoke(data.main, [str(word) for word in words])


def test_faces_are_cut_upright_with_their_landmarks(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    (people / "b" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    write_photo(people / "wall.png", np.full((200, 300, 3), 120, np.uint8))
    told = cut(tmp_path / "faces.npz", people, "--size", 128)
    assert told.exit_code == 0 and "people: 4 faces so far" in told.output
    faces = Faces.load((tmp_path / "faces.npz",))
    assert faces.names == ("a/1.png", "a/2.png", "b/1.png", "b/2.png") and {person(n) for n in faces.names} == {"a", "b"}
    assert faces.images.shape == (4, 128, 128, 3) and faces.images.dtype == np.uint8
    to_photo = align(points(), 128)
    found = faces.landmarks[0].astype(float)[:, :2] @ to_photo[:, :2].T + to_photo[:, 2]
    assert np.abs(found - points()[:, :2]).mean() < 0.01 * np.ptp(points()[:, 1]), "the first is the portrait itself"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda p: p.mkdir(), "holds no photos"),
        (lambda p: write_photo(p / "wall.png", np.full((200, 300, 3), 120, np.uint8)), "no face was found in any picture"),
        (lambda p: p.write_bytes(b"no tar"), "is no tar"),
    ],
    ids=["empty folder", "no faces", "no tar"],
)
def test_what_gives_no_faces_is_told_in_a_sentence(made: object, said: str, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    if said.startswith("no face"):
        source.mkdir()
    made(source)
    told = cut(tmp_path / "faces.npz", source)
    assert told.exit_code == 1 and not (tmp_path / "faces.npz").exists()
    *before, last = told.output.splitlines()
    assert last.startswith("Error: ") and said in last and before in ([], ["photos: 0 faces so far"]), told.output


def test_photos_that_models_are_scored_on_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is in the file, whatever it is called."""
    folder = tmp_path / "people"
    folder.mkdir()
    write_photo(folder / "holiday.png", portrait())
    monkeypatch.setattr(data, "SCORED_ON", {hashlib.sha256((folder / "holiday.png").read_bytes()).hexdigest()})
    told = cut(tmp_path / "faces.npz", folder)
    assert told.exit_code == 1 and "holiday.png in people is one of the photos that models are scored on" in told.output
    assert not (tmp_path / "faces.npz").exists()


def test_the_london_pairs_cannot_be_trained_on(tmp_path: Path) -> None:
    source = shared("pairs-london-eval.tar")
    with open_photos(source) as photos:
        files = [photos.read(name) for names in photos.people for name in names]
    assert {hashlib.sha256(file).hexdigest() for file in files} == data.SCORED_ON and len(files) == 100
    assert cut(tmp_path / "faces.npz", source).exit_code == 1 and not (tmp_path / "faces.npz").exists()
