"""Files, documents and their pictures.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kg.types.checks import require

__all__ = ["Asset", "Box", "Document", "DocumentInfo", "Heading", "Modality", "Page", "RawFile", "Span"]


class Modality(StrEnum):
    """What a chunk or an asset is made of."""

    TEXT = "text"
    IMAGE = "image"
    CHART = "chart"
    TABLE = "table"
    PAGE = "page"
    """A whole page seen as a picture, because it has no text layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range of characters ``[start, end)``.

    :raises InputError: If ``start`` is negative or ``end`` is before ``start``.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        require(0 <= self.start <= self.end, f"Span: need 0 <= start <= end, got [{self.start}, {self.end}).")

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in fractions of its page or picture, origin at the top left, ``0 <= x0 <= x1 <= 1``.

    :raises InputError: If a side lies outside ``[0, 1]`` or the sides are crossed.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        ordered = 0.0 <= self.x0 <= self.x1 <= 1.0 and 0.0 <= self.y0 <= self.y1 <= 1.0
        require(ordered, f"Box: need fractions with x0 <= x1 and y0 <= y1, got {self}.")


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
class Asset:
    """A picture that belongs to a document: an embedded figure, a page without a text layer, or the file itself.

    ``data`` are the bytes of an image file of ``media_type`` (``image/png``, ``image/jpeg``, ``image/webp``).
    ``caption`` is what the document itself says under or over the picture, ``alt_text`` what its markup says, and
    ``surrounding_text`` the words before and after it; each is empty where there is none. ``anchor`` is the character
    of ``Document.text`` where the picture stands, and ``box`` its place on ``page``.
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

    def __post_init__(self) -> None:
        require(self.width_px >= 1 and self.height_px >= 1, f"Asset {self.asset_id}: empty picture.")
        require(self.page >= 1, f"Asset {self.asset_id}: pages count from 1, got {self.page}.")
        require(self.kind is not Modality.TEXT, f"Asset {self.asset_id}: an asset is not text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a loader made of one file: plain text with its pages and headings, and its pictures."""

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
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(self.pages), f"Document {self.name}: a document has at least one page.")
        for page in self.pages:
            require(page.span.end <= len(self.text), f"Document {self.name}: page {page.number} ends past the text.")
        require(
            all(asset.document_id == self.document_id for asset in self.assets),
            f"Document {self.name}: an asset belongs to another document.",
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
