"""What the published systems learn from: which part of a network hears which term, and the gated network's twin."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("lightning.fabric")

from small_recipes import CPU, nothing_is_fetched, samples_of, tiny  # noqa: E402, F401

from training.published import colours_of, recoloured  # noqa: E402
from training.tasks import batch_of  # noqa: E402

FEATURES = {"coarse", "refine.start", "refine.to_quarter", "refine.to_eighth", "refine.to_features"}
REST = {f"refine.{k}" for k in ("middle", "from_middle", "from_eighth", "from_quarter", "end")}
ATTENTION = {"refine.across_eighth", "refine.across_quarter"}
EVERYWHERE = FEATURES | REST | ATTENTION
HEARD = {
    "gated_reference": {
        "hole": EVERYWHERE, "valid": EVERYWHERE, "tv": EVERYWHERE, "perceptual": EVERYWHERE, "style": EVERYWHERE,
        "contrastive": FEATURES,
    },
    "unveilify": dict.fromkeys(("l1", "lpips", "identity"), {"unet", "identity", "generator"}),
}  # fmt: skip
"""Parts of a network by the terms that reach them."""


@pytest.mark.parametrize("name", HEARD)
def test_every_term_reaches_the_parts_that_it_should(name: str) -> None:
    recipe = tiny(name)
    torch.manual_seed(0)
    network = recipe.network()
    batch = batch_of(samples_of(recipe), range(2), CPU)
    terms, shown = recipe.task.terms(network)(network, batch)
    assert set(terms) | {"adversarial"} == set(recipe.weights) and set(terms) == set(HEARD[name])
    painted, real, given = shown
    judge = recipe.adversary.network()
    # Weighed place by place: the mean of what spectral norm bounds may cancel out.
    logits = judge(painted, given)
    assert judge(real, given).shape == logits.shape
    terms["adversarial"] = recipe.adversary.fool(logits * torch.rand_like(logits))["adversarial"]
    for term, value in terms.items():
        network.zero_grad()
        value.backward(retain_graph=True)
        heard = {k for k, p in network.named_parameters() if p.grad is not None and p.grad.any()}
        wanted = HEARD[name].get(term, set().union(*HEARD[name].values()))
        assert {part for part in wanted if any(k.startswith(part + ".") for k in heard)} == wanted, term
        assert all(any(k.startswith(part + ".") for part in wanted) for k in heard), (term, heard)


def test_only_in_the_hole_is_painted_for_the_adversary() -> None:
    recipe = tiny("gated_reference")
    network, batch = recipe.network(), batch_of(samples_of(recipe), range(2), CPU)
    _, (painted, real, hidden) = recipe.task.terms(network)(network, batch)
    free = (hidden == 0).expand_as(painted)
    assert free.any() and torch.equal(painted[free], real[free])
    assert not torch.equal(painted, real) and torch.equal(real, batch["truth"] / 127.5 - 1)


class TestTwin:
    def test_each_picture_has_its_own_colours_wherever_it_is(self) -> None:
        truth = torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1).expand(8, 3, 4, 4)
        whole, half = colours_of({"truth": truth}), colours_of({"truth": truth[4:]})
        assert whole.shape == (8, 3, 4) and torch.equal(whole[4:], half)
        assert len({tuple(change.flatten().tolist()) for change in whole}) == 8

    def test_hue_leaves_grey_as_it_is(self) -> None:
        change = colours_of({"truth": torch.arange(64.0).reshape(64, 1, 1, 1).expand(64, 3, 1, 1)})
        matrix, bright = change[:, :, :3], change[:, :, 3]
        grey = matrix.sum(2)
        assert torch.allclose(grey, grey[:, :1].expand(-1, 3), atol=1e-5), "grey stays grey, only its contrast changes"
        assert torch.equal(bright, bright[:, :1].expand(-1, 3))
        contrast, changed = grey[:, 0].log(), (bright[:, 0] != 0).float().mean()
        assert 0.3 < contrast[contrast.abs() > 1e-4].std() < 0.7 and 0.6 < changed < 0.9
        # The tone of pure red is turned all round.
        red = matrix[:, :, 0] - matrix[:, :, 0].mean(1, keepdim=True)
        assert (red.argmax(1).bincount(minlength=3) > 8).all()

    def test_recoloured_by_hand(self) -> None:
        swap = torch.tensor([[[0.0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, 1, 0]]])
        picture = torch.tensor([127.5, 255, 0]).reshape(1, 3, 1, 1)
        wanted = torch.tensor([255, 127.5, 0]).reshape(1, 3, 1, 1)
        assert torch.allclose(recoloured(picture, swap), wanted)
