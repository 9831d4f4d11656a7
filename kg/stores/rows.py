"""How the values of :mod:`kg.types` stand in the rows of :mod:`kg.stores.schema`, and back.

Layer: ``kg``; SQLAlchemy's row type only. Pure functions: nothing here touches a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from kg.types import (
    Asset,
    Box,
    Caption,
    CaptionLine,
    Chunk,
    Document,
    DocumentInfo,
    Entity,
    Equation,
    Heading,
    Mention,
    Modality,
    Origin,
    Page,
    Span,
    Table,
    Triple,
)

__all__ = [
    "Values",
    "asset_row",
    "caption_row",
    "chunk_row",
    "document_row",
    "mention_row",
    "table_row",
    "to_asset",
    "to_caption",
    "to_chunk",
    "to_document",
    "to_document_info",
    "to_entity",
    "to_mention",
    "to_table",
    "to_triple",
    "triple_row",
]

Values = dict[str, Any]
"""The columns of one row by name, as SQLAlchemy takes them."""


def _box_values(box: Box | None) -> list[float] | None:
    return None if box is None else [box.x0, box.y0, box.x1, box.y1]


def _to_box(values: Sequence[float] | None) -> Box | None:
    return None if values is None else Box(x0=values[0], y0=values[1], x1=values[2], y1=values[3])


def _span_values(spans: Iterable[Span]) -> list[list[int]]:
    return [[span.start, span.end] for span in spans]


def _to_spans(values: Iterable[Sequence[int]]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end) for start, end in values)


def document_row(document: Document, *, n_chunks: int, added_at: str) -> Values:
    """Make the row of ``documents``; ``added_at`` is ISO 8601, UTC."""
    return {
        "document_id": document.document_id,
        "source": document.source,
        "name": document.name,
        "media_type": document.media_type,
        "sha256": document.sha256,
        "n_bytes": document.n_bytes,
        "title": document.title,
        "is_paged": document.is_paged,
        "n_pages": len(document.pages),
        "n_chunks": n_chunks,
        "n_assets": len(document.assets),
        "added_at": added_at,
        "metadata": dict(document.metadata),
        "pages": [[page.number, page.span.start, page.span.end] for page in document.pages],
        "headings": [[h.level, h.text, h.span.start, h.span.end] for h in document.headings],
        "equations": [[e.source, e.span.start, e.span.end, e.label, e.page] for e in document.equations],
        "text": document.text,
    }


def to_document(row: Row[Any], *, assets: Iterable[Asset], tables: Iterable[Table]) -> Document:
    """Make the document of a row of ``documents``, its assets and its own tables, each in order."""
    return Document(
        document_id=row.document_id,
        source=row.source,
        name=row.name,
        media_type=row.media_type,
        sha256=row.sha256,
        n_bytes=row.n_bytes,
        title=row.title,
        text=row.text,
        pages=tuple(Page(number=n, span=Span(start=start, end=end)) for n, start, end in row.pages),
        is_paged=row.is_paged,
        headings=tuple(
            Heading(level=level, text=text, span=Span(start=start, end=end)) for level, text, start, end in row.headings
        ),
        assets=tuple(assets),
        tables=tuple(tables),
        equations=tuple(
            Equation(source=source, span=Span(start=start, end=end), label=label, page=page)
            for source, start, end, label, page in row.equations
        ),
        metadata=_texts(row.metadata),
    )


def to_document_info(row: Row[Any]) -> DocumentInfo:
    """Make the list entry of a row of ``documents`` (its text, pages and headings need not have been selected)."""
    return DocumentInfo(
        document_id=row.document_id,
        source=row.source,
        name=row.name,
        media_type=row.media_type,
        sha256=row.sha256,
        n_bytes=row.n_bytes,
        title=row.title,
        n_pages=row.n_pages,
        is_paged=row.is_paged,
        n_chunks=row.n_chunks,
        n_assets=row.n_assets,
        added_at=row.added_at,
        metadata=_texts(row.metadata),
    )


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def asset_row(asset: Asset) -> Values:
    """Make the row of ``assets``."""
    return {
        "asset_id": asset.asset_id,
        "document_id": asset.document_id,
        "ordinal": asset.ordinal,
        "kind": asset.kind.value,
        "media_type": asset.media_type,
        "sha256": asset.sha256,
        "width_px": asset.width_px,
        "height_px": asset.height_px,
        "page": asset.page,
        "box": _box_values(asset.box),
        "anchor": asset.anchor,
        "alt_text": asset.alt_text,
        "caption": asset.caption,
        "surrounding_text": asset.surrounding_text,
        "label": asset.label,
        "mentioned_at": _span_values(asset.mentioned_at),
        "data": asset.data,
    }


def to_asset(row: Row[Any]) -> Asset:
    """Make the asset of a whole row of ``assets``."""
    return Asset(
        asset_id=row.asset_id,
        document_id=row.document_id,
        ordinal=row.ordinal,
        kind=Modality(row.kind),
        media_type=row.media_type,
        data=bytes(row.data),
        sha256=row.sha256,
        width_px=row.width_px,
        height_px=row.height_px,
        page=row.page,
        box=_to_box(row.box),
        anchor=row.anchor,
        alt_text=row.alt_text,
        caption=row.caption,
        surrounding_text=row.surrounding_text,
        label=row.label,
        mentioned_at=_to_spans(row.mentioned_at),
    )


def caption_row(caption: Caption) -> Values:
    """Make the row of ``captions``."""
    lines = [
        [line.text, line.source, line.span.start, line.span.end, _box_values(line.box), line.score]
        for line in caption.lines
    ]
    return {
        "asset_id": caption.asset_id,
        "captioner": caption.captioner,
        "score": caption.score,
        "text": caption.text,
        "lines": lines,
    }


def to_caption(row: Row[Any], *, tables: Iterable[Table]) -> Caption:
    """Make the caption of a row of ``captions`` and the tables that were read off its picture, in order."""
    lines = tuple(
        CaptionLine(text=text, source=source, span=Span(start=start, end=end), box=_to_box(box), score=score)
        for text, source, start, end, box, score in row.lines
    )
    return Caption(
        asset_id=row.asset_id,
        text=row.text,
        captioner=row.captioner,
        lines=lines,
        score=row.score,
        tables=tuple(tables),
    )


def table_row(table: Table) -> Values:
    """Make the row of ``tables``."""
    return {
        "table_id": table.table_id,
        "document_id": table.document_id,
        "asset_id": table.asset_id,
        "ordinal": table.ordinal,
        "source": table.source,
        "page": table.page,
        "box": _box_values(table.box),
        "start": None if table.span is None else table.span.start,
        "end": None if table.span is None else table.span.end,
        "n_header_rows": table.n_header_rows,
        "score": table.score,
        "label": table.label,
        "caption": table.caption,
        "row_spans": _span_values(table.row_spans),
        "text": table.text,
        "rows": [list(row) for row in table.rows],
    }


def to_table(row: Row[Any]) -> Table:
    """Make the table of a row of ``tables``."""
    return Table(
        table_id=row.table_id,
        document_id=row.document_id,
        ordinal=row.ordinal,
        rows=tuple(tuple(cells) for cells in row.rows),
        n_header_rows=row.n_header_rows,
        text=row.text,
        row_spans=_to_spans(row.row_spans),
        source=row.source,
        page=row.page,
        caption=row.caption,
        label=row.label,
        span=None if row.start is None else Span(start=row.start, end=row.end),
        asset_id=row.asset_id,
        box=_to_box(row.box),
        score=row.score,
    )


def chunk_row(chunk: Chunk) -> Values:
    """Make the row of ``chunks``."""
    return {
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "ordinal": chunk.ordinal,
        "start": chunk.span.start,
        "end": chunk.span.end,
        "page_first": chunk.page_first,
        "page_last": chunk.page_last,
        "modality": chunk.modality.value,
        "n_tokens": chunk.n_tokens,
        "asset_id": chunk.asset_id,
        "table_id": chunk.table_id,
        "box": _box_values(chunk.box),
        "heading": chunk.heading,
        "text": chunk.text,
    }


def to_chunk(row: Row[Any]) -> Chunk:
    """Make the chunk of a row of ``chunks``."""
    return Chunk(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        ordinal=row.ordinal,
        text=row.text,
        span=Span(start=row.start, end=row.end),
        page_first=row.page_first,
        page_last=row.page_last,
        modality=Modality(row.modality),
        n_tokens=row.n_tokens,
        heading=row.heading,
        asset_id=row.asset_id,
        box=_to_box(row.box),
        table_id=row.table_id,
    )


def mention_row(mention: Mention) -> Values:
    """Make the row of ``mentions``."""
    return {
        "mention_id": mention.mention_id,
        "chunk_id": mention.chunk_id,
        "entity_id": mention.entity_id,
        "start": mention.span.start,
        "end": mention.span.end,
        "label": mention.label,
        "source": mention.source,
        "score": mention.score,
        "value": mention.value,
        "refers_to": mention.refers_to,
        "text": mention.text,
    }


def to_mention(row: Row[Any]) -> Mention:
    """Make the mention of a row of ``mentions``."""
    return Mention(
        mention_id=row.mention_id,
        chunk_id=row.chunk_id,
        text=row.text,
        span=Span(start=row.start, end=row.end),
        label=row.label,
        source=row.source,
        score=row.score,
        entity_id=row.entity_id,
        value=row.value,
        refers_to=row.refers_to,
    )


def triple_row(triple: Triple, *, head: Values, tail: Values) -> Values:
    """Make the row of ``triples`` from the rows of the mentions at its ends, whose entities are decided."""
    return {
        "triple_id": triple.triple_id,
        "chunk_id": triple.chunk_id,
        "head_mention_id": triple.head_mention_id,
        "tail_mention_id": triple.tail_mention_id,
        "head_id": head["entity_id"],
        "name": triple.name,
        "tail_id": tail["entity_id"],
        "origin": triple.origin.value,
        "start": triple.span.start,
        "end": triple.span.end,
        "extractor": triple.extractor,
        "score": triple.score,
        "head_label": head["label"],
        "head_value": head["value"],
        "tail_label": tail["label"],
        "tail_value": tail["value"],
    }


def to_triple(row: Row[Any]) -> Triple:
    """Make the statement of a row of ``triples``."""
    return Triple(
        triple_id=row.triple_id,
        chunk_id=row.chunk_id,
        head_mention_id=row.head_mention_id,
        name=row.name,
        tail_mention_id=row.tail_mention_id,
        span=Span(start=row.start, end=row.end),
        extractor=row.extractor,
        score=row.score,
        origin=Origin(row.origin),
    )


def to_entity(row: Row[Any]) -> Entity:
    """Make the entity of a row of ``entities``."""
    return Entity(
        entity_id=row.entity_id,
        name=row.name,
        type=row.type,
        aliases=tuple(row.aliases),
        n_mentions=row.n_mentions,
        n_documents=row.n_documents,
    )
