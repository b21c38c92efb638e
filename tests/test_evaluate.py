"""What `training.evaluate` says of fills whose scores are known, how it tells it, and what it cannot use."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faces import portrait, shared, write_photo
from pairs import damaged, ellipse, looks, png, write_people

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from training import evaluate, tables  # noqa: E402
from training.cases import Case, Cases  # noqa: E402
from training.evaluate import Model  # noqa: E402
from training.photos import Photos, open_photos  # noqa: E402
from training.tables import Line, Results  # noqa: E402
from unmask_video import inpaint  # noqa: E402
from unmask_video.face import FaceCrop, Guide, Mask, Patch  # noqa: E402

torch.set_num_threads(1)
SIDE = 128
UTK = ("8_0_0_2017.png", "25_1_1_2017.png", "59_0_1_2017.png", "90_1_4_2017.png")
TPS = evaluate.patched(inpaint.tps)
FLOORS = {"masked": Model(evaluate.keep), "telea": Model(evaluate.telea), "tps": Model(TPS)}


def write_network(path: Path, *, size: int | str = "S") -> Path:
    """A network whose face is `warped`: a 1x1 convolution of nine parameters."""
    shape = [1, 3, size, size]
    same = numpy_helper.from_array(np.eye(3, dtype=np.float32)[..., None, None], "same")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["warped", "same"], ["face"])], "net",
        [helper.make_tensor_value_info("warped", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)], [same],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture(scope="module", autouse=True)
def weights() -> None:
    try:
        evaluate.Judge()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the weights of LPIPS are not in runs/ and could not be fetched: {error}")


@cache
def some() -> tuple[Case, ...]:
    """Two cases of one person."""
    files = {f"{k}.png": png(rgb) for k, rgb in enumerate(looks()[:2])}
    return tuple(Cases(Photos((tuple(files),), files.__getitem__), size=SIDE, segmenter=ellipse))


def judged(fill: Callable[..., Patch], cases: tuple[Case, ...] = ()) -> dict[str, Line]:
    """The lines of one model by kind of mask."""
    return {str(line["mask"]): line for line in evaluate.evaluate({"it": Model(fill)}, cases or some()).lines()}


@cache
def floors() -> tuple[Results, dict[tuple[str, str], Line]]:
    """The floors' scores on `some`, and the lines by model and mask."""
    results = evaluate.evaluate(FLOORS, some())
    return results, {(str(line["model"]), str(line["mask"])): line for line in results.lines()}


def shown_as(picture: Callable[[Case], np.ndarray]) -> Callable[..., Patch]:
    """A fill that knows the case: it replaces the whole crop by a picture."""
    by_crop = {id(case.crop): picture(case) for case in some()}

    def fill(crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
        return Patch(by_crop[id(crop)], np.ones(crop.image.shape[:2], np.float32), crop.crop_to_frame)

    return fill


def run(*words: str | Path, segmenter: Callable[..., Mask] = ellipse) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "Cases", partial(Cases, segmenter=segmenter))
        return CliRunner().invoke(evaluate.main, [str(w) for w in words])


def test_the_truth_itself_scores_as_well_as_can_be() -> None:
    line = judged(shown_as(lambda case: case.truth))["true"]
    for key in ("l1", "hole_l1", "skin_colour_error"):
        assert line[key] == pytest.approx(0, abs=0.01), key
    for key in ("lpips_vgg", "lpips_alex", "hole_lpips_vgg", "hole_lpips_alex", "frechet"):
        assert line[key] == pytest.approx(0, abs=1e-4), key
    for key in ("ssim", "hole_ssim", "high_frequency_ratio", "identity"):
        assert line[key] == pytest.approx(1, abs=1e-3), key
    assert line["psnr"] > 80 and line["hole_psnr"] > 80


def test_a_mask_left_on_is_worse_in_everything_and_every_floor_beats_it_in_the_hole() -> None:
    _, lines = floors()
    masked = lines["masked", "true"]
    for key in ("l1", "lpips_vgg", "lpips_alex", "frechet", "skin_colour_error"):
        assert masked[key] > 0.02, key
        assert lines["tps", "true"][key] < masked[key], key
    for key in ("psnr", "ssim", "identity", "hole_psnr", "hole_ssim"):
        assert lines["tps", "true"][key] > masked[key], key
    assert masked["hole_psnr"] < masked["psnr"] - 3, "all that is wrong is in the hole"
    assert masked["hole_psnr"] + 1 < lines["telea", "true"]["hole_psnr"] < lines["tps", "true"]["hole_psnr"]
    assert lines["telea", "true"]["high_frequency_ratio"] < 0.5 * lines["tps", "true"]["high_frequency_ratio"]


def test_scores_in_the_hole_see_nothing_outside_of_it() -> None:
    line = judged(shown_as(lambda case: np.where(case.hole[..., None], case.truth, 255 - case.truth)))["true"]
    assert line["hole_l1"] == pytest.approx(0, abs=0.01) and line["l1"] > 30
    assert line["hole_lpips_vgg"] == pytest.approx(0, abs=1e-4) and line["lpips_vgg"] > 0.1
    assert line["hole_lpips_alex"] == pytest.approx(0, abs=1e-4) and line["lpips_alex"] > 0.1
    back = judged(shown_as(lambda case: np.where(case.hole[..., None], 255 - case.truth, case.truth)))["true"]
    assert back["hole_lpips_alex"] == pytest.approx(back["lpips_alex"], abs=1e-5) and back["hole_l1"] > 30


def test_each_kind_of_mask_is_used() -> None:
    _, lines = floors()
    for name in ("telea", "tps"):
        found, given = lines[name, "predicted"], lines[name, "true"]
        assert abs(found["psnr"] - given["psnr"]) > 0.05 and abs(found["lpips_alex"] - given["lpips_alex"]) > 1e-4
    without = dict(lines["masked", "true"], mask="predicted")
    assert lines["masked", "predicted"] == without, "where nothing is done, the mask does not matter"


def test_nothing_is_filled_where_the_segmenter_sees_no_mask() -> None:
    blind = tuple(replace(case, masks={**case.masks, "predicted": Mask(case.alpha, 0.2, False)}) for case in some())
    lines = judged(TPS, blind)
    assert lines["predicted"]["l1"] == floors()[1]["masked", "true"]["l1"] > 2 * lines["true"]["l1"]


# --- tables and the command -----------------------------------------------------------------------


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def from_markdown(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]
    return [row for row in rows if set("".join(row)) - set("-: ")]


def test_tables_parse_back_to_the_scores() -> None:
    results, lines = floors()
    told = parsed(tables.as_csv(results.lines()))
    assert [(row["model"], row["mask"]) for row in told] == list(lines)
    for row, line in zip(told, lines.values(), strict=True):
        for key, (_, digits) in tables.COLUMNS.items():
            assert float(row[key]) == pytest.approx(line[key], abs=0.51 * 10**-digits), key
    (table,) = tables.tables(results.lines())
    titles, *rows = from_markdown(tables.as_markdown(table))
    assert titles[4:] == [title for title, _ in tables.COLUMNS.values()]
    assert rows == [list(row.values()) for row in told]
    _, _, *printed = tables.as_text(table).splitlines()
    assert [line.split() for line in printed] == rows


def test_groups_sum_to_all(tmp_path: Path) -> None:
    for name, rgb in zip((*UTK, "nobody.png"), [*looks(), portrait()], strict=True):
        write_photo(tmp_path / name, rgb)
    out = tmp_path / "out.csv"
    done = run(tmp_path, "--models", "masked,telea", "--size", 64, "--csv", out)
    assert done.exit_code == 0 and "the mean face" in done.stdout
    rows = [row for row in parsed(out.read_text()) if row["model"] == "telea" and row["mask"] == "true"]
    (whole,) = (row for row in rows if row["group"] == "all")
    assert whole["cases"] == "5"
    for kind, names in (
        ("age", {"13-29", "30-59", "60 and over", "under 13", "unknown"}), ("origin", {"White", "Black", "Others", "unknown"})
    ):  # fmt: skip
        part = [row for row in rows if row["group"].startswith(kind)]
        assert {row["group"].removeprefix(f"{kind} ") for row in part} == names
        assert sum(int(row["cases"]) for row in part) == 5
        for key in tables.FEW:
            mean = sum(int(row["cases"]) * float(row[key]) for row in part) / 5
            assert mean == pytest.approx(float(whole[key]), abs=0.02), key


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    data = write_people(tmp_path / "people")
    (data / "a" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (data / "notes.txt").write_text("no photo, and not counted")
    own = write_network(tmp_path / "own.onnx")
    out, told, grid = tmp_path / "x.csv", tmp_path / "x.md", tmp_path / "x.png"
    words = ["--models", f"masked,telea,tps,{own}", "--size", SIDE, "--csv", out, "--markdown", told, "--grid", grid]
    done = run(data, *words)
    assert done.exit_code == 0, done.output
    assert "4 cases of 128 px" in done.stdout and "another photo" in done.stdout and "1 unreadable" in done.stdout
    rows = {(row["model"], row["mask"]): row for row in parsed(out.read_text())}
    assert set(rows) == {(m, k) for m in ("masked", "telea", "tps", "own.onnx") for k in ("true", "predicted")}
    printed = [line.split() for line in done.stdout.splitlines()]
    assert all(list(row.values()) in printed for row in rows.values())
    assert from_markdown(told.read_text())[1:] == [list(row.values()) for row in rows.values()]
    same = set(tables.COLUMNS) - {"cpu_ms", "parameters", "file_bytes"}
    for kind in ("true", "predicted"):
        one, tps = (rows[model, kind] for model in ("own.onnx", "tps"))
        # A network's picture was clipped before its tone was told, so not to the last digit.
        assert {k: pytest.approx(float(one[k]), rel=0.01) for k in same} == {k: float(tps[k]) for k in same}
    size = (rows["own.onnx", "true"]["parameters"], rows["own.onnx", "true"]["file_bytes"])
    assert size == ("9", str(own.stat().st_size)) and rows["tps", "true"]["file_bytes"] == "0"
    assert float(rows["tps", "true"]["cpu_ms"]) > float(rows["masked", "true"]["cpu_ms"])
    picture = cv2.imread(str(grid))
    assert picture.shape == (tables.CAPTION + 4 * SIDE, 6 * SIDE, 3), "truth, reference, masked and three fills"
    assert all((picture[: tables.CAPTION, k * SIDE : (k + 1) * SIDE] < 100).any() for k in range(6)), "named"


def test_the_number_of_cases_is_limited(tmp_path: Path) -> None:
    done = run(write_people(tmp_path), "--models", "masked", "--size", 64, "--limit", 1)
    assert done.exit_code == 0 and "1 case of" in done.stdout and " nan " not in done.stdout


def test_every_model_is_scored_unless_some_are_named() -> None:
    (option,) = (p for p in evaluate.main.params if p.name == "models")
    assert option.default.split(",") == ["masked", "telea", "tps", "swift"]


def assert_one_sentence(done: Result, told: str) -> None:
    assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit), done.output
    *usage, last = done.stderr.strip().splitlines()
    assert last.startswith("Error: ") and told in last, done.stderr
    assert all(line.startswith(("Usage:", "Try ")) or not line for line in usage) and not done.stdout


def test_damaged_data_gets_one_sentence(tmp_path: Path) -> None:
    for told, data in damaged(tmp_path).items():
        assert_one_sentence(run(data, "--models", "masked", "--size", 64), told)


def test_wrong_words_get_one_sentence_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("no work may begin")

    monkeypatch.setattr(evaluate, "evaluate", work)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    small, other = write_network(tmp_path / "small.onnx", size=64), tmp_path / "other"
    other.mkdir()
    twin = write_network(other / "small.onnx")
    data = write_people(tmp_path / "people")
    for words, told in (
        (["--models", "best"], "no model best; give any of masked, telea, tps"), (["--models", " , "], "names no model"),
        (["--models", f"{small},{twin}"], "two files of one name"), (["--models", "gone.onnx"], "gone.onnx cannot be read"),
        (["--models", tmp_path / "junk.onnx"], "no ONNX file that works"), (["--models", small], "give --size 64"),
        (["--size", "100"], "100 is no multiple of 64"), (["--size", "0"], "0 is no multiple"),
        (["--size", "big"], "not a valid integer"), (["--limit", "-1"], "-1 is not in the range"),
        (["--references", "some"], "'some' is not one of"), (["--grid", tmp_path / "x.jpg"], "does not end in .png"),
        (["--csv", tmp_path / "none" / "x.csv"], "does not exist"), (["--markdown", tmp_path], "is a directory"),
    ):  # fmt: skip
        assert_one_sentence(run(data, *words), told)


# --- with the project's shared data ---------------------------------------------------------------


def test_swift_stands_above_tps_and_tps_above_telea_on_the_london_pairs() -> None:
    models = {name: evaluate.load_model(name, 256) for name in ("telea", "tps", "swift")}
    with open_photos(shared("pairs-london-eval.tar")) as photos:
        chosen = Photos(tuple(sorted(photos.people)[::5]), photos.read)
        cases = Cases(chosen, segmenter=ellipse)
        given = (replace(case, masks={"true": case.masks["true"]}) for case in cases)
        telea, tps, swift = evaluate.evaluate(models, given).lines()
    assert telea["cases"] == tps["cases"] == swift["cases"] == 20 and not cases.skipped
    for name, line in {"telea": telea, "tps": tps, "swift": swift}.items():
        print(f"\n{name}: {line['hole_psnr']:.2f} dB in the hole, LPIPS {line['lpips_alex']:.4f}", end="")
    assert tps["hole_psnr"] >= telea["hole_psnr"] + 6
    assert tps["lpips_alex"] <= 0.27 * telea["lpips_alex"]
    assert swift["hole_psnr"] >= tps["hole_psnr"] + 0.5 and swift["lpips_vgg"] <= tps["lpips_vgg"]
    assert 0.9 <= swift["high_frequency_ratio"] / tps["high_frequency_ratio"] <= 1.1, "and that not by blur"
