"""The command `unmask-video`: strings to values, errors to one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong use or environment, 4 stopped. The only file that prints.
"""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from unmask_video import __version__
from unmask_video.errors import UnmaskError
from unmask_video.options import LANDMARKS, MINE, SEGMENTERS, UNMATCHED, Options
from unmask_video.report import Progress, Report

log = logging.getLogger(__name__)

HELP = """Paint in what face masks hide in the video IN, and write the video OUT.

The hidden part is taken from the REFERENCE photo of the same person, or from frames of the film that
show the face bare; with photos given, a face that matches none keeps its mask. Everything else stays:
time stamps, sound, subtitles, rotation, colour.
"""


class Bar:
    """A bar with frames a second and the time left."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.bar: Any = None
        self.stage = ""

    def __call__(self, progress: Progress) -> None:
        if self.stage != progress.stage:
            from tqdm import tqdm  # late: not needed for --help

            self.close()
            self.stage = progress.stage
            self.bar = tqdm(desc=f"{self.stage} {self.file}", unit=" frames", file=sys.stderr, dynamic_ncols=True)
        self.bar.total = progress.total or None
        if self.stage == "unmask":
            self.bar.set_postfix_str(f"{progress.filled} of {progress.faces} faces filled", refresh=False)
        self.bar.update(progress.frame - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Lines:
    """A line on stderr every few seconds, and one for the last frame."""

    def __init__(self, words: Callable[[Progress, float], str], *, every_seconds: float) -> None:
        self.words = words
        self.every_seconds = every_seconds
        # The rate is taken over the last 20 lines, so that it follows what the film is like now.
        self.marks = deque([(time.monotonic(), 0)], maxlen=20)
        self.unwritten: Progress | None = None
        self.stage = ""

    def __call__(self, progress: Progress) -> None:
        if self.stage != progress.stage:
            self.close()
            self.stage = progress.stage
            self.marks = deque([(time.monotonic(), 0)], maxlen=20)
        self.unwritten = progress
        if time.monotonic() - self.marks[-1][0] >= self.every_seconds:
            self.close()

    def close(self) -> None:
        if self.unwritten is None:
            return
        now, frame = time.monotonic(), self.unwritten.frame
        start, first = self.marks[0]
        fps = (frame - first) / max(now - start, 1e-6)
        self.marks.append((now, frame))
        click.echo(self.words(self.unwritten, fps), err=True)
        self.unwritten = None


class Silence:
    """No progress."""

    def __call__(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


def seconds_left(progress: Progress, fps: float) -> float | None:
    """Seconds until the last frame; None if that cannot be known."""
    if progress.total <= 0 or fps <= 0:
        return None
    return round(max(progress.total - progress.frame, 0) / fps, 1)


def plain_words(progress: Progress, fps: float) -> str:
    total = f" of {progress.total}" if progress.total else ""
    eta = seconds_left(progress, fps)
    left = "" if eta is None else f", {eta:.0f} s left"
    done = f"frame {progress.frame}{total}, {fps:.1f} frames/s{left}"
    return f"searching, {done}" if progress.stage == "search" else f"{done}, {progress.filled} of {progress.faces} faces filled"


def json_words(file: str) -> Callable[[Progress, float], str]:
    def words(progress: Progress, fps: float) -> str:
        line = {"stage": progress.stage, "file": file, "frame": progress.frame, "total": progress.total or None}
        line |= {"fps": round(fps, 2), "eta_s": seconds_left(progress, fps)}
        return json.dumps(line | {"faces": progress.faces, "filled": progress.filled})

    return words


def make_display(kind: str, file: str) -> Bar | Lines | Silence:
    """What shows the progress of `file`; "auto" is a bar on a terminal and nothing elsewhere."""
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return Bar(file)
    if kind == "plain":
        return Lines(plain_words, every_seconds=5)
    if kind == "json":
        return Lines(json_words(file), every_seconds=0.5)
    return Silence()


class Seconds(click.ParamType):
    """A time as 10, 10s, 01:02.5 or 00:01:02.5."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)s?", value.strip())
        if match is None:
            self.fail(f"{value!r} is no time; write it as 10, 10s or 00:01:02.5.", param, ctx)
        hours, minutes, seconds = match.groups(default="0")
        return math.fsum((int(hours) * 3600, int(minutes) * 60, float(seconds)))


def split_commas(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for value in values for name in value.split(",") if name)


def name_files(files: tuple[str, ...], source: str | None, target: str | None) -> tuple[Path, Path]:
    """The two paths, given in order or by -i and -o."""
    rest = list(files)
    found = [name or (rest.pop(0) if rest else "") for name in (source, target)]
    if not all(found):
        raise click.UsageError("Give the input and the output: unmask-video IN OUT --reference PHOTO.")
    if rest:
        raise click.UsageError(f"One input and one output at a time; {rest[0]!r} is too much.")
    return Path(found[0]), Path(found[1])


# Whatever is not named in run's own arguments is a field of Options by the same name.
@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("files", nargs=-1, metavar="IN OUT")
@click.option("-i", "--input", "source", metavar="IN", help="The input, if not given in order.")
@click.option("-o", "--output", "target", metavar="OUT", help="The output, if not given in order.")
@click.option("-r", "--reference", multiple=True, metavar="[NAME=]PHOTO",
              help="A photo that shows the face without a mask; again for more photos or people. "
              "PHOTO#2 takes the second face from the left; photos of one NAME show one person.")
@click.option("--mine-references", type=click.Choice(MINE), default=Options.mine_references, show_default=True,
              help="Let the film's own bare frames serve as photos, too.")
@click.option("--face-index", type=int, multiple=True, metavar="N",
              help="Fill only the N-th person who comes into the picture, as the report numbers them; again for more.")
@click.option("--model", default=Options.model, show_default=True, help="What fills the faces.")
@click.option("--unmatched", type=click.Choice(UNMATCHED), default=Options.unmatched, show_default=True,
              help="What happens to a masked face that matches no reference.")
@click.option("--segmenter", type=click.Choice(SEGMENTERS), default=Options.segmenter, show_default=True,
              help="What finds the mask.")
@click.option("--landmarks", type=click.Choice(LANDMARKS), default=Options.landmarks, show_default=True,
              help="What runs FaceMesh.")
@click.option("--encoder", default=Options.encoder, show_default=True, help="FFmpeg's name, say libx265.")
@click.option("--crf", type=int, help="Constant quality, 0 is best.  [default: the encoder's]")
@click.option("--preset", help="Speed of the encoder, say fast.  [default: the encoder's]")
@click.option("--audio/--no-audio", default=Options.audio, show_default=True, help="Copy the sound.")
@click.option("--execution-providers", "--execution-provider", "--ep", "execution_providers", multiple=True,
              default=Options.execution_providers, show_default=True, callback=split_commas,
              help="What the networks run on, best first: cuda,cpu; or the option again.")
@click.option("--trim-start", type=Seconds(), default=Options.trim_start,
              help="Begin here: 10, 10s or 00:01:02.5 from the input's start.")
@click.option("--trim-end", type=Seconds(), help="Stop here, also from the input's start.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--progress", type=click.Choice(["auto", "bar", "plain", "json", "none"]), default="auto",
              show_default=True, help="On stderr; auto is a bar on a terminal, nothing elsewhere.")
@click.option("--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="warning",
              show_default=True, help="What is told on stderr; debug adds tracebacks.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def run(
    files: tuple[str, ...],
    *,
    source: str | None,
    target: str | None,
    reference: tuple[str, ...],
    progress: str,
    log_level: str,
    **options: Any,
) -> None:
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(levelname)s: %(message)s")
    paths = name_files(files, source, target)
    chosen = Options(**options)
    report = unmask_shown(paths, reference, chosen, progress)
    if progress == "json":
        click.echo(json.dumps({"report": report.to_json()}), err=True)
    click.echo(report.summary())


def unmask_shown(
    paths: tuple[Path, Path], reference: tuple[str, ...], options: Options, progress: str
) -> Report:
    """`unmask` under the display that `progress` names."""
    from unmask_video.pipeline import unmask  # late: loads the video libraries

    source, target = paths
    display = make_display(progress, source.name)
    try:
        return unmask(source, target, reference=reference, options=options, progress=display)
    finally:
        display.close()


COMMANDS: dict[str, click.Command] = {"run": run}
"""Sub-commands by name; where the first word names none, `run` is meant."""


def exit_code(args: list[str]) -> int:
    """Do what `args` say and tell what went wrong; the exit code."""
    name, rest = (args[0], args[1:]) if args and args[0] in COMMANDS else ("run", args)
    try:
        with COMMANDS[name].make_context("unmask-video", rest) as context:
            COMMANDS[name].invoke(context)
        return 0
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except UnmaskError as error:
        return fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return fail("stopped, and nothing was left behind; the same command begins again", 4)
    except MemoryError:
        return fail("there is not enough memory; close other programs, or try a smaller video", 1)
    except Exception as error:
        what = f"unexpected error ({type(error).__name__}: {error})"
        return fail(f"{what}; run again with --log-level debug for the traceback", 1)


def fail(message: str, code: int) -> int:
    log.debug("where it happened", exc_info=True)
    click.echo(f"unmask-video: {' '.join(message.split())}", err=True)
    return code


def main(args: list[str] | None = None) -> NoReturn:
    """The entry point; `args` default to the command line's."""
    # A polite kill tidies up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(exit_code(sys.argv[1:] if args is None else args))
