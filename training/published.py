"""What the published systems learn from: each one's own loss, term by term, as its paper has it.

Papers look through VGG-19 and ArcFace; `training.teachers` has these, or what stands in for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import losses
from training.identity import FaceNetwork, mobilefacenet
from training.losses import Terms
from training.lpips import LPIPS
from training.tasks import FILL, Batch, Learn, Shown, Task, device_of, given_to, wanted
from training.teachers import VGG19

BRIGHT, CONTRAST, COLOURFUL = 0.2, 0.5, 1.0
"""Deviations of the twin's brightness (of -1..1), and of the logarithms of its contrast and its saturation: those of
StyleGAN's augmentations (Karras et al., arXiv 2006.06676), which the paper of the gated network names without numbers."""


def reconstruction_terms(whole: nn.Module, shrink: int = 1) -> Learn:
    """L1 of every stage, and nothing that needs another network: a quarter of the cost of the papers' own losses.

    Where few samples can be seen, a network learns with it first where things are, and then what they look like; at
    a `shrink`th of the size (but for the identity photo, whose encoder knows one size) it sees more samples still.
    """

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, None]:
        batch = smaller(batch, shrink)
        return reconstructed(network.stages(*given_to(network, batch)), batch), None

    return terms


def smaller(batch: Batch, shrink: int) -> Batch:
    """At a `shrink`th of the size."""
    small = (k for k in ("image", "warped", "truth", "hidden") if shrink > 1)
    return batch | {k: F.avg_pool2d(batch[k].float(), shrink) for k in small}


def reconstructed(found: dict[str, Tensor], batch: Batch) -> Terms:
    """L1 of the stages that are found, in the hole and outside."""
    truth, hidden = wanted(batch)
    parts = [losses.reconstruction(found[stage], truth, hidden) for stage in ("face", "coarse") if stage in found]
    return {k: sum(p[k] for p in parts) for k in ("hole", "valid")}


def gated_terms(whole: nn.Module, perceptual: Callable[[], VGG19 | LPIPS]) -> Learn:
    """Lumetti, Silvestri, Di Bartolomeo, section 4.1; the adversary sees the painted hole in the true picture."""
    maps = perceptual().to(device_of(whole))

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, Shown]:
        truth, hidden = wanted(batch)
        image, _, warped = given_to(network, batch)
        found = network.stages(image, hidden, warped)
        pasted = truth + (found["face"] - truth) * hidden
        parts = [losses.reconstruction(found[stage], truth, hidden) for stage in ("face", "coarse")]
        parts += [losses.perceptual_and_style(picture, truth, maps) for picture in (found["face"], pasted)]
        told = {k: sum(p[k] for p in parts if k in p) for k in ("hole", "valid", "perceptual", "style")}
        told |= losses.total_variation(pasted, hidden)
        change = colours_of(batch)
        # Its loss is that a picture and its twin, mirrored and recoloured, come to the same features.
        twin = network.stages(recoloured(image, change).flip(3), hidden.flip(3), recoloured(warped, change).flip(3))
        return told | losses.contrastive(found["features"], twin["features"]), (pasted, truth, hidden)

    return terms


def unveilify_terms(whole: nn.Module, lpips: str, face_network: Callable[[], FaceNetwork]) -> Learn:
    """Joo et al., section 3.4; the adversary sees the whole face, and the identity photo as its condition."""
    device = device_of(whole)
    distance, who = LPIPS(lpips).to(device), face_network().to(device)

    def terms(network: nn.Module, batch: Batch) -> tuple[Terms, Shown]:
        truth, _ = wanted(batch)
        face = network.stages(*given_to(network, batch))["face"]
        parts = {"l1": F.l1_loss(face, truth)} | losses.lpips(face, truth, distance) | losses.identity(who, face, truth)
        return parts, (face, truth, batch["reference"] / 127.5 - 1)

    return terms


def colours_of(batch: Batch) -> Tensor:
    """How to recolour each picture of a batch: float [B, 3, 4], a matrix on RGB in -1..1 and what is added.

    Drawn from each picture itself: so it is the same after a stop, and whichever process has the picture.
    """
    return torch.stack([_colours(int(picture.sum())) for picture in batch["truth"]]).to(batch["truth"].device)


def _colours(seed: int) -> Tensor:
    """Brightness, contrast and saturation change in three of four pictures, the hue in all."""
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, generator=rng) * (torch.rand(3, generator=rng) < 0.75)
    bright, contrast, colourful = drawn * torch.tensor([BRIGHT, CONTRAST, COLOURFUL])
    turn = (torch.rand((), generator=rng) * 2 - 1) * torch.pi
    grey = torch.full((3, 3), 1 / 3)
    # The hue is turned about the grey axis (Rodrigues), saturation is the distance from it.
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3**0.5
    about = colourful.exp() * (turn.cos() * (torch.eye(3) - grey) + turn.sin() * across) + grey
    return torch.cat([contrast.exp() * about, bright.expand(3, 1)], dim=1)


def recoloured(picture: Tensor, change: Tensor) -> Tensor:
    """picture [B, 3, H, W] in 0..255 by `colours_of`, likewise."""
    mixed = torch.einsum("bij,bjhw->bihw", change[:, :, :3], picture / 127.5 - 1) + change[:, :, 3, None, None]
    return ((mixed + 1) * 127.5).clamp(0, 255)


def gated(perceptual: Callable[[], VGG19 | LPIPS]) -> Task:
    return replace(FILL, terms=partial(gated_terms, perceptual=perceptual))


def unveilify(lpips: str, face_network: Callable[[], FaceNetwork] = mobilefacenet) -> Task:
    return replace(FILL, terms=partial(unveilify_terms, lpips=lpips, face_network=face_network))


RECONSTRUCT = replace(FILL, terms=reconstruction_terms)
RECONSTRUCT_HALF = replace(FILL, terms=partial(reconstruction_terms, shrink=2))
