"""Drawn masks and their labels, learning, going on, and what comes out of it."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from faces import points, portrait, shared

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from training import evaluate, train  # noqa: E402
from training.checkpoint import register  # noqa: E402
from training.data import cut_faces, pictures  # noqa: E402
from training.lpips import LPIPS  # noqa: E402
from training.masks import decoy, degrade, draw  # noqa: E402
from training.patterns import Patterns, Template, load_patterns  # noqa: E402
from unmask_video.face import align  # noqa: E402
from unmask_video.geometry import apply, invert  # noqa: E402
from unmask_video.models.segmenter import SIZE, Segmenter  # noqa: E402
from unmask_video.picture import photo, sample  # noqa: E402
from unmask_video.runtime import open_session, session  # noqa: E402

torch.set_num_threads(1)  # as training does: many small tests on a busy machine fight over threads
SIDE = 192
SEEDS = range(24)


def bare() -> tuple[np.ndarray, np.ndarray]:
    """The portrait as training sees it: uint8 [192, 192, 3] and landmarks [468, 3]."""
    crop = align(points(), SIDE)
    image = sample(photo(portrait()), crop, SIDE).round().clip(0, 255).astype(np.uint8)
    return image, apply(invert(crop), points())


def patterns() -> Patterns:
    """A template and a texture, made up."""
    rgba = np.full((60, 100, 4), 255, np.uint8)
    rgba[..., :3] = (30, 90, 160)
    rgba[:, :3, 3] = rgba[:, -3:, 3] = 0
    corners = np.float32([[3, 5], [50, 2], [97, 5], [15, 55], [50, 58], [85, 55]])
    texture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    return Patterns((Template(rgba, corners, 0),), (texture,))


def drawn(seed: int, image: np.ndarray | None = None, made_of: Patterns = Patterns()) -> tuple[np.ndarray, np.ndarray]:
    shown, where = bare()
    return draw(shown if image is None else image, where, np.random.default_rng(seed), made_of)


@pytest.mark.parametrize("made_of", [Patterns(), patterns()], ids=["invented", "patterns"])
def test_labels_are_shares_of_pixels(made_of: Patterns) -> None:
    covers = []
    for seed in SEEDS:
        image, alpha = drawn(seed, made_of=made_of)
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert alpha.shape == (SIDE, SIDE) and alpha.dtype == np.float32
        assert alpha.min() >= 0 and alpha.max() <= 1 + 1e-6
        covers.append((alpha > 0.5).mean())
    assert 0.03 < np.median(covers) < 0.4 and len({round(c, 4) for c in covers}) == len(SEEDS), "no two alike"


def test_the_same_seed_draws_the_same_mask() -> None:
    for made_of in (Patterns(), patterns()):
        first, second = (drawn(5, made_of=made_of) for _ in range(2))
        assert (first[0] == second[0]).all() and (first[1] == second[1]).all()
    assert (drawn(5)[0] != drawn(6)[0]).any()


def test_drawing_leaves_the_bare_face_as_it_was() -> None:
    shown, where = bare()
    before = shown.copy(), where.copy()
    for seed in range(4):
        draw(shown, where, np.random.default_rng(seed))
        decoy(shown, where, np.random.default_rng(seed))
        degrade(shown, np.random.default_rng(seed))
    assert (shown == before[0]).all() and (where == before[1]).all()


def test_labels_say_which_pixels_show_the_face() -> None:
    """A fine pattern on the bare face is gone where the label is 1, and all there where it is 0."""
    grain = 30 * (np.indices((SIDE, SIDE)).sum(0) % 2 * 2 - 1)[..., None]
    shown = bare()[0].clip(60, 190).astype(int)
    through, over = [], []
    for seed in SEEDS:
        (up, alpha), (down, again) = (drawn(seed, (shown + s * grain).astype(np.uint8)) for s in (1, -1))
        assert np.abs(alpha - again).max() < 1e-6
        seen = np.abs(up.astype(int) - down).mean(2) / 60
        over.append(seen[alpha > 0.999].max())
        clear = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((25, 25))) == 0  # beyond its shadow, too
        through.append(np.median(seen[clear]))
    assert max(over) < 0.15, "one mask in five lets through up to a tenth"
    assert np.median(over) < 0.06
    assert min(through) > 0.95


def test_decoys_are_no_masks_but_change_the_picture() -> None:
    shown, where = bare()
    changed = [np.abs(decoy(shown, where, np.random.default_rng(s)).astype(int) - shown).max() for s in range(9)]
    assert min(changed) > 20


def faces(count: int) -> tuple[np.ndarray, np.ndarray]:
    image, where = bare()
    return np.stack([image] * count), np.stack([where] * count)


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    data = iter(train.DrawnMasks(*faces(1), Patterns(), seed=1))
    images, masks, present = zip(*islice(data, size), strict=True)
    assert 0 < sum(present) < size, "some masked, some bare"
    for mask, there in zip(masks, present, strict=True):
        assert (mask.max() > 200) == bool(there)
    return torch.tensor(np.stack(images)).float(), torch.tensor(np.stack(masks)) / 255, torch.tensor(present)


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network, (image, mask, present) = Segmenter(), batch(8)
    optimiser, losses = torch.optim.AdamW(network.parameters(), train.RATE), []
    for _ in range(12):
        terms = train.segmenter_loss(*network(image), mask, present)
        assert set(terms) == {"mask", "dice", "presence"} and all(v >= 0 for v in terms.values())
        losses.append(sum(terms.values()))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_perfect_answer_costs_nothing() -> None:
    _, mask, present = batch(8)
    mask = mask.round()
    right = train.segmenter_loss((mask - 0.5) * 100, (present - 0.5) * 100, mask, present)
    wrong = train.segmenter_loss((0.5 - mask) * 100, (0.5 - present) * 100, mask, present)
    assert sum(right.values()) < 0.01 and all(wrong[k] > 0.5 for k in right)


def test_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "BATCH", 2)
    monkeypatch.setattr(train, "evaluate", lambda network, data: {"iou": 0.0})
    images, where = faces(3)
    np.savez(tmp_path / "faces.npz", names=np.array(["a", "b", "c"]), images=images, landmarks=where)
    saved = tmp_path / "run" / "checkpoint.pt"

    def run(minutes: float) -> dict:
        words = [str(tmp_path / "faces.npz"), "--run", str(saved.parent), "--minutes", str(minutes)]
        done = CliRunner().invoke(train.main, words, catch_exceptions=False)
        assert done.exit_code == 0 and "held out" in done.output
        return torch.load(saved, weights_only=True)

    first = run(0.02)
    same = run(0.02)
    assert first["state"]["step"] == same["state"]["step"] > 0, "the time is used up: not one step more"
    assert all(torch.equal(v, same["network"][k]) for k, v in first["network"].items())
    more = run(first["state"]["seconds"] / 60 + 0.02)
    assert more["state"]["step"] > first["state"]["step"] and more["state"]["seconds"] > first["state"]["seconds"]
    steps = {int(s["step"]) for s in more["optimiser"]["state"].values()}
    assert steps == {more["state"]["step"]}, "the optimiser remembers, too"


def test_the_exported_network_is_the_trained_one() -> None:
    torch.manual_seed(1)
    network, (image, _, _) = Segmenter(), batch(8)
    with torch.no_grad():
        network(image)  # so that the batch norms know something
        network.eval()
        logits, presence = network.judge(image)
    made = open_session(train.to_onnx(network), ("cpu",))
    for part in (image, image[:1]):
        mask, belief = made.run(None, {"image": part.numpy()})
        assert mask.shape == (len(part), 1, SIZE, SIZE) and belief.shape == (len(part),)
        assert np.abs(mask - logits[: len(part)].sigmoid().numpy()).max() <= 1 / 255
        assert np.abs(belief - presence[: len(part)].sigmoid().numpy()).max() <= 1 / 255


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


# --- with the project's shared data ---------------------------------------------------------------


def test_tps_stands_above_telea_on_the_london_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = list(pictures(shared("pairs-london-eval.tar")))
    people = sorted({Path(name).parent for name, _ in photos})[::5]
    monkeypatch.setattr(evaluate, "pictures", lambda _: (p for p in photos if Path(p[0]).parent in people))
    lpips, table = LPIPS(), {"telea": [], "tps": []}
    for case in evaluate.cases(Path("london")):
        for name, found in table.items():
            result = evaluate.scores(evaluate.FILLS[name](case), case, lpips)
            found.append([result[k] for k in ("hole", "lpips")])
    assert len(table["tps"]) >= 15
    telea, tps = (np.mean(table[name], axis=0) for name in ("telea", "tps"))
    print(f"\n{len(table['tps'])} cases, in the hole: telea {telea[0]:.2f} dB, tps {tps[0]:.2f} dB;", end=" ")
    print(f"LPIPS {telea[1]:.4f}, {tps[1]:.4f}: {tps[0] - telea[0]:+.2f} dB, {tps[1] / telea[1]:.3f} of it")
    assert tps[0] >= telea[0] + 6
    assert tps[1] <= 0.27 * telea[1]


def test_the_shipped_segmenter_sees_masks_on_faces_it_was_not_trained_on() -> None:
    cut = islice(cut_faces(shared("utkface-val.tar")), 100)
    images, where = map(np.stack, zip(*((image, found) for _, image, found in cut), strict=True))
    data = train.DrawnMasks(images, where, load_patterns(shared("mask-templates.tar")), 0)
    rng, network, ious, right = np.random.default_rng(7), session("segmenter"), [], []
    for k in range(300):
        image, mask, there = data.one(k % len(images), rng)
        alpha, belief = network.run(None, {"image": image[None].astype(np.float32)})
        right.append((belief[0] > 0.5) == bool(there))
        if there:
            got, true = alpha[0] > 0.5, mask > 127
            ious.append((got & true).sum() / max((got | true).sum(), 1))
    print(f"\n{len(ious)} drawn masks: IoU {np.mean(ious):.3f}; masked or bare right in {np.mean(right):.1%}")
    assert np.mean(ious) >= 0.93 and np.mean(right) >= 0.95
