"""The house keeps its order: exports, layers, sizes, the wheel's files, the weights."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import unmask_video
from unmask_video.models import FILES, MODELS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "unmask_video"
WEIGHTS = ROOT / "models" / "weights"

LAYERS: dict[str, set[str]] = {
    "things": {"errors", "face", "frame", "geometry", "painting", "picture", "report", "stopwatch"},
    "models": {"models"},
    "means": {
        "ahead", "clock", "container", "contents", "damage", "encoders", "engine", "film_file", "journal", "options",
        "pieces", "provenance", "remux", "runtime", "tone",
    },
    "stages": {
        "decode", "detect", "encode", "identify", "inpaint", "landmarks", "reference", "segment", "smooth",
        "steady", "track", "turns", "warp",
    },
    "order": {
        "batch", "batch_page", "bench", "cast_folder", "doctor", "familiar", "live", "memory", "mining", "opening", "outcome",
        "pace", "page", "people", "pipeline", "processes", "ray_nodes", "recording", "remote", "scan", "segments",
        "sheet", "signs", "source", "table", "tally", "tools", "verify", "window", "work",
    },
    "command": {"__main__", "batch_command", "cli", "display", "live_command", "sandbox", "scan_command", "step"},
}  # fmt: skip
"""From bottom to top; imports point down, and a layer's modules import each other only in `SOCIABLE` ones."""
SOCIABLE = {"things", "means", "order", "command"}
WHO_IMPORTS = {
    "av": {"container", "contents", "damage", "decode", "encode", "encoders", "film_file", "recording", "remux", "source"},
    "torch": {"engine"},
    "onnxruntime": {"runtime"},
    "click": {"batch_command", "cli", "display", "live_command", "scan_command", "step"},
    "c2pa": {"provenance"},
    "fsspec": {"remote"},
    "ray": {"ray_nodes"},
    "tqdm": {"display"},
    "training": set(),
}
"""Who in unmask_video may import what, early or late."""
LATE_ONLY = {"torch", "mediapipe", "tensorflow", "tqdm", "pyvirtualcam", "c2pa", "fsspec", "ray"}
"""Never at the top of a module of unmask_video: these are slow to load, or not always installed."""


def sources() -> list[Path]:
    folders = ("unmask_video", "models", "training", "tests", "examples")
    return sorted(path for folder in folders for path in (ROOT / folder).glob("*.py"))


def imports(nodes: list[ast.AST], package: str) -> Iterator[str]:
    """Dotted names that the import statements among `nodes` ask for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module if node.level == 0 else ".".join(filter(None, (package, node.module)))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def all_imports(path: Path, package: str = "unmask_video") -> set[str]:
    return set(imports(list(ast.walk(ast.parse(path.read_text("utf-8")))), package))


def top_imports(path: Path, package: str = "unmask_video") -> set[str]:
    return set(imports(list(ast.parse(path.read_text("utf-8")).body), package))


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def own_modules(path: Path) -> set[str]:
    """Modules of unmask_video that `path` imports, `models` as one."""
    parts = (name.split(".") for name in all_imports(path))
    known = set().union(*LAYERS.values())
    return {name[1] for name in parts if name[0] == "unmask_video" and name[1] in known}


def level(module: str) -> int:
    return next(i for i, modules in enumerate(LAYERS.values()) if module in modules)


def test_exports_are_sorted_and_there() -> None:
    assert unmask_video.__all__ == sorted(unmask_video.__all__)
    assert all(hasattr(unmask_video, name) for name in unmask_video.__all__)


def test_every_public_error_is_exported() -> None:
    tree = ast.parse((PACKAGE / "errors.py").read_text("utf-8"))
    errors = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert errors <= set(unmask_video.__all__)


def test_every_module_has_a_layer() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules <= set().union(*LAYERS.values()), "new modules get a place in LAYERS"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    if path.stem == "__init__":
        pytest.skip("the public names come from every layer")
    here = level(path.stem)
    reach = here if list(LAYERS)[here] in SOCIABLE else here - 1
    assert {module for module in own_modules(path) if level(module) > reach} == set()


def test_libraries_stay_where_they_belong() -> None:
    for path in PACKAGE.glob("*.py"):
        used = roots(all_imports(path))
        wrong = {name for name, users in WHO_IMPORTS.items() if name in used and path.stem not in users}
        assert not wrong, f"{path.name} imports {wrong}"
        early = roots(top_imports(path)) & LATE_ONLY
        assert not early, f"{path.name} must import {early} late, inside the function that needs it"


def test_models_know_only_things_and_torch() -> None:
    for path in (ROOT / "models").glob("*.py"):
        names = all_imports(path, "unmask_video.models")
        assert not roots(names) & {"av", "cv2", "training", "onnxruntime"}, path.name
        own = {name.split(".")[1] for name in names if name.startswith("unmask_video.")}
        assert own <= LAYERS["things"] | {"models"}, path.name
    assert "torch" not in roots(all_imports(ROOT / "models" / "__init__.py")), "the table loads without torch"


def test_only_the_command_prints() -> None:
    for path in [*PACKAGE.glob("*.py"), *(ROOT / "models").glob("*.py")]:
        names = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)]
        printing = [name.lineno for name in names if name.id == "print"]
        assert not printing, f"{path.name} prints in line {printing}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sizes(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300, "a file has at most 300 lines"
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert max(lengths.values(), default=0) <= 40, f"a function has at most 40 lines: {lengths}"


def test_models_refuse_another_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import models"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "unmask_video.models" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", sorted(FILES))
def test_weights_are_the_listed_ones(name: str) -> None:
    entry = FILES[name]
    assert hashlib.sha256((WEIGHTS / entry.file).read_bytes()).hexdigest() == entry.sha256
    assert entry.sha256[:8] in entry.file
    assert entry.licence and entry.origin


def test_weights_hold_nothing_unlisted() -> None:
    assert {path.name for path in WEIGHTS.glob("*.onnx")} == {entry.file for entry in FILES.values()}


def test_models_are_described() -> None:
    assert MODELS and all(MODELS.values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for name in ("unmask_video", "models", "training", "tests", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "--wheel-dir", folder, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    version = unmask_video.__version__
    assert {name.split("/")[0] for name in names} == {"unmask_video", f"unmask_video-{version}.dist-info"}
    expected = {f"unmask_video/{path.name}" for path in PACKAGE.iterdir() if path.is_file()}
    expected |= {f"unmask_video/models/{path.name}" for path in (ROOT / "models").glob("*.py")}
    expected |= {f"unmask_video/models/weights/{path.name}" for path in WEIGHTS.iterdir()}
    assert expected == {name for name in names if name.startswith("unmask_video/")}
    assert any(name.endswith("/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 100e6
