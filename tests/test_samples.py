"""What networks learn from: drawn masks and their labels, cameras, reference photos, samples and their order."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
from faces import bare, cut, tools

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from training import references, samples  # noqa: E402
from training.cameras import degrade, lens  # noqa: E402
from training.faces import HELD_OUT, Faces, person  # noqa: E402
from training.masks import decoy, draw  # noqa: E402
from training.patterns import Patterns, Template  # noqa: E402
from training.samples import FillSamples, InOrder, SegmenterSamples, ShrunkSamples  # noqa: E402
from unmask_video.face import UPPER, mean_face  # noqa: E402
from unmask_video.geometry import fit_pose  # noqa: E402
from unmask_video.landmarks import region_of_landmarks  # noqa: E402
from unmask_video.picture import photo  # noqa: E402

torch.set_num_threads(1)  # as training does: many small tests on a busy machine fight over threads
SIDE = 192
SEEDS = range(24)
THREE = ("anna/film-1.jpg", "anna/sitting-1.jpg", "ben/film-1.jpg")


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


def by(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- drawn masks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("made_of", [Patterns(), patterns()], ids=["invented", "patterns"])
def test_labels_are_shares_of_pixels(made_of: Patterns) -> None:
    covers, seen = [], set()
    for seed in SEEDS:
        image, alpha = drawn(seed, made_of=made_of)
        seen.add(alpha.tobytes())
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert alpha.shape == (SIDE, SIDE) and alpha.dtype == np.float32
        assert alpha.min() >= 0 and alpha.max() <= 1 + 1e-6
        covers.append((alpha > 0.5).mean())
    assert 0.03 < np.median(covers) < 0.4 and len(seen) == len(SEEDS), "no two alike"


def test_the_same_seed_draws_the_same_mask() -> None:
    for made_of in (Patterns(), patterns()):
        first, second = (drawn(5, made_of=made_of) for _ in range(2))
        assert (first[0] == second[0]).all() and (first[1] == second[1]).all()
    assert (drawn(5)[0] != drawn(6)[0]).any()


def test_drawing_leaves_the_bare_face_as_it_was() -> None:
    shown, where = bare()
    before = shown.copy(), where.copy()
    for seed in range(4):
        for change in (draw, decoy, references.made_of):
            change(shown, where, by(seed))
        degrade(shown, by(seed))
        references.express(references.turn(where, by(seed)), by(seed))
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
    changed = [np.abs(decoy(shown, where, by(s)).astype(int) - shown).max() for s in range(9)]
    assert min(changed) > 20


def test_lenses_leave_things_in_their_place() -> None:
    """A label stays where it was, so a blurred picture must not slide off it."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    spot = 255 * np.exp(-((x - 80) ** 2 + (y - 110) ** 2) / 200)[..., None].repeat(3, 2).astype(np.float32)
    for seed in SEEDS:
        seen = lens(spot, by(seed))[..., 0]
        assert abs((seen * x).sum() / seen.sum() - 80) < 0.3 and abs((seen * y).sum() / seen.sum() - 110) < 0.3


# --- faces and references -------------------------------------------------------------------------


def named(*names: str) -> Faces:
    """Faces that are names and nothing else."""
    return Faces(names, np.zeros((len(names), 1, 1, 3), np.uint8), np.zeros((len(names), 468, 3), np.float32))


def test_partners_are_other_photos_of_another_take() -> None:
    anna = ("anna/film-1.jpg", "anna/film-2.jpg", "anna/sitting-1.jpg")
    found = named(*anna, "ben/film-1.jpg", "ben/film-2.jpg", "carl.jpg", "carl-2.jpg", "dora/film-1.jpg").partners()
    # Of Ben there is one take, so that has to do; photos outside of a folder are of people of their own.
    assert [f.tolist() for f in found] == [[2], [2], [0, 1], [4], [3], [], [], []]


def test_held_out_people_are_on_one_side_only() -> None:
    names = [f"p{k}/film-{j}.jpg" for k in range(400) for j in range(2)] + [f"alone{k}-1.jpg" for k in range(400)]
    known, others = named(*names).split()
    assert sorted(known.names + others.names) == sorted(names)
    people = [{person(n) for n in side.names} for side in (known, others)]
    assert not people[0] & people[1] and 0.5 < len(people[1]) * HELD_OUT / 800 < 1.5
    assert len(others.images) == len(others.landmarks) == len(others.names)
    # Nobody changes sides when more faces come, or one that was learnt from would be scored later.
    assert set(named(*names[::3]).split()[1].names) == set(others.names) & set(names[::3])


def test_a_turned_head_with_another_mouth_is_rigid_above() -> None:
    where, height = bare()[1], np.ptp(bare()[1][:, 1])
    angles, mouths = [], []
    for seed in SEEDS:
        moved = references.express(references.turn(where, by(seed)), by(seed + 99))
        scale, rotation, move = fit_pose(where[UPPER], moved[UPPER])
        rigid = scale * where @ rotation.T + move
        assert 0.9 <= scale <= 1.1 and np.abs(rigid - moved)[UPPER].max() < 1e-6 * height
        angles.append(np.degrees(np.arccos((np.trace(rotation) - 1) / 2)))
        mouths.append(np.linalg.norm(rigid - moved, axis=1).max() / height)
    assert 5 < np.median(angles) < 20 and max(angles) < 27, "yaw, pitch and roll end at 20, 14 and 10 degrees"
    assert np.median(mouths) > 0.01 and max(mouths) < 0.15


def test_a_made_reference_is_another_picture_that_its_landmarks_fit() -> None:
    image, where = bare()
    moved = []
    for seed in range(8):
        made = references.made_of(image, where, by(seed))
        assert np.abs(made.image.astype(int) - image).mean() > 10
        ((found, score),) = tools().measure(photo(made.image), [region_of_landmarks(made.landmarks)])
        away = np.linalg.norm((found - made.landmarks)[:, :2], axis=1).mean()
        assert score > 0.9 and away < 0.02 * SIDE, "FaceMesh finds what the landmarks say"
        moved.append(np.linalg.norm((found - where)[:, :2], axis=1).mean() / away)
    assert np.median(moved) > 2, "and no longer what they said before"


def test_references_are_of_the_person_of_others_and_of_nobody() -> None:
    faces = cut(*THREE)
    data = FillSamples(faces, Patterns(), 64, 0)
    shown = {image.tobytes(): name for image, name in zip(faces.images, faces.names, strict=True)}
    shown[mean_face().image.tobytes()] = "nobody"
    seen = Counter(shown.get(data.reference(0, by(seed)).image.tobytes()) for seed in range(600))
    assert abs(seen["nobody"] / 600 - samples.NONE) < 0.05
    assert seen[THREE[1]] / 600 > 0.9 * (1 - samples.NONE - samples.STRANGER), "the other photo of Anna, nearly always"
    assert abs(seen[THREE[2]] / 600 - samples.STRANGER) < 0.04 and not seen[THREE[0]]
    assert None not in seen, "no photo has to be made where there is another"
    # Ben has one photo; all but the strangers' and nobody's are made of it.
    made = [shown.get(data.reference(2, by(seed)).image.tobytes()) for seed in range(12)].count(None)
    assert 5 <= made < 12


# --- samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SegmenterSamples, ShrunkSamples, FillSamples])
def test_a_sample_depends_on_seed_and_number_alone(kind: type) -> None:
    data, other = (kind(cut(*THREE), patterns(), 64, seed) for seed in (3, 4))
    wanted = {n: data[n] for n in (5, 3, 2, 4)}
    fresh = kind(cut(*THREE), patterns(), 64, 3)
    loader = DataLoader(fresh, 2, sampler=InOrder(first=2, steps=2, batch=2), num_workers=2)
    for batch, numbers in zip(loader, ((2, 3), (4, 5)), strict=True):
        for k, n in enumerate(numbers):
            assert set(batch) == set(wanted[n])
            assert all((batch[name][k].numpy() == wanted[n][name]).all() for name in batch)
    assert (wanted[2]["image"] != wanted[3]["image"]).any() and (wanted[2]["image"] != other[2]["image"]).any()


def test_segmenter_samples_are_masked_faces_and_bare_ones() -> None:
    data, present = SegmenterSamples(cut(*THREE), patterns(), 96, 0), []
    for n in range(60):
        sample = data[n]
        shapes = {k: (v.shape, v.dtype) for k, v in sample.items()}
        assert shapes == {"image": ((3, 96, 96), np.uint8), "mask": ((1, 96, 96), np.uint8), "present": ((), np.float32)}
        assert (sample["mask"].max() > 200) == bool(sample["present"])
        present.append(sample["present"])
    assert 0.45 < np.mean(present) < 0.85


def test_masks_move_with_their_pictures() -> None:
    """The label takes the picture's place here, and both go the same way."""
    label = drawn(1)[1]
    for seed in range(8):
        image, alpha = samples.jitter(np.uint8(label * 255)[..., None].repeat(3, 2), label, 160, by(seed))
        assert image.shape == (160, 160, 3) and alpha.shape == (160, 160)
        assert np.abs(image[..., 1] - alpha * 255).max() < 3 and (alpha > 0.5).any()


@pytest.mark.parametrize("size", [64, 128])
def test_fill_samples_show_the_truth_where_nothing_is_hidden(size: int) -> None:
    """Light and lens are the same for both pictures; the masked one alone went through the camera's sensor.

    Its noise has a deviation of up to 7, half of which are below 4.7, and JPEG of quality 25 adds about as much
    as it smooths: hence 6. Fingers and straps lie beyond the hole now and then, so medians are looked at; away from
    the hole, for a mask throws a shadow and a lens smears its edge.
    """
    data, hidden, other = FillSamples(cut(*THREE), Patterns(), size, 0), [], []
    for n in range(20):
        sample = data[n]
        colours = dict.fromkeys(("image", "warped", "reference", "truth"), 3) | {"hidden": 1}
        assert sample.pop("points").shape == (468, 5)
        assert {k: (v.shape, v.dtype) for k, v in sample.items()} == {k: ((n, size, size), np.uint8) for k, n in colours.items()}
        away = sample["image"].astype(int) - sample["truth"]
        near = cv2.dilate((sample["hidden"][0] > 0).astype(np.uint8), np.ones((size // 4 + 1,) * 2)) > 0
        assert np.median(np.abs(away[:, ~near])) <= 6 and np.abs(np.median(away[:, ~near], axis=1)).max() <= 2
        other.append(np.median(np.abs(away[:, sample["hidden"][0] == 255])))
        hidden.append((sample["hidden"] > 127).mean())
    assert 0.05 < min(hidden) and max(hidden) < 0.35
    assert np.median(other) > 20, "and behind the mask they differ"


def test_fill_samples_start_from_the_reference() -> None:
    """With the very photo as its reference, `warped` is nearer to the truth than the mask is, in the hole."""
    data, better, errors = FillSamples(cut(*THREE), Patterns(), 128, 0), [], []
    for seed in range(24):
        image, where = data.faces.images[0], data.faces.landmarks[0].astype(np.float64)
        sample = data.of_face(0, references.as_reference(image, where, by(seed)), by(seed))
        hole = sample["hidden"][0] == 255
        away = {k: np.abs(sample[k].astype(int) - sample["truth"])[:, hole].mean() for k in ("image", "warped")}
        better.append(away["warped"] / away["image"])
        there, now, counts = np.split(sample["points"] * [128, 128, 128, 128, 1], [2, 4], axis=1)
        assert counts.sum() > 60 and sample["hidden"][0][tuple(there[counts[:, 0] > 0].astype(int).T[::-1])].min() > 127
        # Each point has the colour there, in the truth, that it has now, in what the network starts from.
        maps = {k: (p - 0.5).astype(np.float32) for k, p in (("there", there), ("now", now))}
        true, before, after = (
            cv2.remap(sample[k].transpose(1, 2, 0), maps[place], None, cv2.INTER_LINEAR)[counts[:, 0] > 0].astype(int)
            for k, place in (("truth", "there"), ("warped", "there"), ("warped", "now"))
        )
        errors.append([np.abs(p - true).mean() for p in (before, after)])
    assert np.median(better) < 0.4 and max(better) < 0.8
    assert np.mean(errors, axis=0)[1] < 0.8 * np.mean(errors, axis=0)[0]


def test_landmarks_are_those_of_facemesh_on_the_masked_face() -> None:
    image, where = bare()
    height, off = np.linalg.norm(where[152] - where[10]), []
    for seed in range(12):
        found = samples.measured(photo(drawn(seed)[0]), where)
        off.append(np.linalg.norm((found - where)[UPPER, :2], axis=1).mean() / height)
    unmasked = np.linalg.norm((samples.measured(photo(image), where) - where)[UPPER, :2], axis=1).mean() / height
    assert unmasked < 0.01 < np.mean(off) and max(off) < samples.LOST
    assert samples.measured(photo(image[::-1]), where) is where, "upside down it is not found"


def test_masks_are_seen_roughly_at_their_edges_only() -> None:
    size = 128
    alpha = np.zeros((size, size), np.float32)
    alpha[60:110, 30:100] = 1
    edge = cv2.dilate(alpha, np.ones((17, 17))) - cv2.erode(alpha, np.ones((17, 17))) > 0
    soft = cv2.GaussianBlur(alpha, (0, 0), 1.5)
    for seed in range(8):
        seen = samples.seen_roughly(soft, by(seed))
        assert np.abs(seen - alpha)[~edge].max() < 0.02 and seen.min() >= 0 and seen.max() <= 1
        more, less = ((seen > 0.4) > (soft > 0.4)).sum(), ((seen > 0.4) < (soft > 0.4)).sum()
        assert more > 5 and less > 5, "here too far out, there too far in"
    assert not samples.seen_roughly(alpha * 0, by(0)).any()
