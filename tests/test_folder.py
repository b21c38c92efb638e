"""Whose the folder of a half-made film is: one process's at a time, also while another is just ending."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from unmask_video import BadOption, journal
from unmask_video.journal import Journal, folder_of

FACTS = {"crf": 20}
needs_locks = pytest.mark.skipif(journal.fcntl is None, reason="no locks on this system")


def begun(folder: Path) -> Journal:
    """It works in its folder, in which something is kept."""
    found = Journal(folder / "out.mp4", FACTS)
    (found.make() / "kept").touch()
    return found


@needs_locks
def test_two_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.1)
    with begun(tmp_path) as found:
        with pytest.raises(BadOption, match="another process works in"):
            Journal(tmp_path / "out.mp4", FACTS)
        assert (found.folder / "kept").exists()
    assert not found.folder.exists()


@needs_locks
@pytest.mark.parametrize("stays", [True, False])
def test_one_that_is_just_ending_is_waited_for(tmp_path: Path, stays: bool) -> None:
    ends = begun(tmp_path)
    ends.stays = stays
    threading.Timer(0.5, ends.__exit__, (None, None, None)).start()
    with Journal(tmp_path / "out.mp4", FACTS) as found:
        assert (found.make() / "kept").exists() == stays
        assert (found.folder / "facts.json").exists()


@needs_locks
def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(journal.fcntl, "flock", flock)
    with pytest.raises(BadOption, match=r"cannot be locked \(No locks available\); choose another output"):
        Journal(tmp_path / "out.mp4", FACTS).make()


def test_who_never_worked_in_a_folder_leaves_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "out.mp4", FACTS):
        kept = begun(tmp_path)
    assert (kept.folder / "kept").exists()


def test_a_folder_of_which_nothing_is_known_is_begun_anew(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "piece-000000").write_bytes(b"of a film whose removal was stopped")
    with Journal(tmp_path / "out.mp4", FACTS) as found:
        assert {path.name for path in found.make().iterdir()} == {"facts.json", "lock"}
