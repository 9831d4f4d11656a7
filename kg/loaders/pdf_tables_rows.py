"""Words of a PDF page as rows of text, and the columns that their gaps make.

Layer: ``kg``; the standard library only. Lengths are in points on the page as displayed. A gap inside a cell is a
space, about a quarter of the font size; a gap between columns is wider and lies at one place in row after row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kg.loaders.pdf_layout import HYPHEN, Rect, Word, union
from kg.loaders.table_header import looks_like_value

__all__ = [
    "Phrase",
    "TextRow",
    "cells_of",
    "column_of",
    "find_separators",
    "is_value",
    "rows_of",
    "size_of",
    "words_text",
]

_SAME_ROW = 0.45  # of the font size between baselines: superscripts and indexes belong to their row
_INSIDE = 0.55  # of the font size: a wider gap ends a phrase
_TIGHT = 0.45  # of the font size: a gap at the place of a separator that is no space
_TIGHT_VALUES = 0.32  # the same between two values
_REACH = 0.16  # of the font size: words grow by this on either side, so that spaces between them close
_REACH_MANY = 0.12  # the same where many rows agree
_MANY = 6  # rows
_MIN_GAP = 0.1  # of the font size, left open after that
_EXCEPTIONS = 0.12  # of the rows may cross a separator
_MAX_VALUE = 40  # characters
_CORE = 0.6  # of the usual number of phrases: rows with fewer have merged cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words of one row without a wide gap between them."""

    words: tuple[Word, ...]

    @property
    def rect(self) -> Rect:
        """Return the box around the words."""
        return union(word.rect for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRow:
    """Words on one baseline, from left to right."""

    base: float
    words: tuple[Word, ...]
    phrases: tuple[Phrase, ...]


def is_value(text: str) -> bool:
    """Return whether a cell holds a number, also one with a deviation or a mark (``53.8(0.5)``, ``65b``), or a mark."""
    if looks_like_value(text):
        return True
    n_digits = sum(character.isdigit() for character in text)
    n_letters = sum(character.isalpha() for character in text)
    return len(text) <= _MAX_VALUE and (n_digits > n_letters or (bool(text) and not n_digits + n_letters))


def size_of(words: Sequence[Word]) -> float:
    """Return the usual height of words, about their font size; 1 where there are none."""
    return max(1.0, median([word.rect[3] - word.rect[1] for word in words])) if words else 1.0


def rows_of(words: Sequence[Word], *, size: float) -> list[TextRow]:
    """Put words on their rows, from top to bottom.

    :param words: In any order.
    :param size: See :func:`size_of`.
    :returns: The rows.
    """
    groups: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.base):
        if groups and word.base - _middle_base(groups[-1]) <= _SAME_ROW * size:
            groups[-1].append(word)
        else:
            groups.append([word])
    rows = []
    for group in groups:
        ordered = tuple(sorted(group, key=lambda word: (word.rect[0], word.start)))
        rows.append(TextRow(base=_middle_base(group), words=ordered, phrases=_phrases(ordered, size=size)))
    return rows


def _middle_base(group: Sequence[Word]) -> float:
    return group[len(group) // 2].base


def _phrases(words: Sequence[Word], *, size: float) -> tuple[Phrase, ...]:
    groups: list[list[Word]] = []
    right = float("-inf")
    for word in words:
        if groups and word.rect[0] - right <= _INSIDE * size:
            groups[-1].append(word)
        else:
            groups.append([word])
        right = max(right, word.rect[2])
    return tuple(Phrase(words=tuple(group)) for group in groups)


def find_separators(rows: Sequence[TextRow], *, size: float) -> list[float]:
    """Find where columns end: the places that (nearly) no row has ink at.

    :param rows: Rows of a table; those with far fewer phrases than usual do not count.
    :param size: The font size.
    :returns: The x of each separator, from left to right; none where there is but one column.
    """
    parts = [_n_parts(row, size=size) for row in rows]
    counts = sorted(parts)
    if not counts:
        return []
    usual = counts[(3 * len(counts)) // 4] if len(counts) > 1 else counts[0]
    core = [row for row, n in zip(rows, parts, strict=True) if n >= max(2.0, _CORE * usual)]
    if not core:
        return []
    n_allowed = int(_EXCEPTIONS * len(core))
    reach = size * (_REACH_MANY if len(core) >= _MANY else _REACH)
    events: list[tuple[float, int]] = []
    for row in core:
        right = float("-inf")
        for word in row.words:
            start, end = max(right, word.rect[0] - reach), word.rect[2] + reach
            if end > start:
                events += [(start, 1), (end, -1)]
                right = end
    return _openings(sorted(events), n_allowed=n_allowed, narrowest=_MIN_GAP * size)


def _n_parts(row: TextRow, *, size: float) -> int:
    """Count the pieces of a row that more than a plain space parts."""
    pairs = zip(row.words, row.words[1:], strict=False)
    return 1 + sum(_is_gap(left, right, size=size) for left, right in pairs)


def _is_gap(left: Word, right: Word, *, size: float) -> bool:
    """Return whether the gap between two words is more than a plain space of their font; two values need less."""
    height = min(left.rect[3] - left.rect[1], right.rect[3] - right.rect[1])
    are_values = is_value(left.text) and is_value(right.text)
    return right.rect[0] - left.rect[2] >= max(size, height) * (_TIGHT_VALUES if are_values else _TIGHT)


def _openings(events: Sequence[tuple[float, int]], *, n_allowed: int, narrowest: float) -> list[float]:
    """Return a place in each stretch between the first and the last word that few rows cover: where the fewest do."""
    separators: list[float] = []
    pieces: list[tuple[int, float, float]] = []  # rows covering, minus the width, middle: the least is the best
    n_covering, last, opened, has_begun = 0, 0.0, 0.0, False
    for place, change in events:
        if has_begun and n_covering <= n_allowed and place > last:
            pieces.append((n_covering, last - place, (last + place) / 2))
        n_covering += change
        last = place
        if n_covering > n_allowed:
            if pieces and place - opened >= narrowest:
                wide = [piece for piece in pieces if -piece[1] >= narrowest]
                separators.append(min(wide or pieces)[2])
            pieces, has_begun = [], True
        elif not pieces:
            opened = place
    return separators


def column_of(x: float, separators: Sequence[float]) -> int:
    """Return the number of the column that ``x`` lies in."""
    return bisect_right(separators, x)


def cells_of(
    row: TextRow, separators: Sequence[float], *, size: float, is_tight: bool = False
) -> list[tuple[int, int, tuple[Word, ...]]]:
    """Divide a row at the separators.

    :param row: The row.
    :param separators: Where columns end.
    :param size: The font size.
    :param is_tight: Whether plain spaces part cells: so it is in the row of heads right above narrow columns.
    :returns: First column, last column and words of each piece; a piece that crosses a separator is a merged cell.
    """
    pieces: list[tuple[int, int, tuple[Word, ...]]] = []
    for phrase in row.phrases:
        parts: list[list[Word]] = []
        for word in phrase.words:
            if parts and not _parts_here(parts[-1][-1], word, separators, size=size, is_tight=is_tight):
                parts[-1].append(word)
            else:
                parts.append([word])
        pieces += [_placed(part, separators, size=size, is_one=len(parts) > 1) for part in parts]
    return pieces


def _parts_here(left: Word, right: Word, separators: Sequence[float], *, size: float, is_tight: bool) -> bool:
    """Return whether two words of a phrase lie in different columns, and the gap between them is no plain space."""
    are_apart = column_of(left.middle, separators) < column_of(right.middle, separators)
    return are_apart and (is_tight or _is_gap(left, right, size=size))


def _placed(
    words: Sequence[Word], separators: Sequence[float], *, size: float, is_one: bool
) -> tuple[int, int, tuple[Word, ...]]:
    """Return the columns that a piece covers; one that was parted from its neighbour is in the column of its middle."""
    x0, x1 = words[0].rect[0], max(word.rect[2] for word in words)
    reach = (x1 - x0) / 2 if is_one else min(0.3 * size, (x1 - x0) / 4)
    return column_of(x0 + reach, separators), column_of(x1 - reach, separators), tuple(words)


def words_text(words: Sequence[Word], *, size: float) -> str:
    """Return the words of a cell in reading order, lines joined by spaces, words broken at line ends marked.

    :param words: The words of one cell.
    :param size: The font size.
    :returns: Their text; :data:`kg.loaders.pdf_layout.HYPHEN` stands where a line ended in one.
    """
    text = ""
    for row in rows_of(words, size=size):
        line = " ".join(word.text for word in row.words)
        text += line if not text or text.endswith(HYPHEN) else f" {line}"
    return text
