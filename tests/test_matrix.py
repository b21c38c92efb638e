"""Every kind of input: what is promised of it, and what came of it. The table is printed at the end of the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import CLOCKWISE_90, COUNTERCLOCKWISE_90, MIRRORED, UPSIDE_DOWN, Film, facts, frames_25, write_film, write_sound
from rows import ROWS

from unmask_video import cli
from unmask_video.container import PQ
from unmask_video.frame import Colour
from unmask_video.verify import verify

COUNT = 14
FILM = Film(size=(192, 192), pts=frames_25(COUNT), options={"crf": "12", "preset": "ultrafast"}, sound=("eng",))
DEEP = {"options": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=error"}, "codec": "libx265"}
MASTERED = (
    "log-level=error:hdr10=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
UNEVEN = tuple(512 * k + (137 * k * k) % 400 for k in range(COUNT))
TURNS = {
    "turned by 90": CLOCKWISE_90, "turned by 180": UPSIDE_DOWN, "turned by 270": COUNTERCLOCKWISE_90, "mirrored": MIRRORED,
    "mirrored, 90": (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30), "mirrored, 180": (65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    "mirrored, 270": (0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
}  # fmt: skip
KEPT = "all as it was but the face"
FILMS: dict[str, tuple[Film, str, str]] = {
    "plain": (FILM, ".mp4", ".mp4"),
    "variable frame rate": (replace(FILM, pts=UNEVEN), ".mp4", ".mp4"),
    "variable, B-frames": (replace(FILM, pts=UNEVEN, options={"crf": "12", "bf": "3"}), ".mp4", ".mov"),
    "late start, edit list": (replace(FILM, pts=frames_25(COUNT, 7000), sound_start=9000), ".mp4", ".mp4"),
    "starts before 0": (replace(FILM, pts=frames_25(COUNT, -1536), sound=()), ".mkv", ".mkv"),
    "MPEG-TS": (FILM, ".ts", ".mp4"),
    "AVI, no time stamps": (replace(FILM, codec="mpeg4", options={"qscale": "2"}, sound_codec="mp2"), ".avi", ".mkv"),
    **{name: (replace(FILM, display_matrix=matrix), ".mp4", ".mp4") for name, matrix in TURNS.items()},
    "odd size": (replace(FILM, size=(191, 193), pixel_format="yuv444p"), ".mp4", ".mp4"),
    "odd size, 4:2:0": (replace(FILM, size=(191, 193), codec="libvpx-vp9", options={"crf": "10"}, sound=()), ".webm", ".mp4"),
    "full range": (replace(FILM, color_range=2), ".mp4", ".mp4"),
    "BT.709": (replace(FILM, color_range=1, primaries=1, transfer=1, matrix=1), ".mp4", ".mp4"),
    "BT.2020, 10 bit, PQ": (
        replace(FILM, **DEEP, pixel_format="yuv420p10le", primaries=9, transfer=16, matrix=9, color_range=1), ".mp4", ".mp4",
    ),
    "BT.2020, 10 bit, HLG": (
        replace(FILM, **DEEP, pixel_format="yuv420p10le", primaries=9, transfer=18, matrix=9, color_range=1), ".mkv", ".mkv",
    ),
    "4:2:2": (replace(FILM, pixel_format="yuv422p"), ".mp4", ".mp4"),
    "4:4:4": (replace(FILM, pixel_format="yuv444p"), ".mkv", ".mp4"),
    "4:2:2, 10 bit": (replace(FILM, pixel_format="yuv422p10le"), ".mkv", ".mkv"),
    "RGB with alpha": (replace(FILM, codec="ffv1", options={}, pixel_format="yuv444p", stored_format="bgra"), ".mkv", ".mkv"),
    "no sound": (replace(FILM, sound=()), ".mp4", ".mkv"),
    "three sounds": (replace(FILM, sound=("eng", "deu", "und")), ".mkv", ".mp4"),
    "uncompressed sound": (replace(FILM, sound_codec="pcm_s16le"), ".mov", ".mov"),
    "subtitles": (replace(FILM, subtitles=((0, 200, "one"), (240, 200, "two"))), ".mp4", ".mp4"),
    "chapters and tags": (
        replace(FILM, chapters=((0, 300, "first"), (300, 560, "last")), metadata={"title": "A film", "comment": "ours"}),
        ".mkv", ".mp4",
    ),
    "interlaced": (replace(FILM, options={"crf": "12", "x264-params": "tff=1"}), ".mp4", ".mp4"),
    "interlaced, lower first": (replace(FILM, options={"crf": "12", "x264-params": "bff=1"}), ".mkv", ".mkv"),
    "wide pixels": (replace(FILM, sample_aspect=Fraction(4, 3)), ".mp4", ".mp4"),
    "telemetry, as cameras write it": (replace(FILM, data="bin_data"), ".mp4", ".mov"),
    "telemetry, chapters, tags": (
        replace(FILM, data="bin_data", chapters=((0, 300, "first"), (300, 560, "last")), metadata={"mood": "calm"}),
        ".mp4", ".mp4",
    ),
    "telemetry of drones (KLV)": (replace(FILM, data="klv"), ".ts", ".mp4"),
    "time code": (replace(FILM, metadata={"timecode": "01:00:00:00"}), ".mov", ".mov"),
    "HDR10, mastering display": (
        replace(FILM, **{**DEEP, "options": DEEP["options"] | {"x265-params": MASTERED}}, pixel_format="yuv420p10le",
                primaries=9, transfer=16, matrix=9, color_range=1), ".mkv", ".mp4",
    ),
    "8K": (replace(FILM, size=(7680, 4320), pts=frames_25(2), sound=()), ".mp4", ".mp4"),
    "fragmented": (replace(FILM, muxer_options={"movflags": "frag_keyframe+empty_moov"}), ".mp4", ".mp4"),
}  # fmt: skip


def row(name: str, promise: str, outcome: str) -> None:
    ROWS.append((name, promise, outcome))


def told(text: str) -> str:
    return " ".join(text.split())


def call(capsys: pytest.CaptureFixture, *words: str | Path) -> tuple[int, str, str]:
    code = cli.exit_code([str(word) for word in words])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, told(out.out), told(out.err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photo(tmp_path / "face.png", portrait())
    return tmp_path


def footage(film: Film, still: np.ndarray | None = None) -> Footage:
    return Footage(masked()[0] if still is None else still, film.size)


def make(path: Path, film: Film) -> Path:
    """The masked portrait as a film that is shown upright."""
    matrix = film.display_matrix
    if film.transfer == PQ:  # its numbers mean other light
        coded = Colour("bt2020", False, 10, pq=True).coded(masked()[0]).round().astype(np.uint8)
        return write_footage(path, footage(film, coded), film)
    turned = 0 if matrix is None else round(np.degrees(np.arctan2(matrix[3], matrix[4])) / 90) * 90 % 360
    return write_footage(path, footage(film), film, rotation_deg=turned)


@pytest.mark.parametrize("name", FILMS)
def test_films(name: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    film, source, target = FILMS[name]
    path, out = make(folder / f"in{source}", film), folder / f"out{target}"
    code, summary, error = call(capsys, path, out, "-r", folder / "face.png")
    assert code == 0, error
    count = len(film.pts)
    assert f"filled {count}" in summary or f"filled {count - 1}" in summary, summary
    found = verify(path, out)
    assert not [f for f in found if f.verdict == "FAULT"]
    noted = "; ".join(f"{f.what}: {f.told}" for f in found if f.verdict == "noted")
    row(name, KEPT, "kept" + (f" ({noted})" if noted else ""))
    assert sorted(p.name for p in folder.iterdir()) == sorted({path.name, out.name, "face.png"})


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1", "libvpx-vp9"])
def test_what_hdr10_says_of_display_and_light(encoder: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    film, source, _ = FILMS["HDR10, mastering display"]
    path, out = make(folder / f"in{source}", film), folder / "out.mkv"
    code, summary, error = call(capsys, path, out, "-r", folder / "face.png", "--encoder", encoder)
    faults = [f.what for f in verify(path, out) if f.verdict == "FAULT"]
    lost = "display and its light is not kept by libvpx-vp9" in summary
    assert code == 0 and lost == (encoder == "libvpx-vp9")
    assert {"HDR10's light", "HDR10's display"} <= set(faults) if lost else not faults, faults
    row(f"HDR10, by {encoder}", "its display and light kept, or told", "told, and found by verify" if lost else "kept")


# --- what is damaged ----------------------------------------------------------------------------------


def zeroed(data: bytes) -> bytes:
    middle = len(data) * 2 // 3
    return data[:middle] + bytes(2000) + data[middle + 2000 :]


def cut_off(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def flipped(data: bytes) -> bytes:
    spoilt = np.frombuffer(data, np.uint8).copy()
    spoilt[len(data) // 2 :: 997] ^= 0x55
    return spoilt.tobytes()


LONG = replace(FILM, pts=frames_25(40), options={"preset": "ultrafast", "crf": "8", "g": "10"}, sound=())
FAST = replace(LONG, muxer_options={"movflags": "faststart"})
DAMAGED: dict[str, tuple[Film, str, Callable[[bytes], bytes]]] = {
    "MP4, 2 kB zeroed": (FAST, ".mp4", zeroed),
    "MP4, index first, cut": (FAST, ".mp4", cut_off),
    "MP4, bits flipped": (FAST, ".mp4", flipped),
    "MKV, 2 kB zeroed": (LONG, ".mkv", zeroed),
    "MKV, cut": (LONG, ".mkv", cut_off),
    "TS, cut": (LONG, ".ts", cut_off),
    "fragmented MP4, cut": (replace(LONG, muxer_options={"movflags": "frag_keyframe+empty_moov"}), ".mp4", cut_off),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_films_are_done_as_far_as_they_go(name: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    film, suffix, spoil = DAMAGED[name]
    path, out = make(folder / f"in{suffix}", film), folder / "out.mp4"
    path.write_bytes(spoil(path.read_bytes()))
    code, summary, error = call(capsys, path, out, "-r", folder / "face.png")
    assert code == 3 and "is damaged" in summary, (code, summary, error)
    count = facts(out).count
    assert 20 <= count <= 40 and f"frames {count} " in summary
    strict, _, refusal = call(capsys, path, folder / "strict.mp4", "-r", folder / "face.png", "--strict")
    assert strict == 1 and "is damaged after" in refusal and not (folder / "strict.mp4").exists()
    row(name, "done as far as it goes, exit 3", f"{count} of 40 frames; --strict: exit 1")


# --- what is refused ----------------------------------------------------------------------------------


def no_film(kind: str, folder: Path) -> Path:
    """A file that is no film."""
    path = folder / "in.mp4"
    good = write_film(folder / "good.mp4", FILM).read_bytes()
    if kind in ("sound alone", "folder", "picture", "GIF", "WebP"):
        if kind == "sound alone":
            return write_sound(path, FILM)
        if kind == "folder":
            path.mkdir()
        elif kind == "picture":
            write_photo(folder / "in.png", portrait()).rename(path)
        elif kind == "GIF":
            with av.open(str(path), "w", format="gif") as out:
                stream = out.add_stream("gif", 10)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb8"
                for packet in [*stream.encode(av.VideoFrame(64, 64, "rgb8")), *stream.encode(None)]:
                    out.mux(packet)
        else:
            path.write_bytes(cv2.imencode(".webp", portrait())[1].tobytes())
        return path
    pieces = write_film(folder / "pieces.mp4", replace(FILM, muxer_options={"movflags": "frag_keyframe+empty_moov"})).read_bytes()
    contents = {
        "empty": b"", "text": b"this is no film\n" * 500, "MP4 cut before its index": good[: len(good) // 2],
        "HLS playlist": b"#EXTM3U\n#EXTINF:9,\ngood.mp4\n#EXT-X-ENDLIST\n",
        "concat script": b"ffconcat version 1.0\nfile good.mp4\n", "head of an MP4": good[:40],
        "no frames": pieces[: pieces.index(b"moof") - 4], "pickle": b"\x80\x04\x95" + bytes(200),
    }  # fmt: skip
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    "kind",
    ["sound alone", "folder", "picture", "GIF", "WebP", "no frames", "empty", "text", "MP4 cut before its index",
     "HLS playlist", "concat script", "head of an MP4", "pickle"],
)  # fmt: skip
def test_what_is_no_film_is_refused(kind: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = no_film(kind, folder)
    before = sorted(p.name for p in folder.iterdir())
    code, _, error = call(capsys, path, folder / "out.mp4", "-r", folder / "face.png")
    assert code == 2 and str(path) in error and error.count("unmask-video: ") == 1, error
    assert sorted(p.name for p in folder.iterdir()) == before
    row(kind, "refused in a sentence, exit 2", error.removeprefix("unmask-video: ").replace(f"{path} ", "")[:90])


NAMES = ("film%03d.mp4", "concat:good.mp4", "subfile,,start,0,end,0,,:good.mp4", "http://localhost/a.mp4")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names_of_files(name: str, folder: Path, capsys: pytest.CaptureFixture, monkeypatch: Any) -> None:
    write_film(folder / "good.mp4", FILM)
    monkeypatch.chdir(folder)
    code, _, error = call(capsys, name, "out.mp4", "-r", "face.png")
    assert code == 2 and "does not exist" in error
    row(name, "a file's name, nothing else", "refused: does not exist")
