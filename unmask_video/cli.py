"""The command `unmask-video`: strings to values, errors to one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong use or environment, 3 partly done, for the input is damaged, 4 stopped, 5 not the same film.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from unmask_video import __version__
from unmask_video.batch_command import batch
from unmask_video.display import make_display
from unmask_video.errors import BadEnvironment, NotTheSame, UnmaskError
from unmask_video.live_command import live
from unmask_video.options import LANDMARKS, MINE, SEGMENTERS, UNMATCHED, Options
from unmask_video.report import Report
from unmask_video.scan_command import scan

log = logging.getLogger(__name__)

MALLOC = {-8: 2, -3: 2**22, -1: 2**26}
"""M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h: freed memory is not kept for each thread apart,
a fifth of all; that of crops is kept, for to ask the system anew takes a thirtieth of all time; that of large frames is not."""

HELP = """Paint in what face masks hide in the video IN, and write the video OUT.

The hidden part is taken from the REFERENCE photo of the same person, or from frames of the film that
show the face bare; with photos given, a face that matches none keeps its mask. Everything else stays:
time stamps, sound, subtitles, rotation, colour.

Six other commands go in place of IN: `scan` finds who is in a folder of films, `batch` does them all, `live` shows the
camera's picture, `bench` tells what a film costs, `doctor` what works here, `verify IN OUT` whether anything but faces has
changed.
"""


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
@click.option("--never", multiple=True, metavar="NAME",
              help="Somebody who is never filled, whose photo was given as --reference NAME=PHOTO; again for more.")
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
              help="What the networks run on, best first: cuda,cpu; or the option again. torch is PyTorch on CUDA.")
@click.option("--trim-start", type=Seconds(), default=Options.trim_start,
              help="Begin here: 10, 10s or 00:01:02.5 from the input's start.")
@click.option("--trim-end", type=Seconds(), help="Stop here, also from the input's start.")
@click.option("--max-megapixels", type=float, default=Options.max_megapixels, show_default=True, help="Of a picture.")
@click.option("--max-frames", type=int, default=Options.max_frames, show_default=True, help="Of the film.")
@click.option("--max-streams", type=int, default=Options.max_streams, show_default=True, help="Of the file.")
@click.option("--max-faces", type=int, default=Options.max_faces, show_default=True, help="In a frame.")
@click.option("--strict", is_flag=True, help="Refuse damaged input; else all that can be decoded is done, with exit code 3.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--sidecar", is_flag=True, help="Write OUT.json, which tells how the film was made and from what.")
@click.option("--c2pa", nargs=2, metavar="CERT KEY", help="Sign content credentials into the film with these PEM files.")
@click.option("--look-ahead/--no-look-ahead", default=Options.look_ahead, show_default=True,
              help="Let later frames steady earlier ones; without, each is painted as if there were none yet.")
@click.option("--resume/--no-resume", default=Options.resume, show_default=True,
              help="Keep what is done beside OUT until the film is whole; after a stop the same command goes on there.")
@click.option("--sandbox", is_flag=True, help="Do the work in a process of its own, whose memory and time are limited.")
@click.option("--sandbox-memory", type=click.IntRange(512), default=8192, show_default=True, help="MiB that it may take.")
@click.option("--sandbox-minutes", type=click.IntRange(1), default=1440, show_default=True, help="Of one core, in all.")
@click.option("--progress", type=click.Choice(["auto", "bar", "plain", "json", "none"]), default="auto",
              show_default=True, help="On stderr; auto is a bar on a terminal, nothing elsewhere.")
@click.option("--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="warning",
              show_default=True, help="What is told on stderr; debug adds tracebacks.")
@click.option("--step", hidden=True, help="What `batch` asks for, see step.py.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def run(
    files: tuple[str, ...],
    *,
    source: str | None,
    target: str | None,
    reference: tuple[str, ...],
    progress: str,
    log_level: str,
    step: str | None,
    sandbox: bool,
    sandbox_memory: int,
    sandbox_minutes: int,
    **options: Any,
) -> None:
    if sandbox:
        from unmask_video.sandbox import confined

        words = click.get_current_context().obj
        raise click.exceptions.Exit(confined(words, memory_mib=sandbox_memory, minutes=sandbox_minutes))
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(levelname)s: %(message)s")
    paths = name_files(files, source, target)
    chosen = Options(**options)
    if step:
        from unmask_video.step import take_step  # late: loads the video libraries

        raise click.exceptions.Exit(take_step(step, *files, reference, chosen))
    report = unmask_shown(paths, reference, chosen, progress)
    if progress == "json":
        click.echo(json.dumps({"report": report.to_json()}), err=True)
    click.echo(report.summary())
    if report.damaged:
        raise click.exceptions.Exit(3)


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


# These too are fields of Options by the same name.
@click.command(help="Tell what unmasking CLIP costs, against decoding and encoding it alone; nothing is kept.",
               context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-r", "--reference", multiple=True, metavar="PHOTO", help="A photo of a bare face; again for more.")
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1), help="Runs, whose medians are told.")
@click.option("--compare", is_flag=True, help="In turn with deface, which blurs faces, by both of its backends.")
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
@click.option("--model", default=Options.model, show_default=True)
@click.option("--unmatched", type=click.Choice(UNMATCHED), default=Options.unmatched, show_default=True)
@click.option("--mine-references", type=click.Choice(MINE), default=Options.mine_references, show_default=True)
@click.option("--encoder", default=Options.encoder, show_default=True)
@click.option("--crf", type=int)
@click.option("--preset")
def bench(
    clip: Path, *, reference: tuple[str, ...], runs: int, compare: bool, as_json: bool, **options: Any
) -> None:  # fmt: skip
    from unmask_video.bench import measure  # late: loads the video libraries

    found = measure(clip, reference, Options(**options), runs=runs, compare=compare)
    click.echo(json.dumps(found.to_json()) if as_json else found.table())


@click.command(help="Tell what works on this machine, by trying it.", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
def doctor(as_json: bool) -> None:
    from unmask_video.doctor import examine, table  # late: loads the video libraries

    found = examine()
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else table(found))
    if broken := [one.what for one in found if one.needed and not one.works]:
        raise BadEnvironment(f"{', '.join(broken)} does not work here, and nothing goes without; install unmask-video anew")


@click.command(help="Tell whether OUT is the film IN but for the filled faces: streams, times, sound, tags, pixels. "
               "Exit code 5 where it is not.", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
def verify(source: Path, target: Path, as_json: bool) -> None:
    from unmask_video.verify import table  # late: loads the video libraries
    from unmask_video.verify import verify as compare

    found = compare(source, target)
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else table(found))
    if faults := [one.what for one in found if one.verdict == "FAULT"]:
        raise NotTheSame(f"{target} is not {source} but for faces: {', '.join(faults)}; make it anew")


COMMANDS: dict[str, click.Command] = {
    "run": run, "scan": scan, "batch": batch, "live": live, "bench": bench, "doctor": doctor, "verify": verify,
}  # fmt: skip
"""Sub-commands by name; where the first word names none, `run` is meant."""


def exit_code(args: list[str]) -> int:
    """Do what `args` say and tell what went wrong; the exit code."""
    name, rest = (args[0], args[1:]) if args and args[0] in COMMANDS else ("run", args)
    try:
        called = "unmask-video" if name == "run" else f"unmask-video {name}"
        with COMMANDS[name].make_context(called, list(rest), obj=args) as context:
            COMMANDS[name].invoke(context)
        return 0
    except click.exceptions.Exit as done:  # --help, --version, and what is partly done
        return done.exit_code
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except UnmaskError as error:
        return fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return fail("stopped, and nothing was left behind; the same command begins again", 4)
    except Exception as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):  # ONNX Runtime's word for it
            return fail("there is not enough memory; close other programs, or try a smaller video", 1)
        what = f"unexpected error ({type(error).__name__}: {error})"
        return fail(f"{what}; run again with --log-level debug for the traceback", 1)


def fail(message: str, code: int) -> int:
    log.debug("where it happened", exc_info=True)
    click.echo(f"unmask-video: {' '.join(message.split())}", err=True)
    return code


def main(args: list[str] | None = None) -> NoReturn:
    """The entry point; `args` default to the command line's."""
    # Stages run side by side, where NumPy's own threads only wait for each other; it is not loaded yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)  # other systems have no such switch
        for what, value in MALLOC.items():
            libc.mallopt(what, value)
    # A polite kill tidies up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = exit_code(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads
            stream.flush()
    # All files are closed and all threads joined; to take networks and libraries down piece by piece takes a tenth of a second.
    os._exit(code)
