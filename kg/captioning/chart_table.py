"""Make a table of a picture, and lines of its caption, of what was read off a chart.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kg.captioning.charts import read_chart, reading_score
from kg.captioning.layout import TextPiece
from kg.loaders.tables import make_table
from kg.types import Asset, Box, CaptionLine, Modality, Span, Table

__all__ = ["as_fractions", "chart_table", "table_lines", "with_table"]


class _Rectangle(Protocol):
    @property
    def x0(self) -> float: ...
    @property
    def y0(self) -> float: ...
    @property
    def x1(self) -> float: ...
    @property
    def y1(self) -> float: ...


def as_fractions(place: _Rectangle, *, width: int, height: int) -> Box:
    """Return a rectangle in pixels as fractions of a picture of that size."""

    def clip(value: float) -> float:
        return min(1.0, max(0.0, value))

    return Box(
        x0=clip(place.x0 / width), y0=clip(place.y0 / height), x1=clip(place.x1 / width), y1=clip(place.y1 / height)
    )


def chart_table(
    asset: Asset, pieces: Sequence[TextPiece], *, width: int, height: int
) -> tuple[Table, list[TextPiece]] | None:
    """Read the table behind a picture.

    :param asset: The picture; a scanned page has none of its own, for it is not a chart but may hold several.
    :param pieces: The words on it, in pixels.
    :param width: The picture's width in those pixels.
    :param height: Its height.
    :returns: The table, its score that of the reading, and the words that are not part of it; ``None`` where the places
        of the words do not tell one.
    """
    grid = None if asset.kind is Modality.PAGE else read_chart(pieces)
    if grid is None:
        return None
    rows = (grid.header, *grid.rows) if grid.header else grid.rows
    draft = make_table(
        rows,
        source="ocr",
        n_header_rows=1 if grid.header else 0,
        caption=asset.caption,
        label=asset.label,
        score=min(1.0, max(0.0, reading_score(grid))),
    )
    if draft is None:
        return None
    used = [as_fractions(piece, width=width, height=height) for piece in grid.used]
    box = Box(
        x0=min(b.x0 for b in used), y0=min(b.y0 for b in used), x1=max(b.x1 for b in used), y1=max(b.y1 for b in used)
    )
    table = draft.to_table(document_id=asset.document_id, ordinal=0, page=asset.page, asset_id=asset.asset_id, box=box)
    return table, [piece for piece in pieces if not _is_among(piece, grid.used)]


def _is_among(piece: TextPiece, used: Sequence[TextPiece]) -> bool:
    """Tell whether a piece, or the parts it was divided into, or the label it was joined to, are in the table."""
    x, y = (piece.x0 + piece.x1) / 2, piece.middle
    return any(u.x0 <= x <= u.x1 and u.y0 <= y <= u.y1 for u in used) or any(
        piece.x0 <= (u.x0 + u.x1) / 2 <= piece.x1 and piece.y0 <= u.middle <= piece.y1 for u in used
    )


def with_table(lines: Sequence[CaptionLine], table: Table) -> list[CaptionLine]:
    """Put the lines of a table among those read in reading order, where it stands on the picture.

    :param lines: Lines of the words that are not part of the table.
    :param table: The table.
    :returns: All lines; spans are those of single lines, to be placed.
    """
    top = table.box.y0 if table.box is not None else 0.0
    place = next((i for i, line in enumerate(lines) if line.box is not None and line.box.y0 > top), len(lines))
    return [*lines[:place], *table_lines(table), *lines[place:]]


def table_lines(table: Table) -> list[CaptionLine]:
    """Say each row of a picture's table in a line of its caption; spans are those of single lines, to be placed."""
    lines = [table.text[span.start : span.end] for span in table.row_spans]
    return [
        CaptionLine(text=line, source="table", span=Span(start=0, end=len(line)), box=table.box, score=table.score)
        for line in lines
        if line.strip()
    ]
