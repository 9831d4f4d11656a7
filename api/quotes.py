"""Find the sentence behind a statement or a mention, and the names of entities.

Layer: ``api``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kg.ports import RecordStore, TripleRow
from kg.sentences import sentence_spans
from kg.types import Chunk, Entity, Span

__all__ = ["Names", "Quote", "Quotes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Words of a document: the sentence that says something, and where it stands."""

    document_id: str
    document: str
    page: int
    sentence: str


class Names:
    """Names of entities, each read once.

    :param store: The record.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._known: dict[str, Entity] = {}

    def entity(self, entity: str) -> Entity:
        """Return an entity."""
        if entity not in self._known:
            self._known[entity] = self._store.entities([entity])[0]
        return self._known[entity]

    def of(self, entity: str) -> str:
        """Return an entity's name."""
        return self.entity(entity).name

    def statement(self, row: TripleRow) -> str:
        """Write a statement with names."""
        return f"{self.of(row.head_id)} | {row.name} | {self.of(row.tail_id)}"


class Quotes:
    """Finds the sentence behind a statement or a mention.

    :param store: The record.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._names = {info.document_id: info.name for info in store.documents()}

    def of_statement(self, row: TripleRow) -> Quote:
        """Return the sentence that makes a statement."""
        (chunk,) = self._store.chunks([row.chunk_id])
        spans = [one.span for one in self._store.triples(row.chunk_id) if one.triple_id == row.triple_id]
        return self._quote(chunk, spans[0] if spans else chunk.span)

    def of_entity(self, entity: str, names: Sequence[str]) -> Quote | None:
        """Return the first sentence of the first document, by id, that calls the entity by one of ``names``."""
        for one in self._store.contributions(entity):
            if not any(surface in names for surface, _ in one.uses):
                continue
            for row in self._store.mention_rows(document_ids=[one.document_id]):
                (chunk,) = self._store.chunks([row.chunk_id]) if row.entity_id == entity else (None,)
                if chunk is None:
                    continue
                span = Span(start=row.start, end=row.end)
                words = chunk.text[span.start - chunk.span.start : span.end - chunk.span.start]
                if " ".join(words.split()) in names:
                    return self._quote(chunk, span)
        return None

    def _quote(self, chunk: Chunk, span: Span) -> Quote:
        start, end = span.start - chunk.span.start, span.end - chunk.span.start
        touched = [one for one in sentence_spans(chunk.text) if one.start < end and start < one.end]
        if touched:
            start, end = touched[0].start, touched[-1].end
        return Quote(
            document_id=chunk.document_id,
            document=self._names.get(chunk.document_id, ""),
            page=chunk.page_first,
            sentence=" ".join(chunk.text[start:end].split()),
        )
