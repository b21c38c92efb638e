"""A folder of films in, a folder of films out: what is done, what is left, and that none touches another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25, write_film

from unmask_video import BadOption, Options, batch, cast_folder, cli, unmask
from unmask_video.batch import Batch, Job
from unmask_video.outcome import Outcome
from unmask_video.processes import Processes, workers_for

SHORT = Film(size=(256, 256), pts=frames_25(8), options={"crf": "16", "preset": "ultrafast"})


@pytest.fixture
def event(tmp_path: Path) -> Path:
    """Films of one masked person, of nobody and of nothing, and a cast."""
    (tmp_path / "in/evening").mkdir(parents=True)
    write_footage(tmp_path / "in/evening/party.mp4", Footage(masked()[0]), SHORT)
    write_film(tmp_path / "in/nobody.mkv", Film())
    (tmp_path / "in/junk.mp4").write_bytes(b"junk")
    (tmp_path / "in/notes.txt").write_text("none")
    (tmp_path / "cast/1").mkdir(parents=True)
    write_photo(tmp_path / "cast/1/face.png", portrait())
    (tmp_path / "cast/1/person.toml").write_text('name = "Anna"\nconsent = "yes"\n')
    return tmp_path


def told(out: Path) -> dict[str, dict[str, Any]]:
    return {film["name"]: film for film in json.loads((out / "report.json").read_bytes())["films"]}


def call(event: Path, *words: str) -> int:
    return cli.exit_code(["batch", str(event / "in"), str(event / "out"), "--cast", str(event / "cast"), *words])


def test_each_file_is_accounted_for_and_the_same_command_goes_on(event: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(event) == 3
    films = told(event / "out")
    assert {name: film["state"] for name, film in films.items()} == {
        "evening/party.mp4": "done", "nobody.mkv": "done", "junk.mp4": "failed", "notes.txt": "left",
    }  # fmt: skip
    party = films["evening/party.mp4"]
    assert party["report"]["filled"] == 8 and party["report"]["people"][0]["name"] == "Anna"
    assert party["checks"] and not Outcome(**party).faults and "not a video" in films["junk.mp4"]["why"]
    page = (event / "out/report.html").read_text()
    assert "evening/party.mp4" in page and "Anna" in page and "data:image/jpeg" in page
    assert page.index("junk.mp4") < page.index("party.mp4"), "the worst first"
    before = {path: path.stat().st_mtime_ns for path in (event / "out").rglob("*.m*")}
    (event / "in/junk.mp4").unlink()
    assert call(event) == 0 and {path: path.stat().st_mtime_ns for path in before} == before
    again = told(event / "out")
    assert again["evening/party.mp4"]["state"] == "there" and again["evening/party.mp4"]["report"] == party["report"]
    assert "4 of 4" not in capsys.readouterr().out


def test_who_does_not_consent_is_never_filled(event: Path) -> None:
    (event / "cast/1/person.toml").write_text('name = "Anna"\nconsent = "no"\n')
    assert call(event, "--", "--unmatched", "fill") == 3
    assert "nobody who may be filled" in told(event / "out")["evening/party.mp4"]["why"]
    assert (event / "out/evening/party.mp4").read_bytes() == (event / "in/evening/party.mp4").read_bytes()


@pytest.mark.parametrize("unmatched", ["keep", "fill"])
def test_who_is_never_to_be_filled_is_known_and_left(unmatched: str, event: Path) -> None:
    report = unmask(
        event / "in/evening/party.mp4", event / "out.mp4", reference=f"Anna={event / 'cast/1/face.png'}",
        options=Options(never=("Anna",), unmatched=unmatched),
    )  # fmt: skip
    assert (report.masked, report.filled, report.kept, report.people[0].name) == (8, 0, {"never": 8}, "Anna")


def test_a_film_is_given_those_whom_the_scan_saw_there_and_all_who_are_never_filled(event: Path) -> None:
    for name, told_of in (("Bob", ""), ("Cleo", 'consent = "no"')):
        shutil.copytree(event / "cast/1", event / "cast" / name)
        (event / f"cast/{name}/person.toml").write_text(told_of)
    cast_folder.write_seen(event / "cast", {"a.mp4": ["1"], "b.mp4": []})
    people = cast_folder.load(event / "cast")
    here = {film: [p.name for p in cast_folder.in_film(people, event / "cast", film)] for film in ("a.mp4", "b.mp4", "c.mp4")}
    assert here == {"a.mp4": ["Anna", "Cleo"], "b.mp4": ["Cleo"], "c.mp4": ["Anna", "Bob", "Cleo"]}
    (event / "cast" / cast_folder.SEEN).write_text("[1")
    assert cast_folder.in_film(people, event / "cast", "a.mp4") == people


def test_nobody_can_be_named_without_a_photo(event: Path) -> None:
    with pytest.raises(BadOption, match="never cannot be 'Bob': the photos show Anna"):
        unmask(
            event / "in/evening/party.mp4", event / "out.mp4", reference=f"Anna={event / 'cast/1/face.png'}",
            options=Options(never=("Bob",)),
        )  # fmt: skip


@pytest.mark.parametrize(("words", "sentence"), [
    (("--", "--crf", "99"), "crf"), (("--", "more.mp4"), "more.mp4"), (("-r", "nothing.jpg"), "nothing.jpg"),
    (("--name", "film"), "{stem}"), (("--name", "{stem}/{suffix}"), "cannot be used"), (("--name", "{stem}.txt"), ".txt"),
    (("--", "--never", "Bob"), "Bob"),
])  # fmt: skip
def test_what_is_wrong_for_all_is_told_once_and_nothing_is_begun(
    words: tuple[str, ...], sentence: str, event: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(event, *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and sentence in said and not (event / "out").exists()


def test_the_tree_is_mirrored(event: Path) -> None:
    (event / "in/.hidden.mp4").touch()
    (event / "in/party.avi").touch()
    (event / "in/link.mp4").symlink_to(event / "in/junk.mp4")
    (event / "in/out").mkdir()
    (event / "in/out/made.mp4").touch()
    jobs, left = batch.plan(str(event / "in"), str(event / "in/out"), "{stem}-bare{suffix}")
    assert {job.name: str(Path(job.target).relative_to(event / "in/out")) for job in jobs} == {
        "evening/party.mp4": "evening/party-bare.mp4", "junk.mp4": "junk-bare.mp4", "nobody.mkv": "nobody-bare.mkv",
        "party.avi": "party-bare.mkv",
    }  # fmt: skip
    assert [one.name for one in left] == ["notes.txt"]
    (event / "in/nobody.avi").touch()
    _, (twin, _) = batch.plan(str(event / "in"), str(event / "out"), "{stem}.mkv")
    assert twin.state == "failed" and "as nobody.avi does" in twin.why


def work(tmp_path: Path, answers: list[int], monkeypatch: pytest.MonkeyPatch, films: int = 1, **options: Any) -> list[Outcome]:
    """Films whose commands end with these exit codes."""
    left, engine = iter(answers), Processes(1)

    def call(words: list[str], told: Any) -> int:
        told("unmask-video: why")
        told('{"report": {"worst": []}, "pieces": 0, "missing": []}')
        return next(left)

    monkeypatch.setattr(engine, "call", call)
    jobs = [Job(f"{k}.mp4", str(tmp_path / f"{k}.mp4"), str(tmp_path / f"out/{k}.mp4")) for k in range(films)]
    return sorted(Batch([], engine, verify=False, **options).run(jobs), key=lambda outcome: outcome.name)


@pytest.mark.parametrize(("answers", "state", "tries"), [
    ([0], "done", 1), ([3], "partly", 1), ([1, 0], "done", 2), ([-9, 0], "done", 2), ([1, 1], "failed", 2), ([2], "failed", 1),
    ([4], "stopped", 1),
])  # fmt: skip
def test_what_may_succeed_the_next_time_is_tried_again(
    answers: list[int], state: str, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outcome,) = work(tmp_path, answers, monkeypatch)
    assert (outcome.state, outcome.tries) == (state, tries) and bool(outcome.why) == (state != "done")


def test_nothing_else_is_begun_after_a_failure_if_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [o.state for o in work(tmp_path, [0, 2, 0, 0], monkeypatch, films=4)] == ["done", "failed", "done", "done"]
    halted = work(tmp_path, [0, 2, 0, 0], monkeypatch, films=4, halt_on_error=True)
    assert [o.state for o in halted] == ["done", "failed", "stopped", "stopped"]


def test_a_picture_that_cannot_be_written_is_its_film_s_trouble_alone(event: Path) -> None:
    (event / "out/.sheets/evening/party.mp4.jpg").mkdir(parents=True)
    assert call(event) == 3
    films = told(event / "out")
    assert films["evening/party.mp4"]["state"] == "failed" and films["nobody.mkv"]["state"] == "done"


def test_a_batch_that_is_killed_takes_its_films_along_and_goes_on(event: Path) -> None:
    for number in range(3):
        shutil.copy(event / "in/evening/party.mp4", event / f"in/{number}.mp4")
    words = [sys.executable, "-m", "unmask_video", "batch", str(event / "in"), str(event / "out")]
    words += ["--no-verify", "--workers", "1"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((event / "out").glob("*.mp4")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {path: path.stat().st_mtime_ns for path in (event / "out").glob("*.mp4")}
    assert made and len(made) < 4
    if sys.platform == "linux":
        time.sleep(3.0)
        marks = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(event / "out").encode() in _read(path)]
        assert not marks, "nobody works on"
    assert subprocess.run(words, capture_output=True).returncode == 3, "junk is still junk"
    assert {path: path.stat().st_mtime_ns for path in made} == made
    finished = {name for name, film in told(event / "out").items() if film["state"] in ("done", "there")}
    assert finished >= {"0.mp4", "1.mp4", "2.mp4"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(("cores", "gib", "films"), [(1, 64, 1), (2, 64, 1), (4, 64, 2), (16, 64, 8), (16, 4, 2), (16, 0.5, 1)])
def test_as_many_films_at_a_time_as_the_machine_holds(cores: int, gib: float, films: int) -> None:
    assert workers_for(cores, gib) == films


# --- the cast -------------------------------------------------------------------------------------


def test_a_folder_is_a_person(event: Path) -> None:
    (event / "cast/Bob").mkdir()
    shutil.copy(event / "cast/1/face.png", event / "cast/Bob/b.PNG")
    (event / "cast/empty").mkdir()
    anna, bob = cast_folder.load(event / "cast")
    assert (anna.name, anna.consent, anna.may_be_filled, bob.name, bob.consent) == ("Anna", "yes", True, "Bob", "unknown")
    (event / "cast/Bob/person.toml").write_text('faces = "keep"')
    given = cast_folder.words(cast_folder.load(event / "cast"))
    assert given[-1] == "--never=Bob" and sum(word.startswith("--reference=") for word in given) == 2
    assert os.sep + "face.png" in given[0]


@pytest.mark.parametrize(("content", "sentence"), [
    ("name = 3", "name"), ('name = "a/b"', "a/b"), ('consent = "perhaps"', "yes, no, unknown"), ("faces = true", "fill, keep"),
    ("name = ", "cannot be read"), ("\xff", "cannot be read"),
])  # fmt: skip
def test_a_cast_that_says_what_cannot_be_is_refused(content: str, sentence: str, event: Path) -> None:
    (event / "cast/1/person.toml").write_bytes(content.encode("latin-1"))
    with pytest.raises(BadOption, match=sentence):
        cast_folder.load(event / "cast")


def test_two_folders_of_one_name_and_none_are_refused(event: Path) -> None:
    shutil.copytree(event / "cast/1", event / "cast/2")
    with pytest.raises(BadOption, match="both called 'Anna'"):
        cast_folder.load(event / "cast")
    with pytest.raises(BadOption, match="no photos"):
        cast_folder.load(event / "in")
    with pytest.raises(BadOption, match="not a folder"):
        cast_folder.load(event / "nowhere")
