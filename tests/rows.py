"""What tests have shown of each kind of input; `conftest` prints it at the end."""

from __future__ import annotations

ROWS: list[tuple[str, str, str]] = []
"""Input, promise, outcome."""


def table() -> list[str]:
    lines = [("input", "promise", "outcome"), *ROWS]
    wide = [max(len(line[k]) for line in lines) for k in (0, 1)]
    return [f"{name:{wide[0]}}  {promise:{wide[1]}}  {outcome}" for name, promise, outcome in lines]
