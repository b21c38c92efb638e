"""A film gone through without the pictures that no other refers to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import Film, frames_25, write_film

from unmask_video import decode
from unmask_video.clock import MOST_BYTES, REORDERED, Skim

B_FRAMES = {"preset": "veryfast", "bf": "3", "b_strategy": "0", "crf": "12"}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("pts", [frames_25(60), tuple(512 * k + 97 * (k % 3) for k in range(60))])
def test_a_skim_leaves_out_what_no_other_refers_to(pts: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / f"film{suffix}", Film(pts=pts, options=B_FRAMES))
    with decode.open_video(film) as video:
        every, some = list(video.frames()), list(video.frames(skim=Skim(12, 12 * 512 + 200, lambda: True)))
    assert len(every) == 60 and {frame.index for frame in some} >= {*range(49, 60)}, "what comes after the last is not known"
    assert sum(frame.index < 48 for frame in some) < 36, "of three B-frames in a row two are referred to by none"
    assert {0, 12, 24, 36, 48} <= {frame.index for frame in some}
    for frame in some:
        same = every[frame.index]
        assert frame.pts == same.pts and all(map(np.array_equal, frame.planes, same.planes))


def test_a_skim_that_may_not_leaves_nothing_out(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", Film(pts=frames_25(30), options=B_FRAMES))
    with decode.open_video(film) as video:
        assert [frame.index for frame in video.frames(skim=Skim(12, 13 * 512, lambda: False))] == list(range(30))


def test_where_pictures_lie_apart_none_is_left_out(tmp_path: Path) -> None:
    """For they may be looked at, and so they are whether some may be left out or not."""
    pts = tuple(512 * k for k in range(24)) + tuple(512 * (24 + 2 * k) for k in range(24))
    film = write_film(tmp_path / "film.mp4", Film(pts=pts, options=B_FRAMES))
    with decode.open_video(film) as video:
        found = [frame.index for frame in video.frames(skim=Skim(12, 13 * 512, lambda: True))]
    assert len([k for k in found if k < 24]) < 20 and [k for k in found if k >= 24] == list(range(24, 48))


@pytest.mark.parametrize("size", [10, 2**23])
def test_packets_wait_until_their_numbers_are_known_but_never_hold_much(size: int) -> None:
    taken: list[int] = []

    def packets() -> Iterator[SimpleNamespace]:
        for k in range(50):
            taken.append(k)
            yield SimpleNamespace(pts=k ^ 3, size=size)
        raise OSError("the file ends here")

    skim, came = Skim(4, 4, lambda: True), []
    with pytest.raises(OSError, match="ends here"):
        for packet in skim.known(packets()):
            came.append((packet.pts, skim.number(packet.pts)))
            assert len(taken) - len(came) <= min(REORDERED, MOST_BYTES // size)
    assert [pts for pts, _ in came] == [k ^ 3 for k in range(50)], "all that came before the error"
    assert size > 10 or all(pts == number for pts, number in came[:40])
