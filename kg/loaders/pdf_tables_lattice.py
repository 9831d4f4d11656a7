"""The cells of a table whose rules close every cell in.

Layer: ``kg``; the standard library only. Lengths are in points on the page as displayed, origin at the top left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from kg.loaders.pdf_layout import Word
from kg.loaders.pdf_tables_grid import Grid, Row, are_rows
from kg.loaders.pdf_tables_rows import find_separators, is_value, rows_of, words_text
from kg.loaders.pdf_tables_rules import Frame, clustered, covers

__all__ = ["read_lattice"]

_MAX_CELLS = 20_000  # paper with a printed grid has more places
_NEAR = 3.0  # points between a rule and the boundary that it runs on
_MIN_CELLS = 0.45  # of the places; with more of them merged, it is a drawing of boxes
_MIN_RULED = 0.55  # of the places on a boundary between cells have a rule


def read_lattice(frame: Frame, words: Sequence[Word], *, size: float) -> Grid | None:
    """Read a table whose cells are closed in by rules.

    :param frame: Its rules.
    :param words: The words inside.
    :param size: The font size.
    :returns: The grid; ``None`` where the rules do not make at least two rows and two columns, or where the lines of
        text between two level rules are rows of their own, so that gaps tell more.
    """
    x0, y0, x1, y1 = frame.rect
    xs = clustered([x0, *(rule.at for rule in frame.uprights), x1])
    ys = clustered([y0, *(rule.at for rule in frame.levels), y1])
    n_rows, n_columns = len(ys) - 1, len(xs) - 1
    if n_rows < 2 or n_columns < 2 or n_rows * n_columns > _MAX_CELLS:
        return None
    cell_words: dict[tuple[int, int], list[Word]] = {}
    for word in words:
        place = bisect_right(ys, word.base - 0.3 * size) - 1, bisect_right(xs, word.middle) - 1
        if 0 <= place[0] < n_rows and 0 <= place[1] < n_columns:
            cell_words.setdefault(place, []).append(word)
    if _holds_rows(cell_words, n_rows, n_columns, size=size) or _holds_columns(cell_words, n_columns, size=size):
        return None
    edges = _Edges(frame, xs, ys)
    groups = _groups(edges, xs, ys)
    if len(set(groups)) < max(4, _MIN_CELLS * len(groups)) or not _is_ruled(edges, xs, ys):
        return None
    together: dict[int, list[Word]] = {}
    for (row, column), inside in cell_words.items():
        together.setdefault(groups[row * n_columns + column], []).extend(inside)
    texts = {group: words_text(inside, size=size) for group, inside in together.items()}
    used = [word for inside in cell_words.values() for word in inside]
    return Grid(
        rows=[
            [texts.get(groups[row * n_columns + column], "") for column in range(n_columns)] for row in range(n_rows)
        ],
        n_header_rows=None,
        words=used,
        rect=(xs[0], ys[0], xs[-1], ys[-1]),
        is_closed=True,
        n_text_rows=n_rows,
    )


def _groups(edges: _Edges, xs: Sequence[float], ys: Sequence[float]) -> list[int]:
    """Give each cell a number, row by row; cells without a rule between them have one number."""
    n_rows, n_columns = len(ys) - 1, len(xs) - 1
    parent = list(range(n_rows * n_columns))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for row in range(n_rows):
        y = (ys[row] + ys[row + 1]) / 2
        for column in range(n_columns):
            x = (xs[column] + xs[column + 1]) / 2
            place = row * n_columns + column
            if column + 1 < n_columns and not edges.has_upright(column + 1, y):
                parent[root(place + 1)] = root(place)
            if row + 1 < n_rows and not edges.has_level(row + 1, x):
                parent[root(place + n_columns)] = root(place)
    return [root(place) for place in range(len(parent))]


def _is_ruled(edges: _Edges, xs: Sequence[float], ys: Sequence[float]) -> bool:
    """Return whether rules run along most of every boundary's length, as in a table, unlike scattered boxes."""
    rows = [(top + bottom) / 2 for top, bottom in zip(ys, ys[1:], strict=False)]
    columns = [(left + right) / 2 for left, right in zip(xs, xs[1:], strict=False)]
    shares = [sum(edges.has_upright(n, y) for y in rows) / len(rows) for n in range(1, len(xs) - 1)]
    shares += [sum(edges.has_level(n, x) for x in columns) / len(columns) for n in range(1, len(ys) - 1)]
    return sum(shares) >= _MIN_RULED * len(shares)


class _Edges:
    """The rules on each boundary between rows and between columns."""

    def __init__(self, frame: Frame, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._uprights = [[rule for rule in frame.uprights if abs(rule.at - x) <= _NEAR] for x in xs]
        self._levels = [[rule for rule in frame.levels if abs(rule.at - y) <= _NEAR] for y in ys]

    def has_upright(self, boundary: int, y: float) -> bool:
        return any(covers(rule, y) for rule in self._uprights[boundary])

    def has_level(self, boundary: int, x: float) -> bool:
        return any(covers(rule, x) for rule in self._levels[boundary])


def _holds_rows(cells: dict[tuple[int, int], list[Word]], n_rows: int, n_columns: int, *, size: float) -> bool:
    """Return whether some row of cells holds several full rows of text with values."""
    for row in range(n_rows):
        lines: dict[int, Row] = {}
        inside = [word for column in range(n_columns) for word in cells.get((row, column), [])]
        column_by_start = {word.start: column for column in range(n_columns) for word in cells.get((row, column), [])}
        for number, line in enumerate(rows_of(inside, size=size)):
            made = lines.setdefault(number, Row(base=line.base))
            for word in line.words:
                column = column_by_start[word.start]
                made.pieces.setdefault((column, column), []).append(word)
        if are_rows(list(lines.values()), n_columns, size=size):
            return True
    return False


def _holds_columns(cells: dict[tuple[int, int], list[Word]], n_columns: int, *, size: float) -> bool:
    """Return whether some column between upright rules holds several columns of values."""
    for column in range(n_columns):
        inside = [word for (_, place), words in cells.items() if place == column for word in words]
        rows = [row for row in rows_of(inside, size=size) if len(row.phrases) >= 2]
        phrases = [phrase for row in rows for phrase in row.phrases]
        n_values = sum(is_value(" ".join(word.text for word in phrase.words)) for phrase in phrases)
        if len(rows) >= 3 and n_values >= 0.6 * len(phrases) and find_separators(rows, size=size):
            return True
    return False
