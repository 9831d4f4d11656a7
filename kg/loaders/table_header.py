"""Which rows at the top of a grid name its columns, told from what the cells look like.

Layer: ``kg``; the standard library only. Asked only where the mark-up does not say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["guess_header", "looks_like_value"]

_VALUE = re.compile(
    r"[(+\-−–±~<>≤≥$€£¥ ]{0,4}\d[\d.,'’:/\-–T ]{0,40}(?:[eE][+-]?\d{1,4})?(?: ?[%‰°)*†‡]| ?[^\W\d_/]{1,4}\.?){0,3}"
)
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d(?:[/–-]\d{2,4})?")
_DIGITS = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]+")
_BLANKS = frozenset({"-", "–", "—", "n/a", "na", "nan", "null", "none", "..", "...", "?", "true", "false"})
_LOOKED_AT = 50  # rows
_VALUE_SHARE = 0.6  # of a column's cells, for the column to be one of values
_MAX_NAME = 120  # characters; what is longer is no name of a column


def looks_like_value(cell: str) -> bool:
    """Return whether a cell holds a number, an amount, a date or a mark for none, rather than words."""
    if cell.casefold() in _BLANKS:
        return True
    return len(cell) <= 60 and _VALUE.fullmatch(cell) is not None


def guess_header(rows: Sequence[Sequence[str]], *, assume: bool = False) -> int:
    """Return how many rows at the top are a header: 0, 1 or 2.

    :param rows: A grid without empty rows or columns, every row of the same length, at least 2.
    :param assume: Whether a first row of words over columns of words is a header too, as in most data files.
    :returns: The number of header rows; at least one row is left below them.
    """
    if len(rows) < 2:
        return 0
    first, body = rows[0], rows[1 : 1 + _LOOKED_AT]
    filled = [cell for cell in first if cell]
    if len(first) - len(filled) > max(1, len(first) // 4) or any(len(cell) > _MAX_NAME for cell in filled):
        return 0
    if _names_years(first, body):
        return 1
    if len(set(filled)) < len(filled):
        return _second_level(rows)
    if any(looks_like_value(cell) for cell in filled) or _looks_like_a_row(first, body):
        return 0
    return int(_has_value_column(body) or (assume and _names_words(first, body)))


def _names_years(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Tell ``| | 2021 | 2022 |``: years side by side over values, and rows that begin with words."""
    years = first[1:]
    if len(years) < 2 or looks_like_value(first[0]) or len(set(years)) < len(years):
        return False
    if not all(_YEAR.fullmatch(cell) for cell in years):
        return False
    labels = [row[0] for row in body if row[0]]
    return bool(labels) and not any(looks_like_value(label) for label in labels)


def _second_level(rows: Sequence[Sequence[str]]) -> int:
    """Tell a header of two rows, of which the first repeats the words of cells that were merged."""
    first, second, body = rows[0], rows[1], rows[2 : 2 + _LOOKED_AT]
    merged = any(left and left == right for left, right in zip(first, first[1:], strict=False))
    named = all(not cell or not looks_like_value(cell) or _YEAR.fullmatch(cell) for cell in (*first, *second))
    return 2 if merged and body and named and _has_value_column(body) else 0


def _has_value_column(body: Sequence[Sequence[str]]) -> bool:
    for column in zip(*body, strict=True):
        filled = [cell for cell in column if cell]
        if filled and sum(map(looks_like_value, filled)) >= _VALUE_SHARE * len(filled):
            return True
    return False


def _looks_like_a_row(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Tell whether a cell of the first row is built as those below it, digits in the same place: ``r0``, ``r1``."""
    for name, column in zip(first, zip(*body, strict=True), strict=True):
        shape = _shape(name)
        alike = sum(_shape(cell) == shape for cell in column)
        if "0" in shape and alike >= _VALUE_SHARE * len(column):
            return True
    return False


def _shape(cell: str) -> str:
    return _LETTERS.sub("a", _DIGITS.sub("0", cell[:_MAX_NAME]))


def _names_words(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Tell names from values where both are words: no name stands again in its column, and none is missing."""
    return all(first) and not any(name == row[column] for column, name in enumerate(first) for row in body)
