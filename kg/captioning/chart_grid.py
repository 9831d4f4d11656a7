"""What the readers of charts hand on: rows and columns with names, and how much of the picture they explain.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from kg.captioning.chart_values import centre, level_groups, united
from kg.captioning.layout import TextPiece

__all__ = ["ChartGrid", "aligned_cells", "column_names", "tidy_label"]

_SWATCH = re.compile(r"^[■□▪▫●○◆◼◻•·|_\-–—\s]+(?=\w)|[■□▪▫●○◆◼◻|\s]+$")
_NEAR = 4.5  # of the line height: a legend farther above the values belongs to something else
_MAX_ALIGNED = 12  # columns; a row with fewer values of a wider table fills it from the left
_MAX_NAME = 60  # characters: a longer line over the values is a subtitle


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartGrid:
    """A table that was read off a chart.

    ``header`` names each column, the labels' first; it is empty where the chart names none. ``rows`` have a label, then
    one cell for each column, empty where no value was found. ``explained`` is the share of the picture's values that
    have a place in it; ``used`` are the pieces it was made of.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    explained: float
    used: tuple[TextPiece, ...]

    @property
    def n_values(self) -> int:
        """Count the cells that hold a value."""
        return sum(bool(cell) for row in self.rows for cell in row[1:])


def tidy_label(text: str) -> str:
    """Drop swatches that were read as characters, and surplus white space."""
    return " ".join(_SWATCH.sub("", text).split())


def column_names(
    above: Sequence[TextPiece], places: Sequence[float], *, bottom: float, width: float
) -> tuple[list[str], list[TextPiece]] | None:
    """Find the names of columns in the lines right above them: a header of one or more lines, or a legend.

    :param above: Labels of the picture.
    :param places: The x of the middle of each column.
    :param bottom: The y above which the names stand: the top of the first row of values.
    :param width: The width of the chart: a line nearly as wide is a subtitle.
    :returns: One name for each column with the pieces they were made of; ``None`` where the lines above do not give
        as many names as there are columns.
    """
    lines = _lines_above(above, bottom=bottom, width=width)
    if not lines:
        return None
    names = _by_overlap(lines, len(places))
    if names is None:
        fitting = next((line for line in lines if len(line) == len(places)), None)
        names = None if fitting is None else [[piece] for piece in fitting]
    if names is None or not _stand_over(names, places, width):
        return None
    return [tidy_label(united(parts).text) for parts in names], [piece for parts in names for piece in parts]


def _lines_above(above: Sequence[TextPiece], *, bottom: float, width: float) -> list[list[TextPiece]]:
    """Return the lines of short pieces above ``bottom``, the nearest first, up to the first gap or long line."""
    candidates = [p for p in above if p.y1 <= bottom + 0.4 * p.height]
    lines: list[list[TextPiece]] = []
    edge = bottom
    for line in reversed(level_groups(candidates)):
        height = median(p.height for p in line)
        gap = edge - max(p.y1 for p in line)
        is_long = any(p.x1 - p.x0 > 0.6 * width or len(p.text) > _MAX_NAME for p in line)
        if is_long or gap > (_NEAR if not lines else 0.9) * height:
            break
        lines.append(line)
        edge = min(p.y0 for p in line)
    return lines


def _by_overlap(lines: Sequence[Sequence[TextPiece]], n: int) -> list[list[TextPiece]] | None:
    """Gather the pieces that stand over one another; grow upwards for as long as they make ``n`` columns."""
    best: list[list[TextPiece]] | None = None
    columns: list[list[TextPiece]] = []
    for line in lines:
        for piece in line:
            home = [c for c in columns if any(_over(piece, other) for other in c)]
            if len(home) > 1:
                return best
            if home:
                home[0].append(piece)
            else:
                columns.append([piece])
        if len(columns) == n:
            best = [sorted(c, key=lambda p: (p.middle, p.x0)) for c in sorted(columns, key=lambda c: c[0].x0)]
        elif len(columns) > n:
            break
    return best


def _over(a: TextPiece, b: TextPiece) -> bool:
    shared = min(a.x1, b.x1) - max(a.x0, b.x0)
    return shared > 0.3 * min(a.x1 - a.x0, b.x1 - b.x0)


def _stand_over(names: Sequence[Sequence[TextPiece]], places: Sequence[float], width: float) -> bool:
    """Tell whether names and columns are in the same order and of one region: a legend may be a little to one side."""
    centres = [centre(united(parts)) for parts in names]
    in_order = all(a < b for a, b in zip(centres, centres[1:], strict=False))
    return in_order and abs(sum(centres) - sum(places)) / len(places) <= 0.4 * width


def aligned_cells(row: Sequence[TextPiece], places: Sequence[float]) -> list[TextPiece | None]:
    """Put the values of a row under the columns they are nearest to, keeping their order; surplus ones are dropped.

    :param row: Values from the left.
    :param places: The x of the middle of each column.
    :returns: One cell for each column, ``None`` where the row has no value.
    """
    n = len(places)
    if len(row) >= n:
        return list(row[:n])
    cells: list[TextPiece | None] = [None] * n
    columns = range(n) if n <= _MAX_ALIGNED else range(len(row))
    best = min(
        combinations(columns, len(row)),
        key=lambda chosen: sum(abs(centre(value) - places[i]) for value, i in zip(row, chosen, strict=True)),
    )
    for value, column in zip(row, best, strict=True):
        cells[column] = value
    return cells
