"""A table as its cells, and the words that make each of its rows findable.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kg.types.checks import require
from kg.types.geometry import Box, Span

__all__ = ["Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a document, or one that was read off a picture.

    ``rows`` are all rows, every one of the same number of cells, of which the first ``n_header_rows`` are the header; a
    cell that spans others is repeated in each place it covers. ``text`` says the table in words: its caption, then a
    line for each body row that names the column of each value (``Year: 2023; Pairs: 1,184``); ``row_spans`` are the
    places of those lines in ``text``, in the order of the body rows. Chunks of kind ``TABLE`` are cut from ``text``.

    ``span`` is where the table stands in ``Document.text`` as lines of cells; a table that was read off a picture has
    ``asset_id`` instead, and ``box`` is then its place on that picture, otherwise on ``page``. ``source`` says how it
    was found: ``markup`` (HTML, Markdown, Word, LaTeX, slides), ``sheet`` (a spreadsheet or CSV), ``drawn`` (lines
    and text of a PDF page) or ``ocr`` (boxes of words on a picture). ``score`` is the confidence of that reading, in
    ``[0, 1]``.
    """

    table_id: str
    document_id: str
    ordinal: int
    rows: tuple[tuple[str, ...], ...] = field(repr=False)
    n_header_rows: int
    text: str = field(repr=False)
    row_spans: tuple[Span, ...] = field(repr=False)
    source: str
    page: int = 1
    caption: str = ""
    label: str = ""
    span: Span | None = None
    asset_id: str | None = None
    box: Box | None = None
    score: float = 1.0

    def __post_init__(self) -> None:
        where = f"Table {self.table_id}"
        require(bool(self.rows) and bool(self.rows[0]), f"{where}: a table has at least one cell.")
        require(len({len(row) for row in self.rows}) == 1, f"{where}: rows differ in length.")
        require(0 <= self.n_header_rows <= len(self.rows), f"{where}: {self.n_header_rows} header rows do not fit.")
        require((self.span is None) == (self.asset_id is not None), f"{where}: it needs a span or a picture, not both.")
        require(
            len(self.row_spans) == len(self.rows) - self.n_header_rows,
            f"{where}: {len(self.row_spans)} row spans for {len(self.rows) - self.n_header_rows} body rows.",
        )
        require(all(span.end <= len(self.text) for span in self.row_spans), f"{where}: a row ends past the text.")

    @property
    def header(self) -> tuple[str, ...]:
        """The name of each column: the cells of its header rows, joined by `` / `` where they differ; may be empty."""
        columns = (
            zip(*self.rows[: self.n_header_rows], strict=True) if self.n_header_rows else ((),) * len(self.rows[0])
        )
        return tuple(" / ".join(dict.fromkeys(cell for cell in column if cell)) for column in columns)

    @property
    def body(self) -> tuple[tuple[str, ...], ...]:
        """The rows below the header."""
        return self.rows[self.n_header_rows :]
