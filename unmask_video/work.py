"""A film that is worked on: what is open, what it depends on, who is looked for in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unmask_video import __version__, decode, encode, mining, provenance, reference, track
from unmask_video.ahead import one_thread_each
from unmask_video.clock import Skim
from unmask_video.container import Limits
from unmask_video.errors import BadOption
from unmask_video.frame import Frame
from unmask_video.journal import Journal, fingerprint
from unmask_video.models import FILES
from unmask_video.opening import Opening
from unmask_video.options import Options, check_paths
from unmask_video.pace import Pace
from unmask_video.pieces import Pieces
from unmask_video.reference import Views
from unmask_video.report import Progress, Report
from unmask_video.signs import Signs
from unmask_video.stopwatch import Stopwatch
from unmask_video.tally import Tally
from unmask_video.tools import Tools


@dataclass(frozen=True)
class Work:
    """A film, and what is needed to work on it, when all that can be wrong with the wish has been told."""

    video: decode.Video
    target: Path
    tools: Tools
    """Whose answers the journal remembers."""
    given: list[Views]
    """The people on the user's photos."""
    references: dict[str, str]
    """Name and sha256 of each of these photos' files."""
    options: Options
    journal: Journal | None
    progress: Callable[[Progress], None] | None
    began: float


@contextmanager
def work_on(
    source: Path,
    target: Path,
    photos: Sequence[str | Path] | str | Path,
    options: Options,
    progress: Callable[[Progress], None] | None,
) -> Iterator[Work]:
    """What is open meanwhile is closed at the end. Raises UnmaskError."""
    began = time.perf_counter()
    names = [str(photo) for photo in ([photos] if isinstance(photos, (str, Path)) else photos)]
    check_paths(source, target, options.overwrite)
    encode.check_target(target)
    with one_thread_each(), ExitStack() as kept:
        video = kept.enter_context(decode.open_video(source, strict=options.strict, limits=limits(options)))
        tools = Tools.make(options)
        writer(video, target, options)  # which checks its options, and writes nothing yet
        given = tools.photos(names)
        check_names(given, options)
        journal = kept.enter_context(Journal(target, facts(source, given, options))) if options.resume else None
        asked = tools.remembered(journal) if journal else tools
        yield Work(video, target, asked, given, photo_hashes(names), options, journal, progress, began)


def searched(work: Work, *, whole: bool, opening: Opening | None = None) -> Tally:
    """Who may be in the film, and where somebody may be masked; `whole` and `opening` as `mine` has them."""
    options, watch = work.options, Stopwatch()
    mined, signs = [], Signs()
    if options.mine_references == "on":
        with watch.on("search"):
            mined, signs = mine(work.video, work.tools, watch, work.progress, whole=whole, opening=opening)
    if options.model == "tps" and not work.given and not mined:
        raise BadOption("the model tps needs a photo of each face; give --reference PHOTO, or choose another --model")
    cast = work.tools.cast(work.given, mined, options)
    first_seconds = opening.began - work.began if opening and opening.written else 0.0
    return Tally(work.video.path, work.target, cast, work.began, watch, signs=signs, first_seconds=first_seconds)


def mine(
    video: decode.Video, tools: Tools, watch: Stopwatch, progress: Callable[[Progress], None] | None = None, *,
    whole: bool = True, opening: Opening | None = None,
) -> tuple[list[Views], Signs]:  # fmt: skip
    """The people whose bare faces the film shows, looked for in all of it, whatever part is asked for; and signs of masks.

    Every picture is seen where an `opening` takes them, and, until there is such a sign, where the `whole` of the film may be
    copied, but no damage is allowed.
    """
    pace, went = Pace.of(video.info, track.EVERY, copied=whole), 0
    signs = Signs(gap=pace.gap)

    def searched() -> Iterator[Frame]:
        nonlocal went
        for frame in frames:
            if opening:
                opening.take(frame, signs, sure=not same.damage.found)
            yield frame
            went = frame.index + 1
            if progress:
                progress(Progress(went, video.info.frame_count, faces=0, filled=0, stage="search"))

    unseen = not (whole and video.damage.strict)
    # Before a look is done, nothing is left out: else the decoder's pictures of 4K took 58 MiB more, to the end.
    some = lambda: bool(signs.seconds) or (unseen and signs.looked >= 0)  # noqa: E731
    free = lambda: some() and (opening is None or opening.ended)  # noqa: E731
    skim = Skim(track.EVERY, int(2 * pace.every / video.info.time_base), free)  # `due` may take one in a longer gap
    with decode.open_video(video.path, limits=video.limits) as same, closing(same.frames(skim=skim)) as frames:
        found = mining.mine(
            searched(), pace=pace, settle=tools.settle, detect=tools.see, identity=tools.identity,
            segment=signs.noted(tools.is_masked), looked=signs.look, hurried=lambda: bool(opening and opening.full),
            workers=tools.workers, watch=watch,
        )  # fmt: skip
    tools.let_go()
    signs.finish(0 if same.damage.found else went)
    if opening:
        opening.finish(signs)
        video.warnings = list(dict.fromkeys(video.warnings + same.warnings))
        video.busy_seconds += same.busy_seconds * (opening.written == went)
    return found, signs


def told(tally: Tally, work: Work, warnings: list[str], codec_seconds: float) -> Report:
    video = work.video
    tally.damaged = len(video.damage.found)
    tally.warnings = [
        *video.damage.told(video.path), *tally.invented(), *work.tools.crowds, *video.warnings, *warnings,
    ]  # fmt: skip
    return tally.report(codec_seconds)


def photo_hashes(names: list[str]) -> dict[str, str]:
    paths = [reference.split_choice(reference.split_person(name)[1])[0] for name in names]
    return {path.name: provenance.sha256_of(path) for path in paths}


def check_names(given: list[Views], options: Options) -> None:
    """Raises BadOption where somebody is never to be filled of whom there is no photo, and who would not be known."""
    names = {photo.person for views in given for photo in views if photo.person}
    if unknown := [name for name in options.never if name not in names]:
        listed = ", ".join(sorted(names)) or "nobody"
        raise BadOption(f"never cannot be {unknown[0]!r}: the photos show {listed}; give --reference {unknown[0]}=PHOTO, too")


def limits(options: Options) -> Limits:
    return Limits(int(options.max_megapixels * 1e6), options.max_frames, options.max_streams)


def writer(video: decode.Video, target: Path, options: Options, pieces: Pieces | None = None) -> encode.Writer:
    """Raises BadOption, BadEnvironment; nothing is written yet."""
    if options.c2pa:
        provenance.check_keys(options.c2pa, target)
    seal = partial(provenance.sign, source=video.path, keys=options.c2pa) if options.c2pa else None
    return encode.Writer(
        target, video, encoder=options.encoder, crf=options.crf, preset=options.preset, audio=options.audio,
        start_seconds=options.trim_start, stop_seconds=options.trim_end, pieces=pieces, seal=seal,
    )  # fmt: skip


def facts(source: Path, given: list[Views], options: Options) -> dict[str, Any]:
    """All that a film depends on, by the words for it."""
    photos = sha256()
    for photo in (photo for views in given for photo in views):
        photos.update(f"{photo.name} {photo.person}".encode() + photo.image.tobytes() + photo.landmarks.tobytes())
    own = Path(options.model)
    weights = [entry.sha256 for entry in FILES.values()] + ([fingerprint(own)] if own.suffix == ".onnx" else [])
    chosen = {name: value for name, value in asdict(options).items() if name not in ("overwrite", "resume", "sidecar", "c2pa")}
    parts = {"version": f"{__version__} {version('av')}", "input": fingerprint(source)}
    return chosen | parts | {"reference": photos.hexdigest(), "weights": sha256("".join(weights).encode()).hexdigest()}
