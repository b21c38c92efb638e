"""Bare frames of a film as photos of those who are masked elsewhere in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from faces import Footage, frames, masked, points, portrait, tools, write_photo
from helpers import frames_25
from test_people import ANN, unit
from test_pipeline import FILM, looks_like_the_portrait, make, moving, read

from unmask_video import BadOption, Options, decode, identify, mining, reference, unmask, work
from unmask_video.errors import BadEnvironment, CannotDecode
from unmask_video.face import CANONICAL, Detection, Face, Mask
from unmask_video.frame import Colour, Frame
from unmask_video.pace import Pace
from unmask_video.picture import photo
from unmask_video.stopwatch import Stopwatch


def mine(stills: list[np.ndarray], every: float = 0.03) -> list[list[str]]:
    """Names of the views that a film of these pictures gives, for each person."""
    shown = [replace(frames(Footage(s), k + 1)[k], pts=512 * k) for k, s in enumerate(stills)]
    t = tools()
    views = mining.mine(shown, pace=Pace(every, 0), detect=t.detect, settle=t.settle, segment=t.segment, identity=t.identity)
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
    mining.mine(
        shown, pace=Pace(0.5), detect=lambda f: seen.append(f.time_seconds) or [], settle=t.settle, segment=t.segment,
        identity=t.identity,
    )  # fmt: skip
    assert seen == pytest.approx([0.0, 0.52, 1.04, 1.56])


def test_small_faces_do_not_serve() -> None:
    large, small = (cv2.copyMakeBorder(portrait(), *[k] * 4, cv2.BORDER_REPLICATE) for k in (100, 700))
    assert mine([large]) != [] and mine([small]) == []


def test_quality_is_of_large_sharp_well_lit_faces_with_their_mouths_shut() -> None:
    good = reference.aligned("good", photo(portrait()), Face(0, points(), 1.0), ANN)
    change = lambda image: replace(good, image=image.clip(0, 255).astype(np.uint8))  # noqa: E731
    light = good.image.astype(np.float32)
    for worse in (change(cv2.GaussianBlur(good.image, (0, 0), 3)), change(light * 0.2), change(light * 2.5 + 60)):
        assert mining.quality(worse) < 0.8 * mining.quality(good)
    talking = good.landmarks.copy()
    talking[14, 1] += 0.3 * np.linalg.norm(talking[61, :2] - talking[291, :2])
    assert mining.quality(replace(good, landmarks=talking)) < 0.8 * mining.quality(good)


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
    assert person.reference.startswith(("the film at 0.", "the film at 1.0")) and person.likeness > identify.SAME_PERSON
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
        mined, _ = work.mine(video, tools(), Stopwatch())
        given = tools().photos([str(folder / "face.png")])
    assert len(mined) == 1 and len(given) == 1
    (joined,) = tools().cast(given, mined, Options()).people
    assert [r.name for r in joined] == ["face.png", *(r.name for r in mined[0])]


def test_a_damaged_film_is_searched_as_far_as_it_goes(folder: Path) -> None:
    source = make(folder, LONG, half_bare)
    data = source.read_bytes()
    middle = len(data) * 2 // 3
    source.write_bytes(data[:middle] + bytes(2000) + data[middle + 2000 :])
    with decode.open_video(source, strict=True) as video:
        with pytest.raises(CannotDecode):
            list(video.frames())
        assert len(work.mine(video, tools(), Stopwatch())[0]) == 1


# --- who is who among the bare --------------------------------------------------------------------


@dataclass(frozen=True)
class Sight:
    """A face in an acted film: where, who, and how it is turned."""

    x: float
    who: np.ndarray
    yaw: float = 0.0
    belief: float = 0.0
    """In a mask."""
    hidden: float = 0.0
    """Part of the crop that the segmenter calls mask."""


def acted(film: list[list[Sight]], shots: tuple[int, ...] = (), every: float = 0.5) -> list[list[str]]:
    """The views, as who and second, that `mine` takes from a film of these sights, a moment every 0.6 s, so that none waits."""
    pictures = [np.random.default_rng(k).integers(0, 255, (32, 32)).astype(np.uint8) for k in range(len(shots) + 1)]
    colour = Colour("bt601", True, 8)
    shown = [
        Frame((np.repeat(np.repeat(pictures[sum(k >= s for s in shots)], 40, 0), 40, 1),), "gray", colour, 0, k, k, 1,
              Fraction(3, 5))
        for k in range(len(film))
    ]  # fmt: skip
    at = lambda s: 100 * CANONICAL @ cv2.Rodrigues(np.array([0, s.yaw, 0.0]))[0].T + [s.x, 600, 0]  # noqa: E731
    sight = lambda f, points: min(film[f.index], key=lambda s: np.abs(at(s) - points).max())  # noqa: E731

    def detect(f: Frame) -> list[Detection]:
        return [Detection(np.array([s.x - 50, 550, s.x + 50, 650.0]), at(s)[:5, :2], 0.9) for s in film[f.index]]

    def settle(f: Frame, found: Detection, **_: int) -> tuple[np.ndarray, float]:
        return at(min(film[f.index], key=lambda s: np.abs(at(s)[:5, :2] - found.points).max())), 1.0

    def segmented(f: Frame, face: Face) -> Mask:
        seen, alpha = sight(f, face.landmarks), np.zeros((100, 100), np.float32)
        alpha.ravel()[: round(seen.hidden * alpha.size)] = 1
        return Mask(alpha, seen.belief, False)

    with mock.patch.object(mining, "quality", lambda view: 1.0):
        people = mining.mine(
            shown, pace=Pace(every), detect=detect, settle=settle, segment=segmented, identity=lambda f, p: sight(f, p).who
        )
    return sorted(sorted(view.name.split()[3] for view in person) for person in people)


BOB, LIKE_ANN = unit(0, 1), unit(0.4, 0, 1)


def test_of_each_direction_there_is_one_view() -> None:
    turned = [[Sight(300, ANN, yaw)] for yaw in (0, 0, 0, 0.5, 0.5, 0.5, -0.5, 0)]
    (views,) = acted(turned)
    assert len(views) == 3


def test_a_face_that_stays_where_it_was_is_one_person_unless_it_is_unlike() -> None:
    pair = [[Sight(300, ANN)], [Sight(310, LIKE_ANN, 0.5)]]
    assert len(acted(pair)) == 1
    assert len(acted([[Sight(300, ANN)], [Sight(310, BOB, 0.5)]])) == 2, "one fades into another"
    assert len(acted(pair, shots=(1,))) == 2, "a cut lies between"
    assert len(acted([[Sight(300, ANN)], [Sight(700, LIKE_ANN, 0.5)]])) == 2, "it is elsewhere"


def test_who_takes_the_place_of_somebody_alike_in_all_else_is_found_out_within_eight_looks() -> None:
    ann, bob = [Sight(300, ANN)], [Sight(300, BOB)]
    assert len(acted([ann, *[bob] * 7])) == 1, "no better view of that direction, so nobody was asked"
    assert len(acted([ann, *[bob] * 8])) == len(acted([*[ann] * 4, *[bob] * 8])) == 2


def test_two_faces_of_one_moment_are_two_people() -> None:
    assert len(acted([[Sight(300, ANN), Sight(700, ANN)]] * 3)) == 2
    swapped = [[Sight(300, ANN), Sight(700, BOB)]] * 2 + [[Sight(700, BOB), Sight(300, ANN)]] * 2
    assert len(acted(swapped)) == 2


def test_who_comes_back_is_known() -> None:
    assert len(acted([[Sight(300, ANN)]] + [[]] * 5 + [[Sight(900, ANN)]])) == 1


def test_only_bare_faces_that_face_the_camera_serve() -> None:
    assert acted([[Sight(300, ANN, yaw=1.0)]]) == acted([[Sight(300, ANN, hidden=0.02)]]) == []
    assert acted([[Sight(300, ANN, belief=0.3)]]) == []
    assert len(acted([[Sight(300, ANN)], [Sight(305, ANN, belief=0.9)], [Sight(700, BOB)]])) == 1, "a mask is near"


def test_k_means_does_not_say_who_is_bare(folder: Path) -> None:
    source = make(folder, LONG, half_bare)
    report = unmask(source, folder / "out.mp4", options=Options(model="tps", segmenter="kmeans"))
    assert report.people[0].reference.startswith("the film at")


def test_names_stay_when_the_films_own_frames_are_used(folder: Path) -> None:
    report = unmask(make(folder, LONG, half_bare), folder / "out.mp4", reference=f"ann={folder / 'face.png'}")
    assert [p.name for p in report.people] == ["ann"] and "person 1     ann, " in report.summary()


def test_who_is_known_late_is_told_with_the_reason_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, count = np.eye(192, dtype=np.float32), iter(range(10_000))
    source = make(folder, LONG)
    monkeypatch.setattr(identify, "identity", lambda f, _, **__: vectors[int(f.pixel_format != "yuv444p" and next(count) < 8)])
    report = unmask(source, folder / "out.mp4", reference=folder / "face.png", options=Options(mine_references="off"))
    assert 0 < report.filled < report.masked and report.kept == {"no_match": report.masked - report.filled}
    assert "matches no reference" in report.summary()


def test_a_wrong_encoder_is_told_before_the_film_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(folder)
    monkeypatch.setattr(mining, "mine", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(BadEnvironment, match="libmonet"):
        unmask(source, folder / "out.mp4", reference=folder / "face.png", options=Options(encoder="libmonet"))


# --- moments that may wait ------------------------------------------------------------------------


def looked_at(
    masked: set[int], count: int = 40, shots: tuple[int, ...] = (), workers: int = 1, gap: float = 1.0
) -> set[int]:
    """Numbers of the moments, .48 s apart, that are looked at if somebody is masked in some of them."""
    pictures = [np.random.default_rng(k).integers(0, 255, (1280, 1280)).astype(np.uint8) for k in range(len(shots) + 1)]
    colour, seen = Colour("bt601", True, 8), set()
    shown = [
        Frame((pictures[sum(k >= s for s in shots)],), "gray", colour, 0, k, k, 1, Fraction(12, 25)) for k in range(count)
    ]  # fmt: skip

    def settle(f: Frame, *_: Detection, **__: int) -> tuple[np.ndarray, float]:
        seen.add(f.index)
        return 100 * CANONICAL + [300, 600, 0], 1.0

    mining.mine(
        shown, pace=Pace(0.4, gap), detect=lambda _: [Detection(np.array([250, 550, 350, 650.0]), CANONICAL[:5, :2], 0.9)],
        settle=settle, workers=workers,
        segment=lambda f, _: Mask(np.zeros((8, 8), np.float32), float(f.index in masked), False), identity=lambda *_: ANN,
    )  # fmt: skip
    return seen


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_second_moment_waits_unless_somebody_is_masked_and_somebody_bare_near_it(workers: int) -> None:
    even = set(range(0, 40, 2))
    assert looked_at(set(), workers=workers) == even
    assert looked_at({20}, workers=workers) == even | {17, 19, 21, 23}
    assert looked_at({0, 38}, workers=workers) == even | {1, 3, 35, 37, 39}
    assert looked_at({20, 21, 22}, workers=workers) == even | {17, 19, 21, 23, 25}
    assert looked_at({21}, workers=workers) == even, "it waits itself"
    assert looked_at(set(range(40)), workers=workers) == even, "there is nobody bare"
    assert looked_at(set(range(20)), workers=workers) == even | {17, 19, 21}


def test_the_longer_the_gap_the_more_moments_wait() -> None:
    third = set(range(0, 40, 3))
    assert looked_at(set(), gap=1.5) == third
    assert looked_at({21}, gap=1.5) == third | {17, 19, 20, 22, 23, 25}
    assert looked_at(set(), gap=0.9) == set(range(40))


def test_the_first_moment_of_a_shot_never_waits() -> None:
    assert looked_at(set(), count=8, shots=(3,)) == {0, 2, 3, 5, 7}


def test_moments_far_apart_never_wait() -> None:
    shown, seen = frames(Footage(portrait()), 50), []
    t = tools()
    mining.mine(
        shown, pace=Pace(0.5), detect=lambda f: seen.append(f.index) or [], settle=t.settle, segment=t.segment,
        identity=t.identity,
    )  # fmt: skip
    assert seen == [0, 13, 26, 39]
