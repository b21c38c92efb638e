"""From file to file: a masked face comes back, and everything else stays as it was."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces import SHARED, Footage, frames, masked, portrait, shared, tools, write_footage, write_photo
from helpers import CLOCKWISE_90, COUNTERCLOCKWISE_90, UPSIDE_DOWN, Film, facts, frames_25

from training.data import pictures
from unmask_video import BadReference, Options, Progress, Report, Stopped, decode, identify, inpaint, unmask, warp
from unmask_video.ahead import cores
from unmask_video.face import Patch
from unmask_video.frame import Frame
from unmask_video.geometry import apply, scaled
from unmask_video.people import Cast
from unmask_video.picture import plane_scale, thumbnail
from unmask_video.pipeline import route
from unmask_video.tally import Tally
from unmask_video.tools import Tools

ROOT = Path(__file__).parents[1]
COUNT = 16
FILM = Film(size=(256, 256), pts=frames_25(COUNT), options={"crf": "16", "preset": "ultrafast"}, sound=("eng",))


def moving(**options: Any) -> Footage:
    return Footage(masked()[0], **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a reference photo and nothing else."""
    write_photo(tmp_path / "face.png", portrait())
    return tmp_path


def make(folder: Path, film: Film = FILM, footage: Footage | None = None, suffix: str = ".mp4", **rest: Any) -> Path:
    return write_footage(folder / f"in{suffix}", footage or moving(), film, **rest)


def run(folder: Path, *, source: str = "in.mp4", target: str = "out.mp4", **options: Any) -> Report:
    return unmask(folder / source, folder / target, reference=folder / "face.png", options=Options(**options))


def read(path: Path) -> list[Frame]:
    with decode.open_video(path) as video:
        return list(video.frames())


@pytest.fixture
def pasted(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Patch]]:
    """Frame number -> its patches, noted while the work is done."""
    noted: dict[int, list[Patch]] = {}
    paste = warp.paste

    def note(frame: Frame, patches: list[Patch]) -> Frame:
        noted[frame.index] = patches
        return paste(frame, patches)

    monkeypatch.setattr(warp, "paste", note)
    return noted


def inside(frame: Frame, plane: np.ndarray, patches: list[Patch]) -> np.ndarray:
    """True for the samples of a plane within the upright boxes around the patches."""
    found = np.zeros(plane.shape, bool)
    for patch in patches:
        rows, columns = np.nonzero(patch.alpha)
        x, y = np.meshgrid([columns.min() - 1, columns.max() + 2], [rows.min() - 1, rows.max() + 2])
        to_plane = scaled(patch.to_frame, 1.0, plane_scale(frame, plane))
        corners = apply(to_plane, np.stack([x.ravel(), y.ravel()], axis=-1))
        (x0, y0), (x1, y1) = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 1
        found[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return found


def assert_only_patches_changed(before: list[Frame], after: list[Frame], pasted: dict[int, list[Patch]]) -> None:
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        for a, b in zip(old.planes, new.planes, strict=True):
            within = inside(old, a, pasted[old.index])
            assert (a == b)[~within].all() and within.mean() < 0.6
        assert [old.time_seconds, old.colour] == [new.time_seconds, new.colour]
        assert old.duration * old.time_base == new.duration * new.time_base


def looks_like_the_portrait(frame: Frame) -> float:
    """How near the frame is to the bare footage, in the mean difference of the masked one to it."""
    shown, bare, worn = (
        p.astype(float) for p in (thumbnail(frame, 256), Footage(portrait())(frame.index), moving()(frame.index))
    )
    hidden = np.abs(bare - worn).mean(2) > 25
    return np.abs(shown - bare)[hidden].mean() / np.abs(worn - bare)[hidden].mean()


def cast(folder: Path) -> Cast:
    return tools().cast(tools().photos([str(folder / "face.png")]), [], Options())


def assert_alike(old: Path, new: Path) -> None:
    a, b = facts(old), facts(new)
    assert (b.times, b.durations, b.sound, b.languages) == (a.times, a.durations, a.sound, a.languages)
    assert (b.display_matrix, b.colour) == (a.display_matrix, a.colour)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_outside_the_patches_every_sample_stays(pixel_format: str, pasted: dict, folder: Path) -> None:
    before = frames(moving(), COUNT, pixel_format)
    kept = [replace(f, planes=tuple(p.copy() for p in f.planes)) for f in before]
    tally = Tally(Path("in"), Path("out"), cast(folder))
    after = list(route(iter(before), tools(), tally))
    assert sum(map(bool, pasted.values())) >= 0.9 * COUNT
    assert_only_patches_changed(kept, after, pasted)


def test_outside_the_patches_a_lossless_film_is_the_same(pasted: dict, folder: Path) -> None:
    make(folder)
    run(folder, target="out.mkv", encoder="ffv1")
    assert_only_patches_changed(read(folder / "in.mp4"), read(folder / "out.mkv"), pasted)


def test_the_face_comes_back(folder: Path) -> None:
    source, told = make(folder), []
    report = unmask(source, folder / "out.mp4", reference=[str(folder / "face.png")], progress=told.append)
    assert_alike(source, folder / "out.mp4")
    assert report.frames == report.face_frames == COUNT and report.filled >= 0.9 * COUNT
    assert [p.reference for p in report.people] == ["face.png"] and not report.kept
    assert report.warnings == () and 0 < report.codec_seconds < report.seconds
    stages = [[p.frame for p in told if p.stage == stage] for stage in ("search", "unmask")]
    assert stages == [list(range(1, COUNT + 1))] * 2 and {p.total for p in told} == {COUNT}
    assert isinstance(told[-1], Progress) and told[-1].filled == report.filled
    assert np.mean([looks_like_the_portrait(f) for f in read(folder / "out.mp4")]) < 0.4


VARIANTS: dict[str, tuple[Film, dict[str, Any]]] = {
    "variable frame rate": (replace(FILM, pts=(0, 512, 1400, 1500, 3000, 3001, 5000, 9000, 9100, 9512)), {}),
    "90 degrees": (replace(FILM, size=(240, 256), display_matrix=COUNTERCLOCKWISE_90), {"rotation_deg": 90}),
    "180 degrees": (replace(FILM, display_matrix=UPSIDE_DOWN), {"rotation_deg": 180}),
    "270 degrees": (replace(FILM, size=(240, 256), display_matrix=CLOCKWISE_90), {"rotation_deg": 270}),
    "odd size": (replace(FILM, size=(255, 243), pixel_format="yuv444p"), {}),
    "10 bit": (replace(FILM, pixel_format="yuv420p10le"), {}),
    "no sound": (replace(FILM, sound=()), {}),
    "late start": (replace(FILM, pts=frames_25(COUNT, start=1111)), {}),
    "two sounds": (replace(FILM, sound=("eng", "deu")), {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_films_of_all_kinds_are_filled(name: str, folder: Path) -> None:
    film, rest = VARIANTS[name]
    width, height = film.size[::-1] if "rotation_deg" in rest and film.size[0] != film.size[1] else film.size
    source = make(folder, film, moving(size=(width, height)), **rest)
    report = run(folder)
    assert_alike(source, folder / "out.mp4")
    assert facts(folder / "out.mp4").size == film.size
    assert facts(folder / "out.mp4").pixel_format == film.pixel_format
    assert report.filled >= 0.9 * len(film.pts) and report.warnings == ()


def test_a_bare_face_is_left_alone(pasted: dict, folder: Path) -> None:
    make(folder, footage=Footage(portrait()))
    report = run(folder, target="out.mkv", encoder="ffv1", mine_references="off")
    assert (report.face_frames, report.masked, report.filled) == (COUNT, 0, 0)
    assert not any(pasted.values())
    for a, b in zip(read(folder / "in.mp4"), read(folder / "out.mkv"), strict=True):
        assert all((p == q).all() for p, q in zip(a.planes, b.planes, strict=True))


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos and footage show two people, as far as anybody can tell."""
    vectors = np.eye(192, dtype=np.float32)
    monkeypatch.setattr(identify, "identity", lambda frame, landmarks, **_: vectors[int(frame.pixel_format == "yuv444p")])


def test_a_stranger_stays_masked_and_the_report_says_why(stranger: None, pasted: dict, folder: Path) -> None:
    make(folder)
    report = run(folder)
    assert report.filled == 0 and report.masked >= 0.9 * COUNT and not any(pasted.values())
    assert report.kept == {"no_match": report.masked}
    assert "matches no reference" in report.summary() and report.people[0].reference is None


def test_a_stranger_is_filled_where_that_is_asked_for(stranger: None, folder: Path) -> None:
    make(folder)
    report = run(folder, unmatched="fill")
    assert report.filled == report.masked >= 0.9 * COUNT and not report.kept


def test_only_those_who_are_asked_for_are_filled(folder: Path) -> None:
    make(folder)
    report = run(folder, face_index=(2,))
    assert report.filled == 0 and report.kept == {"not_chosen": report.masked} and report.masked >= 0.9 * COUNT
    assert run(folder, target="one.mp4", face_index=(1, 5)).filled == report.masked


def test_a_name_reaches_the_report(folder: Path) -> None:
    report = unmask(make(folder), folder / "out.mp4", reference=f"ann={folder / 'face.png'}")
    assert [(p.index, p.name, p.reference) for p in report.people] == [(1, "ann", "face.png")]
    assert report.people[0].likeness > identify.SAME_PERSON


def test_a_real_stranger_stays_masked(folder: Path) -> None:
    name, rgb = next(iter(pictures(shared("pairs-london-eval.tar"))))
    write_photo(folder / "face.png", rgb)
    make(folder)
    report = run(folder)
    assert report.filled == 0 and report.masked >= 0.9 * COUNT, f"{name} of {SHARED} is somebody else"


@pytest.mark.parametrize("alike", [True, False])
def test_memory_does_not_grow_with_length(alike: bool, folder: Path) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    still = frames(moving(size=(128, 128)), 1)[0] if alike else frames(Footage(np.zeros((64, 64, 3), np.uint8)), 1)[0]

    def counted(count: int) -> Iterator[Frame]:
        for index in range(count):
            frame = replace(still, index=index, pts=512 * index)
            alive.add(frame)
            yield frame
            del frame

    who = cast(folder)
    peak = [len(alive) for _ in route(counted(200), tools(), Tally(Path("in"), Path("out"), who))]
    assert len(peak) == 200 and max(peak) <= 70 + 2 * min(cores(), 8)
    assert max(peak[100:]) <= max(peak[:100]) + 4, "flat once the windows are full, but for what threads have in hand"


def test_without_look_ahead_no_frame_waits(folder: Path) -> None:
    asked: list[int] = []

    def counted() -> Iterator[Frame]:
        for frame in frames(moving(), COUNT):
            asked.append(frame.index)
            yield frame

    tally, near = Tally(Path("in"), Path("out"), cast(folder)), []
    for frame in route(counted(), Tools.make(Options(look_ahead=False)), tally):
        assert asked[-1] == frame.index, "the next one was asked for before this one came out"
        near.append(looks_like_the_portrait(frame))
    assert len(near) == COUNT and np.median(near[4:]) < 0.45 and max(near[4:]) < 0.6, near


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("stands", [True, False])
@pytest.mark.parametrize("where", ["in a stage", "in progress", "at once"])
def test_errors_leave_nothing_behind(where: str, stands: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = make(folder), folder / "out.mp4"
    if stands:
        target.write_bytes(b"what stood here before")
    before, calls, tps = contents(folder), [], inpaint.tps

    def breaks(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == (1 if where == "at once" else 3):
            raise Stopped("enough") if where == "in progress" else RuntimeError("enough")
        return None if where == "in progress" else tps(*arguments)

    if where != "in progress":
        monkeypatch.setattr(inpaint, "tps", breaks)
    told = breaks if where == "in progress" else None
    with pytest.raises((RuntimeError, Stopped), match="enough"):
        unmask(source, target, reference=folder / "face.png", options=Options(overwrite=True), progress=told)
    assert contents(folder) == before


def test_bad_photos_are_told_before_any_work(folder: Path) -> None:
    source = make(folder)
    write_photo(folder / "wall.png", np.full((100, 100, 3), 99, np.uint8))
    before = contents(folder)
    with pytest.raises(BadReference, match="no face was found"):
        unmask(source, folder / "out.mp4", reference=[folder / "face.png", folder / "wall.png"])
    assert contents(folder) == before


def test_filling_needs_no_torch(folder: Path) -> None:
    make(folder)
    code = (
        "import sys, unmask_video\n"
        f"report = unmask_video.unmask({str(folder / 'in.mp4')!r}, {str(folder / 'out.mp4')!r},"
        f" reference={str(folder / 'face.png')!r})\n"
        "print(report.filled, sorted({'torch', 'mediapipe', 'tensorflow', 'training'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    filled, names = done.stdout.split(maxsplit=1)
    assert int(filled) >= 0.9 * COUNT and names.strip() == "[]", done.stderr
