"""The typed, frozen values that the stages of ingest hand on to each other.

Layer: ``kg``; the standard library only.
``RawFile → Document + Asset → Caption → Chunk → Mention, Triple → GraphDelta``.

Conventions
- Character offsets count Python characters (code points), half-open ``[start, end)``.
- A box is given in fractions of the page or picture, origin at the top left, so it survives any rendering resolution.
- Pages count from 1. A format without pages (text, Markdown, HTML, a picture) is one page, and ``is_paged`` is false.
- Every value validates itself when it is made: one that exists can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kg.errors import InputError

__all__ = [
    "Asset",
    "Box",
    "Caption",
    "CaptionLine",
    "Chunk",
    "Document",
    "DocumentInfo",
    "Entity",
    "Extraction",
    "FileOutcome",
    "GraphDelta",
    "Heading",
    "IngestReport",
    "IngestStatus",
    "Mention",
    "Modality",
    "Origin",
    "Page",
    "RawFile",
    "Relation",
    "Span",
    "Triple",
]


class Modality(StrEnum):
    """What a chunk or an asset is made of."""

    TEXT = "text"
    IMAGE = "image"
    CHART = "chart"
    TABLE = "table"
    PAGE = "page"
    """A whole page seen as a picture, because it has no text layer."""


class Origin(StrEnum):
    """How a relation came to be known. A predicted link is never stored as an extracted one."""

    EXTRACTED = "extracted"
    PREDICTED = "predicted"
    ASSERTED = "asserted"


class IngestStatus(StrEnum):
    """What ingest did with one file."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    FAILED = "failed"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range of characters ``[start, end)``.

    :raises InputError: If ``start`` is negative or ``end`` is before ``start``.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        _require(0 <= self.start <= self.end, f"Span: need 0 <= start <= end, got [{self.start}, {self.end}).")

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
        _require(ordered, f"Box: need fractions with x0 <= x1 and y0 <= y1, got {self}.")


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
        _require(bool(self.source) and bool(self.name), "RawFile: source and name must not be empty.")
        _require(len(self.sha256) == 64, f"RawFile: sha256 must have 64 hexadecimal digits, got {self.sha256!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a document: its number (from 1) and its characters in ``Document.text``."""

    number: int
    span: Span

    def __post_init__(self) -> None:
        _require(self.number >= 1, f"Page: numbers count from 1, got {self.number}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading in ``Document.text``; ``level`` counts from 1 (the outermost)."""

    level: int
    text: str
    span: Span

    def __post_init__(self) -> None:
        _require(self.level >= 1, f"Heading: levels count from 1, got {self.level}.")


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
        _require(self.width_px >= 1 and self.height_px >= 1, f"Asset {self.asset_id}: empty picture.")
        _require(self.page >= 1, f"Asset {self.asset_id}: pages count from 1, got {self.page}.")
        _require(self.kind is not Modality.TEXT, f"Asset {self.asset_id}: an asset is not text.")


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
        _require(bool(self.pages), f"Document {self.name}: a document has at least one page.")
        for page in self.pages:
            _require(page.span.end <= len(self.text), f"Document {self.name}: page {page.number} ends past the text.")
        _require(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionLine:
    """One part of a caption. ``source`` is ``ocr``, ``alt``, ``caption``, ``context`` or ``model``.

    ``span`` is its place in ``Caption.text``; ``box`` its place on the picture where that is known; ``score`` the
    confidence of whatever read it, in ``[0, 1]``, higher is better.
    """

    text: str
    source: str
    span: Span
    box: Box | None = None
    score: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What a captioner says of one asset; ``captioner`` names it, so text read off a picture never passes for prose."""

    asset_id: str
    text: str
    captioner: str
    lines: tuple[CaptionLine, ...] = ()
    score: float = 1.0

    def __post_init__(self) -> None:
        for line in self.lines:
            found = self.text[line.span.start : line.span.end]
            _require(
                found == line.text, f"Caption {self.asset_id}: line {line.text!r} is not at {line.span}: {found!r}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The unit of retrieval and citation.

    ``text`` is exactly the characters at ``span`` of ``Document.text`` or, where ``asset_id`` is set, of that asset's
    ``Caption.text``. ``page_first`` and ``page_last`` differ only where the chunk crosses a page. ``heading`` is the
    path of headings above it, ``"Manual > Safety"``, empty where there is none; it is not part of ``text``.
    """

    chunk_id: str
    document_id: str
    ordinal: int
    text: str
    span: Span
    page_first: int
    page_last: int
    modality: Modality
    n_tokens: int
    heading: str = ""
    asset_id: str | None = None
    box: Box | None = None

    def __post_init__(self) -> None:
        _require(bool(self.text.strip()), f"Chunk {self.chunk_id}: empty text.")
        _require(len(self.span) == len(self.text), f"Chunk {self.chunk_id}: span and text differ in length.")
        _require(1 <= self.page_first <= self.page_last, f"Chunk {self.chunk_id}: pages out of order.")
        _require(
            (self.asset_id is None) == (self.modality is Modality.TEXT),
            f"Chunk {self.chunk_id}: text chunks have no asset, all others have one (got {self.modality}).",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A stretch of a chunk that names an entity.

    ``span`` is in the same coordinates as ``Chunk.span`` (document or caption), so ``chunk.span.start <= span.start``.
    ``label`` is the entity type (``PERSON``, ``ORG``, ``DATE``, … or ``CONCEPT`` for noun phrases); ``source`` says
    which rule found it (``ner``, ``noun_phrase``, ``title``). ``entity_id`` is empty until resolution has run.
    """

    mention_id: str
    chunk_id: str
    text: str
    span: Span
    label: str
    source: str
    score: float = 1.0
    entity_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """One statement: the mention ``head`` stands in relation ``name`` to the mention ``tail``, said at ``span``."""

    triple_id: str
    chunk_id: str
    head_mention_id: str
    name: str
    tail_mention_id: str
    span: Span
    extractor: str
    score: float = 1.0
    origin: Origin = Origin.EXTRACTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An entity as the whole record sees it: the name and type that most mentions use, and its other names."""

    entity_id: str
    name: str
    type: str
    aliases: tuple[str, ...] = ()
    n_mentions: int = 0
    n_documents: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A relation between two entities, with the number of statements that support it."""

    relation_id: str
    head_id: str
    name: str
    tail_id: str
    origin: Origin
    n_statements: int
    score: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What an extractor found in one document; resolution returns it again with every ``entity_id`` set."""

    mentions: tuple[Mention, ...] = ()
    triples: tuple[Triple, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDelta:
    """One document's whole change to the record, applied in one transaction or not at all.

    :raises InputError: If a part refers to something that is not in the delta.
    """

    document: Document
    captions: tuple[Caption, ...]
    chunks: tuple[Chunk, ...]
    extraction: Extraction

    def __post_init__(self) -> None:
        where = f"GraphDelta of {self.document.name}"
        assets = {asset.asset_id for asset in self.document.assets}
        chunks = {chunk.chunk_id for chunk in self.chunks}
        mentions = {mention.mention_id for mention in self.extraction.mentions}
        _require(all(c.asset_id in assets for c in self.captions), f"{where}: a caption names an unknown asset.")
        _require(
            all(c.asset_id is None or c.asset_id in assets for c in self.chunks),
            f"{where}: a chunk names an unknown asset.",
        )
        _require(len(chunks) == len(self.chunks), f"{where}: two chunks share an id.")
        _require(len(mentions) == len(self.extraction.mentions), f"{where}: two mentions share an id.")
        for mention in self.extraction.mentions:
            _require(mention.chunk_id in chunks, f"{where}: mention {mention.text!r} names an unknown chunk.")
            _require(bool(mention.entity_id), f"{where}: mention {mention.text!r} is not resolved.")
        for triple in self.extraction.triples:
            known = triple.head_mention_id in mentions and triple.tail_mention_id in mentions
            _require(known and triple.chunk_id in chunks, f"{where}: triple {triple.triple_id} names unknown parts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What happened to one file.

    ``error_code`` is set when, and only when, it failed; ``message`` then says why. With a file that went in, ``message``
    may say what a user should know of it (that it has no words to search for, say).
    """

    source: str
    name: str
    status: IngestStatus
    seconds: float
    document_id: str = ""
    n_pages: int = 0
    n_chunks: int = 0
    n_assets: int = 0
    n_mentions: int = 0
    n_triples: int = 0
    error_code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """The outcome of every file of one ingest, in the order they were finished."""

    outcomes: tuple[FileOutcome, ...]
    seconds: float

    @property
    def n_failed(self) -> int:
        """Count the files that are not in the record because something went wrong."""
        return sum(outcome.status is IngestStatus.FAILED for outcome in self.outcomes)
