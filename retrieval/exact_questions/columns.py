"""A table made ready for exact questions: what each column is called, what it holds, which rows are things.

Layer: ``retrieval``; imports ``kg``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from kg.types import DocumentInfo, Table
from kg.wordlists import word_set
from retrieval.exact_questions.values import DATE, Value, is_blank, read_cell
from retrieval.exact_questions.words import content_of, cut, stem, stems_of

__all__ = ["Column", "ColumnKind", "ReadyTable", "ready"]

_UNIT = re.compile(r"\s*[(\[]([^)\]]{1,20})[)\]]\s*\Z")
_TOTALS = word_set("total totals sum subtotal overall average mean median all")
_DATE_WORDS = frozenset(
    map(
        stem,
        word_set(
            "year date day month built founded born died opened launched established completed since created published "
            "released start end when installed signed updated joined hired issued due"
        ),
    )
)
_MOSTLY = 0.5
"""A column with more values than this share of its cells is one of values, if not a clean one."""


class ColumnKind(StrEnum):
    """What a column holds. ``MIXED`` has values that cannot be compared with each other, or words among them."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its name without a unit, the stems that tell it, its cells, and their values (``None`` where blank)."""

    index: int
    name: str
    stems: frozenset[str]
    unit: str
    kind: ColumnKind
    cells: tuple[str, ...]
    values: tuple[Value | None, ...]

    @property
    def dimension(self) -> str:
        """The unit of its values; empty for bare numbers and for words."""
        return next((value.unit for value in self.values if value is not None), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTable:
    """A table with a header, made ready.

    ``rows`` are the numbers, from 1, of the body rows that are things; columns have the cells of these rows alone.
    ``about`` are the stems of its caption and document; ``subject`` is the column that names rows.
    """

    table: Table
    document: DocumentInfo
    columns: tuple[Column, ...]
    rows: tuple[int, ...]
    n_totals: int
    about: frozenset[str]
    subject: Column

    @property
    def title(self) -> str:
        """What to call the table."""
        said = " ".join((self.table.caption or self.table.label).split())
        said = said if len(said) <= 80 else said[:80].rsplit(" ", 1)[0] + " …"
        return f"“{said}” of {self.document.name}" if said else f"a table of {self.document.name}"


def ready(table: Table, document: DocumentInfo) -> ReadyTable | None:
    """Make a table ready.

    :param table: The table.
    :param document: Its document.
    :returns: The table; ``None`` where columns have no names, two have the same, or there is no row.
    """
    header = table.header
    names = [name for name in header if name]
    if not table.n_header_rows or len(names) < len(header) or len(set(names)) < len(names) or not table.body:
        return None
    numbered = list(enumerate(table.body, start=1))
    things = [(number, row) for number, row in numbered if not _is_total(row) and any(not is_blank(c) for c in row)]
    if not things:
        return None
    cells = list(zip(*(row for _, row in things), strict=True))
    columns = tuple(_column(index, name, cells[index]) for index, name in enumerate(header))
    title = document.title if document.title != document.name else ""
    about = " ".join((table.caption, table.label, title, _spaced(PurePath(document.name).stem)))
    return ReadyTable(
        table=table,
        document=document,
        columns=columns,
        rows=tuple(number for number, _ in things),
        n_totals=sum(_is_total(row) for _, row in numbered),
        about=frozenset(stems_of(about)),
        subject=next((one for one in columns if one.kind is ColumnKind.TEXT), columns[0]),
    )


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.]+", " ", name)


def _is_total(row: Sequence[str]) -> bool:
    first = next((cell for cell in row if cell.strip()), "")
    words = [word.lower() for word, _, _ in cut(first)]
    return bool(words) and len(words) <= 3 and words[0] in _TOTALS


def _column(index: int, header: str, cells: Sequence[str]) -> Column:
    match = _UNIT.search(header)
    name, unit = (header[: match.start()], match.group(1)) if match else (header, "")
    name = _spaced(name).strip() or header
    filled = [cell for cell in cells if not is_blank(cell)]
    as_date = bool(frozenset(stems_of(name)) & _DATE_WORDS) and not unit
    values = tuple(None if is_blank(cell) else read_cell(cell, unit=unit, as_date=as_date) for cell in cells)
    known = [value for value in values if value is not None]
    if not filled or len(known) <= _MOSTLY * len(filled):
        kind = ColumnKind.TEXT
    elif len(known) < len(filled) or len({value.unit for value in known}) > 1:
        kind = ColumnKind.MIXED
    else:
        kind = ColumnKind.DATE if known[0].unit == DATE else ColumnKind.NUMBER
    if kind is ColumnKind.TEXT:
        values = (None,) * len(cells)
    return Column(
        index=index, name=name, stems=content_of(name), unit=unit, kind=kind, cells=tuple(cells), values=values
    )
