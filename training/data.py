"""Faces for training: cut out of pictures by the product's own code, and kept.

    python -m training.data OUT.npz PICTURES.tar [PICTURES.tar ...]

Every picture's best face is found, measured and aligned as `unmask_video` does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import numpy as np

from training.faces import Faces
from training.photos import decode, open_photos
from unmask_video.detect import detect
from unmask_video.errors import BadOption, UnmaskError
from unmask_video.face import CANONICAL, OUTLINE, align
from unmask_video.frame import Frame
from unmask_video.geometry import apply, fit_pose, invert
from unmask_video.landmarks import Measure, onnx_backend, region_of_detection, region_of_landmarks
from unmask_video.picture import photo, sample
from unmask_video.warp import CONTROL, warp_photo

SIZE = 192
"""Pixels of a kept crop."""
FRONTAL = 0.15
"""Sine of the head's turn up to which a face counts as frontal."""
SCORED_ON = frozenset(line.split()[0] for line in Path(__file__).with_name("london.sha256").read_text().splitlines())
"""sha256 of each file of the Face Research Lab London set's pairs: what is scored on them must never have seen them."""


def pictures(source: Path, refused: Collection[str] = ()) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 [h, w, 3] RGB) of every photo in a folder or a tar; broken ones are left out.

    Raises:
        BadOption: the source holds no photos, or is no whole tar, or a file's sha256 is one of those refused.
    """
    with open_photos(source) as photos:
        for name in (name for names in photos.people for name in names):
            data = photos.read(name)
            if hashlib.sha256(data).hexdigest() in refused:
                raise BadOption(f"{name} in {source.name} is one of the photos that models are scored on; leave them out")
            rgb = decode(data)
            if rgb is not None:
                yield name, rgb


def measure_face(frame: Frame, measure: Measure) -> np.ndarray | None:
    """Landmarks [468, 3] of the best face, or None where there is none."""
    found = detect(frame)
    if not found:
        return None
    ((landmarks, _),) = measure(frame, [region_of_detection(found[0])])
    ((landmarks, score),) = measure(frame, [region_of_landmarks(landmarks)])
    return landmarks if score > 0.5 else None


def cut_faces(
    source: Path, size: int = SIZE, refused: Collection[str] = ()
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, crop uint8 [size, size, 3], landmarks float32 [468, 3] in it) of every picture with a face.

    Raises:
        BadOption: as `pictures`.
    """
    measure = onnx_backend()
    for name, rgb in pictures(source, refused):
        frame = photo(rgb)
        landmarks = measure_face(frame, measure)
        if landmarks is None:
            continue
        crop = align(landmarks, size)
        image = sample(frame, crop, size).round().clip(0, 255).astype(np.uint8)
        yield name, image, apply(invert(crop), landmarks).astype(np.float32)


def mean_shape(shapes: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Generalised Procrustes mean of shapes [N, 468, 3]: symmetric, upright, face height 1, float32 [468, 3]."""
    def normal(shape: np.ndarray) -> np.ndarray:
        shape = shape - shape[OUTLINE].mean(0)
        return shape / np.linalg.norm(shape[152] - shape[10])

    mean = normal(shapes[0])
    for _ in range(rounds):
        fitted = []
        for shape in shapes:
            scale, rotation, move = fit_pose(shape, mean)
            fitted.append(scale * shape @ rotation.T + move)
        mean = normal(np.mean(fitted, axis=0))
        mirrored = mean * [-1, 1, 1]
        partner = np.linalg.norm(mirrored[:, None] - mean[None], axis=-1).argmin(1)
        mean = normal((mean + mirrored[partner]) / 2)
    return mean.astype(np.float32)


def mean_face(faces: Faces, size: int = SIZE) -> np.ndarray:
    """The mean of frontal faces, each brought onto the canonical one: uint8 [size, size, 3]."""
    onto = apply(invert(align(CANONICAL, size)), CANONICAL)
    total, count = np.zeros((size, size, 3)), 0
    for image, landmarks in zip(faces.images, faces.landmarks.astype(np.float64), strict=True):
        _, rotation, _ = fit_pose(CANONICAL, landmarks)
        if abs(rotation[0, 2]) < FRONTAL:
            total += warp_photo(image, landmarks[CONTROL], onto[CONTROL], size)
            count += 1
    return (total / count).round().astype(np.uint8)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--size", default=SIZE, type=click.IntRange(64, 512), help="Pixels of each crop.")
def main(out: Path, sources: tuple[Path, ...], size: int) -> None:
    """Cut the faces out of SOURCES (folders or tars of pictures) into the file OUT."""
    names, images, landmarks = [], [], []
    for source in sources:
        try:
            for name, image, points in cut_faces(source, size, SCORED_ON):
                names.append(name)
                images.append(image)
                landmarks.append(points)
        except UnmaskError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{source.name}: {len(names)} faces so far")
    if not names:
        raise click.ClickException("no face was found in any picture; give pictures of bare faces")
    np.savez(out, names=np.array(names), images=np.stack(images), landmarks=np.stack(landmarks))


if __name__ == "__main__":
    main()
