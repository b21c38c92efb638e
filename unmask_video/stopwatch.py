"""How long each stage works: on the CPU, and by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
END = object()


@dataclass(eq=False)
class Stopwatch:
    """Adds up the time of named work, without that of other named work within it. Any thread may use it."""

    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds on the CPU by name: of the thread that works, so what a library gives to threads of its own is missing."""
    wall: dict[str, float] = field(default_factory=dict)
    """Seconds by the clock, by name; what waits for another thread is counted, too."""

    def __post_init__(self) -> None:
        self._lock, self._local = threading.Lock(), threading.local()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count what happens in this context."""
        stack = self._local.__dict__.setdefault("within", [])
        stack.append([0.0, 0.0])
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            spent = time.thread_time() - cpu, time.perf_counter() - wall
            within = stack.pop()
            if stack:
                stack[-1] = [a + b for a, b in zip(stack[-1], spent, strict=True)]
            with self._lock:
                for table, whole, others in zip((self.cpu, self.wall), spent, within, strict=True):
                    table[name] = table.get(name, 0.0) + whole - others

    def stage(self, name: str, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; what it takes to make them is counted, but for that of the stages that they come through."""
        source = iter(items)
        while True:
            with self.on(name):
                item = next(source, END)
            if item is END:
                return
            yield item
