"""Our own parsers and sums, given what nobody would: `python tests/fuzz.py TARGET -max_total_time=600` (atheris).

An exception that is none of ours is a finding, and so is a result that breaks a promise; inputs found so become tests.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import atheris
import numpy as np

with atheris.instrument_imports(include=["unmask_video"]):
    from unmask_video import decode, geometry, reference, warp
    from unmask_video.cli import Seconds
    from unmask_video.clock import Clock
    from unmask_video.container import Limits
    from unmask_video.errors import UnmaskError
    from unmask_video.face import CANONICAL, align
    from unmask_video.frame import VideoInfo
    from unmask_video.journal import Journal
    from unmask_video.options import Options
    from unmask_video.pieces import decode_times

import click  # noqa: E402
from mutations import seeds  # noqa: E402

FOLDER = Path(tempfile.mkdtemp())


def photo(data: bytes) -> None:
    path = FOLDER / "photo"
    path.write_bytes(data)
    with contextlib.suppress(UnmaskError):
        picture = reference.read_picture(path)
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


def film(data: bytes) -> None:
    path = FOLDER / "film.mp4"
    path.write_bytes(data)
    with contextlib.suppress(UnmaskError), decode.open_video(path, limits=Limits(pixels=1_000_000, frames=50)) as video:
        before = None
        for frame in video.frames():
            assert before is None or frame.pts > before
            before = frame.pts


def journal(data: bytes) -> None:
    """The files of a journal, one after the other, cut from the data."""
    given = atheris.FuzzedDataProvider(data)
    folder = FOLDER / ".out.mp4.unmask"
    folder.mkdir(exist_ok=True)
    facts = {"crf": 18}
    told = json.dumps(facts).encode() if given.ConsumeBool() else given.ConsumeBytes(100)
    (folder / "facts.json").write_bytes(told)
    packets, piece = (given.ConsumeBytes(given.ConsumeIntInRange(0, most)) for most in (50, 400))
    size = len(piece) if given.ConsumeBool() else given.ConsumeInt(8) & 0xFFFF
    (folder / "piece-000000").write_bytes(packets + piece + size.to_bytes(8, "little"))
    (folder / "answers-000000.npz").write_bytes(given.ConsumeBytes(5000))
    with contextlib.suppress(UnmaskError), Journal(FOLDER / "out.mp4", facts) as kept:
        assert kept.frames == len(list(kept.packets()))
        assert kept.remember("a", lambda: {"b": np.zeros(1)})["b"].dtype is not None


def options(data: bytes) -> None:
    given = atheris.FuzzedDataProvider(data)
    text, number = given.ConsumeUnicodeNoSurrogates(40), given.ConsumeFloat()
    with contextlib.suppress(click.ClickException):
        assert Seconds().convert(text, None, None) >= 0
    names = ("model", "unmatched", "encoder", "crf", "preset", "trim_start", "trim_end", "max_faces", "max_megapixels")
    for name in names:
        for value in (text, number, given.ConsumeInt(4), None, (text,)):
            with contextlib.suppress(UnmaskError):
                Options(**{name: value})
    with contextlib.suppress(ValueError, OSError):
        reference.split_choice(reference.split_person(text)[1])


def points(data: bytes) -> None:
    """Landmarks that lie on a line, on each other, or nowhere near a face."""
    given = atheris.FuzzedDataProvider(data)
    luck = np.random.default_rng(given.ConsumeIntInRange(0, 1 << 30))
    shape = CANONICAL * given.ConsumeFloatInRange(-1e4, 1e4) + luck.normal(0, 1, 3) * given.ConsumeFloatInRange(0, 1e5)
    for axis in range(3):
        if given.ConsumeBool():
            shape[:, axis] = shape[0, axis]
    if given.ConsumeBool():
        shape += luck.normal(0, given.ConsumeFloatInRange(0, 1e3), shape.shape)
    scale, rotation, move = geometry.fit_pose(CANONICAL, shape)
    assert np.isfinite(scale) and np.isfinite(rotation).all() and np.isfinite(move).all()
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    crop = align(shape, 64)
    assert np.isfinite(crop).all()
    placed, _ = warp.place(CANONICAL, shape)
    assert np.isfinite(placed).all()
    field = warp.spline(placed[warp.CONTROL, :2], shape[warp.CONTROL, :2], 64)
    assert np.isfinite(field).all()


def times(data: bytes) -> None:
    """Time stamps in any order, missing or huge."""
    given = atheris.FuzzedDataProvider(data)
    tick = lambda: None if given.ConsumeBool() else given.ConsumeInt(given.ConsumeIntInRange(1, 6))  # noqa: E731
    pictures = [SimpleNamespace(pts=tick(), dts=tick(), duration=tick()) for _ in range(given.ConsumeIntInRange(0, 40))]
    rate = Fraction(given.ConsumeIntInRange(0, 1000), given.ConsumeIntInRange(1, 1000))
    info = VideoInfo(64, 64, "yuv420p", 0, rate, Fraction(1, given.ConsumeIntInRange(1, 90_000)), 0, "h264")
    timed = list(Clock(info, end=tick(), warn=lambda sentence: None).timed(iter(pictures)))
    shown = [pts for _, pts, _ in timed]
    assert len(timed) == len(pictures) and all(a < b for a, b in zip(shown, shown[1:], strict=False))
    assert all(duration > 0 for _, _, duration in timed[:-1])
    if shown:
        order = sorted(range(len(shown)), key=lambda k: (k // 4, given.ConsumeIntInRange(0, 9)))
        durations = [max(timed[k][2], 0) for k in order]
        decoded = decode_times([shown[k] for k in order], durations)
        assert all(a < b for a, b in zip(decoded, decoded[1:], strict=False))
        assert all(dts <= shown[k] for dts, k in zip(decoded, order, strict=True))


TARGETS = {f.__name__: f for f in (photo, film, journal, options, points, times)}
SEEDED = {"photo": (".jpg", ".png"), "film": (".mp4", ".mkv", ".webm")}
"""What is changed begins as whole files of these kinds."""


def seeded(suffixes: tuple[str, ...]) -> str:
    """A folder of them."""
    folder = FOLDER / "seeds"
    folder.mkdir()
    for suffix, data in seeds(FOLDER).items():
        if suffix in suffixes:
            (folder / f"seed{suffix}").write_bytes(data)
    return str(folder)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"give one of {', '.join(TARGETS)}, then options of libFuzzer")
    name = sys.argv[1]
    corpus = [seeded(SEEDED[name])] if name in SEEDED else []
    atheris.Setup([sys.argv[0], *sys.argv[2:], *corpus], TARGETS[name])
    atheris.Fuzz()
