"""PDF: text page by page, figures as the reader sees them, and whole pages where there is no text layer.

Layer: ``kg``; pypdfium2. Three passes over the pages, each checked against the clock between pages: which pictures
repeat, then lines and figures, then paragraphs (which need the words of the whole document to join hyphens). Renderings
are encoded as they are made. PDFium is not safe for threads, so one PDF is read at a time in a process.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kg.errors import CorruptFileError, EncryptedFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.pdf_graphics import Region, covers_page, find_regions
from kg.loaders.pdf_layout import (
    Block,
    Line,
    Rect,
    blocks_of,
    body_height,
    is_over,
    join_hyphens,
    overlap,
    words_of,
)
from kg.loaders.pdf_page import PdfPageReader, picture_keys
from kg.loaders.pdf_tables import PageTable, TableFinder
from kg.loaders.pictures import Picture
from kg.loaders.sniff import PDF
from kg.loaders.tables import TableDraft, is_table_caption, label_of, make_table
from kg.loaders.text_tools import clean, is_caption, squash
from kg.types import Box, Document, Modality, RawFile, Span

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

__all__ = ["PdfLoader"]

_LOCK = threading.Lock()
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_PAGE_DPI = 150.0  # 10-point text is 20 pixels tall: what text detectors are trained on
_FIGURE_DPI = 200.0  # labels in figures are smaller than text
_MIN_PICTURE_DPI = 72.0
_MAX_RENDER_PIXELS = 16_000_000  # a poster is rendered coarser rather than refused
_DECORATES = 3  # pages: a picture that stands on as many is a logo or a background
_MIN_LETTERS = 25  # of a usable text layer
_FEW_LETTERS = 250  # on a page that is one picture: its text layer may not hold what the picture says
_MAX_BAD_SHARE = 0.2  # of characters without a meaning (broken font tables)
_HEADING_SIZE = 1.08  # times the height of the body's lines
_MAX_HEADING = 120  # characters
_MARGIN = 3.0  # points around a figure, so that the edges of its labels are whole
_CAPTION_REACH = 60.0  # points between a figure and its caption
_END_MARK = b"%%EOF"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    picture: Picture
    kind: Modality
    rect: Rect


@dataclass(frozen=True, slots=True, kw_only=True)
class _PageDraft:
    lines: list[Line]
    figures: list[_Figure]
    size: tuple[float, float]
    tables: list[PageTable] = field(default_factory=list)


def _n_letters(lines: list[Line]) -> int:
    return sum(character.isalpha() for line in lines for character in line.text)


def _is_usable(lines: list[Line]) -> bool:
    """Return whether a text layer has enough letters, and few characters that a font table failed to name."""
    text = "".join(line.text for line in lines)
    n_bad = sum("\ue000" <= character <= "\uf8ff" or character in "\ufffd\x00" for character in text)
    return _n_letters(lines) >= _MIN_LETTERS and n_bad <= _MAX_BAD_SHARE * len(text)


class _PdfReader:
    """Reads one open document into a builder."""

    def __init__(self, pdf: PdfDocument, builder: DocumentBuilder) -> None:
        self._pdf = pdf
        self._builder = builder
        self._max_pixels = min(builder.limits.max_pixels, _MAX_RENDER_PIXELS)

    def read(self) -> Document:
        decoration = self._decoration()
        drafts = [self._draft(reader, decoration) for reader in self._pages("reading")]
        words = words_of(line.text for draft in drafts for line in draft.lines)
        body = body_height(line for draft in drafts for line in draft.lines)
        pages = [
            blocks_of(draft.lines, words, breaks=[table.before for table in draft.tables if table.before])
            for draft in drafts
        ]
        levels = _heading_levels(pages, body)
        for number, (draft, blocks) in enumerate(zip(drafts, pages, strict=True), start=1):
            self._add_page(number, draft, blocks, levels, words)
        return self._builder.build(title=self._title(pages, body), is_paged=True, metadata=self._metadata())

    def _pages(self, step: str) -> Iterator[PdfPageReader]:
        for index in range(len(self._pdf)):
            self._builder.deadline.check(f"{step} page {index + 1}")
            with closing(self._pdf[index]) as page:
                yield PdfPageReader(page)

    def _decoration(self) -> frozenset[tuple[int, int]]:
        counts: Counter[tuple[int, int]] = Counter()
        for index in range(len(self._pdf)):
            self._builder.deadline.check(f"looking over page {index + 1}")
            with closing(self._pdf[index]) as page:
                counts.update(picture_keys(page))
        return frozenset(key for key, n_pages in counts.items() if n_pages >= _DECORATES)

    def _draft(self, reader: PdfPageReader, decoration: frozenset[tuple[int, int]]) -> _PageDraft:
        lines = reader.lines()
        drawn = reader.drawn(but=decoration)
        usable = _is_usable(lines)
        is_picture = any(item.is_picture and covers_page(item.rect, reader.size) for item in drawn)
        if (not usable and (drawn or lines)) or (is_picture and _n_letters(lines) < _FEW_LETTERS):
            figures = [self._whole_page(reader)]
            return _PageDraft(lines=lines if _n_letters(lines) else [], figures=figures, size=reader.size)
        finder = TableFinder(lines, drawn, words_of=reader.words, is_bold=reader.is_bold)
        regions = find_regions(drawn, lines, size=reader.size)
        ruled = finder.find_ruled([region.rect for region in regions])
        if ruled:
            others = [item for item in drawn if item.is_picture or not any(_lies_in(item.rect, rect) for rect in ruled)]
            regions = find_regions(others, lines, size=reader.size)
        finder.find_aligned([region.rect for region in regions])
        figures = [self._figure(reader, region) for region in regions]
        rest, tables = finder.take_out()
        return _PageDraft(lines=rest, figures=figures, size=reader.size, tables=tables)

    def _whole_page(self, reader: PdfPageReader) -> _Figure:
        picture = reader.render(None, pixels_per_point=_PAGE_DPI / 72, max_pixels=self._max_pixels, lossless=False)
        return _Figure(picture=picture, kind=Modality.PAGE, rect=(0.0, 0.0, *reader.size))

    def _figure(self, reader: PdfPageReader, region: Region) -> _Figure:
        """Render a figure: a chart finely, a picture at its own resolution within bounds."""
        finest = _FIGURE_DPI / 72
        own = region.pixels_per_point or finest
        scale = max(_MIN_PICTURE_DPI / 72, min(own, finest))
        lossless = region.kind is Modality.CHART
        x0, y0, x1, y1 = region.rect
        rect = (x0 - _MARGIN, y0 - _MARGIN, x1 + _MARGIN, y1 + _MARGIN)
        picture = reader.render(rect, pixels_per_point=scale, max_pixels=self._max_pixels, lossless=lossless)
        return _Figure(picture=picture, kind=region.kind, rect=rect)

    def _add_page(
        self, number: int, draft: _PageDraft, blocks: list[Block], levels: dict[float, int], words: Counter[str]
    ) -> None:
        builder = self._builder
        builder.start_page()
        placed: list[tuple[Block, Span]] = []
        drawn = [figure.rect for figure in draft.figures if figure.kind is not Modality.PAGE]
        tables = _with_captions(_drafts(draft.tables, words), blocks)
        for block in blocks:
            while tables and tables[0][0].before <= block.first:
                self._add_table(*tables.pop(0), draft.size)
            span = builder.add(block.text)
            placed.append((block, span))
            level = levels.get(_rounded(block.height))
            is_label = any(overlap(block.rect, rect) > 0 for rect in drawn)
            if level is not None and not is_label and _could_be_heading(block):
                builder.mark_heading(squash(block.text), level=level, span=span)
        for table in tables:
            self._add_table(*table, draft.size)
        start = placed[0][1].start if placed else builder.next_offset
        builder.end_page(number)
        for figure in draft.figures:
            caption = _caption(figure, placed) if figure.kind is not Modality.PAGE else None
            anchor = caption[1].start if caption else _anchor(figure, placed, default=start)
            builder.add_picture(
                figure.picture,
                kind=figure.kind,
                page=number,
                box=_box(figure.rect, draft.size),
                anchor=anchor,
                caption=caption[0].text if caption else "",
            )

    def _add_table(self, table: PageTable, made: TableDraft, size: tuple[float, float]) -> None:
        self._builder.add_table(made, box=_box(table.rect, size))

    def _title(self, pages: list[list[Block]], body: float) -> str:
        """Return the title that the file states, unless a program made it up, else the largest text of page 1."""
        stated = squash(clean(self._pdf.get_metadata_value("Title")))
        made_up = stated.lower().endswith((".doc", ".docx", ".indd", ".pdf", ".tex", ".ppt", ".pptx", ".qxd", ".dvi"))
        if len(stated) >= 4 and not made_up and not stated.startswith("Microsoft ") and " " in stated:
            return stated
        candidates = [block for block in (pages[0] if pages else []) if _could_be_heading(block)]
        largest = max(candidates, key=lambda block: block.height, default=None)
        return largest.text if largest is not None and largest.height >= _HEADING_SIZE * body else ""

    def _metadata(self) -> dict[str, str]:
        notes = {}
        for key, name in (("Author", "author"), ("CreationDate", "created")):
            if value := squash(clean(self._pdf.get_metadata_value(key))):
                notes[name] = value
        if _END_MARK not in self._builder.raw.data[-2048:]:
            notes["damaged"] = "the end of the file is missing; what could be recovered was read"
        return notes


def _lies_in(inner: Rect, outer: Rect) -> bool:
    """Return whether a drawing lies inside a table, or nearly: rules stick out by their width."""
    return all(a >= b - 4 for a, b in zip(inner[:2], outer[:2], strict=True)) and all(
        a <= b + 4 for a, b in zip(inner[2:], outer[2:], strict=True)
    )


def _drafts(tables: list[PageTable], words: Counter[str]) -> list[tuple[PageTable, TableDraft]]:
    """Make the tables of a page, words that were broken at line ends put together."""
    made = []
    for table in tables:
        rows = [[join_hyphens(cell, words) for cell in row] for row in table.rows]
        draft = make_table(rows, source="drawn", n_header_rows=table.n_header_rows, score=table.score)
        if draft is not None:
            made.append((table, draft))
    return made


def _with_captions(
    tables: list[tuple[PageTable, TableDraft]], blocks: list[Block]
) -> list[tuple[PageTable, TableDraft]]:
    """Give each table the nearest caption of a table above or below it; no caption serves twice."""
    pairs = sorted(
        (distance, index, number)
        for index, (table, made) in enumerate(tables)
        for number, block in enumerate(blocks)
        if is_table_caption(block.text)
        and is_over(block.rect, table.rect)
        and (distance := max(0.0, block.rect[1] - table.rect[3], table.rect[1] - block.rect[3])) <= _CAPTION_REACH
    )
    captioned, taken = dict(enumerate(tables)), set()
    for _, index, number in pairs:
        if index not in taken and ("block", number) not in taken:
            taken |= {index, ("block", number)}
            caption = squash(blocks[number].text)
            table, made = tables[index]
            captioned[index] = (table, replace(made, caption=caption, label=label_of(caption)))
    return list(captioned.values())


def _rounded(height: float) -> float:
    return round(height * 2) / 2


def _could_be_heading(block: Block) -> bool:
    text = block.text
    n_letters = sum(character.isalpha() for character in text)
    is_short = len(text) <= _MAX_HEADING and block.n_lines <= 3 and n_letters >= 3 and n_letters >= 0.4 * len(text)
    return is_short and not text.endswith((".", ",", ";", ":")) and not is_caption(text)


def _heading_levels(pages: list[list[Block]], body: float) -> dict[float, int]:
    """Return the level of each line height that headings are set in: the tallest is level 1, at most 4 levels."""
    heights = {
        _rounded(block.height)
        for blocks in pages
        for block in blocks
        if block.height >= _HEADING_SIZE * body and _rounded(block.height) > _rounded(body) and _could_be_heading(block)
    }
    return {height: min(rank, 4) for rank, height in enumerate(sorted(heights, reverse=True), start=1)}


def _box(rect: Rect, size: tuple[float, float]) -> Box:
    x0, x1 = (min(1.0, max(0.0, x / size[0])) for x in (rect[0], rect[2]))
    y0, y1 = (min(1.0, max(0.0, y / size[1])) for y in (rect[1], rect[3]))
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _caption(figure: _Figure, placed: list[tuple[Block, Span]]) -> tuple[Block, Span] | None:
    """Return the nearest block above or below that opens like a caption and is over or under the figure."""
    nearest: tuple[float, tuple[Block, Span]] | None = None
    for block, span in placed:
        if not is_over(block.rect, figure.rect) or not is_caption(block.text):
            continue
        distance = max(0.0, block.rect[1] - figure.rect[3], figure.rect[1] - block.rect[3])
        if distance <= _CAPTION_REACH and (nearest is None or distance < nearest[0]):
            nearest = (distance, (block, span))
    return nearest[1] if nearest else None


def _anchor(figure: _Figure, placed: list[tuple[Block, Span]], *, default: int) -> int:
    """Return the end of the text right above the figure, else the start of text inside it, else ``default``."""
    above = [
        (block.rect[3], span.end)
        for block, span in placed
        if block.rect[3] <= figure.rect[1] + 2 and is_over(block.rect, figure.rect)
    ]
    if above:
        return max(above)[1]
    return next((span.start for block, span in placed if overlap(block.rect, figure.rect) > 0), default)


class PdfLoader:
    """Reads PDF files. Safe to share between threads: they take turns.

    :param limits: What one file may cost. The clock starts when the file's turn comes.
    """

    media_types: frozenset[str] = frozenset({PDF})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Read the text, the figures, and pages without text as pictures.

        :param raw: A PDF file.
        :returns: A paged document.
        :raises EncryptedFileError: If the file needs a password.
        :raises CorruptFileError: If it cannot be parsed, or a page of it cannot.
        :raises LimitExceededError: If it has too many pages or takes too long.
        :raises EmptyFileError: If it holds neither text nor pictures.
        """
        from pypdfium2 import PdfDocument, PdfiumError

        with _LOCK:
            builder = DocumentBuilder(raw, limits=self._limits)
            try:
                with closing(PdfDocument(raw.data)) as pdf:
                    self._require_pages(raw, len(pdf))
                    return _PdfReader(pdf, builder).read()
            except PdfiumError as error:
                if getattr(error, "err_code", None) == _PASSWORD_ERROR:
                    raise EncryptedFileError(
                        f"{raw.name}: the PDF is encrypted and needs a password. Save a copy without one."
                    ) from error
                raise CorruptFileError(
                    f"{raw.name}: starts like a PDF but cannot be read as one ({error}). It is truncated or damaged."
                ) from error

    def _require_pages(self, raw: RawFile, n_pages: int) -> None:
        if n_pages == 0:
            raise CorruptFileError(f"{raw.name}: the PDF has no pages. It is truncated or damaged.")
        if n_pages > self._limits.max_pages:
            raise LimitExceededError(
                f"{raw.name}: {n_pages} pages, more than the limit max_pages = {self._limits.max_pages}. "
                "Split the file or raise the limit."
            )
