"""The two published networks that take a reference photo: their contract, their blocks, and what reaches what."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from training.export import OPSET, WORST, to_onnx  # noqa: E402
from unmask_video.models import gated_reference, unveilify  # noqa: E402
from unmask_video.models.gated_reference import (  # noqa: E402
    KINDS,
    GatedConv,
    GatedReference,
    SelfAttention,
    SpatialPyramidDilation,
    initialise,
)  # fmt: skip
from unmask_video.models.layers import to_bytes  # noqa: E402
from unmask_video.models.unveilify import ModulatedConv, UNetEncoder, Unveilify  # noqa: E402
from unmask_video.runtime import INPUTS, open_session  # noqa: E402

torch.set_num_threads(1)
SIDE = 128
GATED = gated_reference.Sizes((4, 8, 8), (4, 8, 8, 16, 16))
VEILED = unveilify.Sizes((16, 16, 12, 12, 8, 8), (8, 8, 12, 12), (1, 2, 1, 1), 16)


def tiny(name: str, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return awake(GatedReference(sizes=GATED) if name == "gated_reference" else Unveilify(sizes=VEILED))


@torch.no_grad()
def awake(network: nn.Module) -> nn.Module:
    """The network with everything that starts at 0 (attention, residual branches, biases) a little away from it."""
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    return network


def given(network: nn.Module, *, count: int = 1, seed: int = 1) -> dict[str, Tensor]:
    """Inputs by name: smooth pictures, and the lower half as the hole."""
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name in network.inputs:
        coarse = torch.rand(count, INPUTS[name], 8, 8, generator=rng) * 255
        found[name] = F.interpolate(coarse, size=SIDE, mode="bilinear")
    if "hidden" in found:
        found["hidden"] = (torch.arange(SIDE) >= SIDE // 2).float()[:, None].repeat(count, 1, 1, SIDE)
    return found


@torch.no_grad()
def face(network: nn.Module, inputs: dict[str, Tensor], **other: Tensor) -> Tensor:
    return network(*(inputs | other).values())


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


NAMES = ("gated_reference", "unveilify")
CLASSES = {"gated_reference": (GatedReference, gated_reference), "unveilify": (Unveilify, unveilify)}


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_inputs_and_outputs(self, name: str) -> None:
        network = tiny(name)
        inputs = given(network, count=2)
        assert set(network.inputs) <= set(INPUTS)
        found = face(network, inputs)
        assert found.shape == (2, 3, SIDE, SIDE)
        assert found.min() >= 0 and found.max() <= 255 and found.std() > 1
        stages = network.stages(*inputs.values())
        assert torch.equal(found, to_bytes(stages["face"]))
        pictures = [v for k, v in stages.items() if k != "features"]
        assert all(p.shape == found.shape and p.abs().max() <= 1 for p in pictures)

    def test_sizes(self, name: str) -> None:
        """SHIPPED fits a file of 25 MB and 15 GMAC at its size, or 256 px; PAPER is as large as its sources make it."""
        network, module = CLASSES[name]
        with torch.device("meta"):
            shipped, paper = network(), network(sizes=module.PAPER)
            side = network.size or 256
            pictures = [torch.zeros(1, INPUTS[k], side, side) for k in network.inputs]
        with FlopCounterMode(display=False) as flops:
            assert shipped(*pictures).shape == (1, 3, side, side)
        assert count(shipped) < 6.2e6
        assert flops.get_total_flops() / 2 < 15e9
        least, most = {"gated_reference": (25e6, 40e6), "unveilify": (200e6, 280e6)}[name]
        assert least < count(paper) < most

    def test_a_face_does_not_depend_on_its_batch(self, name: str) -> None:
        """So that two processes learn what one with the double batch does."""
        network = tiny(name).train()
        inputs = given(network, count=2)
        alone = [face(network, {k: v[n : n + 1] for k, v in inputs.items()}) for n in range(2)]
        torch.testing.assert_close(face(network, inputs), torch.cat(alone), atol=0.01, rtol=0)

    def test_gradients_reach_every_parameter(self, name: str) -> None:
        network = tiny(name)
        stages = network.stages(*given(network).values())
        sum((s - torch.randn_like(s)).square().mean() for s in stages.values()).backward()
        lost = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert lost == []


class TestGatedReference:
    def test_any_multiple_of_64(self) -> None:
        network = tiny("gated_reference")
        for size in (128, 192):
            inputs = [F.interpolate(x, size=size) for x in given(network).values()]
            with torch.no_grad():
                stages = network.stages(*inputs)
            assert stages["face"].shape == stages["coarse"].shape == (1, 3, size, size)
            assert stages["features"].shape == (1, 16, size // 16, size // 16)

    def test_paper_gives_512_features(self) -> None:
        with torch.device("meta"):
            network = GatedReference(sizes=gated_reference.PAPER)
            pictures = [torch.zeros(1, INPUTS[k], 256, 256) for k in network.inputs]
        assert network.stages(*pictures)["features"].shape == (1, 512, 16, 16)

    def test_what_is_in_the_hole_is_not_seen(self) -> None:
        network = tiny("gated_reference")
        inputs = given(network)
        other = 255 - inputs["image"]
        hole = inputs["hidden"]
        inside, outside = (inputs["image"] + (other - inputs["image"]) * part for part in (hole, 1 - hole))
        assert torch.equal(face(network, inputs), face(network, inputs, image=inside))
        assert not torch.equal(face(network, inputs), face(network, inputs, image=outside))

    @pytest.mark.parametrize("guide_refine", [False, True])
    def test_the_reference_is_seen_in_the_hole(self, guide_refine: bool) -> None:
        torch.manual_seed(0)
        network = awake(GatedReference(sizes=GATED, guide_refine=guide_refine))
        inputs = given(network)
        other = 255 - inputs["warped"]
        hole = inputs["hidden"]
        inside, outside = (inputs["warped"] + (other - inputs["warped"]) * part for part in (hole, 1 - hole))
        moved = (face(network, inputs) - face(network, inputs, warped=inside)).abs() * hole
        assert moved.max() > 0.1
        assert torch.equal(face(network, inputs), face(network, inputs, warped=outside)) != guide_refine

    def test_which_loss_reaches_which_net(self) -> None:
        """The coarse picture trains the coarse net alone, the features all before them, the face everything."""
        for name, reached in {"coarse": ("coarse.0", ()), "features": ("refine.to_features.0", "refine.end")}.items():
            network = tiny("gated_reference")
            network.stages(*given(network).values())[name].square().mean().backward()
            trained = {k for k, p in network.named_parameters() if p.grad is not None and p.grad.any()}
            assert any(k.startswith(reached[0]) for k in trained) and any(k.startswith("coarse.") for k in trained)
            assert not any(k.startswith(reached[1] or "refine") for k in trained)

    @pytest.mark.parametrize("kind", KINDS)
    def test_initial_weights(self, kind: str) -> None:
        """Each kind draws other weights; signals arrive, and neither vanish nor drive tanh to its ends."""
        torch.manual_seed(0)
        network = GatedReference(sizes=GATED)
        before = network.coarse[0].both.weight.clone()
        initialise(network, kind)
        assert not torch.equal(before, network.coarse[0].both.weight)
        assert all(not m.strength.any() for m in network.modules() if isinstance(m, SelfAttention))
        stages = network.stages(*given(network).values())
        assert all(1e-6 < stages[name].std() < 0.9 for name in ("coarse", "face"))

    def test_onnx_agrees(self) -> None:
        """At 128, 256 and 512 px, within `WORST`."""
        assert len(to_onnx(tiny("gated_reference"))) > 1000


class TestUnveilify:
    def test_both_pictures_are_seen(self) -> None:
        network = tiny("unveilify")
        inputs = given(network)
        assert network.size == SIDE and Unveilify.size == unveilify.SHIPPED.size
        for name in network.inputs:
            moved = face(network, inputs) - face(network, inputs, **{name: 255 - inputs[name]})
            assert moved.abs().mean() > 1, name

    def test_levels_of_the_encoder(self) -> None:
        start, skips = UNetEncoder(VEILED.levels)(torch.zeros(1, 3, SIDE, SIDE))
        assert start.shape == (1, 16, 4, 4)
        assert [s.shape[1] for s in skips] == list(VEILED.levels[1:])
        assert [s.shape[2:] for s in skips] == [(px, px) for px in (8, 16, 32, 64, 128)]

    def test_styles_of_the_paper(self) -> None:
        """14 of them at 256 px: 3 from 16 px, 4 from 32 px, 7 from 64 px, each halved down to 1 px."""
        with torch.device("meta"):
            network = Unveilify(sizes=unveilify.PAPER)
            assert network.styled(torch.zeros(2, 3, 256, 256)).shape == (2, 14, 512)
        halved = [sum(isinstance(layer, nn.Conv2d) for layer in head) for head in network.identity.heads]
        assert halved == [4] * 3 + [5] * 4 + [6] * 7

    def test_normalised_styles(self) -> None:
        reference = given(tiny("unveilify"))["reference"] / 127.5 - 1
        lengths = []
        for normalised in (True, False):
            torch.manual_seed(0)
            network = awake(Unveilify(sizes=VEILED, normalised=normalised))
            lengths.append(network.styled(reference).square().mean(2).sqrt())
        torch.testing.assert_close(lengths[0], torch.ones_like(lengths[0]), atol=1e-3, rtol=0)
        assert lengths[1].std() > 0.01

    @pytest.mark.parametrize(("switch", "unseen"), [("unet", "image"), ("identity", "reference")])
    def test_ablations_take_parts_out(self, switch: str, unseen: str) -> None:
        whole = tiny("unveilify")
        torch.manual_seed(0)
        network = awake(Unveilify(sizes=VEILED, **{switch: False}))
        assert not any(k.startswith(switch) for k, _ in network.named_parameters())
        assert count(network) < count(whole)
        inputs = given(network)
        assert torch.equal(face(network, inputs), face(network, inputs, **{unseen: 255 - inputs[unseen]}))
        seen = ({*network.inputs} - {unseen}).pop()
        assert not torch.equal(face(network, inputs), face(network, inputs, **{seen: 255 - inputs[seen]}))
        network.stages(*inputs.values())["face"].square().mean().backward()
        assert [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_onnx_agrees(self) -> None:
        network, out = tiny("unveilify").eval(), io.BytesIO()
        inputs = given(network)
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                network, tuple(inputs.values()), out, dynamo=False, opset_version=OPSET, input_names=list(inputs),
                output_names=["face"], dynamic_axes={k: {0: "batch"} for k in (*inputs, "face")},
                training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
            )  # fmt: skip
        inputs = given(network, count=2, seed=2)
        (found,) = open_session(out.getvalue(), ("cpu",)).run(None, {k: v.numpy() for k, v in inputs.items()})
        assert np.abs(found - face(network, inputs).numpy()).max() < WORST


class TestBlocks:
    def test_gated_convolution_by_hand(self) -> None:
        layer = GatedConv(1, 1, kernel=1)
        with torch.no_grad():
            layer.both.weight.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
            layer.both.bias.copy_(torch.tensor([-1.0, 0.5]))
        found = layer(torch.tensor([[[[1.0, -1.0]]]]))
        gate = 1 / (1 + np.exp([-3.5, 2.5]))
        np.testing.assert_allclose(found.detach().flatten(), [1.0 * gate[0], 0.2 * -3.0 * gate[1]], rtol=1e-5)

    def test_attention_is_a_mean_of_values(self) -> None:
        torch.manual_seed(0)
        layer, x = awake(SelfAttention(16, side=4)), torch.randn(2, 16, 4, 4) * 3
        values = layer.value(x)
        found = layer.attend(x)
        lowest, highest = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
        assert (found >= lowest - 1e-5).all() and (found <= highest + 1e-5).all()
        query, key = layer.query(x)[0, :, 1, 2], layer.key(x)[0].flatten(1)
        by_hand = (values[0].flatten(1) * (query @ key).softmax(0)).sum(1)
        torch.testing.assert_close(found[0, :, 1, 2], by_hand, atol=1e-5, rtol=1e-4)

    def test_attention_starts_off(self) -> None:
        x = torch.randn(1, 16, 8, 8)
        assert torch.equal(SelfAttention(16, side=4)(x), x)

    @pytest.mark.parametrize("dilations", [(1, 2, 4, 8), (1, 3)])
    def test_pyramid_sees_as_far_as_its_dilations(self, dilations: tuple[int, ...]) -> None:
        """Which pixels of a row the middle depends on: each dilation's steps, widened by 1, and nothing else."""
        layer = SpatialPyramidDilation(4, dilations)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(0.1)  # all positive, so that nothing cancels out
        x = torch.ones(1, 4, 33, 33, requires_grad=True)
        layer(x)[0, :, 16, 16].sum().backward()
        seen = set(x.grad[0, 0, 16].nonzero().flatten().sub(16).tolist())
        assert seen == {step * d + near for d in dilations for step in (-1, 0, 1) for near in (-1, 0, 1)}

    def test_modulated_convolution(self) -> None:
        """Scaled weights of unit length, made by hand for each of a batch; so variance 1 stays 1."""
        torch.manual_seed(0)
        layer = ModulatedConv(16, 8, style=4)
        x, style = torch.randn(2, 16, 64, 64), torch.randn(2, 4) * 5
        found = layer(x, style)
        weights = layer.weight * layer.scale(style)[:, None, :, None, None]
        weights = weights / weights.square().sum((2, 3, 4), keepdim=True).sqrt()
        by_hand = torch.stack([F.conv2d(p, w, padding=1) for p, w in zip(x, weights, strict=True)])
        torch.testing.assert_close(found, by_hand, atol=1e-4, rtol=1e-3)
        spread = found[:, :, 1:-1, 1:-1].var((2, 3))
        assert (spread - 1).abs().max() < 0.15

    def test_sizes_say_how_large_the_crop_is(self) -> None:
        assert (unveilify.PAPER.size, unveilify.SHIPPED.size) == (256, 128)
        assert replace(VEILED, levels=VEILED.levels[:-1]).size == SIDE // 2
