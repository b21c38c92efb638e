"""The published networks that need no reference photo, each as its paper has it."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import Tensor, nn  # noqa: E402

from training.export import to_onnx  # noqa: E402
from unmask_video.models import imputed, residual_attention, three_stage  # noqa: E402
from unmask_video.models.imputed import Filler, Impute, Imputed, ImputedBlock  # noqa: E402
from unmask_video.models.layers import to_net  # noqa: E402
from unmask_video.models.residual_attention import Gate, ResidualAttention, Stage  # noqa: E402
from unmask_video.models.three_stage import ThreeStage  # noqa: E402
from unmask_video.runtime import INPUTS, open_session  # noqa: E402

torch.set_num_threads(1)

TINY: dict[str, Callable[[], nn.Module]] = {
    "imputed": lambda: Imputed(widths=(8, 8, 12), mask_widths=(4, 6)),
    "gated": lambda: Imputed(widths=(8, 8, 12), mask_widths=(4, 6), gated=True),
    "residual_attention": lambda: ResidualAttention(widths=(4, 6, 8, 10, 12)),
    "three_stage": lambda: ThreeStage(mask_widths=(4, 6, 8, 10), widths=(4, 6, 8, 10, 12)),
}
MODULES = {Imputed: imputed, ResidualAttention: residual_attention, ThreeStage: three_stage}


@torch.no_grad()
def made(name: str) -> nn.Module:
    """Untrained, but no two of its parameters alike, and half of a picture is mask to it."""
    torch.manual_seed(0)
    network = TINY[name]().eval()
    for parameter in network.parameters():
        parameter += torch.randn_like(parameter) * 0.02
    if name == "three_stage":
        network.mask.head[-1].bias[0] += network.mask(to_net(given(network, 64)[0])).median()
    return network


def given(network: nn.Module, size: int, batch: int = 2) -> list[Tensor]:
    """Pictures of noise, holes in their lower halves; as many inputs as the network takes."""
    draw = torch.Generator().manual_seed(1)
    hidden = torch.zeros(batch, 1, size, size)
    hidden[:, :, size // 2 : size - 8, 8:-8] = 1
    every = {"image": torch.rand(batch, 3, size, size, generator=draw) * 255, "hidden": hidden}
    return [every[name] for name in network.inputs]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_paper(make: Callable[[], nn.Module]) -> nn.Module:
    """Made without memory for its parameters."""
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [64, 128])
@torch.no_grad()
def test_a_face_comes_out_at_the_crops_size(name: str, size: int) -> None:
    network = made(name)
    face = network(*given(network, size))
    assert face.shape == (2, 3, size, size)
    assert face.min() >= 0 and face.max() <= 255
    for key, value in network.stages(*given(network, size)).items():
        channels = 1 if key in {"mask", "hole", "luminance"} else 3
        assert value.shape == (2, channels, size, size), key
        # Luminance that SRCNN adds can leave the range by a little, until it is cut off.
        assert key in {"mask", "sharp"} or value.abs().max() <= (3 if key == "face" else 1), key


@pytest.mark.parametrize("network", MODULES)
def test_inputs_are_those_of_forward(network: type[nn.Module]) -> None:
    assert tuple(inspect.signature(network.forward).parameters)[1:] == network.inputs
    assert set(network.inputs) <= set(INPUTS)


@pytest.mark.parametrize("network", MODULES)
def test_shipped_files_stay_small(network: type[nn.Module]) -> None:
    default = on_paper(network)
    assert count(default) < 6.2e6, "fp32 under 25 MB"
    assert count(default) == count(on_paper(lambda: network(**MODULES[network].SHIPPED)))
    assert count(default) < count(on_paper(lambda: network(**MODULES[network].PAPER)))


@pytest.mark.parametrize(
    ("switches", "millions"),
    [({}, 39), ({"residual": False}, 37), ({"residual": False, "attention": False}, 31)],
)
def test_the_three_u_nets_have_the_papers_sizes(switches: dict[str, bool], millions: float) -> None:
    network = on_paper(lambda: ResidualAttention(**residual_attention.PAPER, **switches))
    assert count(network) / 1e6 == pytest.approx(millions, rel=0.05)


def test_imputation_costs_two_percent_where_gates_cost_double() -> None:
    widths = imputed.PAPER["widths"]
    own, gated = (on_paper(lambda g=g: Filler(widths, gated=g)) for g in (False, True))
    shapes = [[c.weight.shape for c in convolutions(net)] for net in (own, gated)]
    assert shapes[0] == shapes[1], "twins of the same sizes"
    norms = sum(count(m) for m in own.modules() if isinstance(m, nn.GroupNorm))
    plain = sum(count(c) for c in convolutions(own)) + norms
    assert 1.01 < count(own) / plain < 1.03
    assert 1.95 < count(gated) / plain <= 2


def convolutions(net: Filler) -> list[nn.Conv2d]:
    return [*(block.conv for block in (*net.encoder, *net.decoder)), net.last]


def test_the_autoencoder_and_srcnn_have_the_papers_sizes() -> None:
    network = on_paper(lambda: ThreeStage(**three_stage.PAPER))
    celeba = torch.zeros(1, 3, 208, 176, device="meta")
    assert network.painter.encode(celeba).shape == (1, 512, 13, 11)
    assert network.painter(celeba).shape == celeba.shape
    layers = [tuple(m.weight.shape) for m in network.sharpener.modules() if isinstance(m, nn.Conv2d)]
    assert layers == [(64, 1, 9, 9), (32, 64, 5, 5), (1, 32, 5, 5)]
    assert network.sharpener(torch.zeros(1, 1, 33, 33, device="meta")).shape == (1, 1, 21, 21)


@pytest.mark.parametrize("name", ["imputed", "gated"])
@torch.no_grad()
def test_what_is_visible_is_kept_and_what_is_hidden_not_looked_at(name: str) -> None:
    network = made(name)
    image, hidden = given(network, 64)
    face = network(image, hidden)
    kept = (hidden == 0).expand_as(image)
    assert torch.equal(face[kept], image[kept])
    assert not torch.equal(face[~kept], image[~kept])
    other = torch.where(hidden > 0, 255 - image, image)
    assert torch.equal(network(other, hidden), face)


@torch.no_grad()
def test_a_soft_hole_is_pasted_softly() -> None:
    network = made("imputed")
    image, hidden = given(network, 64)
    found = network.stages(image, hidden * 0.25)
    soft = to_net(image) * (1 - hidden * 0.25) + found["refined"] * hidden * 0.25
    assert torch.allclose(found["face"], soft)


@torch.no_grad()
def test_without_a_hole_imputed_finds_the_mask_itself() -> None:
    network = made("imputed")
    image, hidden = given(network, 64)
    hidden[1] = 0
    found = network.stages(image, hidden)
    assert torch.equal(found["hole"][0], hidden[0])
    sure = found["mask"][1].abs() > 0.5 / imputed.STEEP
    assert torch.equal(found["hole"][1][sure], (found["mask"][1] > 0)[sure].float())


@torch.no_grad()
def test_imputation_is_a_mean_of_what_is_certain() -> None:
    torch.manual_seed(0)
    impute = Impute(3)
    for _ in range(2):
        certainty = torch.ones(1, 1, 16, 16)
        certainty[..., 5:9, 6:10] = 0
        x = torch.where(certainty > 0, torch.tensor([3.0, -1.0, 0.5]).view(1, 3, 1, 1), torch.tensor(77.0))
        filled = impute(x, certainty)
        assert torch.allclose(filled, torch.tensor([3.0, -1.0, 0.5]).view(1, 3, 1, 1).expand_as(x), atol=0.02)
        noise = torch.rand(1, 3, 16, 16)
        assert torch.equal(impute(noise, torch.ones(1, 1, 16, 16)), noise), "what is certain is left alone"
        filled = impute(noise, certainty)
        assert filled.min() >= 0 and filled.max() <= noise.max()
        nn.init.normal_(impute.kernel)  # whatever is learned


@torch.no_grad()
def test_certainty_grows_into_the_hole() -> None:
    block, certainty = ImputedBlock(2, 2, dilation=2), torch.ones(1, 1, 20, 20)
    certainty[..., 4:16, 4:16] = 0
    _, after = block(torch.rand(1, 2, 20, 20), certainty)
    assert after.min() == 0 and after.max() <= 1
    assert (after[..., 6:14, 6:14] == 0).all(), "two pixels further, not more"
    assert (after[..., 4:16, 4] > 0).all() and (after[..., 0:2, 0:2] > 0.9).all()
    net = Filler((8, 8, 12), gated=False)
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 16:60, 10:54] = 1
    _, certainty = net(torch.rand(1, 3, 64, 64), hole, 1 - hole)
    assert certainty.min() > 0.9, "in the end the whole face is known"


@torch.no_grad()
def test_gates_multiply_the_skip() -> None:
    torch.manual_seed(0)
    gate, skip, below = Gate(6, 9), torch.randn(1, 6, 16, 16), torch.randn(1, 9, 8, 8)
    gate.after = nn.Identity()
    share = gate.coefficients(skip, below)
    assert share.shape == (1, 1, 16, 16) and share.min() >= 0 and share.max() <= 1
    assert share.std() > 0 and not torch.equal(share, gate.coefficients(skip, -below)), "the stage below decides"
    assert torch.equal(gate(skip, below), skip * share)
    nn.init.constant_(gate.psi.bias, -100)
    assert gate(skip, below).abs().max() < 1e-6, "shut"


@torch.no_grad()
def test_the_residual_path_goes_around_the_convolutions() -> None:
    stage, x = Stage(4, 4, residual=True), torch.randn(1, 4, 8, 8)
    nn.init.zeros_(stage.second.weight)
    stage.join.weight[:] = torch.eye(4, 8).roll(4, dims=1)[..., None, None]
    assert torch.allclose(stage(x), x)


def test_switches_change_the_modules() -> None:
    widths = residual_attention.SHIPPED["widths"]
    kinds = []
    for residual, attention in ((True, True), (False, True), (False, False)):
        network = on_paper(lambda r=residual, a=attention: ResidualAttention(widths=widths, residual=r, attention=a))
        kinds.append({type(m).__name__ for m in network.modules()})
    assert "Gate" in kinds[0] & kinds[1] and "Gate" not in kinds[2]
    joined = [on_paper(lambda r=r: Stage(4, 4, residual=r)).join is not None for r in (True, False)]
    assert joined == [True, False]
    names = [{type(m).__name__ for m in made(name).modules()} for name in ("imputed", "gated")]
    assert {"Impute", "ImputedBlock"} <= names[0] - names[1] and "GatedBlock" in names[1] - names[0]


@torch.no_grad()
def test_srcnn_leaves_chroma_alone() -> None:
    network = made("three_stage")
    painted = torch.rand(1, 3, 32, 32) - 0.5
    sharp, level = network.sharpen(painted)
    before, after = (((p[0].permute(1, 2, 0) + 1) / 2).contiguous().numpy() for p in (painted, sharp))
    before, after = (cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb) for p in (before, after))
    assert np.abs(after[..., 1:] - before[..., 1:]).max() < 1e-3
    assert np.abs(after[..., 0] - (level[0, 0].numpy() + 1) / 2).max() < 1e-3
    assert np.abs(after[..., 0] - before[..., 0]).max() > 0.05


def test_cleaning_is_opencvs_opening_and_closing() -> None:
    rng, square = np.random.default_rng(0), np.ones((three_stage.SQUARE,) * 2, np.uint8)
    for share in (0.3, 0.5, 0.7):
        noise = cv2.GaussianBlur(rng.random((61, 48, 4), np.float32), (0, 0), 2.5)
        masks = (noise < np.quantile(noise, share)).astype(np.uint8)
        found = three_stage.cleaned(torch.from_numpy(masks.transpose(2, 0, 1)[:, None]).float())
        for mask, ours in zip(masks.transpose(2, 0, 1), found[:, 0].numpy(), strict=True):
            opened = cv2.morphologyEx(np.ascontiguousarray(mask), cv2.MORPH_OPEN, square)
            assert np.array_equal(ours, cv2.morphologyEx(opened, cv2.MORPH_CLOSE, square))
        assert 0 < found.mean() < 1 and not np.array_equal(found[:, 0].numpy(), masks.transpose(2, 0, 1))


@torch.no_grad()
def test_three_stage_merges_into_the_visible_part() -> None:
    network = made("three_stage")
    (image,) = given(network, 64)
    nn.init.zeros_(network.mask.head[-1].weight)
    network.mask.head[-1].bias[:] = torch.tensor([5.0, -5.0])
    assert torch.equal(network(image), image), "no mask seen"
    network.mask.head[-1].bias[:] = torch.tensor([-5.0, 5.0])
    assert torch.equal(network(image), network(255 - image)), "all is mask: painted from black"
    left = torch.zeros(2, 1, 64, 64)
    left[..., :32] = 1
    black = torch.where(left > 0, 0, image)
    assert torch.equal(network.paint(image, left), network.paint(black, 0 * left))


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = made(name).train()
    stages = network.stages(*given(network, 64))
    sum((value * torch.randn_like(value)).sum() for value in stages.values() if value.requires_grad).backward()
    still = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("name", TINY)
def test_onnx_says_the_same(name: str) -> None:
    """`to_onnx` itself refuses to differ by more than one step of 255."""
    network = made(name)
    data = to_onnx(network)
    held = {c.name for c in onnx.load_model_from_string(data).graph.initializer}
    assert set(dict(network.named_parameters())) <= held, "under their own names, so that PyTorch can load them"
    image, *rest = given(network, network.size)
    blank = [image, *(0 * hidden for hidden in rest)]
    found = open_session(data, ("cpu",)).run(None, {k: v.numpy() for k, v in zip(network.inputs, blank, strict=True)})
    with torch.no_grad():
        assert np.abs(found[0] - network(*blank).numpy()).max() < 1, "the mask found by the network itself"
