"""Stops of all kinds, and the same command again: the film is what it would have been, and little is done twice."""

from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, facts, frames_25

from unmask_video import (
    BadOption,
    CannotEncode,
    Options,
    Report,
    Stopped,
    UnmaskError,
    decode,
    encode,
    journal,
    pieces,
    smooth,
    unmask,
)
from unmask_video.journal import Journal
from unmask_video.pieces import TAIL, Piece, decode_times
from unmask_video.tools import Tools

ROOT = Path(__file__).parents[1]
PIECE = 16
COUNT = 60
FAST = {"crf": "16", "preset": "ultrafast"}
FILM = Film(size=(256, 256), pts=frames_25(COUNT), options=FAST, sound=("eng",), sound_seconds=2.4)
UNEVEN = replace(FILM, pts=tuple(512 * k + (137 * k * k) % 400 for k in range(COUNT)), options={"crf": "16", "bf": "3"})
COMMAND = (
    "import sys, unmask_video.encode as encode, unmask_video.smooth as smooth, unmask_video.cli as cli\n"
    f"encode.SEGMENT = smooth.SEGMENT = {PIECE}\ncli.main()"
)


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Iterator[None]:
    with mock.patch.object(encode, "SEGMENT", PIECE), mock.patch.object(smooth, "SEGMENT", PIECE):
        yield


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, a photo, what one of them is filled to without a stop, and the journal of a stopped run of the same."""
    folder = tmp_path_factory.mktemp("once")
    write_photo(folder / "face.png", portrait())
    for suffix in (".mp4", ".mkv"):
        write_footage(folder / f"in{suffix}", Footage(masked()[0]), UNEVEN if suffix == ".mp4" else FILM)
        run(folder, suffix, target="whole")
    with mock.patch.object(journal, "SAVE_SECONDS", 0.2), pytest.raises(Stopped):
        run(folder, progress=stop_at(45, KeyboardInterrupt()))
    return folder


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(kept_in(tmp_path))
    return tmp_path


@pytest.fixture
def kept(once: Path, folder: Path) -> Path:
    """The journal of a stopped run, in `folder`."""
    return shutil.copytree(kept_in(once), folder / kept_in(once).name)


def kept_in(folder: Path) -> Path:
    (found,) = left(folder)
    return found


def run(folder: Path, suffix: str = ".mp4", *, target: str = "out", progress: Any = None, **options: Any) -> Report:
    return unmask(
        folder / f"in{suffix}", folder / f"{target}{suffix}", reference=folder / "face.png", options=Options(**options),
        progress=progress,
    )  # fmt: skip


def stop_at(number: int, error: BaseException) -> Any:
    """A progress that raises after so many frames."""

    def progress(now: Any) -> None:
        if now.stage == "unmask" and now.frame == number:
            raise error

    return progress


def pictures(path: Path) -> list[bytes]:
    with decode.open_video(path) as video:
        return [b"".join(plane.tobytes() for plane in frame.planes) for frame in video.frames()]


def left(folder: Path) -> list[Path]:
    """What lies there that nobody asked for."""
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def assert_same_film(one: Path, other: Path) -> None:
    assert facts(one) == facts(other) and pictures(one) == pictures(other)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_stopped_film_goes_on_and_comes_out_the_same(folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, make = Counter(), Tools.make

    def counted(options: Options) -> Tools:
        tools = make(options)
        count = lambda name, ask: lambda frame, *rest, **more: (asked.update([(name, frame.pts)]), ask(frame, *rest, **more))[1]  # noqa: E731
        return replace(tools, **{n: count(n, getattr(tools, n)) for n in ("detect", "measure", "segment", "identity")})

    monkeypatch.setattr(Tools, "make", staticmethod(counted))
    monkeypatch.setattr(journal, "SAVE_SECONDS", 0.2)
    run(folder, suffix, target="counted")
    once = asked.total()
    asked.clear()
    for stop in (20, 37, 38, 59):
        with pytest.raises(Stopped, match=r"\d+ frames are kept in .*; the same command goes on"):
            run(folder, suffix, progress=stop_at(stop, KeyboardInterrupt()))
        assert left(folder) and not (folder / f"out{suffix}").exists()
    painted: list[int] = []
    report = run(folder, suffix, progress=lambda now: painted.append(now.frame))
    assert report.frames == COUNT and report.filled == COUNT
    assert_same_film(folder / f"whole{suffix}", folder / f"out{suffix}")
    assert left(folder) == []
    # Each stop may lose the answers of its last moments, never all.
    assert asked.total() < 1.7 * once, "networks are asked again only about what was lost"


def test_kills_at_any_moment_cost_a_piece_at_most(folder: Path) -> None:
    words = [sys.executable, "-c", COMMAND, str(folder / "in.mp4"), "-r", str(folder / "face.png"), "--log-level", "error"]
    began = time.monotonic()
    subprocess.run([*words, str(folder / "other.mp4")], cwd=ROOT, check=True, capture_output=True)
    lasted, luck, counts = time.monotonic() - began, random.Random(5), []
    for _ in range(4):
        with subprocess.Popen([*words, str(folder / "out.mp4")], cwd=ROOT, stdout=subprocess.PIPE) as process:
            try:
                process.wait(luck.uniform(0.5, 1.0) * lasted)
            except subprocess.TimeoutExpired:
                process.kill()
        counts.append(len(list(folder.glob(".out*/piece-??????"))))
        if (folder / "out.mp4").exists():
            break
    assert counts[:-1] == sorted(counts[:-1]), "what is closed stays closed"
    done = subprocess.run([*words, str(folder / "out.mp4"), "--overwrite"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_film(folder / "whole.mp4", folder / "out.mp4")
    assert left(folder) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_finds_no_room_when_a_piece_is_given_up_hides_no_other_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: Piece, **_: Any) -> None:
        self.data = open("/dev/full", "wb")  # noqa: SIM115
        self.data.write(b"held in memory until the file is closed")
        raise CannotEncode("enough")

    monkeypatch.setattr(pieces.Piece, "add", breaks)
    with pytest.raises(CannotEncode, match="enough"):
        run(folder)


def test_a_failing_encoder_and_a_full_disk_lose_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_one, seen = encode.to_picture, []

    def fails(*words: Any, **options: Any) -> Any:
        seen.append(1)
        if len(seen) == 40:
            raise av.error.ExternalError(errno.EIO, "the encoder broke")
        return encode_one(*words, **options)

    monkeypatch.setattr(encode, "to_picture", fails)
    with pytest.raises(CannotEncode, match="the encoder broke"):
        run(folder)
    write, full = pieces.Piece.add, lambda *a, **k: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(pieces.Piece, "add", full)
    with pytest.raises(CannotEncode, match="No space left"):
        run(folder)
    monkeypatch.setattr(pieces.Piece, "add", write)
    seen.clear()
    seen.extend([1] * 40)
    run(folder)
    assert len(seen) - 40 == COUNT - 2 * PIECE, "two pieces were closed before"
    assert_same_film(folder / "whole.mp4", folder / "out.mp4")
    assert left(folder) == []


def test_what_is_torn_is_done_again(folder: Path, kept: Path) -> None:
    answers = sorted(kept.glob("answers*"))
    answers[0].write_bytes(answers[0].read_bytes()[:-3000])
    answers[-1].write_bytes(b"")
    piece = kept / "piece-000001"
    piece.write_bytes(piece.read_bytes()[:-1])
    (kept / "left.part").write_bytes(b"x")
    run(folder)
    assert_same_film(folder / "whole.mp4", folder / "out.mp4")


@pytest.mark.parametrize(("change", "words"), [({"crf": 30}, "another crf"), ({"model": "tps"}, "another model")])
def test_the_half_of_another_film_is_refused(folder: Path, kept: Path, change: dict[str, Any], words: str) -> None:
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    with pytest.raises(BadOption, match=f"{words}; give the same command to go on, delete the folder .* or give --no-resume"):
        run(folder, **change)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    run(folder, resume=False, **change)
    assert kept.exists() and (folder / "out.mp4").exists()


def test_another_input_or_photo_is_another_film(folder: Path, kept: Path) -> None:
    write_photo(folder / "face.png", portrait()[::1, ::1] // 2 + 20)
    with pytest.raises(BadOption, match="another reference"):
        run(folder)
    write_footage(folder / "in.mp4", Footage(portrait()), FILM)
    with pytest.raises(BadOption, match="another input, reference"):
        run(folder)


@pytest.mark.parametrize("told", [b"", b"{", b"[]", b"null", b"\xff", b'{"crf": 1}'])
def test_a_damaged_journal_is_refused_in_a_sentence(folder: Path, kept: Path, told: bytes) -> None:
    (kept / "facts.json").write_bytes(told)
    with pytest.raises(BadOption, match=r"(is damaged; delete it|was begun with another)"):
        run(folder)


@pytest.mark.parametrize("told", [b"", b"{}", b"[1]", b'{"sizes": "x"}', b'{"sizes": [1e99], "pts": [0]}', b'{"sizes": [-1]}'])
def test_a_damaged_piece_is_no_piece(folder: Path, kept: Path, told: bytes) -> None:
    (kept / "piece-000000").write_bytes(told + len(told).to_bytes(TAIL, "little"))
    with Journal(folder / "out.mp4", json.loads((kept / "facts.json").read_bytes())) as found:
        assert found.frames == 0


def test_nothing_is_kept_of_little_or_of_the_hopeless(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=stop_at(3, KeyboardInterrupt()))
    assert left(folder) == []
    with pytest.raises(UnmaskError):
        run(folder, progress=stop_at(45, BadOption("never mind")))
    assert left(folder) == [], "the same again would fail again"


def test_pictures_are_decoded_in_order_and_before_they_are_shown() -> None:
    luck = np.random.default_rng(0)
    for _ in range(200):
        steps = luck.integers(1, 50, 31)
        shown = np.cumsum(steps)[:-1].tolist()
        lasting = dict(zip(shown, steps[1:].tolist(), strict=True))
        coded = [pts for k in range(0, 30, 5) for pts in (shown[k], *luck.permutation(shown[k + 1 : k + 5]).tolist())]
        times = decode_times(coded, [lasting[pts] for pts in coded])
        assert all(a < b for a, b in zip(times, times[1:], strict=False))
        assert all(dts <= pts for dts, pts in zip(times, coded, strict=True))
        assert times[-1] + lasting[coded[-1]] - times[0] >= sum(lasting.values()), "decoded for as long as shown"
    assert decode_times([0, 2, 1, 5], [1, 3, 1, 1]) == [-3, 0, 1, 2] and decode_times([7], [1]) == [7]
