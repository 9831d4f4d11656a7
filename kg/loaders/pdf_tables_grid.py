"""The cells of a table on a PDF page, read off the gaps between its words.

Layer: ``kg``; the standard library only. Where rules close in every cell, they say what the cells are
(:mod:`kg.loaders.pdf_tables_lattice`); where they only part the head from the body, or there are none, columns come
from gaps and rows from baselines. Lengths are in points on the page as displayed, origin at the top left.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from kg.loaders.pdf_layout import Rect, Word, union
from kg.loaders.pdf_tables_rows import TextRow, cells_of, column_of, find_separators, is_value, rows_of, words_text
from kg.loaders.pdf_tables_rules import Frame, Rule, clustered

__all__ = ["Grid", "Row", "are_rows", "read_rows"]

_FULL = 0.85  # of the frame's width: a level rule that long parts rows, a shorter one stands under a merged cell
_FULL_UPRIGHT = 0.5  # of the frame's height: an upright rule that long parts columns
_MAX_HEAD_ROWS = 6  # rows of text above the first rule; more are the body of a table without a head
_SPLIT_FILLED = 0.6  # of the columns: rows of text inside one cell row that are as full are rows of their own
_SPACE = 0.25  # of the font size
_SMALL_PITCH = 0.87  # of the usual distance between rows: lines that near belong to one cell
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d")
_BETWEEN = 0.75  # of the distance between rows: a line that is nearer to both its neighbours stands between them
_LONG_CELL = 4  # words: a cell that has as many may well go on in the next line


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The cells that were read: rows of texts, the number of head rows if known, the words used and their place."""

    rows: list[list[str]]
    n_header_rows: int | None
    words: list[Word]
    rect: Rect
    is_closed: bool = False
    n_text_rows: int = 0


@dataclass(slots=True, kw_only=True)
class Row:
    """A row in the making: the words of each run of columns, and the baseline of its last line of text."""

    base: float
    pieces: dict[tuple[int, int], list[Word]] = field(default_factory=dict)

    @property
    def n_filled(self) -> int:
        """Return how many pieces it has."""
        return len(self.pieces)

    def has_merged(self) -> bool:
        """Return whether a piece of it covers several columns."""
        return any(first != last for first, last in self.pieces)

    def take(self, other: Row) -> None:
        """Add the words of a row that continues this one."""
        for place, words in other.pieces.items():
            self.pieces.setdefault(place, []).extend(words)
        self.base = other.base

    def texts(self, n_columns: int, *, size: float) -> list[str]:
        """Return the text of each column's cell; a piece that covers several stands in each."""
        cells: list[list[str]] = [[] for _ in range(n_columns)]
        for (first, last), words in sorted(self.pieces.items()):
            text = words_text(words, size=size)
            for column in range(first, last + 1):
                cells[column].append(text)
        return [" ".join(parts) for parts in cells]

    def words(self) -> list[Word]:
        """Return all its words."""
        return [word for words in self.pieces.values() for word in words]


def read_rows(frame: Frame, words: Sequence[Word], *, size: float) -> Grid | None:
    """Read a table whose columns are told by the gaps between its words.

    :param frame: Its rules, if any, and the place to read.
    :param words: The words inside.
    :param size: The font size.
    :returns: The grid; ``None`` where there is one column only.
    """
    width, height = frame.rect[2] - frame.rect[0], frame.rect[3] - frame.rect[1]
    breaks = clustered(rule.at for rule in frame.levels if rule.length >= _FULL * width)
    partial = [rule for rule in frame.levels if rule.length < _FULL * width]
    uprights = clustered(rule.at for rule in frame.uprights if rule.length >= _FULL_UPRIGHT * height)
    rows = rows_of(words, size=size)
    bands = [bisect_right(breaks, row.base - 0.3 * size) for row in rows]
    head = _head_of(bands)
    core = rows[head:] if len(rows) - head >= 2 else rows
    forced = [x for x in uprights if frame.rect[0] + size < x < frame.rect[2] - size]
    separators = _merged(find_separators(core, size=size), forced, core)
    if not separators:
        return None
    tight = _last_of_bands(bands, n_bands=2)
    made = [_made(row, separators, partial, size=size, is_tight=n in tight) for n, row in enumerate(rows)]
    first, last = _trimmed(made)
    made, bands = made[first:last], bands[first:last]
    if len(made) < 2:
        return None
    head = _head_of(bands)
    head = next((n for n, row in enumerate(made[:head]) if _has_values(row, len(separators) + 1, size=size)), head)
    head_rows = _head_levels(made[:head])
    body, body_bands = _without_group_labels(made[head:], bands[head:])
    body = _body_rows(body, body_bands, len(separators) + 1, size=size)
    used = [word for row in made for word in row.words()]
    return Grid(
        rows=[row.texts(len(separators) + 1, size=size) for row in (*head_rows, *body)],
        n_header_rows=len(head_rows) or None,
        words=used,
        rect=union(word.rect for word in used),
        n_text_rows=len(made),
    )


def _last_of_bands(bands: Sequence[int], *, n_bands: int) -> set[int]:
    """Return the number of the last row of each of the first bands that have another below."""
    ends = [n for n, (band, after) in enumerate(zip(bands, bands[1:], strict=False)) if band != after]
    return set(ends[:n_bands])


def _head_of(bands: Sequence[int]) -> int:
    """Return how many rows of text stand above the first rule inside; 0 where rules do not part a head from a body."""
    if not bands or bands[0] == bands[-1]:
        return 0
    n_head = bands.count(bands[0])
    per_band = len(bands) / len(set(bands))
    return (
        n_head if n_head <= _MAX_HEAD_ROWS and n_head < len(bands) and (per_band > 1.3 or len(set(bands)) == 2) else 0
    )


def _has_values(row: Row, n_columns: int, *, size: float) -> bool:
    """Return whether a row is full and most of it behind the first column are values, years left out."""
    texts = row.texts(n_columns, size=size)[1:]
    n_values = sum(is_value(text) and not _YEAR.fullmatch(text) for text in texts if text)
    return n_values >= 0.5 * len(texts)


def _merged(gaps: Sequence[float], forced: Sequence[float], rows: Sequence[TextRow]) -> list[float]:
    """Put separators from gaps and from upright rules together: of two without words between them the rule stays."""
    middles = sorted(word.middle for row in rows for word in row.words)
    kept = list(forced)
    for gap in gaps:
        is_own = all(bisect_right(middles, gap) != bisect_right(middles, rule) for rule in forced)
        if is_own:
            kept.append(gap)
    return sorted(kept)


def _made(row: TextRow, separators: Sequence[float], partial: Sequence[Rule], *, size: float, is_tight: bool) -> Row:
    made = Row(base=row.base)
    for first, last, words in cells_of(row, separators, size=size, is_tight=is_tight):
        made.pieces.setdefault(_under_rule(first, last, words, separators, partial, size=size), []).extend(words)
    return made


def _under_rule(
    first: int, last: int, words: Sequence[Word], separators: Sequence[float], partial: Sequence[Rule], *, size: float
) -> tuple[int, int]:
    """Widen a piece to the columns that a short rule right under it runs below: a head over several columns."""
    base, middle = words[0].base, (words[0].rect[0] + words[-1].rect[2]) / 2
    for rule in partial:
        if 0 <= rule.at - base <= 1.1 * size and rule.start <= middle <= rule.end:
            start = column_of(rule.start + min(size, rule.length / 4), separators)
            end = column_of(rule.end - min(size, rule.length / 4), separators)
            return min(first, start), max(last, end)
    return first, last


def _trimmed(made: Sequence[Row]) -> tuple[int, int]:
    """Leave out rows at the top and the bottom that hold one piece: a title, a note, a source."""
    first, last = 0, len(made)
    while first < last and made[first].n_filled < 2:
        first += 1
    while last > first and made[last - 1].n_filled < 2 and not _is_lone_cell(made[last - 1]):
        last -= 1
    return first, last


def _is_lone_cell(row: Row) -> bool:
    """Return whether the only piece of a row stands in a column other than the first: a cell that goes on."""
    return all(first > 0 and first == last for first, last in row.pieces)


def _head_levels(rows: Sequence[Row]) -> list[Row]:
    """Join the lines of a head: a level ends with a row that has merged cells, and with the last row."""
    levels: list[Row] = []
    is_open = False
    for row in rows:
        if is_open:
            levels[-1].take(row)
        else:
            levels.append(row)
        is_open = not row.has_merged()
    return levels


def _body_rows(rows: Sequence[Row], bands: Sequence[int], n_columns: int, *, size: float) -> list[Row]:
    """Join the lines of cells that go on: by the rules where every row is ruled, else by what would not have fitted."""
    widths = _column_widths(rows, n_columns, size=size)
    pitches = [after.base - before.base for before, after in zip(rows, rows[1:], strict=False)]
    full = [
        after.base - before.base
        for before, after in zip(rows, rows[1:], strict=False)
        if min(before.n_filled, after.n_filled) >= _SPLIT_FILLED * n_columns
    ]
    usual = median(full) if full else (max(pitches) if pitches else size)
    per_band: dict[int, list[Row]] = {}
    for row, band in zip(rows, bands, strict=True):
        per_band.setdefault(band, []).append(row)
    is_ruled = len(per_band) >= 3
    body: list[Row] = []
    for together in per_band.values():
        one_row = is_ruled and len(together) > 1 and not are_rows(together, n_columns, size=size)
        start = len(body)
        previous = together[0].base
        for row in together:
            near = row.base - previous <= _SMALL_PITCH * usual
            goes_on = len(body) > start and (
                one_row or _goes_on(row, body[-1], previous, widths, n_columns=n_columns, is_near=near, size=size)
            )
            previous = row.base
            if goes_on:
                body[-1].take(row)
            else:
                body.append(row)
    return body


def _without_group_labels(rows: Sequence[Row], bands: Sequence[int]) -> tuple[list[Row], list[int]]:
    """Give the label of a group of rows, set between two of them at half their height, to every row of the group."""
    full = [row.base for row in rows if row.n_filled > 1]
    pitches = [after - before for before, after in zip(full, full[1:], strict=False)]
    usual = median(pitches) if pitches else 0.0
    kept: list[tuple[Row, int]] = []
    labels: list[tuple[Row, int]] = []
    for index, (row, band) in enumerate(zip(rows, bands, strict=True)):
        is_between = (
            0 < index < len(rows) - 1
            and row.n_filled == 1
            and row.base - rows[index - 1].base < _BETWEEN * usual
            and rows[index + 1].base - row.base < _BETWEEN * usual
            and not any(set(row.pieces) & set(rows[near].pieces) for near in (index - 1, index + 1))
        )
        (labels if is_between else kept).append((row, band))
    for label, band in labels:
        (place, words), *_ = label.pieces.items()
        above = [row for row, own in reversed(kept) if own == band and row.base < label.base]
        below = [row for row, own in kept if own == band and row.base > label.base]
        for upper, lower in zip(above, below, strict=False):
            if place in upper.pieces or place in lower.pieces:
                break
            upper.pieces[place], lower.pieces[place] = list(words), list(words)
    return [row for row, _ in kept], [band for _, band in kept]


def _column_widths(rows: Sequence[Row], n_columns: int, *, size: float) -> list[float]:
    """Return the width of the longest line in each column."""
    widths = [0.0] * n_columns
    for row in rows:
        for (first, last), words in row.pieces.items():
            if first == last:
                widths[first] = max(widths[first], _width(words))
    return widths


def _width(words: Sequence[Word]) -> float:
    return max(word.rect[2] for word in words) - min(word.rect[0] for word in words)


def are_rows(band: Sequence[Row], n_columns: int, *, size: float) -> bool:
    """Return whether at least two lines of text between two rules are rows of their own: full, with values.

    :param band: The lines of text.
    :param n_columns: How many columns there are.
    :param size: The font size.
    :returns: Whether there are two such lines.
    """
    n_full = 0
    for row in band:
        texts = [text for text in row.texts(n_columns, size=size) if text]
        n_values = sum(map(is_value, texts))
        n_full += len(texts) >= _SPLIT_FILLED * n_columns and n_values > 0
    return n_full >= 2


def _goes_on(
    row: Row, above: Row, previous: float, widths: Sequence[float], *, n_columns: int, is_near: bool, size: float
) -> bool:
    """Return whether every piece of ``row`` continues the cell above it, whose line had no room for its first word."""
    if row.n_filled >= n_columns and not is_near:
        return False
    for (first, last), words in row.pieces.items():
        over = above.pieces.get((first, last))
        if over is None:
            return False
        line = [word for word in over if abs(word.base - previous) <= 0.5 * size]
        if not line or is_value(" ".join(word.text for word in words)):
            return False
        room = widths[first] if first == last else _width(line)
        if _width(line) + _SPACE * size + _width(words[:1]) <= room:
            return False
        is_lower = words[0].text[:1].islower() or words[0].text[:1] in "(&"
        if not (is_near or is_lower or len(line) >= _LONG_CELL):
            return False
    return bool(row.pieces)
