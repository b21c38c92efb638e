"""Films with drawn masks, and their scores."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from click.testing import CliRunner  # noqa: E402
from faces import Footage, frames, portrait, tools, write_footage  # noqa: E402
from helpers import Film  # noqa: E402
from small_recipes import tiny  # noqa: E402

from training import evaluate_video, plots  # noqa: E402
from training.clips import Shot, best_face, drawn  # noqa: E402
from unmask_video import picture  # noqa: E402
from unmask_video.face import align  # noqa: E402
from unmask_video.geometry import iou  # noqa: E402

SPARSE = tuple(range(0, 24 * 2560, 2560))
"""Time stamps of 24 frames, five a second: longer than the two seconds that are left out."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    film = Film(size=(192, 192), pts=SPARSE, last_duration=2560, rate=Fraction(5))
    return write_footage(tmp_path_factory.mktemp("clips") / "anna.mp4", Footage(portrait(), (192, 192)), film)


def score(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate_video.main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_drawn_mask_hides_the_face_and_nothing_else() -> None:
    footage = frames(Footage(portrait()), 20)
    shots = list(drawn(iter(footage), tools().linker, seed=3))
    assert [s.bare.index for s in shots] == list(range(20))
    for shot, frame in zip(shots, footage, strict=True):
        (hidden,) = shot.faces
        assert all((a == b).all() for a, b in zip(shot.bare.planes, frame.planes, strict=True))
        crop = align(hidden.face.landmarks, 128)
        before, after = (picture.sample(f, crop, 128) for f in (shot.bare, shot.masked))
        mask = cv2.resize(hidden.mask, (128, 128), interpolation=cv2.INTER_AREA)
        assert 0.08 < (mask > 0.5).mean() < 0.4
        assert np.abs(after - before)[mask > 0.9].mean() > 15
        assert np.abs(after - before)[:40].max() < 3, "eyes stay bare"
        far = shot.masked.planes[0] == shot.bare.planes[0]
        assert far[:60].all() and far.mean() > 0.6


def test_films_are_scored_and_parts_can_be_left_out(clip: Path, tmp_path: Path) -> None:
    tiny("swift")  # skips where LPIPS is not to be had
    code, told = score(
        clip, "--without", "relight", "--csv", tmp_path / "t.csv", "--strips", tmp_path / "strips", "--plot", tmp_path
    )
    assert code == 0, told
    with (tmp_path / "t.csv").open() as file:
        lines = list(csv.DictReader(file))
    whole, dull = ([line for line in lines if line["without"] == part] for part in ("", "relight"))
    assert len(whole) == len(dull) >= 10
    assert all(float(line["time"]) >= 2 for line in lines), "frames near the reference do not count"
    better = [np.mean([float(line["psnr"]) for line in some]) for some in (whole, dull)]
    assert min(better) > 22 and better[0] != better[1]
    points = {key: np.mean([float(line[key]) for line in whole]) for key in ("guess", "shape")}
    assert 0 < points["shape"] < points["guess"] < 20, "the film shows the photo's own face"
    assert "relight" in told and "nothing" in told
    panels = len(evaluate_video.CURVES)
    assert cv2.imread(str(tmp_path / "anna.png")).shape[0] == panels * plots.panel("", {"": (np.zeros(2), np.zeros(2))}).shape[0]
    strip = cv2.imread(str(tmp_path / "strips" / "anna-tps.png"))
    assert strip.shape == (3 * evaluate_video.SIZE, evaluate_video.STRIP * evaluate_video.SIZE, 3)


def test_a_curve_is_drawn_where_its_values_are() -> None:
    times = np.arange(5.0)
    drawn = plots.panel("x", {"up": (times, times), "gap": (times, np.array([2, 2, np.nan, 2, 2.0]))})
    (left, top), (width, height) = plots.MARGIN, plots.SIZE
    inked = lambda colour, x, y: (np.abs(drawn[y - 2 : y + 3, x - 2 : x + 3] - np.array(colour)).max(2) < 60).any()  # noqa: E731
    at = lambda time, value: (left + round(time / 4 * width), top + height - round(value / 4 * height))  # noqa: E731
    assert all(inked(plots.COLOURS[0], *at(t, t)) for t in (1, 1.5, 3.5))
    assert inked(plots.COLOURS[1], *at(0.5, 2)) and inked(plots.COLOURS[1], *at(3.5, 2))
    assert not inked(plots.COLOURS[1], *at(2.4, 2)), "nothing is known there"


def test_what_is_left_out_changes_the_film_and_comes_back(clip: Path, tmp_path: Path) -> None:
    tiny("swift")

    def rows() -> dict[str, float]:
        options = evaluate_video.Options(unmatched="fill")
        return evaluate_video.score(clip, options, photo=None, look=1.0, seconds=4).row()

    found = []
    for name in ("", *evaluate_video.WITHOUT, ""):
        with evaluate_video.left_out(name):
            found.append(rows())
    assert found[0] == found[-1]
    assert len({row["psnr"] for row in found}) == len(evaluate_video.WITHOUT), "all change it but grain, which it has none of"


def test_bad_input_gets_a_sentence(clip: Path, tmp_path: Path) -> None:
    tiny("swift")
    code, told = score(clip, "--without", "magic")
    assert code == 2 and "magic cannot be left out" in told
    plain = write_footage(
        tmp_path / "wall.mp4", Footage(np.full((192, 192, 3), 90, np.uint8), (192, 192)),
        Film(size=(192, 192), pts=SPARSE, last_duration=2560, rate=Fraction(5)),
    )  # fmt: skip
    code, told = score(plain)
    assert code and "no face where the photo" in told
    text = tmp_path / "notes.mp4"
    text.write_text("no film")
    code, told = score(text)
    assert code and "Traceback" not in told and len(told.strip().splitlines()) <= 2


def test_a_fill_shall_move_as_the_film_it_was_given() -> None:
    texture = cv2.resize(portrait()[:, ::-1], (256, 256))
    hole = np.zeros((256, 256), bool)
    hole[100:200, 60:200] = True
    spoken = np.where(hole[..., None], np.roll(texture, 3, 0), texture)
    meter = evaluate_video.Meter(tools(), None)
    meter.before = (0, Shot(picture.photo(texture), picture.photo(texture), []), picture.photo(texture), None)
    still, spoken = texture.astype(np.float32), spoken.astype(np.float32)
    told = meter.of_pair(spoken, still, still, hole, np.eye(2, 3))
    assert told["warping_filled"] < 0.1 * told["warping_by_bare_filled"]
    told = meter.of_pair(spoken, still, spoken, hole, np.eye(2, 3))
    assert told["warping_by_bare_filled"] == told["warping_bare"] < 0.5 * told["warping_filled"]


def test_the_most_frontal_face_becomes_the_photo() -> None:
    footage = frames(Footage(portrait()), 12)
    frame, face = best_face(iter(footage), tools().linker)
    assert any(frame is one for one in footage)
    assert iou(face.box[None], tools().detect(frame)[0].box[None])[0, 0] > 0.5
