"""The command `unmask-video batch`: strings to values, and what is shown."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask_video.display import Films
from unmask_video.errors import BadOption, Stopped
from unmask_video.options import Options

if TYPE_CHECKING:
    from unmask_video.batch import Job
    from unmask_video.cast_folder import Person

HELP = """Unmask all films below the folder IN, each into the same place below the folder OUT.

Films that are there already are left, so the same command goes on after a stop; one bad film touches no other. At the end
OUT/report.html shows what became of each, and OUT/report.json tells it; exit code 3 if something is left to be done.

A cast is a folder with a folder of photos for each person; in its person.toml stands name = "Anna", consent = "yes", "no" or
"unknown", and faces = "fill" or "keep". Who does not consent is never filled. Words after -- go to each film's own command:
unmask-video batch IN OUT --cast cast -- --crf 20.
"""


@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("folder", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[-- OPTION...]")
@click.option("--cast", type=click.Path(path_type=Path), metavar="DIR", help="Who is who, and who may be filled.")
@click.option("-r", "--reference", multiple=True, metavar="[NAME=]PHOTO", help="A photo of a bare face; again for more.")
@click.option("--name", default="{stem}{suffix}", show_default=True, help="Of each output; what cannot be written becomes .mkv.")
@click.option("--workers", type=click.IntRange(1), help="Films at a time.  [default: by cores and memory]")
@click.option("--retry", type=click.IntRange(0), default=1, show_default=True, help="Further tries of what failed at work.")
@click.option("--overwrite", is_flag=True, help="Make anew what is there.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Look whether nothing but faces has changed.")
@click.option("--halt-on-error", is_flag=True, help="Begin no other film once one has failed.")
def batch(
    folder: Path, out: Path, words: tuple[str, ...], *, cast: Path | None, reference: tuple[str, ...], name: str,
    workers: int | None, retry: int, overwrite: bool, verify: bool, halt_on_error: bool,
) -> None:  # fmt: skip
    from unmask_video import batch as films  # late: load the video libraries
    from unmask_video import cast_folder
    from unmask_video.batch_page import PAGE, page

    began = time.monotonic()
    jobs, outcomes = films.plan(folder, out, name)
    if not jobs:
        raise BadOption(f"there is no film below {folder}; films end in one of {', '.join(films.READ)}")
    chosen = [*(f"--reference={photo}" for photo in reference), *words]
    people = cast_folder.load(cast) if cast else []
    check([*cast_folder.words(people), *chosen])
    if cast:
        jobs = [with_people(job, cast_folder.in_film(people, cast, job.name), bool(reference)) for job in jobs]
    out.mkdir(parents=True, exist_ok=True)
    before, show = films.read_report(out), Films(len(jobs))
    work = films.Batch(chosen, workers or films.workers_here(), retry, overwrite, verify, halt_on_error, show.progress)
    try:
        for outcome in work.run(jobs):
            outcomes.append(films.remembered(outcome, before))
            show.finished(outcome.name, f"{outcome.state}, {outcome.seconds:.0f} s {outcome.why}")
            films.write_report(out, chosen, outcomes)
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command goes on with the films that are left") from None
    finally:
        show.close()
        outcomes += films.not_begun(jobs, outcomes)
        films.write_report(out, chosen, outcomes)
        sources = {job.name: job.source for job in jobs}
        (out / PAGE).write_text(page(outcomes, sources, time.monotonic() - began), "utf-8")
        click.echo(f"{sum(o.good for o in outcomes)} of {len(outcomes)} files are as they are to be; see {out / PAGE}")
    if not all(outcome.good for outcome in outcomes):
        raise click.exceptions.Exit(3)


def with_people(job: Job, people: list[Person], others: bool) -> Job:
    """A film whose options name the people in it; one that shows nobody who may be filled is copied, if it can be."""
    from unmask_video.cast_folder import words

    same = job.source.suffix.lower() == job.target.suffix.lower()
    nobody = not others and not any(person.may_be_filled for person in people)
    return replace(job, words=None if nobody and same else tuple(words(people)))


def check(words: list[str]) -> None:
    """Raise here what would otherwise be wrong with every film: options, photos, names."""
    from unmask_video.cli import run  # late, for it knows this command
    from unmask_video.pipeline import check_names
    from unmask_video.tools import Tools

    given = run.make_context("unmask-video", ["IN", "OUT", *words]).params
    if len(given["files"]) != 2:
        raise BadOption(f"{given['files'][2]!r} is no option of each film; IN and OUT are folders, options stand after --")
    options = Options(**{field.name: given[field.name] for field in fields(Options) if field.name in given})
    check_names(Tools.make(options).photos(given["reference"]), options)
