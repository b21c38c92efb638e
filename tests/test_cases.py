"""Cases to score fills on: who is whose reference, what is left out, how masks are drawn."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from faces import portrait
from pairs import ellipse, png, write_people, write_tar

from training.cases import Cases, Shot, groups
from training.photos import Photos, open_photos

SIDE = 128
ONE = Photos((("x.png",),), lambda name: png(portrait()))


def test_the_previous_photo_of_a_person_is_the_reference(tmp_path: Path) -> None:
    looked_at = []
    with open_photos(write_people(tmp_path)) as photos:
        reading = replace(photos, read=lambda name: looked_at.append(name) or photos.read(name))
        cases = list(Cases(reading, size=64, segmenter=ellipse))
    pairs = {(case.name, case.reference.name) for case in cases}
    assert pairs == {("a/1.png", "a/2.png"), ("a/2.png", "a/1.png"), ("b/1.png", "b/2.png"), ("b/2.png", "b/1.png")}
    assert sorted(looked_at) == sorted(case.name for case in cases), "each is read once"
    for case in cases:
        assert case.truth.shape == case.crop.image.shape == (64, 64, 3)
        outside = case.alpha < 0.01
        assert np.abs(case.truth - case.crop.image)[outside].max() < 3, "masked nowhere else"
        assert np.abs(case.truth - case.crop.image)[case.hole].mean() > 20


def test_without_references_or_pairs_the_mean_face_stands_in(tmp_path: Path) -> None:
    with open_photos(write_people(tmp_path)) as photos:
        lone = Photos(tuple(names[:1] for names in photos.people), photos.read)
        for cases in (Cases(photos, size=64, references=False, segmenter=ellipse), Cases(lone, size=64, segmenter=ellipse)):
            assert not cases.paired
            assert {case.reference.name for case in cases} == {"the mean face"}
        mixed = Photos((photos.people[0], photos.people[1][:1]), photos.read)
        cases = Cases(mixed, size=64, segmenter=ellipse)
        assert cases.paired and {case.name for case in cases} == set(photos.people[0])
        assert cases.skipped == {"no other photo of the person": 1}


def test_people_are_told_by_folders(tmp_path: Path) -> None:
    def people(*names: str) -> set[tuple[str, ...]]:
        with open_photos(write_tar(tmp_path / "x.tar", dict.fromkeys(names, b""))) as photos:
            return set(photos.people)

    assert people("all/a/1.jpg", "all/a/2.jpg", "all/b/1.jpg") == {("a/1.jpg", "a/2.jpg"), ("b/1.jpg",)}
    assert people("./a/1.jpg", "./b/1.JPG", "./read.me") == {("a/1.jpg",), ("b/1.JPG",)}
    assert people("all/1.jpg", "all/2.jpg") == {("1.jpg",), ("2.jpg",)}, "just photos"
    assert people("x/1.png", "u/13_0_0_2017.jpg", "u/14_0_0_2017.jpg") == {
        ("x/1.png",), ("u/13_0_0_2017.jpg",), ("u/14_0_0_2017.jpg",)
    }, "UTKFace knows no people"  # fmt: skip


def test_a_tar_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "people")
    files = {f"people/{p.relative_to(folder)}": p.read_bytes() for p in sorted(folder.rglob("*.png"))}
    for gz in (False, True):
        with open_photos(write_tar(tmp_path / "people.tar", files, gz=gz)) as tar, open_photos(folder) as loose:
            assert tar.people == loose.people
            assert all(tar.read(name) == loose.read(name) for names in tar.people for name in names)


def test_pictures_do_not_pile_up() -> None:
    """However many photos a person has, few are held at a time."""
    alive: list[weakref.ref] = []

    class Watched(Cases):
        def shot(self, name: str) -> Shot | None:
            found = super().shot(name)
            alive.append(weakref.ref(found))
            return found

    def held() -> Iterator[int]:
        for _ in Watched(Photos((tuple(map(str, range(8))),), lambda name: png(portrait())), size=64, segmenter=ellipse):
            yield sum(ref() is not None for ref in alive)

    counts = list(held())
    assert len(counts) == 8 and max(counts) <= 3


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 2), (40, 40), (1500, 1200)], ids=str)
def test_pictures_of_any_size_are_looked_at(shape: tuple[int, int]) -> None:
    blank = np.full((*shape, 3), 90, np.uint8)
    cases = Cases(Photos((("x.png",),), lambda name: png(blank)), size=64, segmenter=ellipse)
    assert not list(cases) and cases.skipped == {"no face found": 1}


def test_a_mask_is_drawn_whole_on_a_photo_that_ends_at_the_chin() -> None:
    bare = portrait()
    tight = bare[:225]
    (whole,), (cut,) = (
        tuple(Cases(Photos((("x.png",),), lambda name, rgb=rgb: png(rgb)), size=SIDE, segmenter=ellipse))
        for rgb in (bare, tight)
    )
    assert not cut.hole[-10:].any(), "no mask runs down to the crop's edge"
    assert cut.hole.mean() == pytest.approx(whole.hole.mean(), rel=0.15)


def test_the_cases_ask_the_segmenter_whether_there_is_a_mask() -> None:
    for belief, present in ((0.2, False), (0.9, True)):
        (case,) = Cases(ONE, size=SIDE, segmenter=partial(ellipse, belief=belief))
        assert case.masks["predicted"].present is present and case.masks["true"].present


def test_the_shipped_segmenter_finds_the_drawn_masks() -> None:
    (case,) = Cases(ONE, size=192)
    found = case.masks["predicted"]
    assert found.present
    got = found.alpha > 0.5
    assert (got & case.hole).sum() / (got | case.hole).sum() > 0.85


def test_groups_are_told_by_utkface_names() -> None:
    assert groups("utkface/13_0_0_2017.jpg") == {"age": "13-29", "origin": "White"}
    ages = [groups(f"{age}_1_2_2017.jpg")["age"] for age in (12, 13, 29, 30, 59, 60, 116)]
    assert ages == ["under 13", "13-29", "13-29", "30-59", "30-59", "60 and over", "60 and over"]
    origins = [groups(f"30_1_{race}_2017.jpg")["origin"] for race in range(5)]
    assert origins == ["White", "Black", "Asian", "Indian", "Others"]
    assert groups("anna/2.jpg") == groups("30_1_5_2017.jpg") == groups("30_1_2017.jpg") == {}
