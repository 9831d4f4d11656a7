"""What can be read from the record; each method is one read transaction and sees one committed state.

Layer: ``kg``; SQLAlchemy Core. The SQL stands in :mod:`kg.stores.queries` and :mod:`kg.stores.names`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from sqlalchemy import select

from kg.errors import InputError
from kg.ports import ChangeSet, ChunkRow, MentionRow, TripleRow
from kg.stores import queries
from kg.stores.changes import read_changes
from kg.stores.curation_queries import entities_within
from kg.stores.names import NameFinder
from kg.stores.rows import to_asset, to_chunk, to_document_info, to_entity, to_mention, to_table, to_triple
from kg.stores.schema import assets, chunks, documents, entities, mentions, meta, tables, triples
from kg.stores.session import RecordSession
from kg.types import Asset, Caption, Chunk, Document, DocumentInfo, Entity, Mention, Relation, Table, Triple

__all__ = ["RecordReads"]


class RecordReads(RecordSession):
    """Everything of a record store that writes nothing."""

    @cached_property
    def _names(self) -> NameFinder:
        return NameFinder()

    def version(self) -> int:
        """Return the number of committed changes; it rises by one with each :meth:`apply` or :meth:`remove`."""
        with self._read("read the version") as connection:
            return int(connection.execute(select(meta.c.version)).scalar_one())

    def changed_since(self, version: int) -> ChangeSet:
        """Name what changed after ``version``; 0 names everything that ever was.

        :param version: The version that the caller read last.
        :returns: What to read again, and the version it leads to.
        :raises InputError: If the record never had that version.
        """
        with self._read("read what changed") as connection:
            return read_changes(connection, version, where=self.where)

    def find(self, *, source: str) -> DocumentInfo | None:
        """Return the document that came from ``source``, if any."""
        query = select(*queries.INFO_COLUMNS).where(documents.c.source == source)
        with self._read("look a source up") as connection:
            row = connection.execute(query).first()
        return None if row is None else to_document_info(row)

    def document(self, document_id: str) -> Document:
        """Return a whole document, its assets' bytes included; raise ``NotFoundError`` for an unknown id."""
        with self._read("read a document") as connection:
            return queries.document(connection, document_id, where=self.where)

    def documents(self, *, document_ids: Sequence[str] | None = None) -> list[DocumentInfo]:
        """List all documents (those of these ids; unknown ones are left out) by name, then id."""
        with self._read("list the documents") as connection:
            infos = [to_document_info(row) for row in queries.document_infos(connection, document_ids=document_ids)]
        return sorted(infos, key=lambda info: (info.name, info.document_id))

    def chunk_ids(self) -> list[str]:
        """List the ids of all chunks, sorted."""
        with self._read("list the chunks") as connection:
            return sorted(connection.execute(select(chunks.c.chunk_id)).scalars())

    def chunk_rows(self, *, document_ids: Sequence[str] | None = None) -> list[ChunkRow]:
        """Return every chunk's document and kind (in these documents), without its words, in no order."""
        with self._read("list the chunks") as connection:
            return queries.chunk_rows(connection, document_ids=document_ids)

    def chunks(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks of these ids in the order given; raise ``NotFoundError`` for an unknown one."""
        with self._read("read chunks") as connection:
            rows = queries.rows_by_id(connection, chunks, chunk_ids, kind="chunk", where=self.where)
        return [to_chunk(row) for row in rows]

    def iter_chunks(self, *, document_id: str | None = None) -> Iterator[Chunk]:
        """Yield all chunks (of one document) by document, then ordinal: the state of when the first one is asked for.

        The iteration holds a connection until it ends or is closed; writes go on beside it and are not seen by it.
        """
        with self._read("read chunks") as connection:
            yield from queries.chunk_stream(connection, document_id=document_id)

    def asset(self, asset_id: str) -> Asset:
        """Return one asset with its bytes; raise ``NotFoundError`` for an unknown id."""
        with self._read("read an asset") as connection:
            (row,) = queries.rows_by_id(connection, assets, [asset_id], kind="asset", where=self.where)
        return to_asset(row)

    def caption(self, asset_id: str) -> Caption | None:
        """Return the caption of an asset, if it has one, with the tables that were read off it."""
        with self._read("read a caption") as connection:
            return queries.caption(connection, asset_id)

    def tables(self, *, document_id: str | None = None) -> list[Table]:
        """Return all tables (of one document): by document, its own before those of its pictures, then ordinal."""
        with self._read("read tables") as connection:
            return queries.tables_of(connection, document_id=document_id)

    def table(self, table_id: str) -> Table:
        """Return one table; raise ``NotFoundError`` for an unknown id."""
        with self._read("read a table") as connection:
            (row,) = queries.rows_by_id(connection, tables, [table_id], kind="table", where=self.where)
        return to_table(row)

    def entities(
        self, entity_ids: Sequence[str] | None = None, *, document_ids: Sequence[str] | None = None
    ) -> list[Entity]:
        """Return these entities in the order given (``NotFoundError`` for an unknown one), or all of them by id.

        :param entity_ids: The entities; ``None`` for all.
        :param document_ids: See them as these documents alone make them, and leave out those they do not mention.
        :returns: The entities.
        """
        with self._read("read entities") as connection:
            if document_ids is not None:
                return entities_within(connection, entity_ids, document_ids)
            if entity_ids is None:
                rows = list(connection.execute(select(entities).order_by(entities.c.entity_id)))
            else:
                rows = queries.rows_by_id(connection, entities, entity_ids, kind="entity", where=self.where)
        return [to_entity(row) for row in rows]

    def find_entities(self, name: str, *, limit: int = 10) -> list[Entity]:
        """Return entities called ``name`` or nearly so, best first: exact, then case-folded, then alias, then fuzzy.

        :param name: What to look for; white space at its ends and runs of it inside do not count.
        :param limit: The most entities to return, at least 1.
        :returns: Entities, best first; none for an empty name.
        :raises InputError: If ``limit`` is below 1.
        """
        if limit < 1:
            raise InputError(f"find_entities: limit must be at least 1, got {limit}.")
        with self._read("look an entity up") as connection:
            return self._names.find(connection, name, limit=limit, where=self.where)

    def relations(self, *, entity_id: str | None = None, document_ids: Sequence[str] | None = None) -> list[Relation]:
        """Return relations (that touch an entity; of these documents), by id; one for each origin that states it."""
        with self._read("read relations") as connection:
            return queries.relations(connection, entity_id=entity_id, document_ids=document_ids)

    def mention_rows(self, *, document_ids: Sequence[str] | None = None) -> list[MentionRow]:
        """Return every mention's chunk and entity (in these documents): the graph's incidence, by chunk, then span."""
        with self._read("read mentions") as connection:
            return queries.mention_rows(connection, document_ids=document_ids)

    def triple_rows(
        self, *, relation: tuple[str, str, str] | None = None, document_ids: Sequence[str] | None = None
    ) -> list[TripleRow]:
        """Return every statement (of these documents), or those of one ``(head_id, name, tail_id)``, by id."""
        with self._read("read statements") as connection:
            return queries.triple_rows(connection, relation=relation, document_ids=document_ids)

    def mentions(self, chunk_id: str) -> list[Mention]:
        """Return the mentions of one chunk, by span."""
        m = mentions.c
        query = select(mentions).where(m.chunk_id == chunk_id).order_by(m.start, m.end, m.mention_id)
        with self._read("read mentions") as connection:
            return [to_mention(row) for row in connection.execute(query)]

    def triples(self, chunk_id: str) -> list[Triple]:
        """Return the statements of one chunk, by span."""
        t = triples.c
        query = select(triples).where(t.chunk_id == chunk_id).order_by(t.start, t.end, t.triple_id)
        with self._read("read statements") as connection:
            return [to_triple(row) for row in connection.execute(query)]

    def statistics(self) -> dict[str, int]:
        """Count documents, pages, assets, tables, equations, chunks, mentions, entities, relations and triples."""
        with self._read("count") as connection:
            return queries.statistics(connection)
