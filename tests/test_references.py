"""Which photos can be used, and whom they show."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import portrait, tools, write_photo
from test_people import ANN, BOB, TWO, picture_of, unit

from unmask_video import reference
from unmask_video.errors import BadReference
from unmask_video.picture import photo

load = lambda name: partial(  # noqa: E731
    reference.load, detect=tools().detect, settle=tools().settle, identity=tools().identity
)(str(name))


def test_a_photo_is_measured(tmp_path: Path) -> None:
    found = load(write_photo(tmp_path / "face.png", portrait()))
    assert found.name == "face.png" and 64 <= len(found.image) <= reference.LARGEST
    found_again = tools().measure(photo(found.image), [np.array([[len(found.image), 0, 0], [0, len(found.image), 0.0]])])
    assert np.abs(found_again[0][0] - found.landmarks)[:, :2].mean() < 0.03 * len(found.image)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF segment that says how it is to be turned (TIFF tag 0x0112)."""
    tiff = b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_photos_are_turned_as_their_exif_says(tmp_path: Path, orientation: int, turns: int) -> None:
    upright = portrait()[:, :300]
    stored = np.ascontiguousarray(np.rot90(upright, turns))
    jpeg = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    (tmp_path / "phone.jpg").write_bytes(with_orientation(jpeg, orientation))
    found = reference.read_picture(tmp_path / "phone.jpg")
    assert found.shape == upright.shape and np.abs(found.astype(int) - upright).mean() < 3
    plain = load(write_photo(tmp_path / "face.png", upright))
    assert load(tmp_path / "phone.jpg").identity @ plain.identity > 0.95


def refusal(name: object) -> str:
    with pytest.raises(BadReference) as caught:
        load(name)
    text = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in text and "Traceback" not in text
    return text


def test_photos_that_cannot_be_used_are_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    write_photo(tmp_path / "wall.png", np.full((200, 300, 3), 120, np.uint8))
    write_photo(tmp_path / "dot.png", np.full((1, 1, 3), 120, np.uint8))
    told = {"gone.jpg": "is not a file", "text.jpg": "no picture", "empty.jpg": "no picture", "wall.png": "no face"}
    for name, words in (told | {"dot.png": "no face"}).items():
        text = refusal(tmp_path / name)
        assert name in text and words in text
    assert "is not a file" in refusal(tmp_path)


def test_of_several_faces_one_has_to_be_chosen(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "two.png", np.hstack([portrait(), portrait()[:, ::-1]]))
    text = refusal(path)
    assert all(words in text for words in ("2 faces", "#1 at x ", "#2 at x ", f"{path}#1"))
    left, right = load(f"{path}#1"), load(f"{path}#2")
    mirrored = cv2.resize(right.image[:, ::-1], left.image.shape[1::-1])
    assert np.abs(left.image.astype(int) - mirrored).mean() < 10, "the second is the mirrored one"
    assert "only #1 to #2" in refusal(f"{path}#3")
    assert "#0" in refusal(f"{path}#0")


def test_a_file_whose_name_ends_like_a_choice_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(write_photo(tmp_path / "plain.png", portrait()).read_bytes())
    (tmp_path / "face.png").rename(tmp_path / "face#2")
    assert load(tmp_path / "face#2").name == "face#2"


def test_photos_are_one_persons_by_name_or_by_likeness() -> None:
    named = [replace(picture_of(f"{k}.jpg", who), person=name) for k, (who, name) in enumerate(
        [(ANN, "x"), (BOB, "x"), (ANN, "y"), (ANN, ""), (unit(0, 0, 1), "")]
    )]  # fmt: skip
    for order in (named, named[::-1]):
        found = {frozenset(r.name for r in p) for p in reference.group(order)}
        assert {"4.jpg"} in found and len(found) == 3 and sum("3.jpg" in p for p in found) == 1, "an unnamed photo is named ones'"
        assert all(len({r.person for r in photos if r.person}) <= 1 for photos in reference.group(order))


def test_views_join_the_person_they_show() -> None:
    views = [[picture_of("a", unit(1, 0.2))], [picture_of("b", unit(0, 0, 1))]]
    joined = reference.join(reference.group(TWO), views)
    assert [[r.name for r in p] for p in joined] == [["ann.jpg", "a"], ["bob.jpg"]]


def test_a_name_before_the_photo_says_who_it_is(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "face.png", portrait())
    assert load(f"ann={path}").person == "ann" and load(path).person == ""
    odd = write_photo(tmp_path / "a=b.png", portrait())
    assert load(odd).name == "a=b.png" and load(f"{odd}#1").person == "", "a file of that very name"
    assert "gone.png" in refusal(f"ann={tmp_path / 'gone.png'}")
    assert reference.split_person("/shots/take=3/x.png") == ("", "/shots/take=3/x.png")
