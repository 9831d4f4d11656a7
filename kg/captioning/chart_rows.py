"""Read a chart whose categories stand at the left of their values: horizontal bars, dot plots, tables.

Layer: ``kg``; the standard library only.

1. Values that are level form a row; the words at its left are its label, wrapped labels included.
2. Words at the left that are level with no value are the name of a group, and go before the labels under them.
3. Columns are told by the order of the values in a row; a row with fewer is aligned by its values' places.
4. Names of the columns stand in the lines above: a header or a legend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from kg.captioning.chart_grid import ChartGrid, aligned_cells, column_names, tidy_label
from kg.captioning.chart_values import ChartPieces, centre, level_groups, united
from kg.captioning.layout import TextPiece

__all__ = ["read_rows"]

_TOUCHING = 0.4  # of the line height: label lines nearer than this are one label
_GROUP_GAP = 1.25  # the step to the next group of bars, over that inside one
_BESIDE = 0.75  # of the line height: a line of a label of two is half a line from the value, a heading a whole one
_MAX_SECTION = 60  # characters


def read_rows(pieces: ChartPieces) -> ChartGrid | None:
    """Read rows of values with a label at their left.

    :param pieces: The pieces of a picture.
    :returns: The grid; ``None`` where fehan two values have a label, or where several columns have no names.
    """
    rows = level_groups(pieces.values)
    if not rows:
        return None
    rows = _joined(rows, pieces)
    labels, sections = _label_rows(rows, pieces)
    if len(rows) == 1 and not labels[0]:
        return _single_row(rows[0], pieces)
    labelled = [(row, labels[i], sections[i]) for i, row in enumerate(rows) if labels[i]]
    if sum(len(row) for row, _, _ in labelled) < 2:
        return None
    n = _n_columns([row for row, _, _ in labelled])
    places = _places([row for row, _, _ in labelled], n)
    cells = [aligned_cells(row, places) for row, _, _ in labelled]
    width = max(p.x1 for row in rows for p in row) - min(p.x0 for _, label, _ in labelled for p in label)
    taken = {id(p) for _, label, _ in labelled for p in label}
    named = (
        None
        if n == 1
        else column_names(
            [p for p in pieces.labels if id(p) not in taken],
            places,
            bottom=min(p.y0 for p in labelled[0][0]),
            width=width,
        )
    )
    if n > 1 and named is None:
        return None
    header = ("", *named[0]) if named is not None else ()
    used = [p for row in cells for p in row if p is not None]
    return ChartGrid(
        header=header,
        rows=tuple(
            (_label(label, section), *("" if cell is None else cell.text for cell in row))
            for (_, label, section), row in zip(labelled, cells, strict=True)
        ),
        explained=len(used) / len(pieces.values),
        used=(*used, *(p for _, label, _ in labelled for p in label), *(named[1] if named is not None else ())),
    )


def _single_row(row: Sequence[TextPiece], pieces: ChartPieces) -> ChartGrid | None:
    """Read one bar of several parts, each with its name above: each part is a row of the table."""
    places = [centre(p) for p in row]
    named = column_names(pieces.labels, places, bottom=min(p.y0 for p in row), width=row[-1].x1 - row[0].x0)
    if named is None:
        return None
    rows = tuple((name, value.text) for name, value in zip(named[0], row, strict=True))
    return ChartGrid(header=(), rows=rows, explained=1.0, used=(*row, *named[1]))


def _label(parts: Sequence[TextPiece], section: str) -> str:
    label = tidy_label(united(parts).text)
    return f"{section}: {label}" if section else label


def _joined(rows: list[list[TextPiece]], pieces: ChartPieces) -> list[list[TextPiece]]:
    """Join the bars of grouped categories, whose values stand one under the other with the label at their middle."""
    middles = [row[0].middle for row in rows]
    steps = [b - a for a, b in pairwise(middles)]
    if len(rows) < 4 or any(len(row) != 1 for row in rows) or max(steps) < _GROUP_GAP * min(steps):
        return rows
    bound = (max(steps) + min(steps)) / 2
    groups = [[rows[0][0]]]
    for row, step in zip(rows[1:], steps, strict=True):
        if step > bound:
            groups.append([])
        groups[-1].append(row[0])
    sizes = {len(group) for group in groups}
    centres = [sum(p.middle for p in group) / len(group) for group in groups]
    has_label = [any(abs(p.middle - y) <= 0.6 * p.height for p in pieces.labels) for y in centres]
    return groups if len(sizes) == 1 and all(has_label) else rows


def _label_rows(rows: Sequence[Sequence[TextPiece]], pieces: ChartPieces) -> tuple[list[list[TextPiece]], list[str]]:
    """Give each row the words at its left, and the name of the group it belongs to."""
    middles = [sum(p.middle for p in row) / len(row) for row in rows]
    pitch = median(b - a for a, b in zip(middles, middles[1:], strict=False)) if len(rows) > 1 else 0.0
    height = median(p.height for row in rows for p in row)
    pitch = pitch or 3.0 * height
    top, bottom = middles[0] - 1.5 * pitch, middles[-1] + 0.9 * pitch
    left = [min(p.x0 for p in row) for row in rows]
    beside = [
        p
        for p in pieces.labels
        if top <= p.middle <= bottom and _is_beside(p, middles=middles, left=left, tolerance=0.3 * height)
    ]
    labels: list[list[TextPiece]] = [[] for _ in rows]
    loose: list[list[TextPiece]] = []
    for block in _blocks(beside):
        _assign(block, middles, labels, loose, pitch=pitch)
    sections = _sections(loose, middles, labels)
    return [_one_line_each(label) for label in labels], sections


def _is_beside(piece: TextPiece, *, middles: Sequence[float], left: Sequence[float], tolerance: float) -> bool:
    """Tell whether a piece stands in the column of labels; the name of a group may reach into that of the values."""
    nearest = _nearest(piece.middle, middles)
    if piece.x1 <= left[nearest] + tolerance:
        return True
    is_between = abs(piece.middle - middles[nearest]) > _BESIDE * piece.height
    return is_between and piece.middle > middles[0] and piece.x0 <= min(left) - 2 * piece.height


def _nearest(y: float, middles: Sequence[float]) -> int:
    return min(range(len(middles)), key=lambda i: (abs(middles[i] - y), i))


def _blocks(pieces: Sequence[TextPiece]) -> list[list[TextPiece]]:
    """Part the label column where there is a gap; pieces on one line belong together."""
    blocks: list[list[TextPiece]] = []
    for line in level_groups(pieces):
        top, height = min(p.y0 for p in line), median(p.height for p in line)
        if blocks and top - max(p.y1 for p in blocks[-1]) <= _TOUCHING * height:
            blocks[-1].extend(line)
        else:
            blocks.append(list(line))
    return blocks


def _assign(
    block: list[TextPiece],
    middles: Sequence[float],
    labels: list[list[TextPiece]],
    loose: list[list[TextPiece]],
    *,
    pitch: float,
) -> None:
    height = median(p.height for p in block)
    top, bottom = min(p.y0 for p in block) - 0.3 * height, max(p.y1 for p in block) + 0.3 * height
    inside = [i for i, y in enumerate(middles) if top <= y <= bottom]
    if len(inside) == 1:
        heading, label = _without_heading(block, middles[inside[0]])
        labels[inside[0]].extend(label)
        loose.extend([heading] if heading else [])
    elif inside:
        for piece in block:  # labels of rows that stand close together
            nearest = _nearest(piece.middle, middles)
            is_label = abs(piece.middle - middles[nearest]) <= _BESIDE * piece.height
            (labels[nearest].append(piece) if is_label else loose.append([piece]))
    else:
        nearest = _nearest((top + bottom) / 2, middles)
        if abs(middles[nearest] - (top + bottom) / 2) <= 0.4 * pitch and not labels[nearest]:
            labels[nearest].extend(block)
        else:
            loose.append(block)


def _without_heading(block: list[TextPiece], middle: float) -> tuple[list[TextPiece], list[TextPiece]]:
    """Part off the lines over a label that is not centred on its value: they name the group that begins there."""
    lines = level_groups(block)
    last = lines[-1]
    height = median(p.height for p in block)
    block_middle = (min(p.y0 for p in block) + max(p.y1 for p in block)) / 2
    is_last = abs(last[0].middle - middle) <= 0.35 * height
    if len(lines) == 1 or not is_last or abs(block_middle - middle) <= 0.45 * height:
        return [], block
    return [p for line in lines[:-1] for p in line], list(last)


def _sections(
    loose: Sequence[Sequence[TextPiece]], middles: Sequence[float], labels: Sequence[Sequence[TextPiece]]
) -> list[str]:
    """Name the group of each row: the nearest loose words above it, if they look like the labels below them."""
    sections = [""] * len(middles)
    heights = [p.height for label in labels for p in label]
    if not heights:
        return sections
    named: list[tuple[float, str]] = []
    for block in loose:
        text, y = tidy_label(united(block).text), min(p.y0 for p in block)
        is_alike = 0.6 <= median(p.height for p in block) / median(heights) <= 1.4
        if is_alike and len(text) <= _MAX_SECTION and y < middles[-1]:
            named.append((y, text))
    if not any(y > middles[0] for y, _ in named):
        return sections  # words over all rows, and none between them, are a subtitle or a legend
    for y, text in sorted(named):
        for i, middle in enumerate(middles):
            if middle > y:
                sections[i] = text
    return sections


def _one_line_each(label: Sequence[TextPiece]) -> list[TextPiece]:
    return [piece for line in level_groups(label) for piece in line]


def _n_columns(rows: Sequence[Sequence[TextPiece]]) -> int:
    """Return the most values of a row that at least three rows in ten have."""
    counts = Counter(len(row) for row in rows)
    return max((n for n, times in counts.items() if times >= 0.3 * len(rows)), default=max(counts))


def _places(rows: Sequence[Sequence[TextPiece]], n: int) -> list[float]:
    """Return the x of each column; of joined bars, whose order goes down, places in that order."""
    full = [row for row in rows if len(row) == n]
    return [median(centre(row[i]) for row in full) for i in range(n)]
