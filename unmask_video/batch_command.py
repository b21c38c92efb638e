"""The command `unmask-video batch`: strings to values, and what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from unmask_video.display import Films
from unmask_video.errors import BadOption, Stopped
from unmask_video.options import Options

if TYPE_CHECKING:
    from unmask_video.batch import Batch, Job
    from unmask_video.cast_folder import Person
    from unmask_video.outcome import Outcome
    from unmask_video.processes import Processes
    from unmask_video.ray_nodes import RayNodes

SHEETS = ".sheets"
"""Folder beside the report."""

HELP = """Unmask all films below the folder IN, each into the same place below the folder OUT.

Films that are there already are left, so the same command goes on after a stop; one bad film touches no other. At the end
OUT/report.html shows what became of each, and OUT/report.json tells it; exit code 3 if something is left to be done.

A cast is a folder with a folder of photos for each person; in its person.toml stands name = "Anna", consent = "yes", "no" or
"unknown", and faces = "fill" or "keep". Who does not consent is never filled. Words after -- go to each film's own command:
unmask-video batch IN OUT --cast cast -- --crf 20.
"""


@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("folder", metavar="IN")
@click.argument("out", metavar="OUT")
@click.argument("words", nargs=-1, metavar="[-- OPTION...]")
@click.option("--cast", type=click.Path(path_type=Path), metavar="DIR", help="Who is who, and who may be filled.")
@click.option("-r", "--reference", multiple=True, metavar="[NAME=]PHOTO", help="A photo of a bare face; again for more.")
@click.option("--name", default="{stem}{suffix}", show_default=True, help="Of each output; what cannot be written becomes .mkv.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="Processes of this machine, or a Ray cluster.")
@click.option("--address", metavar="HOST:PORT", help="Of the Ray cluster, or auto.  [default: one is begun here]")
@click.option("--workers", type=click.IntRange(1), help="Films, or parts of one, at a time.  [default: by cores and memory]")
@click.option("--parts", type=click.IntRange(1), help="Of each film, painted side by side.  [default: by length]")
@click.option("--retry", type=click.IntRange(0), default=1, show_default=True, help="Further tries of what failed at work.")
@click.option("--overwrite", is_flag=True, help="Make anew what is there.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Look whether nothing but faces has changed.")
@click.option("--sidecar/--no-sidecar", default=True, show_default=True, help="Write beside each film how it was made.")
@click.option("--halt-on-error", is_flag=True, help="Begin no other film once one has failed.")
def batch(
    folder: str, out: str, words: tuple[str, ...], *, cast: Path | None, reference: tuple[str, ...], name: str, engine: str,
    address: str | None, workers: int | None, sidecar: bool, **chosen: Any,
) -> None:  # fmt: skip
    from unmask_video import batch as films  # late: load the video libraries
    from unmask_video import cast_folder
    from unmask_video.remote import is_remote

    jobs, outcomes = films.plan(folder, out, name)
    if not jobs:
        raise BadOption(f"there is no film below {folder}; films end in one of {', '.join(films.READ)}")
    if address and engine != "ray":
        raise BadOption(f"the address {address} is a Ray cluster's; give --engine ray, too")
    given = [*(f"--reference={photo}" for photo in reference), *(["--sidecar"] if sidecar else []), *words]
    people = cast_folder.load(cast) if cast else []
    check([*cast_folder.words(people), *given])
    if cast:
        jobs = [with_people(job, cast_folder.in_film(people, cast, job.name), bool(reference)) for job in jobs]
    place = Path("unmask-report") if is_remote(out) else Path(out)
    place.mkdir(parents=True, exist_ok=True)
    runs = make_engine(engine, address, workers, given)
    try:
        work = films.Batch(given, runs, **chosen, sheets=place / SHEETS)
        outcomes = worked(work, jobs, outcomes, place)
    finally:
        runs.close()
    if not all(outcome.good for outcome in outcomes):
        raise click.exceptions.Exit(3)


def make_engine(engine: str, address: str | None, workers: int | None, words: list[str]) -> Processes | RayNodes:
    if engine == "ray":
        from unmask_video.ray_nodes import RayNodes

        return RayNodes(address, workers, words)
    from unmask_video.processes import Processes

    return Processes(workers)


def worked(work: Batch, jobs: list[Job], outcomes: list[Outcome], place: Path) -> list[Outcome]:
    """What became of all files, shown as it becomes known, and told in `place` however it ends."""
    from unmask_video.batch import not_begun
    from unmask_video.batch_page import PAGE, page
    from unmask_video.outcome import read_report, remembered, write_report

    before, show, began = read_report(place), Films(len(jobs)), time.monotonic()
    work.progress, written = show.progress, Seldom()
    try:
        for outcome in work.run(jobs):
            outcomes.append(remembered(outcome, before))
            show.finished(outcome.name, f"{outcome.state}, {outcome.seconds:.0f} s {outcome.why}")
            written(lambda: write_report(place, work.words, outcomes))
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command goes on with the films that are left") from None
    finally:
        show.close()
        outcomes += not_begun(jobs, outcomes)
        write_report(place, work.words, outcomes)
        (place / PAGE).write_text(page(outcomes, place / SHEETS, time.monotonic() - began), "utf-8")
        click.echo(f"{sum(o.good for o in outcomes)} of {len(outcomes)} files are as they are to be; see {place / PAGE}")
    return outcomes


class Seldom:
    """Does what it is given at most a hundredth of the time: a report of many films is long."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, what: Callable[[], None]) -> None:
        if (began := time.monotonic()) >= self.next:
            what()
            self.next = began + 100 * (time.monotonic() - began)


def with_people(job: Job, people: list[Person], others: bool) -> Job:
    """A film whose options name the people in it; one that shows nobody who may be filled is copied, if it can be."""
    from unmask_video.cast_folder import words

    same = PurePosixPath(job.source).suffix.lower() == PurePosixPath(job.target).suffix.lower()
    nobody = not others and not any(person.may_be_filled for person in people)
    return replace(job, words=None if nobody and same else tuple(words(people)))


def check(words: list[str]) -> None:
    """Raise here what would otherwise be wrong with every film: options, photos, names."""
    from unmask_video.cli import run  # late, for it knows this command
    from unmask_video.tools import Tools
    from unmask_video.work import check_names

    given = run.make_context("unmask-video", ["IN", "OUT", *words]).params
    if len(given["files"]) != 2:
        raise BadOption(f"{given['files'][2]!r} is no option of each film; IN and OUT are folders, options stand after --")
    options = Options(**{field.name: given[field.name] for field in fields(Options) if field.name in given})
    check_names(Tools.make(options).photos(given["reference"]), options)
