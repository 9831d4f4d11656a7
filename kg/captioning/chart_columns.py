"""Read a chart whose categories stand under their values: vertical bars, grouped or stacked, and labelled lines.

Layer: ``kg``; the standard library only.

1. The line of words (or years) that has the most values right above its parts names the categories.
2. Values over one category are told apart by their places: side by side in grouped bars, one over the other in stacked
   bars and lines.
3. Names of the series come from a legend above (grouped bars) or from words level with the last category's values
   (stacked bars and lines).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kg.captioning.chart_grid import ChartGrid, aligned_cells, column_names, tidy_label
from kg.captioning.chart_values import ChartPieces, centre, level_groups, united
from kg.captioning.layout import TextPiece

__all__ = ["read_columns"]

_SIDE_BY_SIDE = 0.6  # of a value's height: values over one category farther apart than this are different bars


@dataclass(frozen=True, slots=True, kw_only=True)
class _Category:
    label: TextPiece
    values: tuple[TextPiece, ...]


def read_columns(pieces: ChartPieces) -> ChartGrid | None:
    """Read values with a category under them.

    :param pieces: The pieces of a picture.
    :returns: The grid; ``None`` where no line of words has values above its parts, or several series have no names.
    """
    if len(pieces.values) < 2:
        return None
    best: list[_Category] = []
    for line in level_groups(pieces.labels):
        found = _over_line(line, pieces.values)
        if sum(len(c.values) for c in found) > sum(len(c.values) for c in best):
            best = found
    filled = [c for c in best if c.values]
    if len(filled) < 2:
        return None
    n = max(len(c.values) for c in filled)
    side = _are_side_by_side(filled)
    rows = _side_by_side(filled, n) if side else [_downwards(c.values, n) for c in filled]
    named = _series_names(pieces, filled, n=n, side=side)
    if n > 1 and named is None:
        return None
    labels = [_whole_label(c.label, [o.label for o in best], pieces.labels) for c in filled]
    used = [value for c in filled for value in c.values]
    return ChartGrid(
        header=("", *named[0]) if named is not None else (),
        rows=tuple((tidy_label(label.text), *row) for label, row in zip(labels, rows, strict=True)),
        explained=len(used) / len(pieces.values),
        used=(*used, *labels, *(named[1] if named is not None else ())),
    )


def _over_line(line: Sequence[TextPiece], values: Sequence[TextPiece]) -> list[_Category]:
    """Give each part of a line the values above it; empty where the line has too few parts to be an axis."""
    if len(line) < 2:
        return []
    places = [centre(p) for p in line]
    pitch = median(b - a for a, b in zip(places, places[1:], strict=False))
    top = min(p.y0 for p in line)
    found: list[list[TextPiece]] = [[] for _ in line]
    for value in values:
        if value.y1 > top + 0.5 * value.height:
            continue
        nearest = min(range(len(places)), key=lambda i: abs(places[i] - centre(value)))
        if abs(places[nearest] - centre(value)) <= 0.5 * pitch:
            found[nearest].append(value)
    return [_Category(label=label, values=tuple(above)) for label, above in zip(line, found, strict=True)]


def _are_side_by_side(categories: Sequence[_Category]) -> bool:
    spreads = [
        (max(map(centre, c.values)) - min(map(centre, c.values))) / median(v.height for v in c.values)
        for c in categories
        if len(c.values) > 1
    ]
    return bool(spreads) and median(spreads) > _SIDE_BY_SIDE


def _side_by_side(categories: Sequence[_Category], n: int) -> list[tuple[str, ...]]:
    """Return the cells of each category; where one has fewer, its values are told by their place over the label."""
    sorted_values = [sorted(c.values, key=centre) for c in categories]
    full = [(centre(c.label), values) for c, values in zip(categories, sorted_values, strict=True) if len(values) == n]
    offsets = [median(centre(values[i]) - middle for middle, values in full) for i in range(n)]
    rows = []
    for category, values in zip(categories, sorted_values, strict=True):
        cells = aligned_cells(values, [centre(category.label) + offset for offset in offsets])
        rows.append(tuple("" if cell is None else cell.text for cell in cells))
    return rows


def _downwards(values: Sequence[TextPiece], n: int) -> tuple[str, ...]:
    """Return the cells of one category from the top; with fewer values than series, which is missing is unknown."""
    if len(values) < n:
        return ("",) * n
    return tuple(v.text for v in sorted(values, key=_middle))


def _middle(piece: TextPiece) -> float:
    return piece.middle


def _series_names(
    pieces: ChartPieces, categories: Sequence[_Category], *, n: int, side: bool
) -> tuple[list[str], list[TextPiece]] | None:
    values = [v for c in categories for v in c.values]
    left, right = min(v.x0 for v in values), max(v.x1 for v in values)
    if side or n == 1:
        places = [left + (right - left) * (i + 0.5) / n for i in range(n)]
        top = min(v.y0 for v in values)
        return column_names(pieces.labels, places, bottom=top, width=max(right - left, 1.0)) if n > 1 else None
    last = sorted(categories[-1].values, key=_middle)
    beside = [p for p in pieces.labels if p.x0 >= max(v.x1 for v in last) - 0.2 * p.height]
    chosen: list[TextPiece] = []
    for value in last:
        level = [p for p in beside if abs(p.middle - value.middle) <= 0.8 * max(p.height, value.height)]
        nearest = min(level, key=lambda p: abs(p.middle - value.middle), default=None)
        if nearest is None or any(nearest is other for other in chosen):
            return None
        chosen.append(nearest)
    return ([tidy_label(p.text) for p in chosen], chosen) if len(chosen) == n else None


def _whole_label(label: TextPiece, row: Sequence[TextPiece], words: Sequence[TextPiece]) -> TextPiece:
    """Add the lines right under a category's first line, as long as they stand under it and it alone."""
    parts = [label]
    for line in level_groups(p for p in words if p.y0 >= label.y1 - 0.4 * label.height):
        under = [p for p in line if min(p.x1, parts[-1].x1) - max(p.x0, parts[-1].x0) > 0]
        gap = min((p.y0 for p in under), default=float("inf")) - parts[-1].y1
        is_wide = any(sum(min(p.x1, o.x1) > max(p.x0, o.x0) for o in row) > 1 for p in under)
        if not under or gap > 0.6 * label.height or is_wide:
            break
        parts.extend(under)
    return united(parts)
