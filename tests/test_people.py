"""Who is masked, who is who, and which photos can be used."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import masked, points, portrait, tools, write_photo

from unmask_video import identify, reference, segment
from unmask_video.errors import BadReference
from unmask_video.face import CANONICAL, Face, Mask, Reference
from unmask_video.frame import Colour, Frame
from unmask_video.people import Cast
from unmask_video.picture import photo

GREY = np.zeros((8, 8), np.uint8)


def frame(index: int) -> Frame:
    return Frame((GREY,), "gray", Colour("bt601", True, 8), 0, index, index, 1, Fraction(1, 25))


def face(track_id: int, yaw: float = 0.0) -> Face:
    turn = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    return Face(track_id, 100 * CANONICAL @ turn.T + [100 * track_id, 100, 0], 1.0)


# --- masked or not --------------------------------------------------------------------------------


def decided(beliefs: list[float | None], alphas: list[np.ndarray] | None = None) -> list[Mask | None]:
    """What `segment` makes of a network that says these; None: no face in that frame."""
    one = lambda f, _: Mask(full if alphas is None else alphas[f.index], beliefs[f.index], False)  # noqa: E731
    full = np.ones((128, 128), np.float32)
    found = [(frame(k), [] if b is None else [face(5)]) for k, b in enumerate(beliefs)]
    seen = list(segment.segment(iter(found), one))
    assert [f.index for f, _ in seen] == list(range(len(beliefs))), "every frame, in order"
    return [faces[0][1] if faces else None for _, faces in seen]


def present(beliefs: list[float | None]) -> list[bool]:
    return [mask is not None and mask.present for mask in decided(beliefs)]


@pytest.mark.parametrize("count", [0, 1, 3, segment.REACH, segment.REACH + 1, 30])
def test_masks_of_films_of_any_length(count: int) -> None:
    assert present([0.9] * count) == [True] * count
    assert present([0.1] * count) == [False] * count


def test_one_doubt_changes_nothing() -> None:
    assert all(present([0.95] * 12 + [0.0, 0.1] + [0.95] * 12))
    assert not any(present([0.05] * 12 + [1.0, 0.9] + [0.05] * 12))


def test_a_mask_put_on_and_taken_off_is_seen_in_time() -> None:
    found = present([0.02] * 30 + [0.98] * 30 + [0.02] * 30)
    starts, ends = np.flatnonzero(np.diff(found))
    assert abs(starts + 1 - 30) <= 3 and abs(ends + 1 - 60) <= 5, "two switches, both near the truth"


def test_in_between_it_stays_as_it_was() -> None:
    between = (segment.ON + segment.OFF) / 2
    assert not any(present([0.1] * 20 + [between] * 30))
    assert all(present([0.9] * 20 + [between] * 30))


def test_belief_is_remembered_for_each_track() -> None:
    one = lambda _, f: Mask(np.ones((128, 128), np.float32), 0.9 if f.track_id else 0.1, False)  # noqa: E731
    for _, faces in segment.segment([(frame(k), [face(0), face(1)]) for k in range(20)], one):
        assert [(f.track_id, m.present) for f, m in faces] == [(0, False), (1, True)]


def test_a_mask_of_no_pixels_is_none() -> None:
    empty = [np.zeros((128, 128), np.float32)] * 10
    assert not any(m.present for m in decided([0.9] * 10, empty))


def test_masks_are_steadied_between_frames() -> None:
    rng = np.random.default_rng(0)
    alphas = [rng.random((128, 128)).astype(np.float32) for _ in range(20)]
    found = np.array([m.alpha for m in decided([0.9] * 20, alphas)])
    assert np.diff(found, axis=0).std() < 0.4 * np.diff(alphas, axis=0).std()
    assert found.dtype == np.float32 and 0 <= found.min() and found.max() <= 1
    assert np.allclose(found.mean(), 0.5, atol=0.01)


@pytest.mark.parametrize("name", segment.SEGMENTERS)
def test_segmenters_find_a_drawn_mask(name: str) -> None:
    one = segment.SEGMENTERS[name]()
    where = Face(0, points(), 1.0)
    bare, worn = (one(photo(rgb), where) for rgb in (portrait(), masked()[0]))
    assert bare.belief < 0.2 and worn.belief > 0.8
    crop = segment.align(points(), segment.SIZE)
    truth = segment.sample(photo(cv2.merge([masked()[1] * 255] * 3).astype(np.uint8)), crop, segment.SIZE)[..., 0] > 127
    got = worn.alpha > 0.5
    assert (got & truth).sum() / (got | truth).sum() > (0.9 if name == "unet" else 0.5)


# --- who is who -----------------------------------------------------------------------------------


def unit(*values: float) -> np.ndarray:
    vector = np.array([*values, *[0.0] * (4 - len(values))], np.float32)
    return vector / np.linalg.norm(vector)


ANN, BOB = unit(1), unit(0, 1)


def picture_of(name: str, identity: np.ndarray, yaw: float = 0.0) -> Reference:
    return Reference(name, np.zeros((64, 64, 3), np.uint8), face(0, yaw).landmarks, identity)


def cast(references: list[Reference], tracks: dict[int, np.ndarray], *, fill: bool = False) -> Cast:
    """Tracks are told apart by where they are."""
    who = lambda _, landmarks: tracks[round((landmarks[:, 0].mean() - 100 * CANONICAL[:, 0].mean()) / 100)]  # noqa: E731
    return Cast(references, fill_unmatched=fill, identity=who, assign=identify.assign)


def names(made: Cast, shown: list[list[Face]]) -> list[dict[int, str | None]]:
    """Of every frame: track id -> name of the photo."""
    mask = Mask(np.ones((4, 4), np.float32), 1.0, True)
    seen = [(frame(k), [(f, mask) for f in faces]) for k, faces in enumerate(shown)]
    found = list(made.match(iter(seen)))
    assert [f.index for f, _ in found] == list(range(len(shown))), "every frame, in order"
    return [{f.track_id: photo and photo.name for f, _, photo in faces} for _, faces in found]


TWO = [picture_of("ann.jpg", ANN), picture_of("bob.jpg", BOB)]


def test_everybody_gets_their_own_photo() -> None:
    made = cast(TWO, {0: unit(0.2, 1), 1: unit(1, 0.1)})
    assert names(made, [[face(0), face(1)]] * 25) == [{0: "bob.jpg", 1: "ann.jpg"}] * 25


def test_a_photo_is_given_to_one_person_only() -> None:
    made = cast(TWO[:1], {0: unit(1, 0.9), 1: unit(1, 0.1)})
    assert names(made, [[face(0), face(1)]] * 5)[-1] == {0: None, 1: "ann.jpg"}, "to whom it fits best"
    made = cast(TWO[:1], {0: unit(1, 0.9), 1: unit(1, 0.1)})
    late = names(made, [[face(0)]] * 20 + [[face(0), face(1)]] * 20)
    assert late[-1] == {0: "ann.jpg", 1: None}, "who is in the picture keeps it"


def test_a_stranger_stays_masked_unless_filling_is_asked_for() -> None:
    stranger = {0: unit(0, 0.2, 1)}
    assert names(cast(TWO, stranger), [[face(0)]] * 12) == [{0: None}] * 12
    assert names(cast(TWO, stranger, fill=True), [[face(0)]] * 12) == [{0: "bob.jpg"}] * 12, "by the likest"


def test_without_photos_nobody_is_filled() -> None:
    assert names(cast([], {0: ANN}, fill=True), [[face(0)]] * 3) == [{0: None}] * 3


def test_photos_of_one_person_are_taken_by_pose_and_not_in_turns() -> None:
    photos = [picture_of("front.jpg", ANN), picture_of("side.jpg", unit(1, 0.1), yaw=0.8), picture_of("bob.jpg", BOB)]
    yaws = [0.0, 0.1, 0.38, 0.42, 0.39, 0.41, 0.7, 0.8, 0.42, 0.38, 0.41, 0.1, 0.0]
    found = [f[0] for f in names(cast(photos, {0: ANN}), [[face(0, yaw)] for yaw in yaws])]
    assert found == ["front.jpg"] * 6 + ["side.jpg"] * 5 + ["front.jpg"] * 2


def test_assignment_is_one_to_one_and_honest() -> None:
    tracks = np.stack([unit(1, 0.3), unit(1, 0.5), unit(0, 0, 1)])
    found = identify.assign(tracks, np.stack([ANN, BOB]))
    assert {t: p for t, (p, _) in found.items()} in ({0: 0}, {0: 0, 1: 1})
    assert all(c == pytest.approx(float(tracks[t] @ [ANN, BOB][p])) for t, (p, c) in found.items())
    assert identify.assign(tracks, np.zeros((0, 4))) == identify.assign(np.zeros((0, 4)), tracks) == {}


def test_the_masked_and_the_bare_portrait_show_one_person() -> None:
    bare, worn = (identify.identity(photo(rgb), points()) for rgb in (portrait(), masked()[0]))
    assert np.linalg.norm(bare) == pytest.approx(1, abs=1e-5)
    assert bare @ worn > 0.8


# --- reference photos -----------------------------------------------------------------------------

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
