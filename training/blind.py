"""What the published systems without a photo learn from: each one's own loss, term by term, as its paper has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import losses
from training.losses import Terms
from training.lpips import LPIPS
from training.published import reconstructed, smaller
from training.tasks import FILL, SEGMENT, Batch, Learn, Shown, Task, device_of, given_to, overlap, segment_picture, wanted
from training.teachers import VGG19
from unmask_video.models.layers import to_net
from unmask_video.models.three_stage import BORDER, luminance

WINDOW, STRIDE = 33, 14
"""Pixels of the sharpener's windows, and from one to the next."""
MaskLoss = Callable[[Tensor, Tensor], Terms]
"""Of logits and of the drawn mask in 0..1, both [B, 1, S, S]."""


def mask_terms(whole: nn.Module, loss: MaskLoss) -> Learn:
    """The mask's own network, which learns first and alone."""

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        return loss(network(to_net(batch["image"].float())), batch["mask"] / 255), None

    return terms


def mask_score(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Intersection over union of the masked faces; the share of right pixels, which papers tell of, of all."""
    got, true = network.mask(to_net(batch["image"].float())) > 0, batch["mask"] > 127
    return {"iou": overlap(got, true)[batch["present"] > 0], "accuracy": (got == true).float().mean((1, 2, 3))}


def mask_picture(network: nn.Module, batch: Batch) -> Tensor:
    """Picture, drawn mask, found mask."""
    return segment_picture(lambda picture: (network.mask(to_net(picture)), None), batch)


def imputed_terms(whole: nn.Module, perceptual: Callable[[], VGG19 | LPIPS]) -> Learn:
    """Ha, Park, Kim, section 4.2.2: "total sum is calculated by weighted summing this four loss elements"."""
    maps = perceptual().to(device_of(whole))

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, Shown]:
        truth, hidden = wanted(batch)
        found = network(to_net(batch["image"].float()), hidden)
        told = {name: F.l1_loss(found[name], truth) for name in ("coarse", "refined")}
        seen = [losses.perceptual_and_style(found[name], truth, maps)["perceptual"] for name in ("coarse", "refined")]
        return told | {"perceptual": sum(seen)}, (found["face"], truth, hidden)

    return terms


def imputed_start_terms(whole: nn.Module, shrink: int = 1) -> Learn:
    """What comes before that, see `published.reconstruction_terms`."""

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        batch = smaller(batch, shrink)
        return reconstructed(network(to_net(batch["image"].float()), batch["hidden"] / 255), batch), None

    return terms


def residual_attention_terms(whole: nn.Module) -> Learn:
    """Hosen and Islam, equation 1: SSIM plus L1, which their text calls "mean squared error"; their code takes L1."""

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        (truth, _), face = wanted(batch), network.stages(*given_to(network, batch))["face"]
        return losses.ssim(face, truth) | {"l1": F.l1_loss(face, truth)}, None

    return terms


def painter_terms(whole: nn.Module) -> Learn:
    """Jagannathan et al., equation 4, on true masks; colours in 0..1."""

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        painted = network(batch["image"] / 255 * (1 - holes(batch)))
        return {"mse": F.mse_loss(painted, batch["truth"] / 255)}, None

    return terms


def sharpener_terms(whole: nn.Module) -> Learn:
    """Jagannathan et al., equation 5: luminance of what the painter has painted, in windows of 33 px; 21 come out."""

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        truth, _ = wanted(batch)
        with torch.no_grad():
            before, after = ((luminance(p) + 1) / 2 for p in (whole.paint(batch["image"].float(), holes(batch)), truth))
        inner = after[:, :, BORDER:-BORDER, BORDER:-BORDER]
        return {"mse": F.mse_loss(network(_windows(before, WINDOW)), _windows(inner, WINDOW - 2 * BORDER))}, None

    return terms


def holes(batch: Batch) -> Tensor:
    """True masks as the network's own are, all or nothing, and sometimes narrower: float [B, 1, S, S].

    Where each is cut is told by its picture, so that it is the same after a stop.
    """
    levels = torch.stack([picture.sum() % 200 + 28 for picture in batch["truth"].long()])
    return (batch["hidden"] >= levels[:, None, None, None]).float()


def _windows(picture: Tensor, side: int) -> Tensor:
    """[B, 1, S, S] -> [N, 1, side, side], picture after picture."""
    return picture.unfold(2, side, STRIDE).unfold(3, side, STRIDE).reshape(-1, 1, side, side)


def cross_entropy(logits: Tensor, mask: Tensor) -> Terms:
    """Jagannathan et al., equation 1, of two classes."""
    return {"cross_entropy": F.binary_cross_entropy_with_logits(logits, mask)}


def mask(loss: MaskLoss) -> Task:
    return replace(SEGMENT, terms=partial(mask_terms, loss=loss), score=mask_score, picture=mask_picture)


def imputed(perceptual: Callable[[], VGG19 | LPIPS]) -> Task:
    return replace(FILL, terms=partial(imputed_terms, perceptual=perceptual))


IMPUTED_START = replace(FILL, terms=imputed_start_terms)
IMPUTED_HALF = replace(FILL, terms=partial(imputed_start_terms, shrink=2))
RESIDUAL_ATTENTION = replace(FILL, terms=residual_attention_terms)
PAINTER = replace(FILL, terms=painter_terms)
SHARPENER = replace(FILL, terms=sharpener_terms)
