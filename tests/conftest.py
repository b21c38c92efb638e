"""What tests of several files ask for, and what is printed after them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import rows


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("unmask-")] == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if rows.ROWS:
        terminalreporter.section("inputs, promises, outcomes")
        for line in rows.table():
            terminalreporter.line(line)
