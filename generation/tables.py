"""Gather the tables that evidence holds: a document's rows, the rows behind a chart, ``label: value`` and ``a | b``.

Layer: ``generation``. A row is a line of a chunk, and its unit is exactly that line, so whatever is read off it can be
quoted. A picture's rows are its lines of source ``table``; where it has none, or only ``label: value``, the lines of
that form that were read off it, or lines with a label and with its value by turns; and lines of cells between bars,
where they stand under a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from generation.rows import Cell, cells_of
from generation.units import Unit, is_picture, is_table
from generation.words import content_stems, numbers_in
from kg.loaders.table_header import guess_header, looks_like_value
from kg.types import CaptionLine, Span
from retrieval.types import Evidence

__all__ = ["SaidRow", "SaidTable", "read_tables"]

_BAR = " | "
_PAIR = re.compile(r"(?P<label>[^:|;]{1,80}): (?P<value>[^|;]{1,24})")
_ONE_NUMBER = re.compile(r"[^\d]*\d(?:[\d.]|,(?=\d)|\s(?=\d{3}\b))*[^\d]*")
_NO_LABELS = re.compile(r"(?:n|base|source|sources|note|notes|page|figure|table|chart|fig|tel|phone)\.?", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidRow:
    """A row: the line that says it, and its cells, at least two; the first is the row's own name.

    ``header`` is the line that names its columns, where neither its own nor the one before it does.
    """

    unit: Unit
    cells: tuple[Cell, ...]
    header: Unit | None = None

    @property
    def label(self) -> str:
        """The row's own name."""
        return self.cells[0].value


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidTable:
    """A table: its rows in the evidence, and what it stands under.

    ``about`` are the stems and ``numbers`` the numbers of its caption, the heading and the document's title.
    ``is_whole`` tells that no row of it is missing; ``text`` is all that ``about`` was read from. ``pictures`` are the
    places in the evidence of the chunks of the picture that it stands behind; empty for any other table.
    """

    rows: tuple[SaidRow, ...]
    about: frozenset[str]
    numbers: frozenset[str]
    text: str
    is_whole: bool
    pictures: tuple[int, ...] = ()


def read_tables(evidence: Sequence[Evidence]) -> list[SaidTable]:
    """Gather the tables, in the order in which the evidence first holds a row of each.

    :param evidence: What retrieval found.
    :returns: Tables with at least one row; a table whose rows lie in several chunks is one.
    """
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(evidence):
        key = item.chunk.table_id or item.chunk.asset_id
        if key is not None:
            groups.setdefault(key, []).append(index)
    return [table for indexes in groups.values() for table in _tables(indexes, evidence)]


def _tables(indexes: Sequence[int], evidence: Sequence[Evidence]) -> Iterator[SaidTable]:
    items = [(index, evidence[index]) for index in indexes]
    if is_table(items[0][1]):
        rows = [row for index, item in items for row in _table_rows(index, item)]
        yield from _table(rows, items)
        return
    if not is_picture(items[0][1]):
        return
    said = [row for index, item in items for row in _said_rows(index, item)]
    pairs = [row for index, item in items for row in _pair_rows(index, item)]
    if all(len(row.cells) == 1 for row in said):
        said, pairs = [*said, *pairs], []
    if said:
        yield from _table(said, items, is_behind=True)
        return  # what stands side by side by chance in reading order is no second table
    for index, item in items:
        for rows in _grids(index, item):
            yield from _table(rows, items)


def _table(
    rows: Sequence[SaidRow], items: Sequence[tuple[int, Evidence]], *, is_behind: bool = False
) -> Iterator[SaidTable]:
    seen: dict[tuple[int, int], SaidRow] = {}
    for row in rows:
        seen.setdefault((row.unit.span.start, row.unit.span.end), row)
    if not seen:
        return
    ordered = _labelled(sorted(seen.values(), key=lambda row: row.unit.span.start))
    text = "\n".join(_around(items, ordered))
    yield SaidTable(
        rows=ordered,
        about=frozenset(content_stems(text)),
        numbers=frozenset(numbers_in(text)),
        text=text,
        is_whole=_is_whole([item for _, item in items]),
        pictures=tuple(index for index, _ in items) if is_behind else (),
    )


def _labelled(rows: Sequence[SaidRow]) -> tuple[SaidRow, ...]:
    """Make ``Oslo: 417`` and ``Oslo: 417; 420`` rows of a name and its values, where no header names the columns."""
    names = {row.cells[0].name for row in rows}
    is_named = len(names) == 1 < len(rows)
    made = []
    for row in rows:
        first, rest = row.cells[0], row.cells[1:]
        if first.name and not any(cell.name for cell in rest) and not (is_named and rest):
            cells = (Cell(name="", value=first.name), Cell(name="", value=first.value), *rest)
            row = replace(row, cells=cells)
        made.append(row)
    return tuple(made)


def _around(items: Sequence[tuple[int, Evidence]], rows: Sequence[SaidRow]) -> Iterator[str]:
    """Give what the table stands under: titles and headings, and the lines of its chunks that are no rows."""
    for index, item in items:
        yield f"{item.document.title}\n{item.document.name}\n{item.chunk.heading}"
        taken = [row.unit.span for row in rows if row.unit.index == index]
        for line in _lines(item):
            is_row = any(span.start <= line.span.start < span.end for span in taken)
            if not is_row and not _looks_like_a_row(line.text):
                yield line.text


def _looks_like_a_row(text: str) -> bool:
    if _BAR in text or len(cells_of(text)) > 1:
        return True
    match = _PAIR.fullmatch(text)
    return match is not None and looks_like_value(match["value"])


def _is_whole(items: Sequence[Evidence]) -> bool:
    """Tell whether the chunks at hand hold every row (of a picture: every line that was read off it)."""
    n_parts = max(item.n_parts for item in items)
    if is_table(items[0]):
        held = {row.number for item in items for row in item.rows if _holds(item, row.span)}
    else:
        held = {line.span.start for item in items for line in item.lines if _is_read(line) and _holds(item, line.span)}
    return 0 < n_parts <= len(held)


def _holds(item: Evidence, span: Span) -> bool:
    return item.chunk.span.start <= span.start and span.end <= item.chunk.span.end


def _is_read(line: CaptionLine) -> bool:
    return line.source in ("ocr", "table")


def _lines(item: Evidence) -> Iterator[CaptionLine]:
    """Give the whole lines of a chunk; those of a picture without known lines pass for read off it."""
    if item.lines:
        yield from (line for line in item.lines if _holds(item, line.span))
        return
    start = item.chunk.span.start
    for text in item.chunk.text.splitlines(keepends=True):
        body = text.strip()
        if body:
            first = start + text.index(body[0])
            yield CaptionLine(text=body, source="ocr", span=Span(start=first, end=first + len(body)))
        start += len(text)


def _row(index: int, line: CaptionLine, cells: Sequence[Cell], *, picture: bool) -> SaidRow:
    unit = Unit(index=index, text=line.text, span=line.span, picture=picture, row=True)
    return SaidRow(unit=unit, cells=tuple(cells))


def _table_rows(index: int, item: Evidence) -> Iterator[SaidRow]:
    places = {row.span.start: row.span.end for row in item.rows}
    for line in _lines(item):
        cells = cells_of(line.text)
        if places.get(line.span.start) == line.span.end and (len(cells) > 1 or cells[0].name):
            yield _row(index, line, cells, picture=False)


def _said_rows(index: int, item: Evidence) -> Iterator[SaidRow]:
    for line in _lines(item):
        cells = cells_of(line.text)
        if line.source == "table" and (len(cells) > 1 or cells[0].name):
            yield _row(index, line, cells, picture=True)


def _pair_rows(index: int, item: Evidence) -> list[SaidRow]:
    """Give the lines ``label: value`` that hold a single value; of ``label: 28, 52, 20`` none can be told."""
    rows: list[SaidRow] = []
    for line in _lines(item):
        match = _PAIR.fullmatch(line.text) if line.source == "ocr" else None
        if match is None or _NO_LABELS.fullmatch(match["label"].strip()):
            continue
        if _is_one_value(match["value"]):
            rows.append(_row(index, line, [Cell(name=match["label"], value=match["value"])], picture=True))
    return rows or _turn_rows(index, item)


def _turn_rows(index: int, item: Evidence) -> list[SaidRow]:
    """Give the labels and values that stand on lines of their own by turns, where the last line is a value.

    With a label last it could as well be the name of the value over it, so nothing is told.
    """
    lines = [line for line in _lines(item) if line.source == "ocr"]
    values = [_is_one_value(line.text) for line in lines]
    first = values.index(True) if True in values else 0
    turns = list(zip(lines[first - 1 :: 2], lines[first::2], strict=False)) if first else []
    by_turns = len(turns) > 1 and values[first:] == [i % 2 == 0 for i in range(len(values) - first)]
    if not by_turns or not values[-1]:
        return []
    return [_turn(index, item, label, value) for label, value in turns]


def _turn(index: int, item: Evidence, label: CaptionLine, value: CaptionLine) -> SaidRow:
    unit = _unit(index, item, Span(start=label.span.start, end=value.span.end))
    return SaidRow(unit=unit, cells=(Cell(name=label.text, value=value.text),))


def _is_one_value(text: str) -> bool:
    return looks_like_value(text) and _ONE_NUMBER.fullmatch(text) is not None


def _grids(index: int, item: Evidence) -> Iterator[list[SaidRow]]:
    """Give the runs of lines with bars that stand under a header of as many cells."""
    lines = [line for line in _lines(item) if line.source == "ocr"]
    for n_bars, run in groupby(lines, key=lambda line: line.text.count(_BAR)):
        if n_bars:
            yield from _grid(index, item, list(run))


def _grid(index: int, item: Evidence, run: Sequence[CaptionLine]) -> Iterator[list[SaidRow]]:
    rows = [[cell.strip() for cell in line.text.split(_BAR)] for line in run]
    if len(rows) < 2:
        return
    if guess_header(rows, assume=True) == 1:
        said: list[SaidRow] = []
        head = _unit(index, item, run[0].span)
        first = _unit(index, item, Span(start=run[0].span.start, end=run[1].span.end))
        for number, (line, row) in enumerate(zip(run[1:], rows[1:], strict=True)):
            cells = tuple(Cell(name=name, value=value) for name, value in zip(rows[0], row, strict=True))
            unit = _unit(index, item, line.span) if number else first
            said.append(SaidRow(unit=unit, cells=cells, header=head if number else None))
        yield said
    elif len(rows[0]) == 2 and all(looks_like_value(row[1]) for row in rows):
        yield [
            SaidRow(unit=_unit(index, item, line.span), cells=(Cell(name=row[0], value=row[1]),))
            for line, row in zip(run, rows, strict=True)
        ]


def _unit(index: int, item: Evidence, span: Span) -> Unit:
    start = item.chunk.span.start
    return Unit(index=index, text=item.chunk.text[span.start - start : span.end - start], span=span, picture=True)
