"""That `verify` finds what it is there for: every planted fault, and none where there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from faces import write_footage
from helpers import CLOCKWISE_90, frames_25
from test_matrix import FILM, call, footage, make, row

from unmask_video.verify import verify

VERIFIED = replace(
    FILM, pts=frames_25(24), options={"crf": "4", "preset": "ultrafast", "bf": "0"}, sound=("eng",), sound_seconds=0.9,
    subtitles=((0, 300, "one"), (320, 200, "two")), chapters=((0, 300, "first"), (300, 900, "last")),
    metadata={"title": "A film"}, color_range=1, primaries=1, transfer=1, matrix=1,
)  # fmt: skip
FAULTS: dict[str, tuple[dict, str]] = {
    "a frame less": ({"pts": frames_25(23)}, "frames"),
    "a frame more": ({"pts": frames_25(25)}, "frames"),
    "a frame late": ({"pts": (*frames_25(12), 512 * 12 + 100, *frames_25(11, 512 * 13))}, "times of frames"),
    "sound later": ({"sound_start": 4800}, "audio (aac, eng)"),
    "sound shorter": ({"sound_seconds": 0.8}, "audio (aac, eng)"),
    "no sound": ({"sound": ()}, "audio (aac, eng)"),
    "another language": ({"sound": ("deu",)}, "audio (aac, eng)"),
    "other subtitles": ({"subtitles": ((0, 300, "one"), (320, 200, "too"))}, "subtitle (mov_text)"),
    "a tag lost": ({"metadata": {}}, "tags"),
    "chapters lost": ({"chapters": ()}, "chapters"),
    "turned": ({"display_matrix": CLOCKWISE_90}, "turned and mirrored"),
    "another matrix": ({"matrix": 6}, "colour's matrix"),
    "full range said": ({"color_range": 2}, "colour's range"),
    "another size": ({"size": (190, 192)}, "size"),
    "wide pixels": ({"sample_aspect": Fraction(4, 3)}, "pixel's shape"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_planted_faults(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    change, what = FAULTS[fault]
    old, new = (make(tmp_path / f"{n}.mp4", film) for n, film in (("old", VERIFIED), ("new", replace(VERIFIED, **change))))
    faults = [f.what for f in verify(old, new) if f.verdict == "FAULT"]
    assert what in faults, faults
    code, said, error = call(capsys, "verify", old, new)
    assert code == 5 and what in error and f"FAULT {what}" in said
    row(f"verify: {fault}", f"FAULT: {what}", f"found, with {len(faults) - 1} more" if faults[1:] else "found alone")


@pytest.mark.parametrize("spot", ["one block of one frame", "a faint square of all frames", "another picture", "darker by far"])
def test_verify_finds_changed_pixels(spot: str, tmp_path: Path) -> None:
    def changed(index: int) -> np.ndarray:
        shown = footage(VERIFIED)(index).copy()
        if spot == "one block of one frame" and index == 9:
            shown[170:186, 4:20] += 40
        if spot == "a faint square of all frames":
            shown[150:182, 2:34] += 20
        if spot == "another picture" and index == 5:
            shown = np.roll(shown, 60, axis=1)
        return shown // 2 if spot == "darker by far" else shown

    old = make(tmp_path / "old.mp4", VERIFIED)
    coarse = make(tmp_path / "coarse.mp4", replace(VERIFIED, options={"crf": "30"}))
    assert not [f for f in verify(old, coarse) if f.verdict == "FAULT"]
    new = write_footage(tmp_path / "new.mp4", changed, VERIFIED)
    (fault,) = [f for f in verify(old, new) if f.verdict == "FAULT"]
    assert fault.what == "pixels outside", fault
    row(f"verify: {spot}", "FAULT: pixels outside", fault.told[:80])


def test_verify_passes_what_is_the_same(tmp_path: Path) -> None:
    old, new = (make(tmp_path / f"{name}.mp4", VERIFIED) for name in ("old", "new"))
    assert {f.verdict for f in verify(old, new)} == {"same"}


def test_a_tracks_own_time_of_creation_is_noted_where_the_container_has_one_for_all(tmp_path: Path) -> None:
    """As phones write it: the tracks are begun and ended a little later than the film."""
    film = replace(VERIFIED, metadata={"creation_time": "2020-07-20T13:06:54Z"})
    old, new = (make(tmp_path / f"{name}.mp4", film) for name in ("old", "new"))
    data = bytearray(old.read_bytes())
    for at in (match.start() for match in re.finditer(b"mdhd", bytes(data))):  # version and flags, then the time of creation
        data[at + 11] ^= 1
    old.write_bytes(data)
    found = {f.what: f for f in verify(old, new)}
    assert found["tags"].verdict == "same" and found["the film's tags"].verdict == "noted"
    assert found["audio (aac, eng)"].verdict == "noted" and "time is that of the whole" in found["audio (aac, eng)"].told
    assert not [f for f in found.values() if f.verdict == "FAULT"]
