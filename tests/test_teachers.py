"""The networks that losses look through: read from files of their own kind, or stood in for."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.error import URLError

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402

from training import teachers  # noqa: E402

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0)
"""Of VGG-19's convolutions; 0 is a maximum (Simonyan and Zisserman, arXiv 1409.1556, column E)."""


def vgg19() -> nn.Sequential:
    """Its convolutional part, as torchvision builds it, with weights that keep the signal's strength."""
    layers: list[nn.Module] = []
    before = 3
    for width in WIDTHS:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2, 2)]
        before = width or before
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers)


@torch.no_grad()
def test_vgg19_gives_the_maps_before_each_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = vgg19()
    state = {f"features.{k}": v for k, v in whole.state_dict().items()} | {"classifier.0.weight": torch.zeros(2, 2)}
    monkeypatch.setattr(teachers, "load_state_dict_from_url", lambda *_, **__: state)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    x, wanted = ((image + 1) / 2 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]), []
    x = x / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    for layer in whole:
        if isinstance(layer, nn.MaxPool2d):
            wanted.append(x)
        x = layer(x)
    found = teachers.perceptual().features(image)
    assert [f.shape for f in found] == [w.shape for w in wanted]
    assert all(torch.allclose(f, w, rtol=1e-4, atol=1e-4) for f, w in zip(found, wanted, strict=True))


def test_what_cannot_be_fetched_is_stood_in_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no way out")

    monkeypatch.setattr(teachers, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(teachers, "LPIPS", lambda name: name)
    monkeypatch.setattr(teachers, "CACHE", tmp_path)
    assert teachers.perceptual() == "vgg"
    assert teachers.face_network()(torch.zeros(1, 3, 112, 112)).shape == (1, 192)
    told = capsys.readouterr().out
    assert "no way out" in told and "VGG16 stands in" in told and "MobileFaceNet stands in" in told


class Residual(nn.Module):
    """What ArcFace's "improved residual" network consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.PReLU(8))
        self.block = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(8))
        self.end = nn.Sequential(nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 28 * 28, 16), nn.BatchNorm1d(16))
        for layer in self.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.end(x + self.block(x))


def test_an_arcface_file_is_read_and_passes_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, data = Residual().eval(), io.BytesIO()
    face = torch.randn(1, 3, 112, 112)
    # As it is written by who publishes one: batch norms and all.
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": True}
    torch.onnx.export(network, (face,), data, dynamo=False, opset_version=11, **kept)
    (tmp_path / "arcface.onnx").write_bytes(data.getvalue())
    monkeypatch.setattr(teachers, "CACHE", tmp_path)
    read = teachers.face_network()
    assert {"BatchNormalization", "PRelu", "Gemm", "Flatten"} <= {step.operator for step in read.steps}
    faces = torch.randn(3, 3, 112, 112, requires_grad=True)
    found = read(faces)
    assert torch.allclose(found, nn.functional.normalize(network(faces), dim=1), atol=1e-5)
    found.sum().backward()
    assert faces.grad.any() and not list(read.parameters())


@pytest.mark.parametrize("data", [b"", b"no network at all" * 20])
def test_a_file_that_is_no_network_is_told(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "arcface.onnx").write_bytes(data)
    monkeypatch.setattr(teachers, "CACHE", tmp_path)
    with pytest.raises(ValueError, match="arcface.onnx"):
        teachers.face_network()
