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

from kg.types.documents import Asset, Document, DocumentInfo, Equation, Heading, Modality, Page, RawFile
from kg.types.geometry import Box, Span
from kg.types.graph import (
    Caption,
    CaptionLine,
    Chunk,
    Entity,
    EvidenceLevel,
    Extraction,
    GraphDelta,
    Mention,
    Origin,
    RefusedStatement,
    Relation,
    Triple,
)
from kg.types.reports import FileOutcome, IngestReport, IngestStatus
from kg.types.tables import Table

__all__ = [
    "Asset",
    "Box",
    "Caption",
    "CaptionLine",
    "Chunk",
    "Document",
    "DocumentInfo",
    "Entity",
    "Equation",
    "EvidenceLevel",
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
    "RefusedStatement",
    "Relation",
    "Span",
    "Table",
    "Triple",
]
