"""Where nobody can be masked, as the search tells, frames are not gone through again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces import Footage, portrait, write_photo
from helpers import frames_25
from test_pipeline import FILM, make, moving, read, run
from test_segment import frame
from world import World, still

from unmask_video import signs, track
from unmask_video.frame import Frame
from unmask_video.signs import AFTER, BEFORE, Signs
from unmask_video.track import follow


def seen(*beliefs: tuple[int, float], frames: int = 500) -> Signs:
    made = Signs(frames=frames)
    for index, belief in beliefs:
        made.see(frame(index), belief)
    return made


def test_only_a_whole_search_can_tell_that_nobody_is_masked() -> None:
    assert seen().none() and seen((7, 0.05)).none() and seen((7, 0.05)).clearest == 0.05
    assert not seen((7, 0.15)).none() and not seen(frames=0).none()
    assert seen().none_near(frame(0)) and not seen(frames=0).none_near(frame(0))


def test_around_a_sign_somebody_may_be_masked() -> None:
    made, before, after = seen((200, 0.2), (600, 0.9)), round(BEFORE * 25), round(AFTER * 25)
    idle = [made.none_near(frame(k)) for k in range(900)]
    assert [k for k in range(1, 900) if idle[k] != idle[k - 1]] == [
        200 - before, 200 + after + 1, 600 - before, 600 + after + 1,
    ]  # fmt: skip
    assert idle[0] and idle[400] and idle[899]


def apart(one: list[Frame], other: list[Frame]) -> np.ndarray:
    """Of each frame: mean difference of the first plane."""
    return np.array([abs(a.planes[0].astype(int) - b.planes[0]).mean() for a, b in zip(one, other, strict=True)])


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Ten seconds; from the fifth on somebody is masked for a second. A folder with that, and with a photo."""
    bare, worn = Footage(portrait()), moving()
    write_photo(tmp_path / "face.png", portrait())
    make(tmp_path, replace(FILM, pts=frames_25(250)), footage=lambda k: (worn if 125 <= k < 150 else bare)(k))
    return tmp_path


def test_a_mask_in_the_midst_is_filled_as_if_all_had_been_gone_through(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparing = run(film, target="out.mkv", encoder="ffv1")
    monkeypatch.setattr(signs, "AFTER", 1e9)
    monkeypatch.setattr(signs, "BEFORE", 1e9)
    whole = run(film, target="whole.mkv", encoder="ffv1")
    assert whole.face_frames == 250 and 75 < sparing.face_frames < 175
    source, all_seen, out = (read(film / name) for name in ("in.mp4", "whole.mkv", "out.mkv"))
    changed, others = np.flatnonzero(apart(source, out)), np.flatnonzero(apart(source, all_seen))
    assert sparing.filled == len(changed) >= 23 and len(sparing.people) == 1
    # The frames in which a bare face is looked at are counted from its first, so a mask may be seen a frame earlier or later.
    assert abs(changed[0] - others[0]) <= 2 and abs(changed[-1] - others[-1]) <= 2
    assert apart(all_seen, out)[np.intersect1d(changed, others)].max() < 1


def test_a_film_of_nobody_masked_is_written_without_being_gone_through(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(film, footage=Footage(portrait()))
    monkeypatch.setattr(track.Linker, "move", lambda *_, **__: pytest.fail("gone through"))
    report = run(film, target="other.mkv")
    assert not report.copied and report.frames == len(list(read(film / "other.mkv"))) and report.face_frames == 0


def test_who_was_followed_comes_in_anew_after_idle_frames() -> None:
    world = World([still(200)])
    found = list(follow(world.frames(80), world.linker(), idle=lambda f: 30 <= f.index < 50))
    assert [f.index for f, _ in found] == list(range(80))
    ids = lambda first, last: {face.track_id for _, faces in found[first:last] for face in faces}  # noqa: E731
    assert (ids(0, 30), ids(30, 50), ids(50, 80)) == ({0}, set(), {1})
