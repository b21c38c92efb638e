"""The command `unmask-video scan`: strings to values, and the sheet to look at."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask_video.display import Films
from unmask_video.errors import BadOption, UnmaskError
from unmask_video.options import Options

if TYPE_CHECKING:
    from unmask_video.scan import Stretch

HELP = """Find out who is in the films below the folder IN, and write a cast: a folder for each person, for `batch --cast`.

The best bare views of each become photos; who is only seen masked gets a folder without any, to put one there. Then look at
index.html in the cast, move photos that are in the wrong folder, and write names and consent into each person.toml. Photos
that are in the cast beforehand say who is who; no photo and no person.toml that you wrote is changed or deleted.
"""


@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("folder", metavar="IN", type=click.Path(path_type=Path))
@click.option("--cast", type=click.Path(path_type=Path), default="cast", show_default=True, metavar="DIR", help="To be written.")
@click.option("--every", type=click.FloatRange(0.1, 10), default=0.5, show_default=True, help="Seconds from look to look.")
def scan(folder: Path, *, cast: Path, every: float) -> None:
    from unmask_video import batch, cast_folder  # late: load the video libraries
    from unmask_video import scan as films
    from unmask_video.tools import Tools

    jobs, _ = batch.plan(str(folder), str(cast), "{stem}{suffix}")
    if not jobs:
        raise BadOption(f"there is no film below {folder}; films end in one of {', '.join(batch.READ)}")
    cast.mkdir(parents=True, exist_ok=True)
    tools = Tools.make(Options(model="tps"))
    given = cast_folder.load(cast) if cast_folder.has_photos(cast) else []
    known = [[photo for views in tools.photos([str(p) for p in one.photos]) for photo in views] for one in given]
    show, found, bad = Films(len(jobs)), [], 0
    for job in jobs:
        try:
            seen = films.stretches(Path(job.source), job.name, tools, every=every)
            show.finished(job.name, f"{len(seen)} faces that come and go")
        except UnmaskError as error:
            seen, bad = [], bad + 1
            show.finished(job.name, str(error))
        found += seen
    show.close()
    cast_folder.forget_unknown(cast)
    groups = films.together(found, known)
    names = [person.name for person in given] + new_names(cast, len(groups) - len(given))
    people = [(name, [found[k] for k in group]) for name, group in zip(names, groups, strict=True)]
    write_cast(cast, people, [job.name for job in jobs])
    click.echo(f"{sum(map(bool, groups))} people in {len(jobs) - bad} films; look at {cast / 'index.html'}")
    if bad:
        raise click.exceptions.Exit(3)


def write_cast(cast: Path, people: list[tuple[str, list[Stretch]]], names: list[str]) -> None:
    """The folders, who is in which film, the page and the picture."""
    from unmask_video import cast_folder
    from unmask_video import scan as films

    rows, seen = [], {film: [] for film in names}
    for name, stretches in people:
        views = [view.image for view in films.best_views(stretches)]
        masked = [picture for one in stretches if one.masked for picture in one.pictures[:1]][: films.VIEWS]
        place = cast_folder.write(cast, name, views, masked)
        rows.append((name, place, stretches))
        for film in {one.film for one in stretches}:
            seen[film].append(place.name)
    cast_folder.write_seen(cast, seen)
    (cast / "index.html").write_text(sheet(cast, rows), "utf-8")
    films.contact_sheet(people, cast / "contact.png")


def new_names(cast: Path, count: int) -> list[str]:
    """`person 1` and so on, of those that no folder has yet."""
    taken = {place.name for place in cast.iterdir()}
    return [name for k in range(1, count + len(taken) + 1) if (name := f"person {k}") not in taken][:count]


def sheet(cast: Path, rows: list[tuple[str, Path, list[Stretch]]]) -> str:
    """A page that shows the photos where they lie, so that it is right after they were moved, too."""
    parts: list[str] = []
    for name, place, stretches in rows:
        pictures: Any = sorted(place.glob("*.jpg")) + sorted(place.glob("*.png")) + sorted((place / "masked").glob("*.jpg"))
        images = "".join(f'<img src="{escape(path.relative_to(cast).as_posix(), quote=True)}">' for path in pictures)
        seconds, films = sum(one.end - one.begin for one in stretches), len({one.film for one in stretches})
        where = ", ".join(sorted({one.film for one in stretches})[:8])
        parts.append(
            f"<section><h2>{escape(name)}</h2><p>{films} films, {seconds:.0f} s, {len(stretches)} times in the picture: "
            f"{escape(where)}</p>{images}</section>"
        )
    style = "body{font:15px system-ui;max-width:70rem;margin:2rem auto}img{height:110px;margin:2px}h2{margin-bottom:0}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The cast</title><style>{style}</style>'
    return f"{head}{''.join(parts)}</html>"
