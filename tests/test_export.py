"""Trained networks as ONNX: the same as in PyTorch, or not written at all; and the list of the weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces import shared

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from training.checkpoint import register  # noqa: E402
from training.data import cut_faces  # noqa: E402
from training.export import to_onnx  # noqa: E402
from training.faces import Faces  # noqa: E402
from training.patterns import load_patterns  # noqa: E402
from training.samples import SegmenterSamples  # noqa: E402
from unmask_video import segment  # noqa: E402
from unmask_video.engine import load_parameters  # noqa: E402
from unmask_video.models import sentry  # noqa: E402
from unmask_video.models.layers import move, shrink  # noqa: E402
from unmask_video.models.segmenter import SIZE, SMALL, Segmenter  # noqa: E402
from unmask_video.models.sentry import Sentry  # noqa: E402
from unmask_video.models.swift import VIEW, Swift  # noqa: E402
from unmask_video.painting import Painting  # noqa: E402
from unmask_video.picture import grid  # noqa: E402
from unmask_video.runtime import open_session, session  # noqa: E402

torch.set_num_threads(1)  # as training does: many small tests on a busy machine fight over threads


def grown(kind: Callable[[], torch.nn.Module], spread: float) -> torch.nn.Module:
    """With something to say in every layer: heads that began at zero, batch norms that know nothing."""
    torch.manual_seed(2)
    network = kind()
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape)
            value.copy_(1 + 0.3 * noise.abs() if "var" in key else value + spread * noise)
    return network


def crops(size: int, count: int = 1, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(size + count)) * 255


def test_the_exported_sentry_is_the_trained_one() -> None:
    network = grown(Sentry, 0.02)
    made = open_session(to_onnx(network), ("cpu",))
    for count in (3, 1):
        with torch.no_grad():
            presence = network(crops(sentry.SIZE, count)).sigmoid().numpy()
        (belief,) = made.run(["presence"], {"image": crops(sentry.SIZE, count).numpy()})
        assert belief.shape == (count,) and np.abs(belief - presence).max() <= 1 / 255 and 0.01 < belief.mean() < 0.99


def test_the_exported_segmenter_is_the_trained_one() -> None:
    network = grown(Segmenter, 0.07)  # more, and its sums are so large that rounding shows
    before = {k: v.clone() for k, v in network.state_dict().items()}
    made = open_session(to_onnx(network), ("cpu",))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items()), "checking teaches it nothing"
    for count in (3, 1):
        with torch.no_grad():
            logits, presence = network(crops(SIZE, count))
        mask, belief = made.run(["mask", "presence"], {"image": crops(SIZE, count).numpy()})
        assert mask.shape == (count, 1, SIZE, SIZE) and belief.shape == (count,)
        assert np.abs(mask - logits.sigmoid().numpy()).max() <= 1 / 255 and mask.std() > 0.1
        assert np.abs(belief - presence.sigmoid().numpy()).max() <= 1 / 255


def test_the_exported_swift_is_the_trained_one() -> None:
    network = grown(Swift, 0.02)
    data = to_onnx(network)
    photo = torch.nn.functional.interpolate(crops(16), (VIEW, VIEW), mode="bicubic").clamp(0, 255)
    given = [crops(VIEW), crops(VIEW, channels=1).round() / 255, photo]
    with torch.no_grad():
        face = network(*given).numpy()
    plan = open_session(data, ("cpu",)).run(["flow", "light"], {k: v.numpy() for k, v in zip(network.inputs, given, strict=True)})
    warped, flow, light = (x[0].transpose(1, 2, 0) for x in (given[2].numpy(), *plan))
    straight, hidden = (grid(VIEW) + 0.5) / VIEW, np.zeros((VIEW, VIEW), np.float32)
    painting = replace(Painting.plain(warped, hidden, np.eye(2, 3)), where=straight).moved(flow, light)
    found, face = painting.at(VIEW).clip(0, 255), face[0].transpose(1, 2, 0)
    assert np.abs(found - face).max() <= 1 and np.abs(face - warped).mean() > 2, "OpenCV does with it what PyTorch does"


@pytest.mark.parametrize("kind", [Segmenter, Swift])
def test_a_file_keeps_its_parameters_under_their_names(kind: type, tmp_path: Path) -> None:
    network, again = grown(kind, 0.02), kind().eval()
    data = to_onnx(network)
    names = {i.name.removeprefix("network.") for i in onnx.load_from_string(data).graph.initializer}
    learnt = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    assert set(learnt) <= names
    load_parameters(again, data)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in learnt.items())
    with pytest.raises(ValueError, match="another network"):
        load_parameters({Segmenter: Swift, Swift: Segmenter}[kind](), data)


@torch.no_grad()
def test_kernels_that_16_bits_hold_take_half_the_room() -> None:
    network, again = grown(Segmenter, 0.02), Segmenter().eval()
    whole = to_onnx(network)
    for parameter in network.parameters():
        parameter.copy_(parameter.half() if parameter.dim() > 1 else parameter)
    data = to_onnx(network)
    load_parameters(again, data)
    assert len(data) < 0.6 * len(whole)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda image, hidden, warped: (image, hidden, warped * 0.9),
        lambda image, hidden, warped: (image * math.nan, hidden, warped),
        lambda image, hidden, warped: (warped, hidden, image),
    ],
    ids=["darker", "no number", "inputs in another order"],
)  # fmt: skip
def test_a_file_that_is_not_the_network_is_not_written(wrong: Callable[..., tuple[torch.Tensor, ...]]) -> None:
    """The file does something else than the network, as a wrong export would make it."""

    class Tampered(Swift):
        def seen(self, *given: torch.Tensor) -> torch.Tensor:
            return super().seen(*(wrong(*given) if torch.onnx.is_in_onnx_export() else given))

    with pytest.raises(ValueError, match="differ"):
        to_onnx(grown(Tampered, 0.02))


@pytest.mark.parametrize("size", [128, 256, 512])
def test_an_untrained_swift_returns_the_warped_photo(size: int) -> None:
    with torch.no_grad():
        face = Swift()(crops(size), crops(size, channels=1).round() / 255, crops(size).flip(3))
    assert (face - crops(size).flip(3)).abs().max() < 0.01


@pytest.mark.parametrize("size", [64, 128, 192, 512])
def test_shrinking_is_what_pytorch_has_against_aliasing(size: int) -> None:
    wanted = torch.nn.functional.interpolate(crops(size), (128, 128), mode="bilinear", antialias=True)
    assert (shrink(crops(size), 128) - wanted).abs().max() < 0.01, "at the edges, too"


def test_flows_are_in_sides_of_the_picture_and_x_comes_first() -> None:
    picture = crops(16)
    flow = torch.tensor([3 / 16, -1 / 16])[None, :, None, None].expand(1, 2, 16, 16)
    assert torch.allclose(move(picture, flow)[..., 1:, :13], picture[..., :15, 3:], atol=1e-2)


def test_weights_are_listed_and_old_ones_removed(tmp_path: Path) -> None:
    told = {"licence": "Apache-2.0", "origin": "a test"}
    other = register("other", b"other", folder=tmp_path, **told)
    first = register("net", b"first", folder=tmp_path, **told)
    assert (tmp_path / first["file"]).read_bytes() == b"first"
    second = register("net", b"second", folder=tmp_path, **told)
    assert second["sha256"] == hashlib.sha256(b"second").hexdigest()
    assert second["file"] == f"net-{second['sha256'][:8]}.onnx" and {**told, **second} == second
    assert {p.name for p in tmp_path.iterdir()} == {"files.json", other["file"], second["file"]}
    assert json.loads((tmp_path / "files.json").read_text()) == {"net": second, "other": other}
    assert register("net", b"second", folder=tmp_path, **told) == second
    assert (tmp_path / second["file"]).read_bytes() == b"second", "the same again stays"


def test_the_shipped_networks_for_masks_have_the_sizes_that_they_are_given() -> None:
    assert (segment.SIZE, segment.SMALL, segment.SENTRY) == (SIZE, SMALL, sentry.SIZE)
    for name, size in {"segmenter": SIZE, "segmenter_small": SMALL, "sentry": sentry.SIZE}.items():
        assert session(name).get_inputs()[0].shape[1:] == [3, size, size]


@pytest.mark.parametrize(("name", "size"), [("segmenter", SIZE), ("segmenter_small", SMALL)])
def test_the_shipped_segmenters_see_masks_on_faces_they_were_not_trained_on(name: str, size: int) -> None:
    """All of the validation faces, drawn on as the training's own score draws: its tail is too heavy for fewer."""
    names, images, where = zip(*cut_faces(shared("utkface-val.tar")), strict=True)
    faces, patterns = Faces(names, np.stack(images), np.stack(where)), load_patterns(shared("mask-templates.tar"))
    data, network = SegmenterSamples(faces, patterns, size, seed=1), session(name)
    ious, right = [], []
    for n in range(608):
        sample = data[n]
        alpha, belief = network.run(None, {"image": sample["image"][None].astype(np.float32)})
        right.append((belief[0] > 0.5) == bool(sample["present"]))
        if sample["present"]:
            got, true = alpha[0] > 0.5, sample["mask"] > 127
            ious.append((got & true).sum() / max((got | true).sum(), 1))
    print(f"\n{len(ious)} drawn masks: IoU {np.mean(ious):.3f}; masked or bare right in {np.mean(right):.1%}")
    assert np.mean(ious) >= 0.93 and np.mean(right) >= 0.95
