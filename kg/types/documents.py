"""Files, documents and their pictures.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kg.types.checks import require
from kg.types.geometry import Box, Span
from kg.types.tables import Table

__all__ = ["Asset", "Document", "DocumentInfo", "Equation", "Heading", "Modality", "Page", "RawFile"]


class Modality(StrEnum):
    """What a chunk or an asset is made of."""

    TEXT = "text"
    IMAGE = "image"
    CHART = "chart"
    TABLE = "table"
    PAGE = "page"
    """A whole page seen as a picture, because it has no text layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """Bytes that came from somewhere, and what they were found to be.

    ``source`` is the identity of the place (an absolute POSIX path, ``archive.zip!/member``, or ``upload:NAME``);
    ``name`` is what people call it (the last part). ``media_type`` is sniffed from the bytes, never from the suffix.
    ``root`` is the folder that pictures named by the file may be read from; empty means the file's own folder.
    """

    source: str
    name: str
    media_type: str
    data: bytes = field(repr=False)
    sha256: str
    root: str = ""

    def __post_init__(self) -> None:
        require(bool(self.source) and bool(self.name), "RawFile: source and name must not be empty.")
        require(len(self.sha256) == 64, f"RawFile: sha256 must have 64 hexadecimal digits, got {self.sha256!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a document: its number (from 1) and its characters in ``Document.text``."""

    number: int
    span: Span

    def __post_init__(self) -> None:
        require(self.number >= 1, f"Page: numbers count from 1, got {self.number}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading in ``Document.text``; ``level`` counts from 1 (the outermost)."""

    level: int
    text: str
    span: Span

    def __post_init__(self) -> None:
        require(self.level >= 1, f"Heading: levels count from 1, got {self.level}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """An equation, kept as its source (LaTeX, MathML, OMML as LaTeX) at ``span`` of ``Document.text``.

    ``label`` is what the document refers to it by (``eq:energy``, ``(3)``), empty where it has none.
    """

    source: str
    span: Span
    label: str = ""
    page: int = 1

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "Equation: its source must not be empty.")
        require(self.page >= 1, f"Equation: pages count from 1, got {self.page}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A picture that belongs to a document: an embedded figure, a page without a text layer, or the file itself.

    ``data`` are the bytes of an image file of ``media_type`` (``image/png``, ``image/jpeg``, ``image/webp``).
    ``caption`` is what the document itself says under or over the picture, ``alt_text`` what its markup says, and
    ``surrounding_text`` the words before and after it; each is empty where there is none. ``anchor`` is the character
    of ``Document.text`` where the picture stands, and ``box`` its place on ``page``. ``label`` is what the document
    calls it (``Figure 3``, ``fig:tide``), and ``mentioned_at`` are the sentences of ``Document.text`` that refer to
    that label.
    """

    asset_id: str
    document_id: str
    ordinal: int
    kind: Modality
    media_type: str
    data: bytes = field(repr=False)
    sha256: str
    width_px: int
    height_px: int
    page: int
    box: Box | None = None
    anchor: int = 0
    alt_text: str = ""
    caption: str = ""
    surrounding_text: str = ""
    label: str = ""
    mentioned_at: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        require(self.width_px >= 1 and self.height_px >= 1, f"Asset {self.asset_id}: empty picture.")
        require(self.page >= 1, f"Asset {self.asset_id}: pages count from 1, got {self.page}.")
        require(self.kind is not Modality.TEXT, f"Asset {self.asset_id}: an asset is not text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a loader made of one file: plain text with its pages, headings, tables and equations, and its pictures."""

    document_id: str
    source: str
    name: str
    media_type: str
    sha256: str
    n_bytes: int
    title: str
    text: str = field(repr=False)
    pages: tuple[Page, ...]
    is_paged: bool
    headings: tuple[Heading, ...] = ()
    assets: tuple[Asset, ...] = ()
    tables: tuple[Table, ...] = ()
    equations: tuple[Equation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(self.pages), f"Document {self.name}: a document has at least one page.")
        for page in self.pages:
            require(page.span.end <= len(self.text), f"Document {self.name}: page {page.number} ends past the text.")
        require(
            all(asset.document_id == self.document_id for asset in self.assets),
            f"Document {self.name}: an asset belongs to another document.",
        )
        for table in self.tables:
            require(
                table.document_id == self.document_id and table.span is not None and table.span.end <= len(self.text),
                f"Document {self.name}: table {table.table_id} is of another document or has no place in the text.",
            )
        for equation in self.equations:
            found = self.text[equation.span.start : equation.span.end]
            require(
                found == equation.source,
                f"Document {self.name}: equation {equation.source!r} is not at {equation.span}: {found!r}.",
            )

    def page_at(self, offset: int) -> int:
        """Return the number of the page that holds character ``offset`` (the last page that starts at or before it)."""
        number = self.pages[0].number
        for page in self.pages:
            if page.span.start > offset:
                break
            number = page.number
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A document as the record lists it: everything but its text and its pictures."""

    document_id: str
    source: str
    name: str
    media_type: str
    sha256: str
    n_bytes: int
    title: str
    n_pages: int
    is_paged: bool
    n_chunks: int
    n_assets: int
    added_at: str
    """ISO 8601, UTC."""
    metadata: Mapping[str, str] = field(default_factory=dict)
