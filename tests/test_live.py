"""The live loop: what it shows, how it keeps up, what it learns, and what happens when the source changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from faces import Footage, frames, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25

from unmask_video import Options, cli, live
from unmask_video.frame import Frame
from unmask_video.live import RUNGS, Ladder, Live
from unmask_video.picture import bgr
from unmask_video.pipeline import route
from unmask_video.source import Shot
from unmask_video.tally import Tally
from unmask_video.tools import Tools

SIZE = (256, 256)


@dataclass
class Given:
    """A source whose pictures come exactly as fast as they are taken, 25 a second of its own time."""

    pictures: list[Frame]
    name: str = "given"
    dropped: int = 0
    told: str = ""
    ended: bool = False
    began: float = field(default_factory=time.monotonic)

    def newest(self, seconds: float) -> Shot | None:
        if not self.pictures:
            self.ended = True
            return None
        return Shot(self.pictures.pop(0), time.monotonic())


@dataclass
class Seen:
    """An outlet that keeps what it is shown, and presses keys at given pictures."""

    presses: dict[int, str] = field(default_factory=dict)
    after: list[np.ndarray] = field(default_factory=list)
    before: list[np.ndarray] = field(default_factory=list)
    status: list[str] = field(default_factory=list)

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        self.before.append(before)
        self.after.append(after)
        self.status.append(status)

    def keys(self) -> str:
        return self.presses.pop(len(self.after), "")

    def close(self) -> None:
        pass


@pytest.fixture
def photo(tmp_path: Path) -> str:
    write_photo(tmp_path / "face.png", portrait())
    return str(tmp_path / "face.png")


def worn(count: int) -> list[Frame]:
    return frames(Footage(masked()[0], SIZE), count)


def bared(count: int) -> list[Frame]:
    return frames(Footage(portrait(), SIZE), count)


def shown(pictures: list[Frame], photos: list[str], outlet: Seen, *, fps: float = 1.0, **options: object) -> dict:
    return Live(Given(pictures), [outlet], photos, Options(**options), fps=fps).run()


def away(outlet: Seen, index: int, number: int) -> float:
    """How near a shown picture is to the bare footage, in the mean difference of the masked one to it."""
    bare, covered = (bgr(one[number]).astype(float) for one in (bared(number + 1), worn(number + 1)))
    hidden = np.abs(bare - covered).mean(2) > 25
    return float(np.abs(outlet.after[index] - bare)[hidden].mean() / np.abs(covered - bare)[hidden].mean())


def test_live_shows_what_the_same_film_without_look_ahead_does(photo: str) -> None:
    seen = Seen()
    shown(worn(30), [photo], seen)
    options = Options(look_ahead=False, mine_references="off")
    tools = Tools.make(options)
    after = list(route(iter(worn(30)), tools, Tally(Path("in"), Path("out"), tools.cast(tools.photos([photo]), [], options))))
    assert len(seen.after) == 30
    assert all(np.array_equal(a, bgr(b)) for a, b in zip(seen.after, after, strict=True))
    assert np.median([away(seen, k, k) for k in range(6, 30, 6)]) < 0.45


def test_without_a_photo_the_bare_face_is_remembered() -> None:
    bare, covered, seen = bared(40), worn(90)[40:], Seen()
    pictures = [replace(frame, index=k) for k, frame in enumerate([*bare, *covered])]
    shown(pictures, [], seen)
    assert "person 1" in seen.status[-1]
    assert away(seen, 89, 89) < 0.35, "nearer than with a mean face, and not at all with the mask"
    assert np.array_equal(seen.after[30], seen.before[30]), "a bare face stays as it is"


def test_keys(photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = Seen({4: "s", 6: "r", 8: "m", 20: "q"})
    shown(worn(40), [photo], seen, model="tps")
    assert len(seen.after) == 20, "q ends it"
    (kept,) = tmp_path.glob("unmask-*.png")
    assert np.array_equal(cv2.imread(str(kept)), seen.after[3])
    assert "take the mask off" in seen.status[6] and "tps" in seen.status[6] and "swift" in seen.status[12]
    assert away(seen, 19, 19) < 0.5, "the new model paints, and knows who it is"


def test_the_face_of_now_becomes_the_reference() -> None:
    bare, covered, seen = bared(10), worn(60)[10:], Seen({8: "r"})
    shown([*bare, *covered], [], seen)
    assert "this face is the reference now" in seen.status[8] and away(seen, 59, 59) < 0.35


def test_pictures_of_another_size_go_on(photo: str) -> None:
    other = frames(Footage(masked()[0], (320, 320)), 12)
    seen = Seen()
    shown([*worn(12), *other], [photo], seen)
    assert [a.shape for a in seen.after] == [(256, 256, 3)] * 12 + [(320, 320, 3)] * 12
    assert np.abs(seen.after[-1].astype(int) - seen.before[-1]).max() > 40, "filled again"


# --- the ladder -----------------------------------------------------------------------------------


def test_the_ladder_goes_down_where_it_is_too_slow_and_up_again() -> None:
    ladder, way = Ladder(25.0), []
    for seconds in [0.06] * 60 + [0.01] * 400:
        ladder.worked(seconds)
        way.append(ladder.rung)
    assert max(way) == len(RUNGS) - 1 and way[-1] == 0
    assert all(abs(b - a) <= 1 for a, b in zip(way, way[1:], strict=False))
    assert sum(ladder.spent.values()) == len(way)


def test_the_ladder_rests_where_it_holds_the_rate() -> None:
    ladder = Ladder(25.0)
    for _ in range(500):
        ladder.worked(0.03)
    assert ladder.rung == 0 and ladder.spent == {"full": 500}


def test_care_is_taken_by_the_rung(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    told = shown(worn(80), [photo], seen, fps=240.0)
    assert set(told["rungs"]) == {rung.name for rung in RUNGS} and away(seen, 79, 79) < 0.55, "still filled on the last"


# --- the command ----------------------------------------------------------------------------------


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "unmask_video", "live", *map(str, words)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    made = Film(size=SIZE, pts=frames_25(200), options={"crf": "20", "preset": "ultrafast"})
    return write_footage(tmp_path / "in.mp4", Footage(masked()[0], SIZE), made)


def test_figures_are_told_minute_by_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    figures = live.Figures()
    for number in range(150 * 10):
        now[0] = 100 + number / 10
        figures.add(now[0] - (0.02 if number < 700 else 0.2))
    assert [minute["latency_median_ms"] for minute in figures.minutes] == [20.0, 200.0]
    assert all(minute["memory_mib"] > 10 for minute in figures.minutes)


def test_the_figures_are_told(film: Path, photo: str) -> None:
    done = subprocess.run(
        command(film, "-r", photo, "--no-window", "--record", film.with_name("out.mkv"), "--seconds", "3", "--stats"),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["shown"] > 10 and told["latency_median_ms"] < 1000 and told["fps"] > 3


@pytest.mark.parametrize(("suffix", "end"), [(".mp4", signal.SIGKILL), (".mkv", signal.SIGKILL), (".mp4", signal.SIGINT)])
def test_a_recording_that_is_cut_plays_up_to_its_last_second(suffix: str, end: int, film: Path, photo: str) -> None:
    out = film.with_name(f"out{suffix}")
    began = subprocess.Popen(command(film, "-r", photo, "--no-window", "--record", out))
    wait_until(lambda: out.exists() and out.stat().st_size > 1000)
    time.sleep(3.0)
    os.kill(began.pid, end)
    assert began.wait(20) == (0 if end == signal.SIGINT else -end)
    with av.open(str(out)) as made:
        times = [float(f.pts * f.time_base) for f in made.decode(video=0)]
    assert times[-1] > 1.5 and len(times) > 10


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_to_see_is_refused(capsys: pytest.CaptureFixture, film: Path) -> None:
    assert cli.exit_code(["live", str(film), "--no-window"]) == 2
    assert "give --serve PORT, --record FILE or --virtual-camera" in capsys.readouterr().err
