"""Networks of the user's own: what they are given, what they paint, and which are refused, in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import Footage, frames, masked, points, portrait, write_footage, write_photo
from helpers import Film, facts, frames_25

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from unmask_video import BadOption, Options, UnknownModel, cli, inpaint, turns, unmask, warp  # noqa: E402
from unmask_video.face import Face, FaceCrop, Guide, Mask, Patch, Reference, align  # noqa: E402
from unmask_video.frame import Frame  # noqa: E402
from unmask_video.geometry import apply, invert, scaled  # noqa: E402
from unmask_video.painting import Painting  # noqa: E402
from unmask_video.picture import photo, plane_scale, resample, sample, thumbnail  # noqa: E402
from unmask_video.pipeline import route  # noqa: E402
from unmask_video.runtime import INPUTS, fill_network  # noqa: E402
from unmask_video.tally import Tally  # noqa: E402
from unmask_video.tools import Tools  # noqa: E402

COUNT = 10
GREEN = (40, 200, 60)
Put = tuple[int, list[int | str]]


def write(path: Path, nodes: str, **inputs: Put) -> Path:
    """A network of nodes like `Add a b -> c; ...`, with some constants, that gives `face`.

    An input is (type, shape); a name of `runtime.INPUTS` alone is made as it should be, see `put`.
    """
    constants = {
        "green": np.float32(GREEN)[None, :, None, None], "zero": np.float32([0]), "bytes": np.float32([255]),
        "three": np.array([1, 3, 1, 1]), "nan": np.float32([np.nan]), "half": np.float32([1, 1, 0.5, 0.5]),
    }  # fmt: skip
    made = []
    for line in nodes.split("; "):
        kind, *given, _, out = line.split()
        extra = {"to": TensorProto.FLOAT} if kind == "Cast" else {}
        made.append(helper.make_node(kind, [g if g != "_" else "" for g in given], [out], **extra))
    graph = helper.make_graph(
        made, "own",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    return path


def put(channels: int = 3, side: int | str | None = None, kind: int = TensorProto.FLOAT) -> Put:
    return kind, [1, channels, *([side, side] if side else ["height", "width"])]


def paints_green(path: Path, side: int | None = None) -> Path:
    return write(path, "Mul image zero -> black; Add black green -> face", image=put(side=side))


# --- one face -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case() -> tuple[FaceCrop, Mask, Guide]:
    """The masked portrait, cut out; its mask; and the bare one as a reference, tilted."""
    picture, alpha = masked()
    crop = warp.cut(photo(picture), Face(0, points(), 1.0), 256)
    drawn = sample(photo(np.uint8(alpha * 255)[..., None].repeat(3, 2)), align(points(), 192), 192)[..., 1] / 255
    tilt = cv2.getRotationMatrix2D((192, 192), 8, 1)
    tilted = Reference("tilted", cv2.warpAffine(portrait(), tilt, (384, 384)), apply(tilt, points()), np.zeros(192, np.float32))
    return crop, Mask(drawn, 1.0, True), warp.guide(crop, tilted)


def filled(path: Path, case: tuple[FaceCrop, Mask, Guide]) -> Painting:
    return inpaint.by_network(fill_network(str(path)))(*case)


def test_a_network_that_gives_warped_back_is_tps(case: tuple, tmp_path: Path) -> None:
    own, tps = filled(write(tmp_path / "own.onnx", "Identity warped -> face", warped=put()), case), inpaint.tps(*case)
    assert np.abs(own.at(256) - tps.at(256).clip(0, 255)).max() < 1e-3
    assert (own.hidden == tps.hidden).all() and (own.crop_to_frame == tps.crop_to_frame).all()
    assert np.abs(own.at(256) - case[0].image)[tps.hidden > 0].mean() > 10, "the mask is gone"


def test_networks_get_what_they_ask_for(case: tuple, tmp_path: Path) -> None:
    crop, mask, guide = case
    wanted = {
        "image": crop.image,
        "hidden": np.repeat(inpaint.hole(mask, 256)[..., None], 3, 2) * 255,
        "warped": inpaint.tps(*case).at(256),
        "reference": cv2.resize(guide.reference.image, (256, 256), interpolation=cv2.INTER_AREA),
    }
    assert set(wanted) == set(INPUTS)
    for name, picture in wanted.items():
        nodes = "Expand hidden three -> all; Mul all bytes -> face" if name == "hidden" else f"Identity {name} -> face"
        found = filled(write(tmp_path / f"{name}.onnx", nodes, **{name: put(INPUTS[name])}), case).at(256)
        assert np.abs(found.clip(0, 255) - picture.clip(0, 255)).max() < 1e-3, name
    assert np.abs(wanted["reference"] - wanted["warped"]).mean() > 10, "the photo itself is not warped"


def test_pictures_stay_within_bytes(tmp_path: Path) -> None:
    """Planes can hold what no screen shows; what a network learnt from could not."""
    wild = frames(Footage(masked()[0]), 1)[0]
    noise = [np.random.default_rng(0).integers(0, 256, p.shape, np.uint8) for p in wild.planes]
    crop = warp.cut(replace(wild, planes=tuple(noise)), Face(0, points() * 2 / 3, 1.0), 128)
    reference = Reference("portrait", portrait(), points(), np.zeros(192, np.float32))
    given = crop, Mask(np.ones((192, 192), np.float32), 1.0, True), warp.guide(crop, reference)
    for name in ("image", "warped"):
        found = filled(write(tmp_path / f"{name}.onnx", f"Identity {name} -> face", **{name: put()}), given).at(128)
        assert found.min() > -1e-3 and found.max() < 255.001, name


# --- whole films ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    write_photo(made / "face.png", portrait())
    film = Film(size=(256, 256), pts=frames_25(COUNT), options={"crf": "16", "preset": "ultrafast"})
    write_footage(made / "in.mp4", Footage(masked()[0]), film)
    return made


@pytest.fixture
def folder(material: Path, tmp_path: Path) -> Path:
    """A film with a masked face, a photo, and nothing else."""
    return shutil.copytree(material, tmp_path / "work")


def routed(model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Frame, Frame, list[Patch]]]:
    """Frames before, after, and the patches between, without a codec."""
    before, noted, paste = frames(Footage(masked()[0]), COUNT), [], warp.paste

    def note(frame: Frame, patches: list[Patch]) -> Frame:
        noted.append(patches)
        return paste(frame, patches)

    tools, options = Tools.make(Options(model=model)), Options(model=model)
    with monkeypatch.context() as patch:
        patch.setattr(warp, "paste", note)
        tally = Tally(Path("in"), Path("out"), tools.cast(tools.photos([str(folder / "face.png")]), [], options))
        after = list(route(iter(before), tools, tally))
    assert sum(map(bool, noted)) >= 0.9 * COUNT
    return list(zip(before, after, noted, strict=True))


def test_a_film_by_warped_is_the_film_by_tps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REST", 0.0)  # as whole pictures never rest
    own = routed(str(write(folder / "own.onnx", "Identity warped -> face", warped=put())), folder, monkeypatch)
    for (_, a, _), (_, b, _) in zip(own, routed("tps", folder, monkeypatch), strict=True):
        apart = [np.abs(p.astype(int) - q) for p, q in zip(a.planes, b.planes, strict=True)]
        assert max(p.max() for p in apart) <= 1 and max(p.mean() for p in apart) < 0.001


def opacity(patch: Patch, frame: Frame, plane: np.ndarray) -> np.ndarray:
    """How much of each sample of a plane is the patch's."""
    to_crop = invert(scaled(patch.to_frame, 1.0, plane_scale(frame, plane)))
    return resample(patch.alpha, to_crop, plane.shape[::-1], cv2.BORDER_CONSTANT)


def test_green_is_painted_in_the_hole_and_nowhere_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted = 0
    monkeypatch.setattr(warp, "FAINT", 999.0)  # without the film's grain
    for before, after, patches in routed(str(paints_green(folder / "own.onnx")), folder, monkeypatch):
        for old, new in zip(before.planes, after.planes, strict=True):
            covered = sum((opacity(p, before, old) for p in patches), np.zeros(old.shape, np.float32))
            away = cv2.dilate(covered, np.ones((3, 3))) == 0  # resampling the whole plane rounds otherwise than a part
            assert (old == new)[away].all() and away.mean() > 0.5
        for patch in patches:
            full = cv2.erode(np.uint8(opacity(patch, before, before.planes[0]) > 0.999), np.ones((5, 5))) > 0
            painted += full.sum()
            assert np.abs(thumbnail(after, 256)[full] - np.float32(GREEN)).max() <= 4, "and in front of it nothing is left"
    assert painted > COUNT * 1000


@pytest.mark.parametrize("photos", [["face.png"], []], ids=["with a photo", "without"])
def test_a_network_of_one_size_fills_a_film(photos: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, paste = set(), warp.paste
    monkeypatch.setattr(warp, "paste", lambda f, patches: sizes.update(p.size for p in patches) or paste(f, patches))
    model = write(folder / "own.onnx", "Identity warped -> face", warped=put(side=128))
    told = unmask(
        folder / "in.mp4", folder / "out.mp4", reference=[folder / p for p in photos], options=Options(model=str(model))
    )
    assert told.filled >= 0.9 * COUNT and sizes == {128} and not told.kept
    assert facts(folder / "out.mp4").times == facts(folder / "in.mp4").times
    assert len(told.warnings) == (0 if photos else 1)
    if not photos:
        assert "invented" in told.warnings[0] and "invented" in told.summary()


@pytest.mark.parametrize("photos", [["face.png"], []], ids=["with a photo", "without"])
def test_swift_fills_a_film(photos: list[str], folder: Path) -> None:
    told = unmask(
        folder / "in.mp4", folder / "out.mp4", reference=[folder / p for p in photos], options=Options(model="swift")
    )
    assert told.filled >= 0.9 * COUNT and not told.kept and len(told.warnings) == (0 if photos else 1)
    assert facts(folder / "out.mp4").times == facts(folder / "in.mp4").times


# --- refused --------------------------------------------------------------------------------------

GIVES_IMAGE = "Identity image -> face"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown input": (lambda p: write(p, "Identity picture -> face", picture=put()), "'picture'"),
    "wrong channels": (lambda p: write(p, GIVES_IMAGE, image=put(4)), "image"),
    "hidden with colours": (lambda p: write(p, "Identity hidden -> face", hidden=put(3)), "hidden"),
    "no face": (lambda p: write(p, "Identity image -> picture", image=put()), "no output named face"),
    "whole numbers": (lambda p: write(p, "Cast image -> face", image=put(kind=TensorProto.INT32)), "int32"),
    "three axes": (lambda p: write(p, GIVES_IMAGE, image=(TensorProto.FLOAT, [1, 3, 128])), "image"),
    "100 px": (lambda p: paints_green(p, 100), "multiple of 64"),
    "2048 px": (lambda p: paints_green(p, 2048), "1024"),
    "no square": (lambda p: write(p, GIVES_IMAGE, image=(TensorProto.FLOAT, [1, 3, 128, 192])), "multiple of 64"),
    "two at a time": (lambda p: write(p, GIVES_IMAGE, image=(TensorProto.FLOAT, [2, 3, 128, 128])), "image"),
    "no input": (lambda p: write(p, "Identity green -> face"), "input"),
    "text": (lambda p: p.write_text("this is no network\n" * 9), "no ONNX file"),
    "nothing in it": (lambda p: p.touch(), "no ONNX file"),
    "folder": (lambda p: p.mkdir(), "is not a file"),
    "missing": (lambda p: None, "is not a file"),
    "another shape": (lambda p: write(p, "Resize image _ half -> face", image=put()), "128, 128"),
    "one pixel": (lambda p: write(p, "Identity green -> face", image=put()), "[1, 3, 1, 1]"),
    "fails at work": (lambda p: write(p, "Reshape image three -> face", image=put()), "failed at work"),
    "no numbers": (lambda p: write(p, "Mul image nan -> face", image=put()), "--model"),
}


def refused(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence; nothing is left behind."""
    before = {p.name for p in folder.rglob("*")}
    code = cli.exit_code([str(folder / "in.mp4"), str(folder / "out.mp4"), *words])
    told = capsys.readouterr()
    assert (code, told.out) == (2, "") and told.err.startswith("unmask-video: ") and told.err.count("\n") == 1, told.err
    assert {p.name for p in folder.rglob("*")} == before
    return told.err


@pytest.mark.parametrize("name", WRONG)
def test_wrong_networks_are_refused(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = WRONG[name]
    make(folder / "own.onnx")
    told = refused(folder, ["-r", str(folder / "face.png"), "--model", str(folder / "own.onnx")], capsys)
    assert words in told and "unexpected" not in told


def test_tps_without_a_photo_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--reference PHOTO" in refused(folder, ["--model", "tps"], capsys)
    with pytest.raises(BadOption, match="tps needs a photo"):
        unmask(folder / "in.mp4", folder / "out.mp4", options=Options(model="tps"))


def test_models_that_are_not_there_are_unknown(tmp_path: Path) -> None:
    for name, words in ((tmp_path / "gone.onnx", "is not a file"), ("monet", "an ONNX file of your own")):
        with pytest.raises(UnknownModel, match=words):
            Options(model=str(name))


def test_networks_that_are_not_networks_are_bad_options(tmp_path: Path) -> None:
    for name in ("unknown input", "100 px", "text"):
        path = tmp_path / f"{name}.onnx"
        WRONG[name][0](path)
        with pytest.raises(BadOption, match=name):
            fill_network(str(path))
