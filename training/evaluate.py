"""Scores fills on pairs of photos of one person: one is masked by drawing, the other is the reference.

    python -m training.evaluate PAIRS.tar [--grid grid.png]

PAIRS holds person/photo.jpg. Every photo is masked in turn; landmarks are found on the masked picture; the
drawn mask is given. Printed beside the floors: the mask itself and OpenCV's Telea inpainting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from unmask_video import inpaint, reference, warp
from unmask_video.face import Face, FaceCrop, Mask, Reference, align
from unmask_video.landmarks import onnx_backend
from unmask_video.picture import photo, sample

from training.data import measure_face, pictures
from training.lpips import LPIPS
from training.masks import MaskShape, lit

SIZE = 256
NOBODY = np.zeros(192, np.float32)
"""Identity is not compared here."""


@dataclass(frozen=True, eq=False)
class Case:
    """One masked face with its truth."""

    name: str
    crop: FaceCrop
    truth: np.ndarray
    """float32 [S, S, 3]."""
    alpha: np.ndarray
    """float32 [S, S]: the drawn mask."""
    reference: Reference


def surgical(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A light blue mask worn as it should be: picture and alpha, at the photo's size."""
    shape = MaskShape(
        top=rng.uniform(0.15, 0.45), cheek=rng.uniform(0.25, 0.6), width=-0.05, jaw=1.03, chin=0.05, stand=0.04
    )
    size = rgb.shape[0]
    alpha = cv2.GaussianBlur(shape.cover(landmarks, size, rng), (0, 0), size / 500)
    cloth = lit(np.full((size, size, 3), (160, 200, 225), np.float32), rgb, alpha, rng)
    return (rgb + (cloth - rgb) * alpha[..., None]).clip(0, 255).astype(np.uint8), alpha


def cases(source: Path) -> Iterator[Case]:
    """Every photo of each person masked, with another photo of the person as reference."""
    people: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
    for name, rgb in pictures(source):
        people[Path(name).parent.name].append((name, rgb))
    measure, rng = onnx_backend(), np.random.default_rng(0)
    for photos in people.values():
        measured = [(n, rgb, measure_face(photo(rgb), measure)) for n, rgb in photos]
        measured = [m for m in measured if m[2] is not None]
        for k, (name, rgb, landmarks) in enumerate(measured):
            if len(measured) < 2:
                continue
            masked, alpha = surgical(rgb, landmarks, rng)
            found = measure_face(photo(masked), measure)
            if found is not None:
                yield _case(name, rgb, masked, alpha, found, _reference(*measured[k - 1]))


def _reference(name: str, rgb: np.ndarray, landmarks: np.ndarray) -> Reference:
    return reference.aligned(name, photo(rgb), landmarks, NOBODY)


def _case(
    name: str, rgb: np.ndarray, masked: np.ndarray, alpha: np.ndarray, found: np.ndarray, other: Reference
) -> Case:
    crop_to_frame = align(found, SIZE)
    crop = warp.cut(photo(masked), Face(0, found, 1.0), SIZE)
    hidden = sample(photo((alpha * 255).astype(np.uint8)[..., None].repeat(3, 2)), crop_to_frame, SIZE)[..., 1] / 255
    return Case(name, crop, sample(photo(rgb), crop_to_frame, SIZE), hidden, other)


def fill_tps(case: Case) -> np.ndarray:
    patch = inpaint.fill(case.crop, Mask(case.alpha, 1.0, True), warp.guide(case.crop, case.reference))
    return case.crop.image + (patch.image - case.crop.image) * patch.alpha[..., None]


def fill_telea(case: Case) -> np.ndarray:
    picture = case.crop.image.round().clip(0, 255).astype(np.uint8)
    return cv2.inpaint(picture, (case.alpha > 0.01).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float32)


FILLS: dict[str, Callable[[Case], np.ndarray]] = {
    "masked": lambda case: case.crop.image,
    "telea": fill_telea,
    "tps": fill_tps,
}


def scores(result: np.ndarray, case: Case, lpips: LPIPS) -> dict[str, float]:
    """PSNR of the crop and of the hole in dB, and LPIPS (AlexNet) of the crop."""
    squared = ((result.clip(0, 255) - case.truth) / 255) ** 2
    hole = case.alpha > 0.5
    net = lambda a: torch.from_numpy(a.clip(0, 255).transpose(2, 0, 1)[None] / 127.5 - 1).float()  # noqa: E731
    with torch.no_grad():
        distance = lpips(net(result), net(case.truth)).item()
    return {
        "psnr": -10 * np.log10(squared.mean()),
        "hole": -10 * np.log10(squared[hole].mean()),
        "lpips": distance,
    }


@click.command()
@click.argument("pairs", type=click.Path(exists=True, path_type=Path))
@click.option("--grid", type=click.Path(path_type=Path), help="Write truth, masked and fills of the first cases.")
@click.option("--limit", default=0, help="Number of cases; 0: all.")
def main(pairs: Path, grid: Path | None, limit: int) -> None:
    lpips, table, rows = LPIPS(), defaultdict(list), []
    for count, case in enumerate(cases(pairs)):
        if limit and count >= limit:
            break
        row = [case.truth, case.reference.image]
        for name, fill in FILLS.items():
            result = fill(case)
            table[name].append(scores(result, case, lpips))
            row.append(result)
        if len(rows) < 12:
            row[1] = cv2.resize(row[1], (SIZE, SIZE)).astype(np.float32)
            rows.append(np.hstack(row))
    click.echo(f"{len(table['tps'])} cases        PSNR   in the hole   LPIPS")
    for name, found in table.items():
        mean = {k: float(np.mean([f[k] for f in found])) for k in found[0]}
        click.echo(f"{name:12s}     {mean['psnr']:6.2f}   {mean['hole']:6.2f}      {mean['lpips']:.4f}")
    if grid:
        picture = np.vstack(rows).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(grid), picture[..., ::-1])


if __name__ == "__main__":
    main()
