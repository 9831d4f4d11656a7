"""Statements with their place and words, read from the record.

Layer: ``kg``; the standard library. Reads through :class:`kg.ports.RecordStore` alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kg.errors import NotFoundError
from kg.ports import RecordStore, RelationKey, Statement, TripleRow
from kg.types import Chunk, Document, DocumentInfo, Origin, Triple

__all__ = ["order_of", "relation_statements", "statements_of_rows"]


_CHUNKS_READ = 200
"""Chunks read at once: some 200 kB of text."""


def order_of(statement: Statement) -> tuple[float, str, int, str]:
    """Sort key of statements: by falling score, then document id, place and statement id."""
    return (-statement.score, statement.document_id, statement.start, statement.statement_id)


def relation_statements(
    store: RecordStore, relation: RelationKey, *, limit: int, documents: Mapping[str, DocumentInfo]
) -> list[Statement]:
    """Return what supports one relation.

    :param store: The record.
    :param relation: ``(head_id, name, tail_id)``.
    :param limit: The most statements.
    :param documents: All documents by id.
    :returns: Statements in the order of :func:`order_of`.
    """
    rows = store.triple_rows(relation=relation)
    return sorted(statements_of_rows(store, rows, documents=documents), key=order_of)[:limit]


def statements_of_rows(
    store: RecordStore, rows: Iterable[TripleRow], *, documents: Mapping[str, DocumentInfo]
) -> Iterator[Statement]:
    """Complete rows with their words and place, chunk by chunk.

    A row whose chunk has been removed since it was read is left out.

    :param store: The record.
    :param rows: Statements as :meth:`kg.ports.RecordStore.triple_rows` returns them.
    :param documents: All documents by id.
    :yields: One statement for each row, those of one chunk together.
    """
    by_chunk: dict[str, list[TripleRow]] = {}
    for row in rows:
        by_chunk.setdefault(row.chunk_id, []).append(row)
    pages = _Pages(store)
    for chunk in _chunks(store, list(by_chunk)):
        info = documents.get(chunk.document_id)
        said = {triple.triple_id: triple for triple in store.triples(chunk.chunk_id)}
        for row in by_chunk[chunk.chunk_id]:
            triple = said.get(row.triple_id)
            if triple is not None and info is not None:
                page = pages.of(chunk, triple.span.start) if info.is_paged else 0
                yield _statement(row, triple, chunk=chunk, name=info.name, page=page)


def _chunks(store: RecordStore, chunk_ids: Sequence[str]) -> Iterator[Chunk]:
    """Yield the chunks that are there, some at a time; one that was removed meanwhile is left out."""
    for start in range(0, len(chunk_ids), _CHUNKS_READ):
        part = chunk_ids[start : start + _CHUNKS_READ]
        try:
            yield from store.chunks(part)
        except NotFoundError:
            for chunk_id in part:
                with contextlib.suppress(NotFoundError):
                    yield from store.chunks([chunk_id])


def _statement(row: TripleRow, triple: Triple, *, chunk: Chunk, name: str, page: int) -> Statement:
    first = triple.span.start - chunk.span.start
    return Statement(
        statement_id=row.triple_id,
        head_id=row.head_id,
        name=row.name,
        tail_id=row.tail_id,
        origin=Origin(row.origin),
        document_id=chunk.document_id,
        document_name=name,
        chunk_id=chunk.chunk_id,
        page=page,
        modality=chunk.modality,
        asset_id=chunk.asset_id or "",
        start=triple.span.start,
        end=triple.span.end,
        quote=chunk.text[first : first + len(triple.span)],
        extractor=triple.extractor,
        score=triple.score,
    )


class _Pages:
    """Finds the page of a place; only a chunk that crosses a page needs its document, and the last one is kept."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._document: Document | None = None

    def of(self, chunk: Chunk, start: int) -> int:
        if chunk.page_first == chunk.page_last:
            return chunk.page_first
        if self._document is None or self._document.document_id != chunk.document_id:
            self._document = self._store.document(chunk.document_id)
        return self._document.page_at(start)
