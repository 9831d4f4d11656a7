"""The record of one workspace, and what can be read from it.

Layer: ``kg``; the standard library and NumPy's type names only. Import these from :mod:`kg.ports`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from kg.ports.curation import Contradiction, Contribution, Decision, DecisionKind, EntityLink, LinkStatus, Sense
from kg.ports.record_rows import ChangeSet, ChunkRow, MentionRow, TripleRow
from kg.ports.vectors import VectorStore
from kg.types import (
    Asset,
    Caption,
    Chunk,
    Document,
    DocumentInfo,
    Entity,
    GraphDelta,
    IngestStatus,
    Mention,
    Relation,
    Table,
    Triple,
)

__all__ = ["RecordStore"]


@runtime_checkable
class RecordStore(VectorStore, Protocol):
    """The record of one workspace: the only thing that must survive. Everything else is derived from it."""

    def apply(self, delta: GraphDelta) -> IngestStatus:
        """Write one document's whole change in one transaction, replacing any older document of the same source."""
        ...

    def remove(self, document_id: str) -> None:
        """Delete a document and every trace of it, in one transaction; raise ``NotFoundError`` if there is none."""
        ...

    def version(self) -> int:
        """Return the number of committed changes; it rises with each :meth:`apply` or :meth:`remove`."""
        ...

    def changed_since(self, version: int) -> ChangeSet:
        """Name what changed after ``version``; 0 names everything that ever was. The state read is that of one moment.

        A ``version`` above the record's own (another record, an older backup) raises ``InputError``: start anew then.
        """
        ...

    def find(self, *, source: str) -> DocumentInfo | None:
        """Return the document that came from ``source``, if any."""
        ...

    def document(self, document_id: str) -> Document:
        """Return a whole document, its assets' bytes included."""
        ...

    def documents(self, *, document_ids: Sequence[str] | None = None) -> list[DocumentInfo]:
        """List all documents (those of these ids; unknown ones are left out) by name, then id."""
        ...

    def chunk_ids(self) -> list[str]:
        """List the ids of all chunks, sorted."""
        ...

    def chunk_rows(self, *, document_ids: Sequence[str] | None = None) -> list[ChunkRow]:
        """Return every chunk's document and kind (in these documents), without its words, in no order."""
        ...

    def chunks(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks of these ids in the order given; raise ``NotFoundError`` for an unknown one."""
        ...

    def iter_chunks(self, *, document_id: str | None = None) -> Iterator[Chunk]:
        """Yield all chunks (of one document) by document, then ordinal."""
        ...

    def asset(self, asset_id: str) -> Asset:
        """Return one asset with its bytes."""
        ...

    def caption(self, asset_id: str) -> Caption | None:
        """Return the caption of an asset, if it has one, with the tables that were read off it."""
        ...

    def tables(self, *, document_id: str | None = None) -> list[Table]:
        """Return all tables (of one document): by document, its own before those of its pictures, then ordinal."""
        ...

    def table(self, table_id: str) -> Table:
        """Return one table; raise ``NotFoundError`` for an unknown id."""
        ...

    def entities(
        self, entity_ids: Sequence[str] | None = None, *, document_ids: Sequence[str] | None = None
    ) -> list[Entity]:
        """Return these entities in the order given, or all of them by id.

        With ``document_ids``, names, types and counts are those that these documents alone give; entities that they do
        not mention are left out.
        """
        ...

    def find_entities(self, name: str, *, limit: int = 10) -> list[Entity]:
        """Return entities called ``name`` or nearly so, best first: exact, then case-folded, then alias, then fuzzy."""
        ...

    def relations(self, *, entity_id: str | None = None, document_ids: Sequence[str] | None = None) -> list[Relation]:
        """Return relations (that touch an entity; that these documents state, by their statements alone), by id."""
        ...

    def mention_rows(self, *, document_ids: Sequence[str] | None = None) -> list[MentionRow]:
        """Return every mention's chunk and entity (in these documents): the incidence of the graph."""
        ...

    def triple_rows(
        self, *, relation: tuple[str, str, str] | None = None, document_ids: Sequence[str] | None = None
    ) -> list[TripleRow]:
        """Return every statement (of these documents), or those of one ``(head_id, name, tail_id)``."""
        ...

    def mentions(self, chunk_id: str) -> list[Mention]:
        """Return the mentions of one chunk, by span."""
        ...

    def triples(self, chunk_id: str) -> list[Triple]:
        """Return the statements of one chunk, by span."""
        ...

    def senses(self, *, entity_id: str | None = None) -> list[Sense]:
        """Return the senses (of one entity), by id."""
        ...

    def links(self, *, entity_id: str | None = None, status: LinkStatus | None = None) -> list[EntityLink]:
        """Return the links between senses (of one entity; of one status), by falling score, then ids."""
        ...

    def contributions(self, entity_id: str) -> list[Contribution]:
        """Return what each document says of an entity, by document id; raise ``NotFoundError`` for an unknown one."""
        ...

    def decide(
        self,
        kind: DecisionKind,
        left_id: str,
        right_id: str = "",
        *,
        document_ids: Sequence[str] = (),
        by: str = "",
        note: str = "",
        force: bool = False,
    ) -> Decision:
        """Take a person's word: two senses (or entities) are the same or different, or a name is split.

        ``document_ids`` are, for a split, the documents in which ``left_id`` is another thing. Saying the same twice
        returns the first decision. What contradicts an earlier decision is refused with ``InputError``, or with
        ``force`` takes the earlier one's place.
        """
        ...

    def undo(self, decision_id: int) -> Decision:
        """Take a decision back; the record is then as if it had never been taken, but for its line in the history."""
        ...

    def decisions(self) -> list[Decision]:
        """Return every decision ever taken, in order."""
        ...

    def resolve_again(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Decide senses and links of the whole record anew, in one transaction, telling ``(stage, done, total)``."""
        ...

    def contradictions(self, entity_id: str | None = None) -> list[Contradiction]:
        """Return what sources contradict each other about (one entity), by entity and relation."""
        ...

    def statistics(self) -> dict[str, int]:
        """Count documents, pages, assets, tables, equations, chunks, mentions, entities, relations and triples."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...
