"""Cover pictures and attachments go from film to film."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from rows import ROWS
from test_matrix import FILM, call, folder, make  # noqa: F401

from unmask_video.verify import verify

COVER = cv2.imencode(".jpg", np.full((48, 48, 3), 200, np.uint8))[1].tobytes()


@pytest.mark.parametrize(("source", "target"), [(".mp4", ".mp4"), (".mkv", ".mkv"), (".mp4", ".mkv"), (".mkv", ".mp4")])
def test_covers_attachments_and_data(source: str, target: str, folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture) -> None:
    make(folder / f"plain{source}", FILM)
    (folder / "cover.jpg").write_bytes(COVER)
    path, out = folder / f"in{source}", folder / f"out{target}"
    files = str(folder / f"plain{source}"), str(folder / "cover.jpg")
    with av.open(files[0]) as film, av.open(files[1]) as cover, av.open(str(path), "w") as made:
        streams = {s: made.add_stream_from_template(s, opaque=True) for s in film.streams}
        if source == ".mkv":
            made.add_attachment("cover.jpg", "image/jpeg", COVER)
            made.add_attachment("font.ttf", "application/x-truetype-font", bytes(100))
        else:
            streams[cover.streams[0]] = made.add_stream_from_template(cover.streams[0], opaque=True)
            streams[cover.streams[0]].disposition = Disposition.attached_pic
        made.start_encoding()
        for packet in [*(p for p in cover.demux() if p.size and source == ".mp4"), *(p for p in film.demux() if p.size)]:
            if packet.stream in cover.streams:
                packet.pts = packet.dts = 0
            packet.stream = streams[packet.stream]
            made.mux(packet)
    code, summary, error = call(capsys, path, out, "-r", folder / "face.png")
    found = verify(path, out)
    assert code == 0 and not [f for f in found if f.verdict == "FAULT"], found
    with av.open(str(out)) as film:
        covers = [s for s in film.streams.video if s.disposition & Disposition.attached_pic]
        assert len(covers) == 1 and next(bytes(p) for p in film.demux(covers[0])) == COVER
    assert ("is left out" in summary) == (source == ".mkv" and target == ".mp4")
    noted = "; ".join(f.told for f in found if f.verdict == "noted")
    ROWS.append((f"cover, attachment: {source} to {target}", "all that the container holds", noted or "kept"))
