"""Which mark separates the columns of a text, told from its lines.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Dialect", "find_dialect", "read_rows"]

_MARKS = ("\t", ";", ",", "|")
_LOOKED_AT_LINES = 100
_LOOKED_AT_CHARACTERS = 200_000
_MIN_AGREEMENT = 0.7  # of the lines, that have as many columns as most have
_MAX_FIELD = 1_000_000  # characters; a quote that is never closed would make one field of the whole file
_MAX_LINES_IN_FIELD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a delimited text is to be read; ``agreement`` is the share of its lines that have ``n_columns``."""

    delimiter: str
    has_quotes: bool
    n_columns: int
    agreement: float


def find_dialect(text: str, *, preferred: str = "") -> Dialect | None:
    """Return the mark that cuts the lines of ``text`` into columns most evenly.

    :param text: The text, or its beginning.
    :param preferred: The mark to take where two are as good, as the file's name says.
    :returns: The dialect; ``None`` if no mark makes at least two columns of most lines.
    """
    sample = _whole_lines(text)
    best: tuple[tuple[float, ...], Dialect] | None = None
    for rank, mark in enumerate(_MARKS):
        if mark not in sample:
            continue
        has_quotes = _closes_quotes(sample, mark)
        counts = Counter(len(row) for row in read_rows(sample, delimiter=mark, has_quotes=has_quotes) if any(row))
        n_rows = sum(counts.values())
        n_columns, n_agree = max(((n, times) for n, times in counts.items() if n > 1), key=_weight, default=(1, 0))
        if not n_rows or n_agree < _MIN_AGREEMENT * n_rows:
            continue
        agreement = n_agree / n_rows
        found = Dialect(delimiter=mark, has_quotes=has_quotes, n_columns=n_columns, agreement=agreement)
        key = (round(agreement, 2), float(mark == preferred), float(n_columns), float(-rank))
        if best is None or key > best[0]:
            best = key, found
    return best[1] if best else None


def _weight(columns: tuple[int, int]) -> tuple[int, int]:
    return columns[1], columns[0]


def _whole_lines(text: str) -> str:
    sample = text[:_LOOKED_AT_CHARACTERS]
    lines = sample.splitlines(keepends=True)[: _LOOKED_AT_LINES + 1]
    if len(lines) > 1 and len(text) > len("".join(lines)):
        lines.pop()
    return "".join(lines)


def _closes_quotes(sample: str, mark: str) -> bool:
    """Return whether quotes are used as the format means them, so that a mark or line end inside is part of a cell."""
    if '"' not in sample:
        return False
    try:
        rows = list(csv.reader(sample.splitlines(keepends=True), delimiter=mark, strict=True))
    except csv.Error:
        return False
    return all(cell.count("\n") <= _MAX_LINES_IN_FIELD for row in rows for cell in row)


def read_rows(text: str, *, delimiter: str, has_quotes: bool) -> Iterator[list[str]]:
    """Yield the rows of a delimited text, empty ones too.

    :param text: The text.
    :param delimiter: The mark between cells.
    :param has_quotes: Whether a cell may stand in quotes.
    :yields: The cells of each row. A quote that is never closed ends with the text.
    """
    csv.field_size_limit(_MAX_FIELD)
    lines = _lines(text)
    if has_quotes:
        reader = csv.reader(lines, delimiter=delimiter)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a field beyond the limit: the reader has let it go and begins with the next line
            continue
        yield row


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of ``text`` with their ends: line feeds or, where there are none, carriage returns."""
    start = 0
    for end in _line_ends(text):
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _line_ends(text: str) -> Iterator[int]:
    mark = "\n" if "\n" in text else "\r"
    position = text.find(mark)
    while position >= 0:
        yield position + 1
        position = text.find(mark, position + 1)
