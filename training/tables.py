"""Scores of many cases, their means, and how they are shown: in the terminal, as CSV, as Markdown, as a grid."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from training import metrics
from training.cases import groups

Line = dict[str, str | float]
"""A line of a table: all of `FIRST`, and some of `COLUMNS`."""
FIRST = ("group", "model", "mask", "cases")
COLUMNS = {
    "l1": ("L1 crop", 2), "psnr": ("PSNR crop", 2), "ssim": ("SSIM crop", 4),
    "lpips_vgg": ("LPIPS-VGG crop", 4), "lpips_alex": ("LPIPS-Alex crop", 4),
    "hole_l1": ("L1 hole", 2), "hole_psnr": ("PSNR hole", 2), "hole_ssim": ("SSIM hole", 4),
    "hole_lpips_vgg": ("LPIPS-VGG hole", 4), "hole_lpips_alex": ("LPIPS-Alex hole", 4),
    "skin_colour_error": ("colour error", 2), "high_frequency_ratio": ("high-freq. ratio", 3),
    "identity": ("identity cosine", 3), "frechet": ("Frechet (VGG16)", 3), "cpu_ms": ("CPU-ms a face", 1),
    "parameters": ("parameters", 0), "file_bytes": ("file bytes", 0),
}  # fmt: skip
"""By key: the column's title, and its decimals."""
FEW = ("hole_l1", "hole_psnr", "hole_lpips_alex", "skin_colour_error", "high_frequency_ratio", "identity")
"""Columns of the tables by age and by origin."""
CAPTION = 24
"""Height in pixels of the names above a grid of pictures."""


@dataclass(frozen=True, eq=False)
class Results:
    """What is kept of the cases: nothing as large as a picture, but for the grid."""

    names: list[str] = field(default_factory=list)
    scores: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    """By model and kind of mask, a dict a case."""
    features: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    truth: list[np.ndarray] = field(default_factory=list)
    """Features of the truths."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model: cpu_ms, parameters, file_bytes."""
    shown: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    """The grid's columns by name, [S, S, 3] each, of the first cases."""

    def lines(self) -> list[Line]:
        """A line for each group of faces, model and mask; those of all faces come first."""
        told, parts = [groups(name) for name in self.names], defaultdict(list)
        for index, group in enumerate(told):
            for kind in ("age", "origin") if any(told) else ():
                parts[f"{kind} {group.get(kind, 'unknown')}"].append(index)
        return [self.whole(key) for key in self.scores] + [
            self.means(group, key, parts[group]) for group in sorted(parts) for key in self.scores
        ]

    def whole(self, key: tuple[str, str]) -> Line:
        """The line of all faces, with what is no mean."""
        line = self.means("all", key, range(len(self.names)))
        if len(self.names) > 1:  # fewer have no covariance
            line["frechet"] = metrics.frechet(np.stack(self.features[key]), np.stack(self.truth))
        return line | self.costs[key[0]]

    def means(self, group: str, key: tuple[str, str], indices: Iterable[int]) -> Line:
        """Means over some cases; of a group only the columns `FEW`."""
        some = [self.scores[key][k] for k in indices]
        means = {k: float(np.mean([s[k] for s in some])) for k in some[0] if group == "all" or k in FEW}
        return {"group": group, "model": key[0], "mask": key[1], "cases": len(some), **means}


def cell(line: Line, key: str) -> str:
    """What stands in a column of a line; nothing where the line has no such number."""
    if key not in line:
        return ""
    return str(line[key]) if key in FIRST else f"{line[key]:.{COLUMNS[key][1]}f}"


def as_csv(lines: list[Line]) -> str:
    """One table of all lines; columns are named by their keys."""
    out, keys = io.StringIO(), (*FIRST, *COLUMNS)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([cell(line, key) for key in keys] for line in lines)
    return out.getvalue()


def tables(lines: list[Line]) -> list[list[list[str]]]:
    """A table for all faces, one by age and one by origin, as rows of cells; first the titles."""
    found = []
    for kind in ("all", "age", "origin"):
        some = [line for line in lines if str(line["group"]).split()[0] == kind]
        keys = [key for key in (*FIRST, *COLUMNS) if any(key in line for line in some)]
        if some:
            titles = [COLUMNS[key][0] if key in COLUMNS else key for key in keys]
            found.append([titles, *([cell(line, key) for key in keys] for line in some)])
    return found


def as_text(rows: list[list[str]]) -> str:
    """A table for the terminal: titles in two lines, words to the left, numbers to the right."""
    titles = [title.partition(" ")[::2] for title in rows[0]]
    rows = [[above for above, _ in titles], [below for _, below in titles], *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_justified(row, widths)).rstrip() for row in rows)


def _justified(row: list[str], widths: list[int]) -> Iterable[str]:
    """The cells at the columns' widths."""
    words = len(FIRST) - 1
    for k, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.ljust(width) if k < words else text.rjust(width)


def as_markdown(rows: list[list[str]]) -> str:
    """A table for a README."""
    words = len(FIRST) - 1
    rule = ["---"] * words + ["---:"] * (len(rows[0]) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]) + "\n"


def grid(columns: dict[str, list[np.ndarray]]) -> np.ndarray:
    """Columns of pictures [S, S, 3] in 0..255 beside each other, each below its name: uint8 [h, w, 3]."""
    whole = np.hstack([np.vstack([_caption(name, len(shown[0])), *shown]) for name, shown in columns.items()])
    return whole.round().clip(0, 255).astype(np.uint8)


def _caption(name: str, width: int) -> np.ndarray:
    """A name in black on white: uint8 [CAPTION, width, 3]."""
    strip = np.full((CAPTION, width, 3), 255, np.uint8)
    (needed, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    scale = 0.5 * min(1.0, (width - 8) / needed)
    return cv2.putText(strip, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
