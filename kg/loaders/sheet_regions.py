"""Find the tables of a sheet: stretches of cells with empty rows or columns between them.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kg.loaders.builder import DocumentBuilder
from kg.loaders.table_header import guess_header
from kg.loaders.tables import make_table

__all__ = ["add_regions", "split_rows"]

_MAX_TITLE = 200  # characters of a lone cell over a table that names it

Grid = list[list[str]]


def add_regions(builder: DocumentBuilder, rows: Sequence[Sequence[str]], *, page: int = 1) -> None:
    """Add what stands on one sheet, from top to bottom and from left to right: tables as tables, the rest as text.

    :param builder: Takes the blocks.
    :param rows: The rows of the sheet, empty ones too; cells clean.
    :param page: The sheet's number.
    """
    title = ""
    for block in _joined(split_rows(rows)):
        lone = ""
        for region in _split_columns(block):
            draft = make_table(region, source="sheet", caption=title)
            if draft is not None:
                builder.add_table(draft, page=page)
                title = ""
                continue
            text = "\n".join(" | ".join(filter(None, row)) for row in region)
            builder.add(text)
            lone = text if "\n" not in text and len(text) <= _MAX_TITLE and len(block) == 1 else ""
        title = lone


def split_rows(rows: Sequence[Sequence[str]]) -> Iterator[Grid]:
    """Yield the stretches of rows between empty ones."""
    block: Grid = []
    for row in rows:
        if any(row):
            block.append(list(row))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _joined(blocks: Iterator[Grid]) -> Iterator[Grid]:
    """Put a block without a header back to the one above it, of the same columns, that has one."""
    last: Grid | None = None
    for block in blocks:
        if last is not None and _goes_on(last, block):
            last.extend(block)
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


def _goes_on(above: Grid, block: Grid) -> bool:
    columns = _extent(above)
    if columns != _extent(block) or columns[1] - columns[0] < 2:
        return False
    return _has_header(above, columns) and not _has_header(block, columns)


def _has_header(block: Grid, columns: tuple[int, int]) -> bool:
    low, high = columns
    rows = [row[low:high] + [""] * (high - low - len(row[low:high])) for row in block[:52]]
    return guess_header(rows, assume=False) > 0


def _extent(block: Grid) -> tuple[int, int]:
    """Return the first column in which a block has anything, and the one after the last."""
    firsts = [next(i for i, cell in enumerate(row) if cell) for row in block]
    lasts = [next(i for i in range(len(row), 0, -1) if row[i - 1]) for row in block]
    return min(firsts), max(lasts)


def _split_columns(block: Grid) -> Iterator[Grid]:
    """Yield the parts of a block between its empty columns."""
    width = max(map(len, block))
    used = [False] * (width + 1)
    for row in block:
        for column, cell in enumerate(row):
            if cell:
                used[column] = True
    start = 0
    for column in range(width + 1):
        if used[column]:
            continue
        if column > start:
            part = [row[start:column] for row in block]
            yield [row for row in part if any(row)]
        start = column + 1
