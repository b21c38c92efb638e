"""The command `unmask-video live`: strings to values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from unmask_video.errors import BadOption
from unmask_video.options import SEGMENTERS, UNMATCHED, Options

HELP = """Show the camera's picture without face masks, now.

SOURCE is a camera's number or name (0 if left out), a video file, which is played in real time, or the address of a stream
(rtsp://, http://, udp://). Without photos, the last bare look into the camera serves: mask down, mask up. Nothing is stored
unless asked. Keys: q quit, space compare, m next model, r take this face as reference, s snapshot, h help.
"""


# Whatever is not named in live's own arguments is a field of Options by the same name.
@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("source", default="0")
@click.option("-r", "--reference", multiple=True, metavar="[NAME=]PHOTO", help="A photo of a bare face; again for more.")
@click.option("--list-cameras", is_flag=True, help="Tell which cameras there are, and end.")
@click.option("--fps", type=click.FloatRange(1, 240), default=25.0, show_default=True,
              help="What is to be held: where pictures take longer, less care is taken.")
@click.option("--no-window", is_flag=True, help="For servers, or with the outlets below.")
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep what is shown, without sound; FILE plays up to its last second, whatever ends it.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--virtual-camera", is_flag=True, help="A camera that meeting programs see; needs pyvirtualcam.")
@click.option("--serve", type=click.IntRange(0, 65535), metavar="PORT", help="A page for browsers; 0 is any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Of the page; 0.0.0.0 lets others in.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
@click.option("--stats", is_flag=True, help="Tell the figures at the end, as JSON.")
@click.option("--model", default=Options.model, show_default=True, help="What fills the faces.")
@click.option("--unmatched", type=click.Choice(UNMATCHED), default=Options.unmatched, show_default=True,
              help="What happens to a masked face that matches no reference.")
@click.option("--segmenter", type=click.Choice(SEGMENTERS), default=Options.segmenter, show_default=True)
@click.option("--max-faces", type=int, default=Options.max_faces, show_default=True, help="In a picture.")
def live(
    source: str, *, reference: tuple[str, ...], list_cameras: bool, fps: float, seconds: float | None, stats: bool,
    no_window: bool, record: Path | None, overwrite: bool, virtual_camera: bool, serve: int | None, host: str, **options: Any,
) -> None:  # fmt: skip
    from unmask_video import live as loop  # late: loads the video libraries
    from unmask_video.source import Source, cameras

    if list_cameras:
        return click.echo("\n".join(f"{number}  {name}" for number, name in cameras().items()) or "no camera is there")
    if no_window and record is None and serve is None and not virtual_camera:
        raise BadOption("with --no-window nothing would be seen; give --serve PORT, --record FILE or --virtual-camera")
    chosen = Options(**options)
    with ExitStack() as kept:
        came_from = Source(source)
        outlets = []
        for made in made_outlets(not no_window, serve, host, record, overwrite, fps if virtual_camera else None):
            outlets.append(made)
            kept.callback(made.close)
        running = loop.Live(came_from, outlets, reference, chosen, fps=fps)
        kept.enter_context(came_from)
        try:
            running.run(seconds)
        except KeyboardInterrupt:  # the usual end, where there is no window
            pass
    if stats:
        click.echo(json.dumps(running.told()))


def made_outlets(
    window: bool, serve: int | None, host: str, record: Path | None, overwrite: bool, virtual_fps: float | None
) -> Iterator[Any]:  # fmt: skip
    """Each as it is made, so that those before it can be closed if one fails."""
    from unmask_video.page import Page
    from unmask_video.recording import Recording, VirtualCamera
    from unmask_video.window import Window

    if window:
        yield Window()
    if serve is not None:
        page = Page(serve, host)
        click.echo(f"http://{host}:{page.port}/", err=True)
        yield page
    if record is not None:
        yield Recording(record, overwrite=overwrite)
    if virtual_fps is not None:
        yield VirtualCamera(virtual_fps)
