"""What the losses and metrics say of pictures whose answer is known, and that gradients reach the picture."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from copy import deepcopy
from functools import cache

import cv2
import numpy as np
import pytest
from faces import points, portrait
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch.nn import functional as F  # noqa: E402

from training import losses, metrics  # noqa: E402
from training.discriminator import Discriminator  # noqa: E402
from training.identity import identity_crop, mobilefacenet, read  # noqa: E402
from training.lpips import LPIPS, pooled  # noqa: E402
from unmask_video import identify  # noqa: E402
from unmask_video.face import align  # noqa: E402
from unmask_video.picture import photo, sample  # noqa: E402
from unmask_video.runtime import session  # noqa: E402

torch.set_num_threads(1)
SIDE = 64
NET = mobilefacenet()


def crop(size: int = SIDE) -> np.ndarray:
    """The portrait's face as the product cuts it: float32 [size, size, 3] in 0..255."""
    return sample(photo(portrait()), align(points(), size), size).clip(0, 255)


def net(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2) / 127.5 - 1).float()


def soft(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def noisy(picture: np.ndarray, amount: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, amount, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.float32)


def lower_half(count: int = 1) -> torch.Tensor:
    return (torch.arange(SIDE) >= SIDE // 2).float()[:, None].repeat(count, 1, 1, SIDE)


@cache
def lpips(name: str) -> LPIPS:
    try:
        return LPIPS(name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the weights of LPIPS are not in runs/ and could not be fetched: {error}")


def value(terms: dict[str, torch.Tensor]) -> float:
    (term,) = terms.values()
    assert term.shape == ()
    return term.item()


def test_terms_are_weighed() -> None:
    terms = {"hole": torch.tensor(2.0), "tv": torch.tensor(0.5)}
    assert losses.weighted(terms, {"tv": 4.0, "hole": 10.0}).item() == 22


@pytest.mark.parametrize("weights", [{"hole": 1.0}, {"hole": 1.0, "tv": 1.0, "TV": 1.0}, {"hole": 1.0, "TV": 1.0}])
def test_a_misspelt_weight_is_refused(weights: dict[str, float]) -> None:
    terms = {"hole": torch.tensor(2.0), "tv": torch.tensor(0.5)}
    with pytest.raises(ValueError, match=r"terms \['hole', 'tv'\], weights \['"):
        losses.weighted(terms, weights)


def test_equal_pictures_cost_nothing() -> None:
    face, hidden = net(crop()), lower_half()
    for terms in (losses.reconstruction(face, face, hidden), losses.ssim(face, face), losses.contrastive(face, face * 3)):
        assert all(abs(term.item()) < 1e-6 for term in terms.values()), terms


def test_the_hole_is_measured_by_its_own_area() -> None:
    truth, hidden = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    hidden[0, :, :2, :2], hidden[1] = 1, 0.5
    face = truth.clone()
    face[0, 0, 0, :2], face[0, :, 7, 7], face[1] = 0.9, -0.6, 0.2
    terms = losses.reconstruction(face, truth, hidden)
    assert terms["hole"].item() == pytest.approx((2 * 0.9 / (4 * 3) + 0.2) / 2)
    assert terms["valid"].item() == pytest.approx((3 * 0.6 / (60 * 3) + 0.2) / 2)
    assert losses.reconstruction(face, truth, 0 * hidden)["hole"] == 0, "no hole: no division by it"


@pytest.mark.parametrize("change", [lambda p: noisy(p, 20), lambda p: soft(p, 2), lambda p: p * 0.7 + 30])
def test_ssim_is_that_of_scikit_image(change: Callable[[np.ndarray], np.ndarray]) -> None:
    truth = crop()
    face = change(truth).astype(np.float32)
    said = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    right = structural_similarity(face, truth, data_range=255, **said)
    assert 1 - value(losses.ssim(net(face), net(truth))) == pytest.approx(right, abs=1e-3)
    assert metrics.ssim(face, truth) == pytest.approx(right, abs=1e-3)
    assert right < 0.97


def test_total_variation_of_a_step() -> None:
    face = torch.full((1, 3, 8, 10), -1.0)
    face[..., 5:] = 1
    assert value(losses.total_variation(face, torch.ones(1, 1, 8, 10))) == pytest.approx(2 / 9)
    hidden = torch.zeros(1, 1, 8, 10)
    hidden[..., 6:9] = 1  # widened by a pixel: columns 5 to 9, just short of the step
    assert value(losses.total_variation(face, hidden)) == 0
    hidden[..., 5] = 1
    assert value(losses.total_variation(face, hidden)) == pytest.approx(2 / 5), "the seam counts"


def test_a_flow_is_missed_by_as_much_as_points_are_off() -> None:
    flow = torch.zeros(2, 2, 8, 8)
    flow[:, 0, :, 4:] = 0.03  # the right half comes from further right
    points = torch.tensor([[0.8, 0.2, 0.83, 0.2, 1], [0.8, 0.2, 0.8, 0.25, 1], [0.2, 0.6, 0.22, 0.6, 1], [0.2, 0.6, 1, 1, 0]])
    assert value(losses.flow_at(flow[:1], points[:1][None])) == pytest.approx(0, abs=1e-6)
    assert value(losses.flow_at(flow[:1], points[None])) == pytest.approx((0 + 0.08 + 0.02) / 3), "the last does not count"
    both = torch.stack([points[:2], points[2:]])
    assert value(losses.flow_at(flow, both)) == pytest.approx((0 + 0.08 + 0.02) / 3), "each point weighs the same"
    assert value(losses.flow_at(flow, both * torch.tensor([1, 1, 1, 1, 0]))) == 0


def test_gradients_reach_the_picture() -> None:
    truth, hidden = net(crop()), lower_half()
    for loss in (
        lambda face: losses.reconstruction(face, truth, hidden), lambda face: losses.ssim(face, truth),
        lambda face: losses.total_variation(face, hidden),
        lambda face: losses.lpips(face, truth, lpips("alex")),
        lambda face: losses.perceptual_and_style(face, truth, lpips("vgg")),
        lambda face: losses.identity(NET, face, truth),
    ):  # fmt: skip
        face = net(soft(crop(), 1)).requires_grad_()
        for term in loss(face).values():
            (slope,) = torch.autograd.grad(term, face, retain_graph=True)
            assert torch.isfinite(slope).all() and slope.abs().sum() > 0


def test_segmentation_is_what_the_formulae_say() -> None:
    mask, present = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 0.0])
    mask[0, 0, 0] = 1
    terms = losses.segmentation(torch.zeros(2, 1, 2, 2), torch.zeros(2), mask, present)
    assert terms["mask"].item() == pytest.approx(np.log(2)) and terms["presence"].item() == pytest.approx(np.log(2))
    assert terms["dice"].item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1)), "only of the masked picture"
    right = losses.segmentation(100 * mask - 50, 100 * present - 50, mask, present)
    assert all(term < 1e-6 for term in right.values())


def test_adversarial_losses_of_known_logits() -> None:
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.0]])
    assert value(losses.hinge_discriminator(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert value(losses.hinge_generator(fake)) == 1.5
    nothing = torch.zeros(1, 4)
    assert value(losses.non_saturating_discriminator(nothing, nothing)) == pytest.approx(2 * np.log(2))
    assert value(losses.non_saturating_generator(fake)) == pytest.approx((np.log(1 + np.exp(3)) + np.log(2)) / 2)


def test_r1_of_a_linear_judge_is_its_squared_weights() -> None:
    images, weights = torch.randn(2, 3, 4, 4).requires_grad_(), torch.randn(3, 4, 4).requires_grad_()
    penalty = losses.r1((images * weights).sum((1, 2, 3), keepdim=True), images)["r1"]
    assert penalty.item() == pytest.approx(weights.square().sum().item(), rel=1e-5)
    penalty.backward()
    assert torch.allclose(weights.grad, 2 * weights, rtol=1e-5), "it trains the judge"


def test_the_discriminator_is_bounded_and_judges_patches() -> None:
    torch.manual_seed(0)
    judge = Discriminator(4, (8, 16, 16))
    layers = (*judge.blocks, judge.judge)
    for layer in layers:
        layer.parametrizations.weight.original.data *= 30
    for _ in range(30):
        logits = judge(net(crop(), crop()), lower_half(2))
    assert logits.shape == (2, 1, SIDE // 8, SIDE // 8)
    assert all(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) <= 1.05 for layer in layers)
    assert Discriminator(6, (8,) * 6, 4)(net(crop()), net(crop())).shape == (1, 1, 1, 1)


def test_contrastive_is_about_direction() -> None:
    a = torch.zeros(1, 512, 2, 2)
    a[:, 0] = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    b, c = a.flip(3) * 7, a.roll(1, dims=1)
    assert value(losses.contrastive(a, b)) == pytest.approx(0, abs=1e-6), "a flip is pooled away"
    assert value(losses.contrastive(a, c)) == pytest.approx(1) and value(losses.contrastive(a, -a)) == pytest.approx(2)


@pytest.mark.parametrize(("name", "right"), [("alex", 0.5109), ("vgg", 0.5170)])
def test_lpips_is_pinned_and_grows_with_blur(name: str, right: float) -> None:
    """The numbers are those of its first version here, and of torchvision's VGG16 with the authors' heads."""
    seen, truth, ramp = lpips(name), crop(), torch.linspace(-1, 1, SIDE).expand(1, 3, SIDE, SIDE)
    assert seen(ramp, ramp.transpose(2, 3)).item() == pytest.approx(right, abs=2e-4)
    away = seen(net(truth, soft(truth, 1), soft(truth, 2), soft(truth, 4)), net(*[truth] * 4))
    assert away.shape == (4,) and away[0] == 0 and (away.diff() > 0.03).all()
    assert not list(seen.parameters()) and not any(b.requires_grad for b in seen.buffers())
    both = losses.perceptual_and_style(net(soft(truth, 2)), net(truth), seen)
    none = losses.perceptual_and_style(net(truth), net(truth), seen)
    assert both["perceptual"] > 0.01 and both["style"] > 0 and not any(none.values())
    assert torch.equal(pooled(seen, net(truth)), seen.features(net(truth))[4].mean((2, 3)))


def test_style_does_not_mind_where_things_are() -> None:
    a, b = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)
    assert torch.allclose(losses.gram(a), losses.gram(a.roll((2, 3), dims=(2, 3))), atol=1e-6)
    assert torch.allclose(losses.gram(b)[0], b[0].flatten(1) @ b[0].flatten(1).T / (4 * 6 * 6), atol=1e-6)


def test_mobilefacenet_is_the_shipped_one() -> None:
    crops = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    run = session("mobilefacenet")
    (right,) = run.run(None, {run.get_inputs()[0].name: crops.permute(0, 2, 3, 1).numpy()})
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    assert np.abs(NET(crops).numpy() - right).max() <= 1e-4
    assert not list(NET.parameters())


@pytest.mark.parametrize("size", [128, 256, 512])
def test_identity_looks_where_the_product_looks(size: int) -> None:
    to_frame = align(points(), 112, span=identify.SPAN, centre=identify.CENTRE)
    right = (net(sample(photo(portrait()), to_frame, 112)) * 127.5) / 128
    got, moved = (identity_crop(net(crop(size)).roll(shift, dims=3)) for shift in (0, round(size / 40)))
    assert (got - right).abs().mean() < 0.04 < (moved - right).abs().mean()
    assert F.cosine_similarity(NET(got), NET(right)).item() > 0.97


def test_networks_move_as_a_whole() -> None:
    """On the meta device nothing is computed, but all operands must be there."""
    picture = net(crop()).to("meta")
    for seen in (lpips("alex"), lpips("vgg")):
        assert deepcopy(seen).to("meta")(picture, picture).device.type == "meta"
    assert deepcopy(NET).to("meta")(identity_crop(picture)).shape == (1, 192)


def test_unknown_backbones_and_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="alex, vgg"):
        LPIPS("squeeze")
    node = onnx.helper.make_node("Tanh", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    with pytest.raises(ValueError, match="Tanh"):
        read(model.SerializeToString())


def test_metrics_look_into_the_hole() -> None:
    truth, hole = crop(), lower_half()[0, 0].numpy() > 0
    face = np.where(hole[..., None], truth, truth + 10)
    assert metrics.l1(face, truth) == pytest.approx(5) and metrics.l1(face, truth, hole) == 0
    assert metrics.psnr(face, truth, hole) == np.inf
    assert metrics.psnr(face, truth) == pytest.approx(peak_signal_noise_ratio(truth, face, data_range=255), abs=1e-3)
    assert metrics.ssim(face, truth, hole) > metrics.ssim(face, truth)
    with pytest.raises(ValueError, match="hole is empty"):
        metrics.psnr(face, truth, np.zeros_like(hole))
    assert metrics.high_frequency_ratio(truth, truth) == 1
    dull, grainy = (metrics.high_frequency_ratio(p, truth, hole) for p in (soft(truth, 1), noisy(truth, 20)))
    assert dull < 0.5 < 1.5 < grainy


def test_skin_colour_is_compared_in_lab_and_without_texture() -> None:
    hole = np.zeros((SIDE, SIDE), bool)
    hole[40:46, 20:26] = True
    skin, tinted = (np.full((SIDE, SIDE, 3), colour, np.float32) for colour in ((200, 150, 130), (215, 150, 110)))
    right = deltaE_cie76(*(rgb2lab(p[0, 0] / 255) for p in (skin, tinted)))
    tinted[~hole] = 0
    assert metrics.skin_colour_error(tinted, skin, hole) == pytest.approx(right, abs=0.3), "outside stays outside"
    assert metrics.skin_colour_error(noisy(skin, 5), skin, hole) < 2 < 8 < right


def gaussian(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Vectors [count, D] of exactly this mean and covariance."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_is_the_closed_form() -> None:
    mean, (a, b) = np.array([3.0, 0.0, 4.0]), (np.diag([4.0, 9.0, 1.0]), np.diag([1.0, 1.0, 1.0]))
    far = metrics.frechet(gaussian(40, 0 * mean, a, 0), gaussian(60, mean, b, 1))
    assert far == pytest.approx(25 + (2 - 1) ** 2 + (3 - 1) ** 2)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    c = turn @ b @ np.diag([5.0, 2.0, 0.1]) @ turn.T  # does not commute with a
    root = np.sqrt(np.linalg.eigvals(a @ c).real).sum()
    assert metrics.frechet(gaussian(50, mean, a, 3), gaussian(50, mean, c, 4)) == pytest.approx(14 + 7.1 - 2 * root)


def test_frechet_of_few_vectors_is_steady() -> None:
    few = np.random.default_rng(0).normal(size=(20, 512)).astype(np.float32)
    assert metrics.frechet(few, few) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet(few, few + 2) == pytest.approx(4 * 512, rel=1e-5)
    with pytest.raises(ValueError, match="two vectors"):
        metrics.frechet(few, few[:1])
