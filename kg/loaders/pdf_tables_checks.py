"""What looks like a table on a PDF page and is none: prose in columns, lists, contents, equations, plots.

Layer: ``kg``; the standard library only. Rules are evidence, so a grid between rules has to pass less than one that
only its gaps make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kg.loaders.pdf_graphics import Drawn
from kg.loaders.pdf_layout import Rect, Word, overlap
from kg.loaders.pdf_tables_grid import Grid
from kg.loaders.pdf_tables_rows import TextRow, is_value

__all__ = ["is_aligned", "is_bars", "is_prose_row", "passes_ruled", "passes_unruled"]

_ITEM = re.compile(r"(?:[•▪■●○‣◦∙·*–—-]|[\[(]?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[\]).:])")
_EQUATION_NUMBER = re.compile(r"\((?:[A-Z]\.?)?\d+(?:\.\d+)*[a-z]?\)")
_LEADER = re.compile(r"(?:\. ?){4,}|…{2,}|_{4,}")
_MATHS = frozenset("=∑∫∏√∂∇≤≥∈∀∃⊂∪∩→⇒∝{}\\")
_MIN_FILLED = 0.35  # of the cells of a table between rules
_MIN_FILLED_OPEN = 0.5  # where rules do not close the cells in
_MIN_FILLED_UNRULED = 0.7
_MAX_CELL = 600  # characters on average; what is longer is a page in boxes
_MAX_BOX = 60  # characters on average in a table of two rows and two columns; more are four boxes of text
_PROSE_WORDS = 4.0  # on average in a cell of a column of prose
_VALUES = 0.7  # of a column's cells, where nothing but the gaps makes the table
_ALIGNED = 0.8  # of a column's cells share their left edge, their right edge or their middle
_OFF = 2.5  # points
_MIN_BARS = 3
_TOUCHES = 0.05  # of the smaller of a drawing and the place of a table
_PANEL = 0.9  # of the place: what covers more is its background
_CURVE = 0.3  # of the width: a bent or slanted line that long is the curve of a plot


def is_prose_row(row: TextRow) -> bool:
    """Return whether a row of text is two or more pieces of running prose side by side."""
    return len(row.phrases) >= 2 and all(len(phrase.words) >= 3 for phrase in row.phrases)


def _columns(grid: Grid) -> list[list[str]]:
    body = grid.rows[grid.n_header_rows or 0 :]
    return [[cell for cell in column if cell] for column in zip(*body, strict=True)]


def _value_share(cells: Sequence[str]) -> float:
    return sum(map(is_value, cells)) / len(cells) if cells else 0.0


def _mean_words(cells: Sequence[str]) -> float:
    return sum(len(cell.split()) for cell in cells) / len(cells) if cells else 0.0


def _filled(grid: Grid) -> float:
    n_cells = len(grid.rows) * len(grid.rows[0])
    return sum(bool(cell) for row in grid.rows for cell in row) / n_cells


def _is_list(columns: Sequence[Sequence[str]]) -> bool:
    """Return whether the first column holds bullets or numbers of items, lines or references."""
    first = columns[0]
    return bool(first) and sum(_ITEM.fullmatch(cell) is not None for cell in first) > 0.5 * len(first)


def passes_ruled(grid: Grid, *, n_levels: int) -> bool:
    """Return whether a grid that was read between rules is a table.

    :param grid: The grid.
    :param n_levels: How many level rules run across it.
    :returns: False for boxes around prose, listings, and empty grids.
    """
    n_chars = [len(cell) for row in grid.rows for cell in row if cell]
    if len(grid.rows) < 2 or not n_chars or sum(n_chars) > _MAX_CELL * len(n_chars) or _filled(grid) < _MIN_FILLED:
        return False
    if not grid.is_closed and _filled(grid) < _MIN_FILLED_OPEN:
        return False
    if grid.is_closed:
        return len(n_chars) > 4 or sum(n_chars) <= _MAX_BOX * len(n_chars)
    columns = [column for column in _columns(grid) if column]
    if len(columns) < 2 or _is_list(columns) or max(n_chars) > _MAX_CELL:
        return False
    if sum(_mean_words(column) >= _PROSE_WORDS for column in columns) >= 2 and len(grid.rows) > 3:
        return n_levels >= len(grid.rows)
    has_values = any(_value_share(column) >= 0.6 for column in columns)
    return n_levels >= 3 or (has_values and len(grid.rows) >= 3) or (len(columns) >= 3 and len(grid.rows) >= 3)


def is_bars(drawn: Sequence[Drawn], rect: Rect, words: Sequence[Word]) -> bool:
    """Return whether what is drawn in ``rect`` are the bars, wedges and markers of a plot rather than shaded cells.

    :param drawn: What is drawn on the page.
    :param rect: The place of the table.
    :param words: The words of the table; a shaded cell or row has some of them inside.
    :returns: Whether at least three shapes, or a picture over a third of the place, have no word inside.
    """
    area = max(1.0, (rect[2] - rect[0]) * (rect[3] - rect[1]))
    n_bars = 0
    for item in drawn:
        x0, y0, x1, y1 = item.rect
        shared = overlap(item.rect, rect)
        if item.is_thin or shared <= _TOUCHES * min(area, (x1 - x0) * (y1 - y0)):
            continue
        is_curve = item.is_outline and not item.strokes
        is_panel = shared > _PANEL * area
        if item.is_picture:
            if area / 3 < shared and not is_panel:
                return True
        elif (is_curve or (item.is_shape and not is_panel)) and x1 - x0 > _CURVE * (rect[2] - rect[0]):
            return True
        elif not item.strokes and not any(x0 <= w.middle <= x1 and y0 <= w.base - 1 <= y1 for w in words):
            n_bars += 1
    return n_bars >= _MIN_BARS and n_bars > 0.2 * len(words)


def passes_unruled(grid: Grid, rows: Sequence[TextRow]) -> bool:
    """Return whether a grid that only its gaps make is a table; strict, for a false table harms more than a lost one.

    :param grid: The grid.
    :param rows: Its rows of text.
    :returns: Whether it has enough rows, columns of values, and nothing of a list, contents, equations or prose.
    """
    columns = _columns(grid)
    n_columns, n_rows = len(columns), len(grid.rows)
    if n_rows < (4 if n_columns == 2 else 3) or _filled(grid) < _MIN_FILLED_UNRULED or not all(columns):
        return False
    text = " ".join(cell for row in grid.rows for cell in row)
    n_maths = sum(character in _MATHS for character in text)
    if _LEADER.search(text) or n_maths > 0.03 * len(text) or _is_list(columns):
        return False
    if any(_mean_words(column) > _PROSE_WORDS + 1 for column in columns):
        return False
    if any(_EQUATION_NUMBER.fullmatch(cell) for cell in columns[-1]):
        return False
    n_values = sum(_value_share(column) >= _VALUES for column in columns[1:])
    if n_columns == 2:
        return n_values == 1 and _value_share(columns[0]) < 0.5 and not _are_pages(columns[1])
    return n_values >= 1 and not (n_columns == 3 and n_values == 1 and _are_pages(columns[-1]))


def _are_pages(cells: Sequence[str]) -> bool:
    """Return whether numbers rise from row to row, as those of pages in a table of contents do."""
    numbers = [int(cell) for cell in cells if cell.isdigit()]
    rising = all(before <= after for before, after in zip(numbers, numbers[1:], strict=False))
    return len(numbers) >= 0.7 * len(cells) and rising


def is_aligned(grid_words: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Return whether the cells of every column begin, end or centre at one place.

    :param grid_words: For each column the left and right edge of each cell.
    :returns: Whether it holds for four fifths of the cells of each.
    """
    for column in grid_words:
        lefts, rights = [left for left, _ in column], [right for _, right in column]
        middles = [(left + right) / 2 for left, right in column]
        if not any(_agree(places) for places in (lefts, rights, middles)):
            return False
    return True


def _agree(places: Sequence[float]) -> bool:
    if not places:
        return False
    middle = sorted(places)[len(places) // 2]
    return sum(abs(place - middle) <= _OFF for place in places) >= _ALIGNED * len(places)
