"""Scores what fills faces, beside its floors, on photos that are masked by drawing.

    python -m training.evaluate PHOTOS.tar --models swift,tps,telea --grid grid.png

PHOTOS, a folder or a tar, holds `person/photo.jpg`: each photo is masked in turn, another one of the person is
the reference. Landmarks are found on the masked picture. Each fill is scored with the drawn mask given, and with
the mask that the product's segmenter finds.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from tqdm import tqdm

from training import metrics, tables
from training.cases import Case, Cases
from training.identity import identity_crop, mobilefacenet
from training.lpips import LPIPS, pooled
from training.photos import open_photos
from training.tables import Results
from unmask_video import inpaint
from unmask_video.errors import BadOption, UnmaskError
from unmask_video.face import FaceCrop, Guide, Mask, Patch
from unmask_video.models import MODELS, load_bytes
from unmask_video.runtime import LARGEST, fill_network, open_session

Judgement = tuple[dict[str, float], np.ndarray]
"""Every score of a filled face that is a mean over cases, and its features [512] for the Frechet distance."""
SHOWN = 12
"""Cases in the grid."""


def keep(crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
    """The floor of all floors: nothing is done."""
    return Patch(crop.image, np.zeros_like(crop.image[..., 0]), crop.crop_to_frame)


def telea(crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
    """OpenCV's inpainting (Telea 2004), radius 3: no reference, no learning."""
    alpha = cv2.resize(mask.alpha, crop.image.shape[:2], interpolation=cv2.INTER_LINEAR)
    # Lower, and a found mask's soft edge costs it a dB; higher, and a mask's colour is left to be carried in.
    hidden = (alpha > 0.1).astype(np.uint8)
    picture = crop.image.round().clip(0, 255).astype(np.uint8)
    image = cv2.inpaint(picture, hidden, 3, cv2.INPAINT_TELEA).astype(np.float32)
    return Patch(image, hidden.astype(np.float32), crop.crop_to_frame)


Fill = Callable[[FaceCrop, Mask, Guide], Patch]
FLOORS: dict[str, Fill] = {"masked": keep, "telea": telea}
"""Models that the product does not have: what every other one must beat."""


@dataclass(frozen=True, eq=False)
class Model:
    """What fills faces, and how large it is."""

    fill: Fill
    parameters: int = 0
    file_bytes: int = 0


def patched(fill: inpaint.Fill) -> Fill:
    """A fill of the product's, as it is pasted."""
    return lambda *case: inpaint.painted(fill, *case).patch()


def load_model(name: str, size: int) -> Model:
    """A floor, a name in `models.MODELS`, or a file `....onnx`, for crops of `size` px.

    Raises:
        BadOption: the file is no network that fills faces, or is made for crops of another size.
    """
    if name in FLOORS:
        return Model(FLOORS[name])
    if name == "tps":
        return Model(patched(inpaint.tps))
    network = fill_network(name)
    if network.size not in (None, size):
        raise BadOption(f"the model {name} is made for crops of {network.size} px; give --size {network.size}")
    data = Path(name).read_bytes() if name.endswith(".onnx") else load_bytes(name)
    constants = onnx.load_model_from_string(data).graph.initializer
    numbers = [c for c in constants if c.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)]
    return Model(patched(inpaint.by_network(network)), sum(int(np.prod(c.dims)) for c in numbers), len(data))


def filled(fill: Fill, case: Case, mask: Mask) -> np.ndarray:
    """The crop with its face filled as the product pastes it, without grain: float32 [S, S, 3] in 0..255."""
    image = case.crop.image
    if mask.present:
        patch = fill(case.crop, mask, case.guide)
        image = patch.over(image)
    return image.clip(0, 255)


class Remembering(LPIPS):
    """LPIPS that looks only once at each picture, for as long as the picture is there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen = WeakTensorKeyDictionary()

    def features(self, image: Tensor) -> list[Tensor]:
        if image not in self.seen:
            self.seen[image] = super().features(image)
        return self.seen[image]


class Judge:
    """The networks that compare pictures."""

    def __init__(self) -> None:
        self.vgg, self.alex, self.identity = Remembering("vgg"), Remembering("alex"), mobilefacenet()

    @torch.no_grad()
    def scores(self, face: np.ndarray, case: Case, truth: Tensor) -> Judgement:
        """How near a filled face [S, S, 3] comes to its truth, which is given as `net(case.truth)`, too."""
        found = {}
        for place, hole in (("", None), ("hole_", case.hole)):
            for measure in (metrics.l1, metrics.psnr, metrics.ssim):
                found[place + measure.__name__] = measure(face, case.truth, hole)
        both = net(face, np.where(case.hole[..., None], face, case.truth))
        for name, lpips in (("vgg", self.vgg), ("alex", self.alex)):
            found[f"lpips_{name}"], found[f"hole_lpips_{name}"] = lpips(both, truth).tolist()
        for measure in (metrics.skin_colour_error, metrics.high_frequency_ratio):
            found[measure.__name__] = measure(face, case.truth, case.hole)
        found["identity"] = float((self.who(both[:1]) * self.who(truth)).sum())
        return found, self.features(both)

    def compare(self, faces: dict[str, np.ndarray], case: Case, truth: Tensor) -> dict[str, Judgement]:
        """`scores` of several faces by name; equal ones are looked at once."""
        found = {}
        for name, face in faces.items():
            same = next((k for k in found if np.array_equal(faces[k], face)), None)
            found[name] = found[same] if same else self.scores(face, case, truth)
        return found

    def who(self, picture: Tensor) -> Tensor:
        # Not the product's `identify`: it blanks the lower face, which is the very thing that is filled here.
        return self.identity(identity_crop(picture))

    @torch.no_grad()
    def features(self, picture: Tensor) -> np.ndarray:
        return pooled(self.vgg, picture)[0].numpy()


def net(*pictures: np.ndarray) -> Tensor:
    """Pictures [S, S, 3] in 0..255 as networks take them, [B, 3, S, S] in -1..1."""
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2) / 127.5 - 1).float()


def cpu_ms(work: Callable[[], object]) -> float:
    """Milliseconds of CPU on one thread, the best of five."""
    threads, taken = cv2.getNumThreads(), []
    cv2.setNumThreads(1)
    for _ in range(5):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    cv2.setNumThreads(threads)
    return 1000 * min(taken)


def convolution_ms() -> float:
    """A fixed piece of work, so that machines can be told apart: 3x3, 64 to 64 channels, 128 x 128, .6 GMAC."""
    weight = numpy_helper.from_array(np.full((64, 64, 3, 3), 0.01, np.float32), "weight")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 128, 128]) for name in ("x", "y")]
    node = helper.make_node("Conv", ["x", "weight"], ["y"], pads=[1] * 4)
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session, x = open_session(made.SerializeToString(), ("cpu",)), np.ones((1, 64, 128, 128), np.float32)
    return cpu_ms(lambda: session.run(None, {"x": x}))


def evaluate(models: dict[str, Model], cases: Iterable[Case]) -> Results:
    """Every model on every case, with each of its masks; one pass."""
    judge, results = Judge(), Results()
    for case in cases:
        if not results.names:
            results.costs.update({name: cost(model, case) for name, model in models.items()})
        truth = net(case.truth)
        results.names.append(case.name)
        results.truth.append(judge.features(truth))
        shown = {"truth": case.truth, "reference": case.reference.image, "masked": case.crop.image}
        for name, model in models.items():
            faces = {kind: filled(model.fill, case, mask) for kind, mask in case.masks.items()}
            shown[name] = faces["true"]
            for kind, (scores, features) in judge.compare(faces, case, truth).items():
                results.scores[name, kind].append(scores)
                results.features[name, kind].append(features)
        for name, picture in shown.items() if len(results.names) <= SHOWN else ():
            results.shown[name].append(cv2.resize(picture, case.alpha.shape, interpolation=cv2.INTER_AREA))
    return results


def cost(model: Model, case: Case) -> dict[str, float]:
    """Time and size of a model; the warp before it is the same for all and not counted."""
    taken = cpu_ms(lambda: model.fill(case.crop, case.masks["true"], case.guide))
    return {"cpu_ms": taken, "parameters": model.parameters, "file_bytes": model.file_bytes}


def parse_models(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Names and paths between commas."""
    names = list(dict.fromkeys(name for name in map(str.strip, value.split(",")) if name))
    known = [*FLOORS, *MODELS]
    for name in names:
        if name not in known and not name.endswith(".onnx"):
            allowed = ", ".join(known)
            raise click.BadParameter(f"there is no model {name}; give any of {allowed}, or files ending in .onnx")
    if len({Path(name).name for name in names}) < max(len(names), 1):
        raise click.BadParameter(f"{value!r} names no model, or two files of one name; give each its own name")
    return names


def parse_size(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value % 64 or not 64 <= value <= LARGEST:
        raise click.BadParameter(f"{value} is no multiple of 64 from 64 to {LARGEST}; give one, as 256")
    return value


def parse_target(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value and not value.parent.is_dir():
        raise click.BadParameter(f"the folder {value.parent} does not exist; make it first, or write elsewhere")
    if value and parameter.name == "grid" and value.suffix.lower() != ".png":
        raise click.BadParameter(f"the grid is a PNG, and {value.name} does not end in .png")
    return value


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """What goes wrong with what was given is told without a traceback."""
    try:
        yield
    except (UnmaskError, OSError) as error:
        told = click.ClickException(str(error))
        told.exit_code = getattr(error, "exit_code", told.exit_code)
        raise told from None
    except subprocess.CalledProcessError:
        raise click.ClickException("the weights of LPIPS are not in runs/ and cannot be fetched; go online once") from None


TARGET = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--models", default=",".join([*FLOORS, "tps", "swift"]), show_default=True, callback=parse_models,
              help="Names and .onnx files, with commas between them.")
@click.option("--references", type=click.Choice(["yes", "no"]), default="yes", show_default=True,
              help="Another photo of the person as reference, or everybody's mean face.")
@click.option("--size", default=256, show_default=True, callback=parse_size, help="Pixels of a crop.")
@click.option("--limit", default=0, type=click.IntRange(min=0), help="Number of cases; 0: all.")
@click.option("--csv", type=TARGET, callback=parse_target, help="Write the tables as CSV.")
@click.option("--markdown", type=TARGET, callback=parse_target, help="Write the tables as Markdown.")
@click.option("--grid", type=TARGET, callback=parse_target, help=f"Write a PNG of the first {SHOWN} cases.")
def main(
    data: Path, models: list[str], references: str, size: int, limit: int, csv: Path | None, markdown: Path | None,
    grid: Path | None,
) -> None:  # fmt: skip
    """Score MODELS on the photos in DATA, a folder or a tar of person/photo.jpg, or just photos."""
    with in_one_sentence(), open_photos(data) as photos:
        loaded = {Path(name).name: load_model(name, size) for name in models}
        cases, convolution = Cases(photos, size=size, references=references == "yes"), convolution_ms()
        results = evaluate(loaded, tqdm(islice(cases, limit or None), unit=" cases", disable=None, leave=False))
        left_out = ", ".join(f"{count} {reason}" for reason, count in cases.skipped.items())
        if not results.names:
            raise BadOption(f"{data} gave no case ({left_out}); give sharp photos of bare faces")
    lines = results.lines()
    shown = tables.tables(lines)
    guide = "another photo of the person" if cases.paired else "the mean face"
    count = f"{len(results.names)} case{'s' if len(results.names) > 1 else ''}"
    click.echo(f"{count} of {size} px, reference: {guide}, left out: {left_out or 'nothing'}")
    click.echo(f"CPU-ms are of one thread; a 3x3 convolution of .6 GMAC takes {convolution:.1f} of them\n")
    click.echo("\n\n".join(map(tables.as_text, shown)))
    with in_one_sentence():
        if csv:
            csv.write_text(tables.as_csv(lines), "utf-8")
        if markdown:
            markdown.write_text("\n".join(map(tables.as_markdown, shown)), "utf-8")
        if grid:
            grid.write_bytes(cv2.imencode(".png", tables.grid(results.shown)[..., ::-1])[1].tobytes())


if __name__ == "__main__":
    main()
