"""What the published systems without a photo learn from."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning.fabric")

from small_recipes import CPU, nothing_is_fetched, same, samples_of, start, tiny  # noqa: E402, F401
from torch import nn  # noqa: E402

from training import blind, losses  # noqa: E402
from training.recipes import RECIPES  # noqa: E402
from training.tasks import batch_of  # noqa: E402

PARTS = ["imputed-mask", "imputed", "imputed-gated", "three_stage-mask", "three_stage-painter", "three_stage-sharpener"]


@pytest.mark.parametrize("name", PARTS)
def test_only_the_part_that_is_due_learns(name: str, tmp_path: Path) -> None:
    run = start(tiny(name), tmp_path)
    batch, before = batch_of(samples_of(run.recipe), range(2), CPU), {k: v.clone() for k, v in run.plain.state_dict().items()}
    run.step = 200
    run.advance(batch, run.recipe.task.terms(run.plain))
    # Batch norm's counts, too: a part that is used but does not learn must not move.
    moved = {k.split(".")[0] for k, v in run.plain.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {run.recipe.part}


def test_dice_by_hand() -> None:
    logits, mask = torch.tensor([0.0, 20.0, -20.0]).reshape(1, 1, 1, 3), torch.tensor([1.0, 1, 0]).reshape(1, 1, 1, 3)
    assert losses.squared_dice(logits, mask)["dice"].item() == pytest.approx(1 - 2 * 1.5 / (1.25 + 2), abs=1e-4)
    assert losses.squared_dice(mask * 40 - 20, mask)["dice"].item() == pytest.approx(0, abs=1e-6)
    sure = torch.full_like(mask, -200.0).requires_grad_()
    losses.squared_dice(sure, torch.zeros_like(mask))["dice"].backward()
    assert sure.grad.isfinite().all(), "bare faces, found bare"


def test_cross_entropy_is_that_of_a_softmax_over_two() -> None:
    torch.manual_seed(0)
    bare, masked, mask = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    want = nn.functional.cross_entropy(torch.cat([bare, masked], 1), mask[:, 0].long())
    assert torch.allclose(blind.cross_entropy(masked - bare, mask)["cross_entropy"], want)


def test_masks_are_scored_by_overlap_and_by_right_pixels() -> None:
    class Left(nn.Module):
        def mask(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 1, -1, -1]).expand(len(picture), 1, 4, 4)

    truth = torch.zeros(2, 1, 4, 4)
    truth[0, :, :, :1] = 255  # a quarter; the other face is bare
    batch = {"image": torch.zeros(2, 3, 4, 4), "mask": truth, "present": torch.tensor([1.0, 0])}
    scores = blind.mask_score(Left(), batch)
    assert scores["iou"].tolist() == [0.5] and scores["accuracy"].tolist() == [0.75, 0.5]
    picture = blind.mask_picture(Left(), batch)
    assert picture.shape == (2, 3, 4, 12) and (picture[0, 0, :, 8] > 180).all() and (picture[0, 0, :, 11] < 70).all()


def test_the_sharpener_sees_windows_of_what_the_painter_paints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sharpener that does nothing pays what the painter's luminance is off, in the middle of each window."""
    recipe = tiny("three_stage-sharpener")
    torch.manual_seed(0)
    whole, batch = recipe.network().eval(), batch_of(samples_of(recipe), range(2), CPU)
    seen = []

    class Nothing(nn.Module):
        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            seen.append(windows)
            return windows[:, :, 6:-6, 6:-6]

    terms, _ = recipe.task.terms(whole)(Nothing(), batch)
    painted = whole.paint(batch["image"].float(), batch["hidden"] / 255)
    red, green, blue = (painted / 2 + 0.5 - batch["truth"] / 255).unbind(1)
    off = (0.299 * red + 0.587 * green + 0.114 * blue).square()
    # At 64 px three windows fit across, 14 px apart.
    want = torch.stack([off[:, y + 6 : y + 27, x + 6 : x + 27].mean() for y in (0, 14, 28) for x in (0, 14, 28)]).mean()
    assert seen[0].shape == (18, 1, 33, 33) and terms["mse"].item() == pytest.approx(want.item(), rel=1e-4)
    assert not seen[0].requires_grad, "the painter does not learn from it"


def test_a_run_begins_with_what_another_learnt(tmp_path: Path) -> None:
    """Parts learn one after the other: each run starts from the last one's checkpoint."""
    first, folder = start(tiny("three_stage-mask"), tmp_path), tmp_path / "second"
    first.step = 200
    first.advance(batch_of(samples_of(first.recipe), range(2), CPU), first.recipe.task.terms(first.plain))
    first.save()
    folder.mkdir()
    second = start(tiny("three_stage-painter"), folder, tmp_path / "checkpoint.pt")
    assert same(dict(second.plain.state_dict()), dict(first.mean.module.state_dict()))
    assert not same(dict(second.plain.state_dict()), dict(start(tiny("three_stage-painter"), folder).plain.state_dict()))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged or of another network"):
        start(tiny("residual_attention"), folder, tmp_path / "checkpoint.pt")


def test_the_papers_lengths() -> None:
    seen = {name: RECIPES[name].steps * RECIPES[name].batch for name in RECIPES if "-paper" in name}
    assert seen["imputed-paper-mask"] == 5 * 30_000 and seen["imputed-paper"] == 7 * 30_000
    assert seen["residual_attention-paper"] == pytest.approx(40 * 0.8 * 192_599, rel=0.01)
    assert seen["three_stage-paper-mask"] == 80 * 1_200
    assert seen["three_stage-paper-painter"] == pytest.approx(2_500 * 900, rel=0.01)
