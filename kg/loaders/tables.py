"""Tables as their cells, and the words that make each row findable.

Layer: ``kg``; the standard library only. Every loader that meets a table hands its grid to :func:`make_table`; what
comes back knows its header, its caption and a line of words for each row, and
:meth:`kg.loaders.builder.DocumentBuilder.add_table` gives it a place in the text.

A row is said as ``Year: 2023; Pairs: 1,184``: the name of each column, then the value as it is written; empty cells are
left out. Without a header the first cell names the rest: ``Seats: 180``. White space inside a cell becomes one space,
so that a row is a line; nothing else of a value is changed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kg import ids
from kg.loaders.table_header import guess_header
from kg.loaders.text_tools import clean, squash
from kg.types import Box, Page, Span, Table

__all__ = [
    "PlacedTable",
    "SpanCell",
    "TableDraft",
    "cell_text",
    "expand_spans",
    "finish_tables",
    "is_table_caption",
    "label_of",
    "make_table",
    "spoken_name",
]

_MAX_CAPTION = 1_000  # characters, as for pictures
_MAX_TITLE_ROWS = 3
_MAX_AREA = 4_000_000  # cells after padding; a grid with one row of 100,000 cells among short ones is no table
_MAX_SPAN = 1_000  # columns that one cell may cover, as in browsers
_MARK = (
    r"(?:table|tab\.|tabelle|tableau|tabla|tabella|tabel|tabela|табл(?:ица|\.)|表)"
    r"\s*[A-Z]{0,2}[.-]?\d+(?:[.-]\d+)*[a-z]?\b"
)
_LABEL = re.compile(_MARK, re.IGNORECASE)
_EMPHASIS = re.compile(r"^[*_\s]+|[*_\s]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanCell:
    """A cell of mark-up: its words, and how many columns and rows it covers."""

    text: str
    n_columns: int = 1
    n_rows: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDraft:
    """A table before it has a document. ``lines`` say its body rows in words; ``block`` is it as lines of cells."""

    rows: tuple[tuple[str, ...], ...]
    n_header_rows: int
    lines: tuple[str, ...]
    block: str
    source: str
    caption: str = ""
    label: str = ""
    score: float = 1.0

    def to_table(
        self,
        *,
        document_id: str,
        ordinal: int,
        page: int = 1,
        span: Span | None = None,
        asset_id: str | None = None,
        box: Box | None = None,
    ) -> Table:
        """Give the table its identity and its place.

        :param document_id: The document it belongs to.
        :param ordinal: Its number, from 0, among the tables of the document or of the picture.
        :param page: Its page.
        :param span: Its block in the document's text; ``None`` for a table of a picture.
        :param asset_id: The picture it was read off; ``None`` for a table of the text.
        :param box: Its place on the page or picture.
        :returns: The table, its words and the exact place of each row in them.
        """
        caption = _captioned(self.caption, self.label)
        spans, start = [], len(caption) + 1 if caption else 0
        for line in self.lines:
            spans.append(Span(start=start, end=start + len(line)))
            start += len(line) + 1
        return Table(
            table_id=ids.table_id(document_id, asset_id, ordinal),
            document_id=document_id,
            ordinal=ordinal,
            rows=self.rows,
            n_header_rows=self.n_header_rows,
            text="\n".join((caption, *self.lines) if caption else self.lines),
            row_spans=tuple(spans),
            source=self.source,
            page=page,
            caption=self.caption,
            label=self.label,
            span=span,
            asset_id=asset_id,
            box=box,
            score=self.score,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTable:
    """A draft and where it stands in the text that is being built."""

    draft: TableDraft
    span: Span
    box: Box | None


def cell_text(text: str) -> str:
    """Return a cell's words on one line, clean; quick for plain ASCII, of which data files are made."""
    if text.isascii() and text.isprintable():
        return text if " " not in text else squash(text)
    return squash(clean(text))


def label_of(caption: str) -> str:
    """Return what a caption calls its table (``Table 3``, ``Tab. B.2``); empty where it does not open with that."""
    found = _LABEL.match(caption.lstrip()[:40])
    return squash(found[0]) if found else ""


def is_table_caption(block: str) -> bool:
    """Return whether ``block`` opens as the caption of a table does and is no longer than one."""
    return len(block) <= _MAX_CAPTION and bool(label_of(_EMPHASIS.sub("", block[: _MAX_CAPTION + 1])))


def expand_spans(rows: Sequence[Sequence[SpanCell]], *, max_cells: int) -> list[list[str]]:
    """Lay cells that cover several columns or rows out as a grid, their words repeated in each place.

    :param rows: The rows of the mark-up.
    :param max_cells: The most cells of the grid; past it cells cover one place, so a hostile span costs nothing.
    :returns: A grid, possibly ragged.
    """
    grid: list[list[str]] = []
    pending: dict[int, tuple[int, str]] = {}  # column → rows still covered from above, and the words there
    n_cells = 0
    for index, row in enumerate(rows):
        line: list[str] = []
        for cell in row:
            _take_pending(line, pending)
            room = max_cells - n_cells - len(line)
            n_columns = min(max(cell.n_columns, 1), _MAX_SPAN) if room > _MAX_SPAN else 1
            n_rows = min(max(cell.n_rows, 1), len(rows) - index)
            for _ in range(n_columns):
                if n_rows > 1:
                    pending[len(line)] = (n_rows - 1, cell.text)
                line.append(cell.text)
        _take_pending(line, pending)
        n_cells += len(line)
        grid.append(line)
        if n_cells >= max_cells:
            pending.clear()
    return grid


def _take_pending(line: list[str], pending: dict[int, tuple[int, str]]) -> None:
    """Fill the places at the end of ``line`` that cells of earlier rows cover."""
    while (covered := pending.get(len(line))) is not None:
        n_left, text = covered
        if n_left > 1:
            pending[len(line)] = (n_left - 1, text)
        else:
            del pending[len(line)]
        line.append(text)


def make_table(
    grid: Iterable[Sequence[str]],
    *,
    source: str,
    n_header_rows: int | None = None,
    caption: str = "",
    label: str = "",
    block: str = "",
    score: float = 1.0,
) -> TableDraft | None:
    """Make a table of a raw grid, or say that it is none.

    Rows are padded to one length; empty rows and columns are dropped; one to three rows at the top that hold a single
    value become the caption where there is none; a header that is repeated further down is dropped there.

    :param grid: Rows of cells, of any lengths; merged cells repeated (:func:`expand_spans`).
    :param source: How it was found; see :class:`kg.types.Table`.
    :param n_header_rows: How many of the rows given are the header, as the mark-up says; ``None`` looks for it.
    :param caption: Its caption.
    :param label: What the document calls it; read off the caption where empty.
    :param block: The table as lines of cells, as it stands in the text; made of the rows where empty.
    :param score: The confidence of the reading, in ``[0, 1]``.
    :returns: The draft; ``None`` for what lays out a page rather than data: one column, one row without a
        header, or rows so uneven that padding them would take millions of cells.
    """
    rows = [[cell_text(cell) for cell in row] for row in grid]
    if len(rows) * max(map(len, rows), default=0) > _MAX_AREA:
        return None
    n_header, rows = _without_empty_rows(rows, n_header_rows)
    rows = _without_empty_columns(rows)
    titles, n_header, rows = _split_titles(rows, n_header)
    rows = _without_empty_columns(rows)
    if not rows or len(rows[0]) < 2:
        return None
    if n_header is None:
        n_header = guess_header(rows, assume=source == "sheet")
    head = rows[:n_header]
    body = [row for row in rows[n_header:] if row not in head]
    if len(head) + len(body) < 2 or not body:
        return None
    caption = squash(caption) or squash(" ".join(titles))
    draft = TableDraft(
        rows=tuple(tuple(row) for row in (*head, *body)),
        n_header_rows=n_header,
        lines=(),
        block=block.strip() or "\n".join((*titles, *(" | ".join(row) for row in (*head, *body)))),
        source=source,
        caption=caption,
        label=squash(label) or label_of(caption),
        score=score,
    )
    return replace(draft, lines=_say_rows(body, _column_names(head, len(body[0]))))


def _without_empty_rows(rows: list[list[str]], n_header: int | None) -> tuple[int | None, list[list[str]]]:
    if n_header is not None:
        n_header = sum(any(row) for row in rows[:n_header])
    return n_header, [row for row in rows if any(row)]


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """Pad the rows to one length and drop the columns in which no row has anything."""
    width = max((len(row) for row in rows), default=0)
    used = [False] * width
    for row in rows:
        for column, cell in enumerate(row):
            if cell:
                used[column] = True
    if all(used):
        return [row if len(row) == width else row + [""] * (width - len(row)) for row in rows]
    kept = [column for column in range(width) if used[column]]
    return [[row[column] if column < len(row) else "" for column in kept] for row in rows]


def _split_titles(rows: list[list[str]], n_header: int | None) -> tuple[list[str], int | None, list[list[str]]]:
    """Take the rows off the top that hold one value above a table of several columns: they are its title."""
    titles: list[str] = []
    while len(titles) < min(_MAX_TITLE_ROWS, len(rows) - 2) and _only_value(rows[len(titles)]):
        if n_header is not None and len(titles) + 1 >= n_header:
            break
        titles.append(_only_value(rows[len(titles)]))
    rest = rows[len(titles) :]
    if not titles or all(_only_value(row) for row in rest[:2]):
        return [], n_header, rows
    return titles, n_header if n_header is None else n_header - len(titles), rest


def _only_value(row: Sequence[str]) -> str:
    """Return the one value of a row that is filled in its first cell alone, or has the same in all; else nothing."""
    filled = [cell for cell in row if cell]
    if len(row) < 2 or not row[0] or len(set(filled)) != 1 or len(filled) not in (1, len(row)):
        return ""
    return row[0]


def _column_names(head: Sequence[Sequence[str]], width: int) -> list[str]:
    names = [" / ".join(dict.fromkeys(row[column] for row in head if row[column])) for column in range(width)]
    return [spoken_name(name) for name in names]


def spoken_name(name: str) -> str:
    """Return the name of a column or key as it is said: ``breeding_pairs:`` is ``breeding pairs``."""
    name = name.rstrip(":").rstrip()
    return squash(name.replace("_", " ")) or name if "_" in name and " " not in name else name


def _say_rows(body: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[str, ...]:
    if not any(names):
        return tuple(_say_unnamed(row) for row in body)
    starts = [f"{name}: " if name else "" for name in names]
    return tuple(_say_named(row, starts) for row in body)


def _say_named(row: Sequence[str], starts: Sequence[str]) -> str:
    only = _only_value(row)
    if only and len(row) > 2:
        return only  # a line between the rows: "Europe", "Source: the harbour office"
    return "; ".join([start + cell for start, cell in zip(starts, row, strict=True) if cell])


def _say_unnamed(row: Sequence[str]) -> str:
    only = _only_value(row)
    rest = "; ".join(cell for cell in row[1:] if cell)
    if only or not rest or not row[0]:
        return only or row[0] or rest
    return f"{row[0].rstrip(':')}: {rest}"


def _captioned(caption: str, label: str) -> str:
    if not label or caption.casefold().startswith(label.casefold()):
        return caption
    return f"{label}: {caption}" if caption else label


def finish_tables(
    placed: Sequence[PlacedTable], *, document_id: str, text: str, blocks: Sequence[Span], pages: Sequence[Page]
) -> tuple[Table, ...]:
    """Make the tables of a document whose text is complete.

    :param placed: The tables in the order of the text.
    :param document_id: The document.
    :param text: Its whole text.
    :param blocks: All blocks of the text, in order. One right before a table (else right after it) that opens as a
        table's caption does becomes the caption of a table that has none; no block is taken twice, and none that is
        the stated caption of another table.
    :param pages: The pages of the document, in order.
    :returns: The tables, numbered in their order.
    """
    index_of = {span.start: index for index, span in enumerate(blocks)}
    own = {table.draft.caption for table in placed if table.draft.caption}
    taken = {
        n
        for n, span in enumerate(blocks)
        if own and len(span) <= _MAX_CAPTION and squash(text[span.start : span.end]) in own
    }
    tables: list[Table] = []
    for ordinal, table in enumerate(placed):
        draft = table.draft
        if not draft.caption and (caption := _outer_caption(table, text, blocks, index_of, taken)):
            draft = replace(draft, caption=caption, label=draft.label or label_of(caption))
        tables.append(
            draft.to_table(
                document_id=document_id,
                ordinal=ordinal,
                page=_page_of(table.span, pages),
                span=table.span,
                box=table.box,
            )
        )
    return tuple(tables)


def _page_of(span: Span, pages: Sequence[Page]) -> int:
    place = bisect_right(pages, span.start, key=lambda page: page.span.start) - 1
    return pages[max(0, place)].number


def _outer_caption(
    table: PlacedTable, text: str, blocks: Sequence[Span], index_of: Mapping[int, int], taken: set[int]
) -> str:
    here = index_of.get(table.span.start)
    for index in () if here is None else (here - 1, here + 1):
        if not 0 <= index < len(blocks) or index in taken:
            continue
        words = text[blocks[index].start : blocks[index].end]
        if is_table_caption(words):
            taken.add(index)
            return squash(_EMPHASIS.sub("", words))
    return ""
