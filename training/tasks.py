"""What there is to learn: samples, the loss's terms, the score on held-out faces, and a picture to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from training import losses
from training.losses import Terms
from training.lpips import LPIPS
from training.samples import FillSamples, SegmenterSamples, SentrySamples, ShrunkSamples
from unmask_video.models.layers import to_net
from unmask_video.segment import CLEAR

Batch = dict[str, Tensor]
Shown = tuple[Tensor, Tensor, Tensor]
"""What an adversary looks at: painted and real pictures [B, 3, S, S] in -1..1, and what they were painted from."""
Learn = Callable[[nn.Module, Batch], tuple[Terms, Shown | None]]
"""The loss's terms of a network and a batch, and what an adversary is shown of it."""


@dataclass(frozen=True)
class Task:
    """One kind of network."""

    samples: Callable[..., SegmenterSamples | FillSamples]
    terms: Callable[[nn.Module], Learn]
    """Made once a run, of the whole network, on its device; what learns may be a part of it."""
    score: Callable[[nn.Module, Batch], dict[str, Tensor]]
    """Of a held-out batch, each [N]; their means are told at the end."""
    picture: Callable[[nn.Module, Batch], Tensor]
    """[B, 3, S, W] in 0..255, a row for each sample."""


def batch_of(samples: SegmenterSamples | FillSamples, numbers: range, device: torch.device) -> Batch:
    return {k: v.to(device) for k, v in default_collate([samples[n] for n in numbers]).items()}


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def segment_terms(whole: nn.Module) -> Learn:
    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        logits, presence = network(_bytes(batch["image"]))
        return losses.segmentation(logits, presence, batch["mask"] / 255, batch["present"]), None

    return terms


def overlap(got: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of masks, bool [B, 1, S, S]: [B]."""
    return (got & true).sum((1, 2, 3)) / (got | true).sum((1, 2, 3)).clamp(min=1)


def segment_score(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Intersection over union of the masked faces; how often masked and bare are told apart."""
    logits, presence = network(_bytes(batch["image"]))
    there = batch["present"] > 0
    right = ((presence > 0) == there).float()
    return {"iou": overlap(logits > 0, batch["mask"] > 127)[there], "masked": right[there], "bare": right[~there]}


def segment_picture(network: nn.Module, batch: Batch) -> Tensor:
    """Picture, drawn mask, found mask."""
    logits, _ = network(_bytes(batch["image"]))
    masks = [batch["mask"].float(), logits.sigmoid() * 255]
    return torch.cat([batch["image"].float(), *(m.expand(-1, 3, -1, -1) for m in masks)], dim=3)


def watch_terms(whole: nn.Module) -> Learn:
    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        presence = network(_bytes(batch["image"]))
        return {"presence": functional.binary_cross_entropy_with_logits(presence, batch["present"])}, None

    return terms


def watch_score(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Which bare faces the segmenter is spared, and which masked ones it is kept from."""
    clear, there = network(_bytes(batch["image"])).sigmoid() < CLEAR, batch["present"] > 0
    return {"spared": clear[~there].float(), "missed": clear[there].float()}


def watch_picture(network: nn.Module, batch: Batch) -> Tensor:
    """Picture, and how likely a mask is, as grey."""
    image, belief = batch["image"].float(), network(_bytes(batch["image"])).sigmoid() * 255
    return torch.cat([image, belief[:, None, None, None].expand_as(image)], dim=3)


def fill_terms(whole: nn.Module) -> Learn:
    lpips = LPIPS("alex").to(device_of(whole))

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        found, (truth, hidden) = network.stages(*given_to(network, batch)), wanted(batch)
        face = found["face"]
        pasted = truth + (face - truth) * hidden
        return {
            "hole": losses.reconstruction(face, truth, hidden)["hole"],
            "light": found["light"].abs().mean(),  # a price, so that a network that is not sure leaves it alone
            **losses.lpips(_window(pasted), _window(truth), lpips),
            **losses.flow_at(found["flow"], batch["points"]),
        }, None

    return terms


def fill_score(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """PSNR in the hole in dB, of the network and of what it starts from."""
    face, truth, hidden = _filled(network, batch)
    warped = to_net(batch["warped"])
    psnr = lambda x: -10 * torch.log10(((x - truth).square() * hidden / 4).sum((1, 2, 3)) / hidden.sum((1, 2, 3)) / 3)  # noqa: E731
    return {"psnr": psnr(face), "warped_psnr": psnr(warped)}


def fill_picture(network: nn.Module, batch: Batch) -> Tensor:
    """Masked, warped, filled, truth."""
    face, truth, hidden = _filled(network, batch)
    filled = truth + (face - truth) * hidden
    return torch.cat([batch["image"].float(), batch["warped"].float(), *((x + 1) * 127.5 for x in (filled, truth))], dim=3)


def _filled(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Face and truth in -1..1, hidden in 0..1."""
    return to_net(network(*given_to(network, batch))), *wanted(batch)


def given_to(network: nn.Module, batch: Batch) -> list[Tensor]:
    given = {k: _bytes(batch[k]) for k in ("image", "warped", "reference")} | {"hidden": batch["hidden"] / 255}
    return [given[name] for name in network.inputs]


def wanted(batch: Batch) -> tuple[Tensor, Tensor]:
    """Truth in -1..1, hidden in 0..1."""
    return to_net(batch["truth"]), batch["hidden"] / 255


def _window(picture: Tensor) -> Tensor:
    """Where masks are: two thirds of the crop's side."""
    size = picture.shape[-1]
    return picture[:, :, size // 4 : size // 4 + size * 2 // 3, size // 6 : size // 6 + size * 2 // 3]


def _bytes(picture: Tensor) -> Tensor:
    return picture.float().to(memory_format=torch.channels_last)


SEGMENT = Task(SegmenterSamples, segment_terms, segment_score, segment_picture)
SEGMENT_SMALL = Task(ShrunkSamples, segment_terms, segment_score, segment_picture)
WATCH = Task(SentrySamples, watch_terms, watch_score, watch_picture)
FILL = Task(FillSamples, fill_terms, fill_score, fill_picture)


def mean_scores(found: list[dict[str, Tensor]]) -> dict[str, float]:
    """The means of `Task.score` over batches."""
    return {k: float(np.mean(np.concatenate([f[k].cpu().numpy() for f in found]))) for k in found[0]}
