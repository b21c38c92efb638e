"""Bare frames of a film as photos of those who are masked elsewhere in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import Footage, frames, masked, points, portrait, tools, write_photo
from helpers import frames_25
from test_people import ANN
from test_pipeline import FILM, looks_like_the_portrait, make, moving, read

from unmask_video import BadOption, Options, decode, identify, pipeline, reference, unmask
from unmask_video.picture import photo


def mine(stills: list[np.ndarray], every: float = 0.04) -> list[list[str]]:
    """Names of the views that a film of these pictures gives, for each person."""
    shown = [replace(frames(Footage(s), k + 1)[k], pts=512 * k) for k, s in enumerate(stills)]
    t = tools()
    views = reference.mine(shown, every=every, detect=t.detect, settle=t.settle, segment=t.segment, identity=t.identity)
    return [[view.name for view in person] for person in views]


def test_of_views_alike_the_sharpest_serves() -> None:
    blurred = cv2.GaussianBlur(portrait(), (0, 0), 1.5)
    assert mine([blurred, blurred, portrait(), blurred]) == [["the film at 0.1 s"]]


def test_faces_beside_a_mask_in_time_do_not_serve() -> None:
    bare, worn = portrait(), masked()[0]
    assert mine([worn, bare, worn]) == mine([worn] * 3) == []
    assert mine([bare, bare, bare, worn, worn]) != []
    assert len(mine([bare, bare, worn])[0]) == 1, "the first, for the second is next to the mask"


def test_the_film_is_looked_at_now_and_then() -> None:
    seen = []
    t = tools()
    shown = frames(Footage(portrait()), 50)
    reference.mine(
        shown, every=0.5, detect=lambda f: seen.append(f.time_seconds) or [], settle=t.settle, segment=t.segment,
        identity=t.identity,
    )  # fmt: skip
    assert seen == pytest.approx([0.0, 0.52, 1.04, 1.56])


def test_small_or_averted_or_hidden_faces_do_not_serve() -> None:
    assert mine([cv2.resize(portrait(), (96, 96))]) != []
    small = cv2.copyMakeBorder(cv2.resize(portrait(), (60, 60)), *[160] * 4, cv2.BORDER_REPLICATE)
    assert mine([small]) == []
    assert mine([np.full((300, 300, 3), 120, np.uint8)]) == []


def test_quality_is_of_large_sharp_well_lit_faces_with_their_mouths_shut() -> None:
    good = reference.aligned("good", photo(portrait()), points(), ANN)
    change = lambda image: replace(good, image=image.clip(0, 255).astype(np.uint8))  # noqa: E731
    light = good.image.astype(np.float32)
    for worse in (change(cv2.GaussianBlur(good.image, (0, 0), 3)), change(light * 0.2), change(light * 2.5 + 60)):
        assert reference.quality(worse) < 0.8 * reference.quality(good)
    talking = good.landmarks.copy()
    talking[14, 1] += 0.3 * np.linalg.norm(talking[61, :2] - talking[291, :2])
    assert reference.quality(replace(good, landmarks=talking)) < 0.8 * reference.quality(good)


def half_bare(index: int) -> np.ndarray:
    """Bare for 40 frames, then masked."""
    return (Footage(portrait()) if index < 40 else moving())(index)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a reference photo and nothing else."""
    write_photo(tmp_path / "face.png", portrait())
    return tmp_path


LONG = replace(FILM, pts=frames_25(80))


@pytest.mark.parametrize("model", ["tps", "swift"])
def test_without_photos_the_films_own_bare_frames_serve(model: str, folder: Path) -> None:
    source = make(folder, LONG, half_bare)
    report = unmask(source, folder / "out.mp4", options=Options(model=model))
    (person,) = report.people
    assert 36 <= report.masked == report.filled <= 42 and report.warnings == ()
    assert person.reference.startswith("the film at 0.") and person.likeness > identify.SAME_PERSON
    assert np.mean([looks_like_the_portrait(f) for f in read(folder / "out.mp4")[44:]]) < 0.3


def test_bare_frames_are_not_used_where_that_is_forbidden(folder: Path) -> None:
    make(folder, LONG, half_bare)
    report = unmask(folder / "in.mp4", folder / "out.mp4", options=Options(mine_references="off"))
    assert report.people[0].reference == "the mean face" and "invented" in report.warnings[0]
    with pytest.raises(BadOption, match="needs a photo"):
        unmask(folder / "in.mp4", folder / "no.mp4", options=Options(model="tps", mine_references="off"))


def test_bare_frames_are_further_views_of_the_photos_people(folder: Path) -> None:
    source = make(folder, LONG, half_bare)
    with decode.open_video(source) as video:
        mined = pipeline.mine(video, tools(), Options())
        given = tools().photos([str(folder / "face.png")])
    assert len(mined) == 1 and len(given) == 1
    (joined,) = tools().cast(given, mined, Options()).people
    assert [r.name for r in joined] == ["face.png", *(r.name for r in mined[0])]


def test_a_damaged_film_is_searched_as_far_as_it_goes(folder: Path) -> None:
    source = make(folder, LONG, half_bare)
    data = source.read_bytes()
    middle = len(data) * 2 // 3
    source.write_bytes(data[:middle] + bytes(2000) + data[middle + 2000 :])
    with decode.open_video(source) as video:
        assert len(pipeline.mine(video, tools(), Options())) == 1
