"""What is exported, read from the record as it is written out.

Layer: ``kg``; the standard library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from kg.graph.nodes import chunk_node, document_node
from kg.graph.statements import statements_of_rows
from kg.ports import ChunkNode, DocumentNode, MentionLink, RecordStore, Statement, TripleRow
from kg.types import DocumentInfo, Entity, Relation

__all__ = ["ExportSource"]


@dataclass(frozen=True)
class ExportSource:
    """A record's graph, part by part. Each part is read when it is asked for, so none needs to be held.

    :param store: The record.
    :param workspace: Its name.
    """

    store: RecordStore
    workspace: str

    @cached_property
    def version(self) -> int:
        """The record's version when the export began."""
        return self.store.version()

    @cached_property
    def _documents(self) -> dict[str, DocumentInfo]:
        return {info.document_id: info for info in self.store.documents()}

    def documents(self) -> Iterator[DocumentNode]:
        """Yield the documents by name, then id."""
        return (document_node(info) for info in self._documents.values())

    def chunks(self) -> Iterator[ChunkNode]:
        """Yield the chunks by document, then ordinal."""
        return (chunk_node(chunk) for chunk in self.store.iter_chunks())

    def entities(self) -> Iterable[Entity]:
        """Return the entities by id."""
        return self.store.entities()

    def relations(self) -> Iterable[Relation]:
        """Return the relations by id, then origin."""
        return self.store.relations()

    def statements(self) -> Iterator[Statement]:
        """Yield the statements, those of one chunk together."""
        return statements_of_rows(self.store, self.statement_rows(), documents=self._documents)

    def statement_rows(self) -> list[TripleRow]:
        """Return the statements without their words, those of one chunk together."""
        return sorted(self.store.triple_rows(), key=lambda row: (row.chunk_id, row.triple_id))

    def mentions(self) -> Iterator[MentionLink]:
        """Yield which entity is named in which chunk, how often, by chunk, then entity."""
        counts = Counter((row.chunk_id, row.entity_id) for row in self.store.mention_rows())
        for (chunk_id, entity_id), count in sorted(counts.items()):
            yield MentionLink(entity_id=entity_id, chunk_id=chunk_id, n_mentions=count)
