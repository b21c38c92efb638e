"""Spoilt films and photos end in a sentence or with a film; `make fuzz` tries many more."""

from __future__ import annotations

import random

from mutations import FILMS, KINDS, outcomes, spoilt

COUNT = 40


def test_spoilt_files_are_told_or_done() -> None:
    found = list(outcomes(COUNT, seed=7))
    assert [f"{name}: {wrong}" for name, _, wrong in found if wrong] == []
    assert len({came for _, came, _ in found}) >= 2, "some are too bad, some are not"


def test_files_are_spoilt_by_all_means_and_the_same_again() -> None:
    data = bytes(range(256)) * 40
    made = [spoilt(data, random.Random(n)) for n in range(60)]
    assert {kind for kind, _ in made} == {kind.__name__ for kind in KINDS} and len(FILMS) == 3
    assert sum(result != data for _, result in made) >= 58
    assert made == [spoilt(data, random.Random(n)) for n in range(60)]
