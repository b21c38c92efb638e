"""Scores whole films, where the truth is known: masks are drawn on bare clips, and the product takes them off again.

    python -m training.evaluate_video CLIP.mp4 ... --strips strips/

The reference is the most frontal frame of a clip's first second; what comes less than two seconds later is not scored.
Nothing is encoded in between, so that the codec is not scored, too.
"""

from __future__ import annotations

import csv as comma
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

import click
import cv2
import numpy as np
import torch

from training import metrics, plots, tables, temporal
from training.clips import Hidden, Shot, best_face, drawn, unsteady
from training.evaluate import in_one_sentence, net
from training.identity import identity_crop, mobilefacenet
from training.lpips import LPIPS
from unmask_video import decode, pipeline, smooth
from unmask_video.errors import BadOption
from unmask_video.face import UPPER, Reference, align
from unmask_video.frame import Frame
from unmask_video.geometry import scale_of
from unmask_video.identify import SAME_PERSON
from unmask_video.landmarks import region_of_landmarks
from unmask_video.options import Options
from unmask_video.picture import sample
from unmask_video.reference import aligned
from unmask_video.tally import Tally
from unmask_video.warp import place

SIZE = 256
"""Pixels of the crops that are compared."""
AWAY = 2.0
"""Seconds from the reference to the first frame that is scored."""
STRIP = 8
"""Frames of a strip."""
LOWER = np.setdiff1d(np.arange(468), UPPER)
"""Points that masks hide."""
WITHOUT: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "steady": lambda: mock.patch("unmask_video.steady.steady", lambda found, **_: unsteady(found)),
    "pose": lambda: mock.patch("unmask_video.warp.place", lambda shape, seen: (seen, np.ones(len(seen), bool))),
    "blend": lambda: mock.patch("unmask_video.smooth.smooth", partial(smooth.smooth, share=0.0)),
    "relight": lambda: mock.patch("unmask_video.inpaint.relight", lambda photo, *_: (np.ones_like(photo), 0 * photo)),
    "seam": lambda: mock.patch("unmask_video.inpaint.seam_colours", lambda frame, *_: np.zeros_like(frame)),
    "grain": lambda: mock.patch("unmask_video.warp.grain", lambda *_: 0.0),
}
"""What can be left out, to see what it is good for: smoothed landmarks, the photo's own shape, blending, light, seam, grain.

Only the product's route is changed: masks are drawn, and photos chosen, by names that were imported before."""
COLUMNS = {
    "psnr": ("PSNR hole", 2), "ssim": ("SSIM hole", 4), "lpips": ("LPIPS-Alex hole", 4), "identity": ("identity mean", 3),
    "identity_spread": ("identity spread", 3), "neighbours": ("identity neighbours", 3),
    "warping": ("warping ratio", 2), "warping_by_bare": ("warping, bare flow", 2), "tlpips": ("tLPIPS", 4),
    "jitter": ("jitter ratio", 2), "seam": ("seam ratio", 2),
    "guess": ("points by guess", 2), "shape": ("points by shape", 2),
}  # fmt: skip
"""By key: the column's title, and its decimals. Ratios are to the bare film, whose own flow counts its speech, which
a fill cannot have: "bare flow" charges it with that. The last two are how far the hidden
landmarks lie from the bare frame's, in pixels of `SIZE`: FaceMesh's guess on the masked frame, and the photo's shape."""
CURVES = ("psnr", "lpips", "identity", "warping_filled", "tlpips")
"""What `--plot` shows over time."""
Row = dict[str, str | float]


@dataclass(eq=False)
class Meter:
    """Compares a filled film with the bare one, frame by frame, by the largest face of the photo's person."""

    tools: pipeline.Tools
    photo: Reference
    theirs: dict[int, bool] = field(default_factory=dict)
    """By track, whether it is that person, as the bare film shows."""
    frames: list[dict[str, float]] = field(default_factory=list)
    """Of each scored frame: its time in seconds, and what was measured."""
    points: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"bare": [], "filled": []})
    """Lower faces as FaceMesh sees them, [N, 2] in face heights."""
    strip: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=STRIP))
    before: tuple[int, Shot, Frame, torch.Tensor] | None = None
    """Track, given and filled frame, and who the filled face is, of the last frame."""

    def __post_init__(self) -> None:
        self.lpips, self.who = LPIPS("alex"), mobilefacenet()

    def look(self, shot: Shot, filled: Frame) -> None:
        """The next frame, as it was and as it became."""
        faces = [h for h in shot.faces if self.theirs[h.face.track_id]]
        if not faces:
            self.before = None
            return
        hidden = max(faces, key=lambda h: np.prod(h.face.box[2:] - h.face.box[:2]))
        crop = align(hidden.face.landmarks, SIZE)
        truth, masked, got = (sample(f, crop, SIZE) for f in (shot.bare, shot.masked, filled))
        hole = cv2.resize(hidden.mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 0.5
        if not hole.any():
            return
        told, vector = self.of_frame(truth, got, hole)
        if self.before and self.before[0] == hidden.face.track_id:
            told |= self.of_pair(truth, masked, got, hole, crop) | {"neighbours": float((vector * self.before[3]).sum())}
        seen = {n: self.seen(f, hidden) for n, f in (("bare", shot.bare), ("masked", shot.masked), ("filled", filled))}
        scale, *_ = hidden.face.pose
        for name, points in self.points.items():
            points.append(seen[name][LOWER, :2] / scale)
        for name, points in (("guess", seen["masked"]), ("shape", place(self.photo.landmarks, seen["masked"])[0])):
            apart = np.linalg.norm((points - seen["bare"])[LOWER, :2], axis=1).mean()
            told[name] = float(apart / scale_of(crop))
        self.frames.append({"time": shot.bare.time_seconds} | told)
        self.strip.append(np.vstack([truth, masked, got]).clip(0, 255))
        self.before = (hidden.face.track_id, shot, filled, vector)

    def meet(self, shot: Shot) -> None:
        """Find out who is new in it."""
        for face in (h.face for h in shot.faces if h.face.track_id not in self.theirs):
            self.theirs[face.track_id] = self.tools.identity(shot.bare, face.landmarks) @ self.photo.identity >= SAME_PERSON

    @torch.no_grad()
    def of_frame(self, truth: np.ndarray, got: np.ndarray, hole: np.ndarray) -> tuple[dict[str, float], torch.Tensor]:
        both = net(np.where(hole[..., None], got, truth), truth)
        a, b = self.who(identity_crop(both))
        told = {
            "psnr": metrics.psnr(got, truth, hole), "ssim": metrics.ssim(got, truth, hole),
            "lpips": self.lpips(both[:1], both[1:]).item(), "identity": float((a * b).sum()),
            "seam_filled": temporal.seam(got, hole), "seam_bare": temporal.seam(truth, hole),
        }  # fmt: skip
        return told, a

    @torch.no_grad()
    def of_pair(
        self, truth: np.ndarray, masked: np.ndarray, got: np.ndarray, hole: np.ndarray, crop: np.ndarray
    ) -> dict[str, float]:
        """The last frame, by this one's crop, and this one. Each film should move as it does itself: what is filled,
        as the masked film that the product got, for nobody can tell from that how the mouth behind the mask moves.
        """
        _, shot, filled, _ = self.before
        bare, earlier = sample(shot.bare, crop, SIZE), sample(filled, crop, SIZE)
        speech = temporal.Motion.between(bare, truth)
        source = temporal.Motion.between(sample(shot.masked, crop, SIZE), masked)
        changes = [self.lpips(net(a), net(b)).item() for a, b in ((bare, truth), (earlier, got))]
        return {
            "warping_bare": temporal.warping_error(bare, truth, speech, hole),
            "warping_filled": temporal.warping_error(earlier, got, source, hole),
            "warping_by_bare_filled": temporal.warping_error(earlier, got, speech, hole),
            "tlpips": abs(changes[1] - changes[0]),
        }

    def seen(self, frame: Frame, hidden: Hidden) -> np.ndarray:
        """Landmarks [468, 3] as FaceMesh sees them."""
        ((landmarks, _),) = self.tools.measure(frame, [region_of_landmarks(hidden.face.landmarks)])
        return landmarks

    def row(self) -> Row:
        """Means over the film."""
        mean = lambda key: float(np.nanmean([f[key] for f in self.frames if key in f]))  # noqa: E731
        over = lambda key: mean(f"{key}_filled") / max(mean(f"{key}_bare"), 1e-12)  # noqa: E731
        plain = {key: mean(key) for key in ("psnr", "ssim", "lpips", "identity", "neighbours", "tlpips", "guess", "shape")}
        shaken = {name: temporal.jitter(points) for name, points in self.points.items()}
        return plain | {
            "identity_spread": float(np.std([f["identity"] for f in self.frames])), "warping": over("warping"),
            "warping_by_bare": mean("warping_by_bare_filled") / max(mean("warping_bare"), 1e-12),
            "seam": over("seam"), "jitter": shaken["filled"] / max(shaken["bare"], 1e-12),
        }  # fmt: skip


def score(clip: Path, options: Options, *, photo: Path | None, look: float, seconds: float) -> Meter:
    """The product on one clip with drawn masks."""
    tools = pipeline.Tools.make(options)
    if photo:
        first, ((reference,),) = -AWAY, tools.photos([str(photo)])
    else:
        with decode.open_video(clip) as video:
            frame, face = best_face(video.frames(0.0, look), tools.linker)
        first = frame.time_seconds
        reference = aligned(clip.stem, frame, face, tools.identity(frame, face.landmarks))
    waiting: deque[Shot] = deque()

    def masked(video: decode.Video) -> Iterator[Frame]:
        for shot in drawn(video.frames(0.0, seconds), tools.linker):
            waiting.append(shot)
            yield shot.masked

    meter = Meter(tools, reference)
    with decode.open_video(clip) as video:
        tally = Tally(clip, clip, tools.cast([[reference]], [], options))
        for filled in pipeline.route(masked(video), tools, tally):
            meter.meet(shot := waiting.popleft())
            if shot.bare.time_seconds >= first + AWAY:
                meter.look(shot, filled)
    if len(meter.frames) < 3:
        raise BadOption(f"{clip} has too few frames with that face {AWAY:g} s after the photo; give longer clips, or --look")
    return meter


def left_out(names: str) -> ExitStack:
    """A context in which parts of the product do nothing; names with + between them."""
    stack = ExitStack()
    for name in filter(None, names.split("+")):
        stack.enter_context(WITHOUT[name]())
    return stack


def parse_without(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    for name in (n for group in names for n in group.split("+") if n):
        if name not in WITHOUT:
            raise click.BadParameter(f"{name} cannot be left out; give any of {', '.join(WITHOUT)}")
    return names


def table(rows: list[Row]) -> list[list[str]]:
    """Rows of cells; first the titles, last the medians over clips."""
    settings = dict.fromkeys((row["model"], row["without"]) for row in rows)
    for model, without in settings if len(rows) > len(settings) else ():
        some = [row for row in rows if (row["model"], row["without"]) == (model, without)]
        medians = {key: float(np.median([row[key] for row in some])) for key in ("frames", *COLUMNS)}
        rows = [*rows, {"clip": "median", "model": model, "without": without} | medians]
    titles = ["clip", "model", "without", "frames", *(title for title, _ in COLUMNS.values())]
    return [titles] + [
        [row["clip"], row["model"], row["without"] or "nothing", f"{row['frames']:.0f}"]
        + [f"{row[key]:.{decimals}f}" for key, (_, decimals) in COLUMNS.items()]
        for row in rows
    ]


@click.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--models", default="tps", show_default=True, help="Names and .onnx files, with commas between them.")
@click.option("--without", default="", callback=parse_without,
              help=f"Runs that leave parts out, with commas between runs: {', '.join(WITHOUT)}; pose+blend leaves out two.")
@click.option("--reference", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Photo of the person on all clips, in place of a frame of each.")
@click.option("--look", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Without a photo, it is the best frame of a clip's first so many seconds.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(4), help="Most of a clip that is used.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write what was measured of every frame.")
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for a PNG of each clip: what was measured, over time.")
@click.option("--strips", type=click.Path(file_okay=False, path_type=Path),
              help=f"Folder for a PNG of each run's last {STRIP} frames: bare, masked, filled.")
def main(
    clips: tuple[Path, ...], models: str, without: list[str], reference: Path | None, look: float, seconds: float,
    csv: Path | None, plot: Path | None, strips: Path | None,
) -> None:  # fmt: skip
    """Score the product on CLIPS of bare faces, with masks drawn on them."""
    rows, told = [], []
    with in_one_sentence():
        for clip in clips:
            for model in models.split(","):
                for parts in dict.fromkeys(["", *without]):
                    with left_out(parts):
                        options = Options(model=model, unmatched="fill")
                        meter = score(clip, options, photo=reference, look=look, seconds=seconds)
                    about = {"clip": clip.stem, "model": Path(model).name, "without": parts}
                    rows.append(about | {"frames": len(meter.frames)} | meter.row())
                    told += [about | frame for frame in meter.frames]
                    click.echo(tables.as_text(table(rows[-1:])), err=True)
                    if strips:
                        strips.mkdir(parents=True, exist_ok=True)
                        name = "-".join(filter(None, (clip.stem, Path(model).stem, parts)))
                        cv2.imwrite(str(strips / f"{name}.png"), np.hstack(meter.strip)[..., ::-1].round().astype(np.uint8))
        click.echo(tables.as_text(table(rows)))
        if csv:
            write_csv(csv, told)
        if plot:
            plot.mkdir(parents=True, exist_ok=True)
            for clip in dict.fromkeys(line["clip"] for line in told):
                mine = [line for line in told if line["clip"] == clip]
                known = [key for key in CURVES if any(key in line for line in mine)]
                cv2.imwrite(str(plot / f"{clip}.png"), np.vstack([plots.panel(key, curves(mine, key)) for key in known]))


def write_csv(path: Path, lines: list[Row]) -> None:
    keys = list(dict.fromkeys(key for line in lines for key in line))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = comma.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(lines)


def curves(lines: list[Row], key: str) -> dict[str, plots.Curve]:
    """One measure of a clip over time, for each model and each part that was left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        name = " without ".join(filter(None, (line["model"], line["without"])))
        found.setdefault(name, []).append((line["time"], line.get(key, np.nan)))
    return {name: tuple(np.array(points, float).T) for name, points in found.items()}


if __name__ == "__main__":
    main()
