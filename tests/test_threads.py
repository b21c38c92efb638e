"""Stages side by side: the same pictures as one after the other, errors come home, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces import SHARED, Footage, masked, portrait, tools, write_footage, write_photo
from helpers import Film, frames_25

from unmask_video import Options, decode, encode, identify, inpaint, pipeline, segment, smooth, steady, track, turns, unmask, warp
from unmask_video.ahead import side_by_side
from unmask_video.frame import Frame
from unmask_video.pipeline import route
from unmask_video.stopwatch import Stopwatch
from unmask_video.tally import Tally

CLIPS = sorted((SHARED / "data" / "clips").glob("*/*.mp4"))
FILM = Film(size=(192, 192), pts=frames_25(40), options={"preset": "ultrafast"})


pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_photo(tmp_path / "face.png", portrait())
    return write_footage(tmp_path / "in.mp4", Footage(masked()[0], (192, 192)), FILM)


# --- side by side ---------------------------------------------------------------------------------


def test_results_keep_the_order_of_their_items() -> None:
    def slow(number: int) -> int:
        time.sleep(0.003 * (number % 3))
        return -number

    assert list(side_by_side(slow, range(40), 3, "unmask-test")) == [-n for n in range(40)]
    assert list(side_by_side(slow, [], 3, "unmask-test")) == []


@pytest.mark.parametrize("at_once, most", [(False, 4), (True, 1)])
def test_only_so_many_are_held(at_once: bool, most: int) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    made = side_by_side(abs, numbers(), 2, "unmask-test", at_once=lambda: at_once)
    assert next(made) == 0 and len(taken) <= most
    made.close()
    assert len(taken) <= most, "closing it ends it"


def test_the_first_error_comes_home() -> None:
    made = side_by_side(lambda n: 1 // (3 - n), range(100), 2, "unmask-test")
    assert [next(made) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_work_within_work_is_counted_once() -> None:
    watch = Stopwatch()

    def busy(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def first() -> Iterator[int]:
        for number in range(3):
            busy(0.02)
            yield number

    def second(numbers: Iterable[int]) -> Iterator[int]:
        for number in numbers:
            busy(0.01)
            yield number

    assert list(watch.stage("second", second(watch.stage("first", first())))) == [0, 1, 2]
    assert watch.cpu["first"] == pytest.approx(0.06, abs=0.01) and watch.cpu["second"] == pytest.approx(0.03, abs=0.01)
    assert all(watch.wall[name] >= 0.9 * watch.cpu[name] for name in watch.cpu)


# --- the route ------------------------------------------------------------------------------------


def routed(path: Path, photos: list[str], count: int = 10_000) -> list[Frame]:
    made = replace(tools(), workers=4, seen={})  # else what another test has seen would count in the first run alone
    with decode.open_video(path) as video:
        given = made.photos(photos)
        tally = Tally(path, path, made.cast(given, [], Options(unmatched="fill")))
        some = (frame for frame, _ in zip(video.frames(), range(count), strict=False))
        return list(route(some, made, tally))


def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "read_ahead", lambda items, *_: (item for item in items))
    monkeypatch.setattr(pipeline, "side_by_side", lambda make, items, *_: (make(item) for item in items))


def assert_same(some: list[Frame], others: list[Frame]) -> None:
    assert len(some) == len(others) and [f.index for f in some] == [f.index for f in others]
    for a, b in zip(some, others, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.planes, b.planes, strict=True)), f"frame {a.index}"


def test_threads_change_no_bit(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [str(film.parent / "face.png")]
    beside = routed(film, photos)
    one_after_the_other(monkeypatch)
    assert_same(beside, routed(film, photos))


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_threads_change_no_bit_of_a_clip(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = routed(clip, [], 60)
    one_after_the_other(monkeypatch)
    assert_same(beside, routed(clip, [], 60))


STAGES: dict[str, tuple[Any, str]] = {
    "decode": (decode.Video, "_frame"), "track": (track.Linker, "move"), "steady": (steady, "_emit"),
    "segment": (segment, "_decide"), "identify": (identify, "identity"), "cut": (warp, "cut"), "warp": (warp, "guide"),
    "inpaint": (inpaint, "painted"), "between": (turns, "_patch"),
    "smooth": (smooth, "blend"), "paste": (warp, "paste"), "encode": (encode.Writer, "_encode"),
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("many", [2, 4])
def test_a_stage_that_dies_is_one_error_and_nothing_hangs(
    stage: str, many: int, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("unmask_video.tools.cores", lambda: many)
    owner, name = STAGES[stage]
    whole, calls, told = getattr(owner, name), [0], []

    def dies(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] > 3:
            raise RuntimeError(f"{stage} is dead")
        return whole(*given, **named)

    def run() -> None:
        try:
            options = Options(mine_references="off")  # or the decoder would die in the search
            unmask(film, film.with_name("out.mp4"), reference=film.parent / "face.png", options=options)
        except BaseException as error:
            told.append(error)

    monkeypatch.setattr(owner, name, dies)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    assert [str(error) for error in told] == [f"{stage} is dead"]
    assert sorted(path.name for path in film.parent.iterdir()) == ["face.png", "in.mp4"], "and nothing is left"
