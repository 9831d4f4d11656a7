"""From the words that OCR found on a picture to a table of its values, where their places allow it.

Layer: ``kg``; the standard library only. It knows rectangles with text, never pixels or models.

Three readers try: labels at the left of their values (:mod:`kg.captioning.chart_rows`), labels under them
(:mod:`kg.captioning.chart_columns`), and labels right over or before single values, as in pie charts. The one that
explains the most of the picture's values wins, if it explains enough; otherwise the picture has no table and its words
are read in reading order as before. Ticks of axes count neither for nor against a reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from kg.captioning.chart_columns import read_columns
from kg.captioning.chart_grid import ChartGrid, tidy_label
from kg.captioning.chart_rows import read_rows
from kg.captioning.chart_values import ChartPieces, united
from kg.captioning.layout import TextPiece

__all__ = ["MIN_EXPLAINED", "read_chart", "reading_score"]

MIN_EXPLAINED = 0.7
"""Of the values on a picture, the share that must have found a place. Set on the generated charts of
``tests/benchmarks/chart_tables.py``."""


def read_chart(pieces: Sequence[TextPiece]) -> ChartGrid | None:
    """Read the table behind a chart, or that on a picture of a table.

    :param pieces: The pieces of text on the picture, in any order.
    :returns: The grid; ``None`` where there are fewer than two values or their places do not tell what they belong to.
    """
    sorted_pieces = ChartPieces.of(pieces)
    if len(sorted_pieces.values) < 2:
        return None
    readings = [reader(sorted_pieces) for reader in (read_rows, read_columns, _read_pairs)]
    found = [grid for grid in readings if grid is not None and grid.explained >= MIN_EXPLAINED and len(grid.rows) > 1]
    return max(found, key=lambda grid: grid.explained, default=None)  # of equals the first


def _read_pairs(pieces: ChartPieces) -> ChartGrid | None:
    """Read single values that have their own words right over them or right before them."""
    rows: list[tuple[str, str]] = []
    used: list[TextPiece] = []
    free = list(pieces.labels)
    for value in sorted(pieces.values, key=lambda p: (p.y0, p.x0)):
        label = _label_over(value, free) or _label_before(value, free)
        if label:
            free = [p for p in free if not any(p is other for other in label)]
            rows.append((tidy_label(united(label).text), value.text))
            used.extend((value, *label))
    if len(rows) < 2:
        return None
    return ChartGrid(header=(), rows=tuple(rows), explained=len(rows) / len(pieces.values), used=tuple(used))


def _label_over(value: TextPiece, words: Sequence[TextPiece]) -> list[TextPiece]:
    """Return the lines that stand tightly over a value, the first line first."""
    label: list[TextPiece] = []
    edge = value
    while True:
        over = [
            p
            for p in words
            if -0.6 * p.height <= edge.y0 - p.y1 <= 0.6 * min(edge.height, p.height)
            and min(p.x1, edge.x1) > max(p.x0, edge.x0)
            and p.x1 - p.x0 <= 12 * p.height
            and not any(p is other for other in label)
        ]
        if len(over) != 1 or len(label) >= 3:
            return label if len(over) <= 1 else []
        label.insert(0, over[0])
        edge = over[0]


def _label_before(value: TextPiece, words: Sequence[TextPiece]) -> list[TextPiece]:
    level = [
        p
        for p in words
        if abs(p.middle - value.middle) <= 0.4 * min(p.height, value.height) and 0 <= value.x0 - p.x1 <= 1.2 * p.height
    ]
    return [max(level, key=lambda p: p.x1)] if level else []


def reading_score(grid: ChartGrid) -> float:
    """Return the confidence in a grid, in ``[0, 1]``: the share it explains times the reader's own confidence."""
    return grid.explained * median(p.score for p in grid.used)
