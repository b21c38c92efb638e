"""Parts of a film by many processes, here, on a cluster, from elsewhere: what is lost is done again, and the film is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, facts, frames_25
from test_journal import left, pictures

from unmask_video import BadEnvironment, BadOption, batch, cli, ray_nodes, remote, unmask
from unmask_video.processes import Processes

COUNT = 510
"""Three pieces."""
FAST = {"crf": "20", "preset": "ultrafast"}
FILM = Film(size=(256, 256), pts=frames_25(COUNT), options=FAST, sound=("eng",), sound_seconds=20.0)
pytestmark = pytest.mark.slow
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to see processes in")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one film, a photo, and the film made in one go."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "in").mkdir()
    write_photo(folder / "face.png", portrait())
    write_footage(folder / "in/film.mp4", Footage(masked()[0]), FILM)
    unmask(folder / "in/film.mp4", folder / "whole.mp4", reference=folder / "face.png")
    return folder


def words_of(once: Path, source: str, out: str, *more: str) -> list[str]:
    return ["batch", source, out, "-r", f"Eileen={once / 'face.png'}", "--parts", "3", *more]


def assert_made(once: Path, out: Path) -> dict[str, Any]:
    """The film is there, as if made in one go, and nothing else; what is told of it."""
    assert pictures(out / "film.mp4") == pictures(once / "whole.mp4") and facts(out / "film.mp4") == facts(once / "whole.mp4")
    assert {path.name for path in left(out)} <= {".sheets"} and (out / "film.mp4.json").exists()
    return json.loads((out / "film.mp4.json").read_bytes())


def told(place: Path) -> dict[str, Any]:
    (film,) = json.loads((place / "report.json").read_bytes())["films"]
    return film


def painters(out: Path) -> list[int]:
    """Processes that paint parts of films there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"paint:" in line and str(out).encode() in line:
            found.append(int(path.parent.name))
    return found


def soon(what: Callable[[], Any], seconds: float = 90) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
    return found


@needs_proc
def test_a_part_whose_process_is_killed_is_done_again(once: Path, tmp_path: Path) -> None:
    def kill() -> None:
        os.kill(soon(lambda: painters(tmp_path))[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert cli.exit_code(words_of(once, str(once / "in"), str(tmp_path / "out"), "--workers", "2")) == 0
    thread.join()
    assert assert_made(once, tmp_path / "out")["people"][0]["name"] == "Eileen"
    film = told(tmp_path / "out")
    (event,) = film["events"]
    assert film["parts"] == 3 and event.endswith("its process was killed by SIGKILL; it is done again")
    assert event in (tmp_path / "out/report.html").read_text()


@needs_proc
def test_a_killed_batch_makes_no_closed_piece_again(once: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "unmask_video", *words_of(once, str(once / "in"), str(tmp_path / "out"))]
    made: dict[Path, int] = {}
    for pieces in (0, 1, 2):
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            soon(lambda: len(there(tmp_path)) > pieces or (pieces == 0 and list(tmp_path.glob("out/.film*/table-0*"))))  # noqa: B023
            process.kill()
        soon(lambda: not painters(tmp_path))
        now = there(tmp_path)
        assert all(now[path] == when for path, when in made.items()), "what was closed is left as it is"
        made = now
    assert made and subprocess.run(words, capture_output=True).returncode == 0
    assert_made(once, tmp_path / "out")


def there(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("out/.film.mp4.unmask/piece-??????")}


def test_films_that_lie_elsewhere(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    source, out = f"file://{once / 'in'}", f"file://{tmp_path / 'out'}"
    assert cli.exit_code(words_of(once, source, out)) == 0
    assert_made(once, tmp_path / "out")
    film = told(tmp_path / "unmask-report")
    assert (film["state"], film["parts"], film["report"]["filled"]) == ("done", 3, COUNT) and film["checks"]
    assert "data:image/jpeg" in (tmp_path / "unmask-report/report.html").read_text()
    assert cli.exit_code(words_of(once, source, out)) == 0 and told(tmp_path / "unmask-report")["state"] == "there"


def test_what_cannot_be_reached_is_told() -> None:
    pytest.importorskip("fsspec")
    for place in ("nosuch://films", "file:///no/such/folder"):
        with pytest.raises(BadOption, match="cannot be reached|is not a folder"):
            batch.plan(place, "out", "{stem}{suffix}")


def test_a_cluster_s_address_needs_its_engine_and_an_engine_its_package(
    once: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.exit_code(words_of(once, str(once / "in"), str(tmp_path), "--address", "auto")) == 2
    assert "give --engine ray, too" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadEnvironment, match="Ray is not installed; pip install"):
        ray_nodes.RayNodes(None, None, [])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(BadEnvironment, match="to reach s3://a, pip install"):
        remote.system("s3://a")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two machines of one core each, on loopback."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "memory": 4 << 30, "object_store_memory": 80 << 20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=size)
    yield found, found.add_node(**{key: value for key, value in size.items() if key != "include_dashboard"})
    found.shutdown()


@needs_proc
def test_a_cluster_that_loses_a_worker_and_a_machine_makes_the_same_film(
    cluster: Any, once: Path, tmp_path: Path
) -> None:
    machines, second = cluster
    words = words_of(once, str(once / "in"), str(tmp_path / "out"), "--engine", "ray", "--address", machines.address)
    with subprocess.Popen([sys.executable, "-m", "unmask_video", *words], stderr=subprocess.PIPE, text=True) as process:
        painter = soon(lambda: painters(tmp_path))[0]
        worker = int(Path(f"/proc/{painter}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(worker, signal.SIGKILL)
        soon(lambda: painter not in painters(tmp_path), 10)
        soon(lambda: len(painters(tmp_path)) >= 2)
        machines.remove_node(second, allow_graceful=False)
        told_last = process.stderr.read().splitlines()[-1:]
    assert process.returncode == 0, told_last
    assert_made(once, tmp_path / "out")
    events = told(tmp_path / "out")["events"]
    assert 2 <= len(events) <= 3 and all("was lost" in event and event.endswith("it is done again") for event in events)


def test_a_cluster_s_machines_are_given_the_photos(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = f"--reference=Eileen={once / 'face.png'}#1"
    (photo,) = ray_nodes.photos_in([word, "--crf", "20", "--reference=none.png"])
    assert (photo.who, photo.name, photo.choice) == ("Eileen=", "face.png", "#1")
    script = "import sys; n = sys.argv[2].split('=')[2][:-2]; print(len(open(n, 'rb').read()), *sys.argv[1:], file=sys.stderr)"
    command = lambda words: subprocess.Popen([sys.executable, "-c", script, *words], stderr=subprocess.PIPE, text=True)  # noqa: E731
    monkeypatch.setattr(ray_nodes, "started", command)
    who, line, code = ray_nodes.run_here(["x", word], [photo])
    size, x, given = line.split()
    assert (size, x, code) == (str((once / "face.png").stat().st_size), "x", 0) and "process" in who
    assert given.startswith("--reference=Eileen=") and given.endswith("/face.png#1") and str(once) not in given


def test_a_stopped_engine_begins_nothing(tmp_path: Path) -> None:
    engine = Processes(1)
    work = batch.Batch([], engine)
    work.stop()
    (outcome,) = work.run([batch.Job("a.mp4", str(tmp_path / "a.mp4"), str(tmp_path / "out/a.mp4"))])
    assert outcome.state == "stopped" and not (tmp_path / "out").exists()
