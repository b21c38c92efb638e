"""Trains the segmenter on drawn masks; the same command goes on where it stopped.

    python -m training.train FACES.npz [FACES.npz ...] --run runs/segmenter --minutes 40

FACES come from `training.data`. Writes the checkpoint to the run's folder; `--export` puts the network
into `models/weights/`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from unmask_video.models.segmenter import SIZE, Segmenter

from training.checkpoint import register
from training.masks import decoy, degrade, draw
from training.patterns import Patterns, load_patterns

BATCH = 32
RATE = 2e-3
"""Adam's learning rate at the start; falls to a twentieth as a cosine over the run's minutes."""


class DrawnMasks(IterableDataset):
    """Endless (image uint8 [3, 128, 128], mask uint8 [1, 128, 128], present float) from bare faces."""

    def __init__(self, images: np.ndarray, landmarks: np.ndarray, patterns: Patterns, seed: int) -> None:
        self.images, self.landmarks, self.patterns, self.seed = images, landmarks, patterns, seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            yield self.one(int(rng.integers(len(self.images))), rng)

    def one(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        image, landmarks = self.images[index], self.landmarks[index].astype(np.float64)
        present = rng.random() < 0.65
        if present:
            image, alpha = draw(image, landmarks, rng, self.patterns)
        else:
            image = decoy(image, landmarks, rng) if rng.random() < 0.5 else image
            alpha = np.zeros(image.shape[:2], np.float32)
        image, alpha = jitter(image, alpha, rng)
        mask = (alpha * 255).round().astype(np.uint8)
        return degrade(image, rng).transpose(2, 0, 1).copy(), mask[None], float(present)


def jitter(image: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The crop as a less sure alignment would cut it, at the network's size, half of them mirrored."""
    size = image.shape[0]
    angle, scale = rng.normal(0, 5), rng.uniform(0.85, 1.15) * SIZE / size
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle, scale)
    matrix[:, 2] += SIZE / 2 - size / 2 + rng.normal(0, 0.03, 2) * SIZE
    moved = [cv2.warpAffine(a, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE) for a in (image, alpha)]
    return (moved[0][:, ::-1], moved[1][:, ::-1]) if rng.random() < 0.5 else (moved[0], moved[1])


def segmenter_loss(
    logits: torch.Tensor, presence: torch.Tensor, mask: torch.Tensor, present: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Cross-entropy and Dice of the mask, cross-entropy of its presence; mask in 0..1."""
    p = logits.sigmoid()
    dice = 1 - (2 * (p * mask).sum((1, 2, 3)) + 1) / ((p + mask).sum((1, 2, 3)) + 1)
    return {
        "mask": F.binary_cross_entropy_with_logits(logits, mask) * 4,
        "dice": (dice * present).sum() / present.sum().clamp(min=1),
        "presence": F.binary_cross_entropy_with_logits(presence, present) * 0.3,
    }


def load_faces(files: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(names, images uint8 [N, S, S, 3], landmarks [N, 468, 3]) of several files of `training.data`."""
    parts = [np.load(f) for f in files]
    return tuple(np.concatenate([p[k] for p in parts]) for k in ("names", "images", "landmarks"))


def held_out(names: np.ndarray) -> np.ndarray:
    """True for the faces kept for evaluation: UTKFace's validation part and every 20th of the rest."""
    return np.array(["utkface-val" in n or i % 20 == 0 for i, n in enumerate(names)])


def evaluate(network: Segmenter, data: DrawnMasks, count: int = 600) -> dict[str, float]:
    """IoU on freshly drawn masks, and how often presence is right, in 0..1."""
    network.eval()
    rng = np.random.default_rng(7)
    ious, right_masked, right_bare = [], [], []
    with torch.no_grad():
        for start in range(0, count, BATCH):
            images, masks, present = zip(*(data.one(i % len(data.images), rng) for i in range(start, start + BATCH)))
            logits, presence = network.judge(torch.from_numpy(np.stack(images)).float())
            for logit, belief, mask, there in zip(logits, presence, masks, present, strict=True):
                (right_masked if there else right_bare).append((belief > 0).item() == bool(there))
                if there:
                    got, true = logit.numpy() > 0, mask > 127
                    ious.append((got & true).sum() / max((got | true).sum(), 1))
    network.train()
    return {"iou": float(np.mean(ious)), "masked": float(np.mean(right_masked)), "bare": float(np.mean(right_bare))}


def to_onnx(network: Segmenter) -> bytes:
    """ONNX bytes: image [B, 3, 128, 128] in 0..255 -> mask and presence of `Segmenter.judge` as probabilities."""

    class Probabilities(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, presence = self.network.judge(image)
            return logits.sigmoid(), presence.sigmoid()

    out = io.BytesIO()
    torch.onnx.export(
        Probabilities().eval(), (torch.zeros(1, 3, SIZE, SIZE),), out, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["mask", "presence"],
        dynamic_axes={k: {0: "batch"} for k in ("image", "mask", "presence")},
    )  # fmt: skip
    return out.getvalue()


@click.command()
@click.argument("faces", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--run", default="runs/segmenter", help="Folder of the checkpoint.")
@click.option("--minutes", default=40.0, help="Time for the whole run, earlier parts included.")
@click.option("--patterns", type=click.Path(exists=True), help="Tar of mask templates (MaskTheFace's layout).")
@click.option("--export", is_flag=True, help="Put the network into models/weights/ at the end.")
def main(faces: tuple[str, ...], run: str, minutes: float, patterns: str | None, export: bool) -> None:
    names, images, landmarks = load_faces(faces)
    kept = held_out(names)
    made_of = load_patterns(Path(patterns)) if patterns else Patterns()
    torch.manual_seed(0)
    network = Segmenter()
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    state = {"step": 0, "seconds": 0.0}
    path = Path(run) / "checkpoint.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        saved = torch.load(path, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    data = DrawnMasks(images[~kept], landmarks[~kept], made_of, seed=state["step"])
    loader = iter(DataLoader(data, BATCH, num_workers=1, prefetch_factor=4))
    began = time.monotonic() - state["seconds"]
    terms: dict[str, float] = {}
    while state["seconds"] < minutes * 60:
        image, mask, present = next(loader)
        share = state["seconds"] / (minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = RATE * float(0.05 + 0.95 * (1 + np.cos(np.pi * share)) / 2)
        losses = segmenter_loss(*network(image.float()), mask.float() / 255, present.float())
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        state = {"step": state["step"] + 1, "seconds": time.monotonic() - began}
        terms = {k: 0.98 * terms.get(k, v.item()) + 0.02 * v.item() for k, v in losses.items()}
        if state["step"] % 100 == 0:
            click.echo(f"{state['seconds']:.0f} s, step {state['step']}: " + ", ".join(f"{k} {v:.4f}" for k, v in terms.items()))
            torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": state}, path)
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "state": state}, path)
    scores = evaluate(network, DrawnMasks(images[kept], landmarks[kept], made_of, seed=0))
    click.echo(f"held out: {scores}")
    if export:
        origin = f"trained by training/train.py, {state['step'] * BATCH} drawn masks, held-out IoU {scores['iou']:.3f}"
        click.echo(register("segmenter", to_onnx(network), licence="Apache-2.0", origin=origin)["file"])


if __name__ == "__main__":
    main()
