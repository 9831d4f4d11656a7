"""Captions, chunks, and what is found in them: the graph and one document's change to it.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kg.types.checks import require
from kg.types.documents import Document, Modality
from kg.types.geometry import Box, Span
from kg.types.tables import Table

__all__ = [
    "Caption",
    "CaptionLine",
    "Chunk",
    "Entity",
    "EvidenceLevel",
    "Extraction",
    "GraphDelta",
    "Mention",
    "Origin",
    "RefusedStatement",
    "Relation",
    "Triple",
]


class Origin(StrEnum):
    """How a relation came to be known. A predicted link is never stored as an extracted one."""

    EXTRACTED = "extracted"
    PREDICTED = "predicted"
    ASSERTED = "asserted"


class EvidenceLevel(StrEnum):
    """How well something is supported: a grade that stays on captions and statements, rather than a hard cut.

    The bounds are conventions, not measurements: a score below 0.5 means "more likely wrong than right" to whoever
    gave it.
    """

    STRONG = "strong"
    MODERATE = "moderate"
    WEAK = "weak"

    @classmethod
    def of(cls, score: float) -> EvidenceLevel:
        """Grade a confidence in ``[0, 1]``: strong from 0.8, moderate from 0.5, else weak."""
        if score >= 0.8:
            return cls.STRONG
        return cls.MODERATE if score >= 0.5 else cls.WEAK


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionLine:
    """One part of a caption. ``source``: ``ocr``, ``alt``, ``caption``, ``context``, ``table``, ``model`` or ``name``.

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
    """What a captioner says of one asset; ``captioner`` names it, so text read off a picture never passes for prose.

    ``tables`` are what was read off the picture as rows and columns; the lines of source ``table`` say them in words.
    """

    asset_id: str
    text: str
    captioner: str
    lines: tuple[CaptionLine, ...] = ()
    score: float = 1.0
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        for line in self.lines:
            found = self.text[line.span.start : line.span.end]
            require(
                found == line.text, f"Caption {self.asset_id}: line {line.text!r} is not at {line.span}: {found!r}."
            )
        require(
            all(table.asset_id == self.asset_id for table in self.tables),
            f"Caption {self.asset_id}: a table belongs to another picture.",
        )

    @property
    def level(self) -> EvidenceLevel:
        """The grade of ``score``."""
        return EvidenceLevel.of(self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The unit of retrieval and citation.

    ``text`` is exactly the characters at ``span`` of ``Document.text`` or, where ``asset_id`` is set, of that asset's
    ``Caption.text`` or, where ``table_id`` is set, of that ``Table.text``. ``page_first`` and ``page_last`` differ only
    where the chunk crosses a page. ``heading`` is the path of headings above it, ``"Manual > Safety"``, empty where
    there is none; it is not part of ``text``.
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
    table_id: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.text.strip()), f"Chunk {self.chunk_id}: empty text.")
        require(len(self.span) == len(self.text), f"Chunk {self.chunk_id}: span and text differ in length.")
        require(1 <= self.page_first <= self.page_last, f"Chunk {self.chunk_id}: pages out of order.")
        require(
            (self.asset_id is None and self.table_id is None) == (self.modality is Modality.TEXT),
            f"Chunk {self.chunk_id}: text chunks have no asset or table, all others have one (got {self.modality}).",
        )
        require(
            self.table_id is None or (self.modality is Modality.TABLE and self.asset_id is None),
            f"Chunk {self.chunk_id}: a chunk of a table is of kind table and belongs to no picture.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A stretch of a chunk that names an entity.

    ``span`` is in the same coordinates as ``Chunk.span`` (document or caption), so ``chunk.span.start <= span.start``.
    ``label`` is the entity type (``PERSON``, ``ORG``, ``DATE``, … or ``CONCEPT`` for noun phrases); ``source`` says
    which rule found it (``ner``, ``noun_phrase``, ``title``, ``pronoun``, …). ``value`` is the normalised form of a
    date or quantity (``2021-03``, ``PT2H``, ``54 percent``), the same for all ways of writing it, else empty.
    ``refers_to`` is the ``mention_id`` of an earlier mention of the document that a pronoun or description ("she",
    "the company") stands for; such a mention shares that one's entity and gives it no name.

    ``entity_id`` is empty until resolution has run. The resolver of one document sets it to the *name's* id, a hash of
    the normalised name; the record, which sees all documents, may lead it on to another entity (a merge, a homonym),
    and returns the mention with that.
    """

    mention_id: str
    chunk_id: str
    text: str
    span: Span
    label: str
    source: str
    score: float = 1.0
    entity_id: str = ""
    value: str = ""
    refers_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """One statement: the mention ``head`` stands in relation ``name`` to the mention ``tail``, said at ``span``.

    ``score`` is the confidence in it, in ``[0, 1]``: that of the extractor times that of the words it was read from,
    so a statement from a doubtful caption stays, with a low grade.
    """

    triple_id: str
    chunk_id: str
    head_mention_id: str
    name: str
    tail_mention_id: str
    span: Span
    extractor: str
    score: float = 1.0
    origin: Origin = Origin.EXTRACTED

    @property
    def level(self) -> EvidenceLevel:
        """The grade of ``score``."""
        return EvidenceLevel.of(self.score)


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
class RefusedStatement:
    """A statement that was found and not taken, with the names as they stand in the text, and why."""

    chunk_id: str
    head: str
    name: str
    tail: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What an extractor found in one document; resolution returns it again with every ``entity_id`` set.

    ``refused`` are statements that an ontology or the check against the text kept out; they are reported, not stored.
    """

    mentions: tuple[Mention, ...] = ()
    triples: tuple[Triple, ...] = ()
    refused: tuple[RefusedStatement, ...] = ()


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
        require(all(c.asset_id in assets for c in self.captions), f"{where}: a caption names an unknown asset.")
        require(
            all(c.asset_id is None or c.asset_id in assets for c in self.chunks),
            f"{where}: a chunk names an unknown asset.",
        )
        tables = {table.table_id for table in self.tables}
        require(len(tables) == len(self.tables), f"{where}: two tables share an id.")
        require(
            all(c.table_id is None or c.table_id in tables for c in self.chunks),
            f"{where}: a chunk names an unknown table.",
        )
        require(len(chunks) == len(self.chunks), f"{where}: two chunks share an id.")
        require(len(mentions) == len(self.extraction.mentions), f"{where}: two mentions share an id.")
        for mention in self.extraction.mentions:
            require(mention.chunk_id in chunks, f"{where}: mention {mention.text!r} names an unknown chunk.")
            require(bool(mention.entity_id), f"{where}: mention {mention.text!r} is not resolved.")
            require(
                not mention.refers_to or mention.refers_to in mentions,
                f"{where}: mention {mention.text!r} refers to an unknown one.",
            )
        for triple in self.extraction.triples:
            known = triple.head_mention_id in mentions and triple.tail_mention_id in mentions
            require(known and triple.chunk_id in chunks, f"{where}: triple {triple.triple_id} names unknown parts.")

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables: the document's own, then those read off its pictures."""
        return (*self.document.tables, *(table for caption in self.captions for table in caption.tables))
