"""From the command's words to Options, from a Report to words: in this process, with another `unmask`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from unmask_video import BadOption, BadReference, Options, Person, Progress, Report, Stopped, cli
from unmask_video.options import PROVIDERS


def report(**changes: Any) -> Report:
    alice = Person(1, "alice", 90, masked=80, filled=70, reference="alice.jpg", likeness=0.7, reason="no_match")
    bob = Person(2, "", 10, masked=10, filled=0, reference=None, likeness=0.5, reason="ambiguous")
    people, warnings = (alice, bob), ("chapters are lost",)
    made = Report(Path("in.mp4"), Path("out.mp4"), 100, 100, 90, 70, people, 10.0, 4.0, warnings)
    return replace(made, **changes)


Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command with an `unmask` that raises `error` or reports; exit code and what was asked."""

    def run(*words: str, error: BaseException | None = None) -> tuple[int, dict[str, Any]]:
        asked: dict[str, Any] = {}

        def unmask(source: Path, target: Path, **rest: Any) -> Report:
            asked.update(rest, source=source, target=target)
            rest["progress"](Progress(frame=10, total=100, faces=0, filled=0, stage="search"))
            rest["progress"](Progress(frame=50, total=100, faces=50, filled=40))
            if error is not None:
                raise error
            return report()

        monkeypatch.setitem(sys.modules, "unmask_video.pipeline", SimpleNamespace(unmask=unmask))
        return cli.exit_code(["in.mp4", "out.mp4", *words]), asked

    return run


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadReference("no face was found"), 2, "no face was found"),
        (Stopped("stopped by the user"), 4, "stopped by the user"),
        (KeyboardInterrupt(), 4, "stopped, and nothing was left behind"),
        (MemoryError(), 1, "there is not enough memory"),
        (RuntimeError("two\nlines"), 1, "unexpected error (RuntimeError: two lines)"),
    ],
)
def test_errors_end_as_one_sentence(
    error: BaseException, code: int, words: str, pretend: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretend(error=error)[0] == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"unmask-video: {words}") and said.err.count("\n") == 1


def test_values_arrive(pretend: Call) -> None:
    words = "-r a.jpg -r b.jpg#2 --unmatched fill --segmenter kmeans --landmarks mediapipe --encoder libx265"
    more = "--crf 20 --preset fast --no-audio --ep cuda --ep cpu --trim-start 10s --trim-end 00:01:02.5"
    code, asked = pretend(*words.split(), *more.split(), "--overwrite")
    assert code == 0 and asked["reference"] == ("a.jpg", "b.jpg#2")
    assert asked["options"] == Options(
        unmatched="fill", segmenter="kmeans", landmarks="mediapipe", encoder="libx265", crf=20, preset="fast",
        audio=False, execution_providers=("cuda", "cpu"), trim_start=10.0, trim_end=62.5, overwrite=True,
    )  # fmt: skip


def test_defaults_are_those_of_options(pretend: Call) -> None:
    assert pretend()[1]["options"] == Options()


def test_providers_are_those_of_runtime() -> None:
    from unmask_video import runtime

    assert set(PROVIDERS) == set(runtime.PROVIDERS)


def test_displays(pretend: Call, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for kind in ("auto", "none", "bar", "plain", "json"):
        assert pretend("--progress", kind)[0] == 0
        said[kind] = capsys.readouterr().err
    assert said["auto"] == said["none"] == ""
    assert all(words in said["bar"] for words in ("search in.mp4", "10/100", "unmask in.mp4", "50/100", "40 of 50 faces filled"))
    searching, unmasking = said["plain"].splitlines()
    assert searching.startswith("searching, frame 10 of 100, ") and unmasking.startswith("frame 50 of 100, ")
    assert unmasking.endswith("40 of 50 faces filled")
    lines = [json.loads(line) for line in said["json"].splitlines()[:2]]
    assert [(line["stage"], line["frame"], line["filled"]) for line in lines] == [("search", 10, 0), ("unmask", 50, 40)]


def test_report() -> None:
    assert report().kept == {"no_match": 10, "ambiguous": 10}
    assert report().ratio == 2.5 and report(codec_seconds=0.0).ratio == 0.0
    summary = report().summary()
    expected = ("100 of 2 people, 90 masked", "20: matches no reference", "(10); matches two references", "2.5 times", "chapters")
    assert all(words in summary for words in expected)
    assert json.loads(json.dumps(report().to_json()))["people"][1]["reference"] is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"execution_providers": "cuda"}, "one or more of cpu, cuda"),
        ({"execution_providers": ()}, "one or more of cpu, cuda"),
        ({"crf": 20.5}, "whole number"),
        ({"trim_start": float("nan")}, "0 or more"),
        ({"trim_start": "5"}, "0 or more"),
        ({"trim_start": 5.0, "trim_end": 5.0}, "more than 5"),
        ({"unmatched": None}, "keep, fill"),
        ({"model": "monet"}, "tps"),
        ({"mine_references": True}, "on, off"),
        ({"face_index": (0,)}, "1 for the first"),
        ({"face_index": 2}, "1 for the first"),
    ],
)
def test_options_check_themselves(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        Options(**wrong)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("10", 10), ("10s", 10), (".5", 0.5), ("01:02.5", 62.5), ("1:00:00", 3600), ("00:01:02.5", 62.5)],
)
def test_times(written: str, seconds: float) -> None:
    assert cli.Seconds().convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["", "soon", "-1", "1:", "nan", "inf", "1e3"])
def test_no_times(written: str) -> None:
    with pytest.raises(click.BadParameter):
        cli.Seconds().convert(written, None, None)
