"""Real masks in motion: the clips of the project's shared data, which may not be shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from faces import SHARED, shared, tools, write_photo
from helpers import facts

from training.clips import drawn
from training.data import pictures
from unmask_video import BadReference, Options, decode, detect, identify, pipeline, unmask
from unmask_video.face import Detection, Face, Reference
from unmask_video.frame import Frame
from unmask_video.geometry import apply, iou
from unmask_video.picture import photo, thumbnail
from unmask_video.reference import aligned
from unmask_video.tally import Tally
from unmask_video.turns import Painted

CLIPS = ("corridor_charan", "dancer_dishadtu", "laptop_gituatu", "never_masked_yash", "nurse_dishadtu", "putting_on_916")
OWN = ("never_masked_yash", "putting_on_916")
"""The first frame shows the person's bare face."""
MASKED_FROM = {"putting_on_916": 14}
"""Frame from which on the mask is worn; 0 where it is not said."""
MOMENTS = ({169: 260, 85: 186}, {223: 76})
"""Frames in which a man on a stage and a guest look well, and where they are, in pixels from the left."""
LEAST_PX = 60

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (SHARED / "data" / "clips").exists(), reason="no shared clips")]


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo that shows exactly one face."""
    path = tmp_path_factory.mktemp("photo") / "somebody.png"
    for _, rgb in pictures(shared("faces-open.tar")):
        write_photo(path, rgb)
        try:
            tools().photos([str(path)])
        except BadReference:
            continue
        return path
    pytest.fail("none of the open faces can be used")


def boxes(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points.min(0), points.max(0)])


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[np.ndarray]]:
    """Frame number -> boxes of the filled faces, noted while the work is done."""
    noted: dict[int, list[np.ndarray]] = {}
    fill = pipeline.fill

    def note(*given: object, **named: object) -> tuple[Frame, list[Painted]]:
        frame, faces = fill(*given, **named)
        noted[frame.index] = [boxes(apply(one.crop.crop_to_frame, one.crop.landmarks[:, :2])) for one in faces]
        return frame, faces

    monkeypatch.setattr(pipeline, "fill", note)
    return noted


def frames_of(path: Path) -> Iterator[Frame]:
    with decode.open_video(path) as video:
        yield from video.frames()


def seen_in_full(frame: Frame) -> list[Detection]:
    """What the network that does not look at whole frames otherwise finds in one."""
    picture = thumbnail(frame, 1280)
    shrunk = max(frame.width, frame.height) / max(picture.shape)
    corners = np.array([[0, 0], [picture.shape[1], 0], [0, picture.shape[0]]]) * shrunk
    return detect.placed(detect.centerface(picture), detect.to_frame(frame, corners, picture.shape))


def coverage(path: Path, filled: dict[int, list[np.ndarray]]) -> SimpleNamespace:
    """Faces of `LEAST_PX` or more that CenterFace finds in the source, and how many of them were filled."""
    found, missed = 0, []
    for frame in frames_of(path):
        large = [
            d.box
            for d in seen_in_full(frame)
            if d.score >= 0.5 and d.box[3] - d.box[1] >= LEAST_PX and frame.index >= MASKED_FROM.get(path.stem, 0)
        ]
        for box in large:
            found += 1
            mine = filled.get(frame.index, [])  # a film that is copied has none
            if not mine or iou(box[None], np.array(mine)).max() <= 0.2:
                missed.append(frame.index)
    return SimpleNamespace(found=found, missed=missed, share=1 - len(missed) / max(found, 1))


@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip(name: str, somebody: Path, filled: dict, tmp_path: Path) -> None:
    source, target = shared(f"clips/masked/{name}.mp4"), tmp_path / "out.mp4"
    if name in OWN:
        somebody = write_photo(tmp_path / "own.png", thumbnail(next(frames_of(source)), 10_000))
    report = unmask(source, target, reference=somebody, options=Options(unmatched="keep" if name in OWN else "fill"))
    old, new = facts(source), facts(target)
    cover = coverage(source, filled)
    packets = sum(map(len, old.sound))
    print(
        f"\n{name}: {new.count} of {old.count} frames, {packets} audio packets, faces >= {LEAST_PX} px {cover.found},"
        f" filled {cover.share:.1%}, not in frames {cover.missed}; {report.seconds:.0f} s, {report.ratio:.1f} times"
        f" decoding and encoding"
    )
    assert (new.count, new.times, new.durations, new.sound) == (old.count, old.times, old.durations, old.sound)
    if name == "never_masked_yash":
        assert report.filled == 0 and not any(filled.values())
    else:
        assert cover.found > 0 and cover.share >= 0.97


def view(frame: Frame, x: float) -> Reference:
    """Whose face is nearest to a column of a frame, as a photo."""
    made = tools()
    found = min(made.detect(frame), key=lambda one: abs(one.box[::2].mean() - x))
    face = Face(0, *made.settle(frame, found))
    return aligned("a photo", frame, face, made.identity(frame, face.landmarks))


def test_two_people_are_filled_and_nobody_else() -> None:
    """Everybody in a film of four shots wears a drawn mask; there are photos of the man on the stage and of a guest."""
    clip, made, options = shared("clips/talking/short_hamilton_clip.mp4"), tools(), Options(model="tps")
    frames = dict(enumerate(frames_of(clip)))
    cast, shots = made.cast([[view(frames[k], x) for k, x in moments.items()] for moments in MOMENTS], [], options), []

    def worn(video: decode.Video) -> Iterator[Frame]:
        for shot in drawn(video.frames(), made.linker):
            shots.append([(h.face, made.identity(shot.bare, h.face.landmarks)) for h in shot.faces])
            yield shot.masked

    told, match = [], cast.match
    cast.match = lambda seen: (told.append(faces) or (frame, faces) for frame, faces in match(seen))
    with decode.open_video(clip) as video:
        for _ in pipeline.route(worn(video), made, Tally(clip, clip, cast)):
            pass
    looks: dict[int, list[np.ndarray]] = {}
    for faces in shots:
        for face, vector in faces:
            looks.setdefault(face.track_id, []).append(vector)
    truth = {k: identify.assign([np.mean(v, axis=0)], cast.vectors)[0].person for k, v in looks.items()}
    right = wrong = owed = 0
    for faces, found in zip(shots, told, strict=True):
        for face, _ in faces:
            near = [p for f, mask, p in found if mask.present and iou(f.box[None], face.box[None])[0, 0] > 0.4]
            used, mine = [r for photos in near for r, _ in photos], truth[face.track_id]
            owed += mine is not None
            right += mine is not None and bool(used) and all(r in cast.people[mine] for r in used)
            # Who was found twice when the mask was drawn is whom either of the two is.
            either = {truth[f.track_id] for f, _ in faces if iou(f.box[None], face.box[None])[0, 0] > 0.4} - {None}
            wrong += any(all(r not in cast.people[person] for person in either) for r in used)
    print(f"\n{clip.name}: {owed} faces of the two, {right} filled with their own photo, {wrong} faces with a wrong one")
    assert right >= 0.85 * owed > 0 and wrong == 0  # the guest, in the dark, is lost for a second


def test_photos_and_frames_go_one_way(somebody: Path) -> None:
    """The photo's own face is found again in a frame made of it."""
    ((view,),) = tools().photos([str(somebody)])
    found = tools().detect(photo(view.image))
    assert len(found) == 1
