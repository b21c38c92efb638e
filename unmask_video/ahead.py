"""Stages side by side: one ahead of the next on a thread of its own, or one item beside the other on several."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

T, U = TypeVar("T"), TypeVar("U")


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV's own threads rest, for they would only get into the way of what runs side by side here."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def side_by_side(
    make: Callable[[T], U], items: Iterable[T], workers: int, name: str, *, at_once: Callable[[], bool] = lambda: False
) -> Generator[U, None, None]:  # fmt: skip
    """`make` of each item, in their order, made on so many threads called `name`; twice as many items are held.

    While it is wanted `at_once`, none is.

    The first error is raised here; the threads are joined however this generator ends.
    """
    waiting: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            while len(waiting) >= 2 * workers or (waiting and at_once()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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
