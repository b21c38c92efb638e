"""Nothing is opened that was not asked for, nothing is made too large, nothing is run that came with a file."""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25, write_film
from rows import ROWS

from unmask_video import BadOption, CannotOpen, Options, cli, container, decode, sandbox, unmask
from unmask_video.container import Limits
from unmask_video.face import Detection
from unmask_video.tools import Tools

FILM = Film(pts=frames_25(12))
ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "unmask_video"]


def call(capsys: pytest.CaptureFixture, *words: str | Path) -> tuple[int, str]:
    code = cli.exit_code([str(word) for word in words])
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return code, told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photo(tmp_path / "face.png", portrait())
    write_film(tmp_path / "film.mp4", FILM)
    return tmp_path


# --- too much ---------------------------------------------------------------------------------------


def test_huge_pictures_are_refused_before_they_are_decoded(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = folder / "huge.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 16000, 8000, "yuv420p"
        picture = av.VideoFrame(16000, 8000, "yuv420p")
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            out.mux(packet)
    assert path.stat().st_size < 1_000_000
    code, told = call(capsys, path, folder / "out.mp4", "-r", folder / "face.png")
    assert code == 2 and "16000x8000, more than 36 megapixels; allow more by --max-megapixels" in told
    ROWS.append(("16000x8000 in a small file", "refused, exit 2", told[:-1][-70:]))


def test_a_size_that_only_the_stream_tells_is_refused(folder: Path) -> None:
    with pytest.raises(CannotOpen, match=r"96x64, more than 0.005 megapixels"):
        decode.open_video(folder / "film.mp4", limits=Limits(pixels=5000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "_refuse_excess", lambda *_: None)
        with pytest.raises(CannotOpen, match="no picture that can be decoded"):
            decode.open_video(folder / "film.mp4", limits=Limits(pixels=5000))


def test_too_many_frames_are_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    code, told = call(capsys, folder / "film.mp4", folder / "out.mp4", "-r", folder / "face.png", "--max-frames", "11")
    assert code == 2 and "12 frames, more than 11" in told
    write_film(folder / "film.ts", FILM)  # which does not say how many
    code, told = call(capsys, folder / "film.ts", folder / "out.mp4", "-r", folder / "face.png", "--max-frames", "11")
    assert code == 2 and "has more than 11 frames" in told and not (folder / "out.mp4").exists()


def crowded(count: int) -> bytes:
    """Matroska's header of a film with so many subtitle tracks, and no more."""

    def element(number: int, data: bytes) -> bytes:
        name = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return name + (1 << 56 | len(data)).to_bytes(8, "big") + data

    def track(number: int, kind: int, codec: bytes) -> bytes:
        which = number.to_bytes(4, "big")
        parts = {0xD7: which, 0x73C5: which, 0x83: bytes([kind]), 0x86: codec}
        return element(0xAE, b"".join(element(name, data) for name, data in parts.items()))

    tracks = [track(1, 1, b"V_VP8"), *(track(n, 17, b"S_TEXT/UTF8") for n in range(2, count + 2))]
    head = element(0x1A45DFA3, element(0x4282, b"matroska"))
    return head + element(0x18538067, element(0x1654AE6B, b"".join(tracks)))


def test_too_many_streams_are_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = folder / "many.mkv"
    path.write_bytes(crowded(10_000))
    code, told = call(capsys, path, folder / "out.mp4", "-r", folder / "face.png")
    assert code == 2 and str(path) in told and told.count("unmask-video: ") == 1
    ROWS.append(("10,000 streams", "refused, exit 2", told.split(" ", 2)[2][:70]))


def test_faces_beyond_the_limit_are_left_and_told() -> None:
    tools = Tools.make(Options(max_faces=2))
    found = [Detection(np.zeros(4), np.zeros((5, 2)), 1 - 0.1 * k) for k in range(3)]
    assert tools.best(found) == found[:2] and tools.best(found) == found[:2]
    (told,) = tools.crowds
    assert "more than 2 faces" in told and "--max-faces" in told


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_limits_are_numbers_above_0(folder: Path, capsys: pytest.CaptureFixture, value: str) -> None:
    code, told = call(capsys, folder / "film.mp4", folder / "out.mp4", "--max-megapixels", value)
    assert code == 2 and "max_megapixels cannot be" in told


def bomb(width: int, height: int) -> bytes:
    """A PNG of zeros, a thousandth of the size of what it holds."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pack, row = zlib.compressobj(9), bytes(1 + width)
    packed = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", packed) + part(b"IEND", b"")


def test_a_photo_that_would_fill_the_memory_is_refused(folder: Path) -> None:
    photo = folder / "bomb.png"
    photo.write_bytes(bomb(20_000, 15_000))
    assert photo.stat().st_size < 400_000
    words = [folder / "film.mp4", folder / "out.mp4", "-r", photo]
    done = subprocess.run([*COMMAND, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    code, told = done.returncode, done.stderr  # OpenCV reads its limit when it is loaded, which tests do before
    assert code == 2 and "no picture that can be read" in told and "120 megapixels" in told
    ROWS.append(("photo of 300 megapixels in 0.3 MB", "refused, exit 2", told[:-1][-60:]))


# --- what is not what it says ---------------------------------------------------------------------------


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt", "model.pkl"])
def test_pickles_are_no_models(folder: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Harm(folder / "harm")))
    code, told = call(capsys, folder / "film.mp4", folder / "out.mp4", "-r", folder / "face.png", "--model", folder / name)
    assert code == 2 and not (folder / "harm").exists()
    ROWS.append((f"pickle as {name}", "refused, exit 2", told.split(" ", 2)[2][:50]))


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_are_no_targets(folder: Path, capsys: pytest.CaptureFixture, overwrite: bool) -> None:
    (folder / "precious.mp4").write_bytes(b"precious")
    (folder / "out.mp4").symlink_to(folder / "precious.mp4")
    words = [folder / "film.mp4", folder / "out.mp4", "-r", folder / "face.png", *(["--overwrite"] if overwrite else [])]
    code, told = call(capsys, *words)
    assert code == 2 and "is a symbolic link" in told
    assert (folder / "out.mp4").is_symlink() and (folder / "precious.mp4").read_bytes() == b"precious"


def test_a_link_is_no_journal(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / ".out.mp4.unmask").symlink_to(folder / "elsewhere")
    with pytest.raises(BadOption, match=r"is no folder of this tool; remove it, or give --no-resume"):
        unmask(folder / "film.mp4", folder / "out.mp4", reference=folder / "face.png")
    assert not list((folder / "elsewhere").iterdir())


# --- what is opened -----------------------------------------------------------------------------------

IN_OPEN = 0x20


@contextmanager
def opened(path: Path) -> Iterator[list[int]]:
    """Whether anybody opens the file meanwhile (Linux): as many numbers as times."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        pytest.skip("this system cannot tell who opens a file")
    watch, found = libc.inotify_init1(os.O_NONBLOCK), []
    assert libc.inotify_add_watch(watch, str(path).encode(), IN_OPEN) >= 0
    try:
        yield found
    finally:
        try:
            found += [1] * (len(os.read(watch, 1 << 16)) // 16)
        except BlockingIOError:
            pass
        os.close(watch)


SCRIPTS = {
    "playlist.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "playlist.mp4": "\n\n #EXTM3U\n#EXTINF:9,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "script.mp4": "ffconcat version 1.0\nfile film.mp4\n",
    "script.mkv": "\ufeffffconcat version 1.0\nfile 'film.mp4'\n",
    "plain.txt": "file 'film.mp4'\n",
    "description.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "manifest.mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>film.mp4</BaseURL></Period></MPD>',
    "list.asx": '<asx version="3.0"><entry><ref href="film.mp4"/></entry></asx>',
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_other_file_is_opened(folder: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    (folder / name).write_text(SCRIPTS[name], "utf-8")
    with opened(folder / "film.mp4") as before:
        (folder / "film.mp4").read_bytes()
    assert before, "that is told"
    with opened(folder / "film.mp4") as found:
        code, told = call(capsys, folder / name, folder / "out.mp4", "-r", folder / "face.png")
    assert code == 2 and not found
    ROWS.append((name, "refused, nothing else opened", told.split(" ", 2)[2][:50]))


def test_a_pattern_in_a_name_is_a_name(folder: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copy(folder / "face.png", folder / "img001.png")
    pattern = folder / "img%03d.png"
    with opened(folder / "img001.png") as found:
        code, told = call(capsys, pattern, folder / "out.mp4", "-r", folder / "face.png")
        assert code == 2 and "does not exist" in told
        shutil.copy(folder / "face.png", pattern)
        call(capsys, pattern, folder / "out.mp4", "-r", folder / "face.png")
    assert not found
    ROWS.append((pattern.name, "refused, no numbered picture opened", told.split(" ", 2)[2][:50]))


# --- the sandbox --------------------------------------------------------------------------------------


def test_a_sandboxed_film_comes_out(folder: Path, capsys: pytest.CaptureFixture) -> None:
    film = Film(size=(192, 192), pts=frames_25(4), sound=("eng",))
    write_footage(folder / "in.mp4", Footage(masked()[0], (192, 192)), film)
    code, told = call(capsys, folder / "in.mp4", folder / "out.mp4", "-r", folder / "face.png", "--sandbox")
    assert code == 0 and (folder / "out.mp4").exists(), told
    code, told = call(capsys, folder / "none.mp4", folder / "out2.mp4", "-r", folder / "face.png", "--sandbox")
    assert code == 2, "its exit code is passed on"


@pytest.mark.parametrize(
    ("code", "words"),
    [("import os; os.abort()", "died of SIGABRT"), ("import ctypes; ctypes.string_at(0)", "died of SIGSEGV"),
     ("import resource, os; os.kill(os.getpid(), 24)", "took more than 3 minutes"),
     ("x = bytearray(2 << 30)", None)],
)  # fmt: skip
def test_the_death_of_a_sandbox_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture, code: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "python").write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}'\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setattr(sandbox.sys, "executable", str(folder / "python"))
    limits = ["--sandbox", "--sandbox-minutes", "3", "--sandbox-memory", "1024"]
    got, told = call(capsys, folder / "film.mp4", folder / "out.mp4", *limits)
    assert got == 1
    if words:
        assert told.startswith("unmask-video: the sandbox " + words) and told.count("\n") == 1
