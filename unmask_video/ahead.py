"""Running one stage ahead of the next, on a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T], size: int, name: str) -> Generator[T, None, None]:
    """The same items, made on a thread called `name` that runs at most `size` ahead.

    An error of theirs is raised here; the thread is joined however this generator ends.
    """
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(size)
    stop = threading.Event()

    def make() -> None:
        last: BaseException | None = None
        try:
            with contextlib.closing(items):
                for item in items:
                    ready.put((True, item))
                    if stop.is_set():
                        return
        except BaseException as error:
            last = error
        ready.put((False, last))

    thread = threading.Thread(target=make, name=name, daemon=True)
    thread.start()
    try:
        while True:
            more, item = ready.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stop.set()
        # Again and again: Ctrl-C in the middle of a queue's notify loses the wake-up of its writer.
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                while True:
                    ready.get_nowait()
            thread.join(0.1)
