"""The record of a workspace in one SQL database: the implementation of :class:`kg.ports.RecordStore`.

Layer: ``kg``; SQLAlchemy Core. This file holds connections, transactions and locks; the SQL stands in
:mod:`kg.stores.queries`, :mod:`kg.stores.writes` and :mod:`kg.stores.names`, what is set on a connection in
:mod:`kg.stores.engine`.

Each method is one transaction: a read sees one committed state, a write happens wholly or not at all. A store may be
used by many threads at once, and several processes may open the same record.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, select

from kg.errors import InputError, StoreBusyError, StoreError
from kg.ports import MentionRow, TripleRow
from kg.stores import queries, writes
from kg.stores.engine import checkpoint, enable_wal, make_engine, resolve_url, set_foreign_keys, sqlite_path
from kg.stores.failures import explained
from kg.stores.migrations import MIGRATIONS, Migration, is_current, prepare_schema
from kg.stores.names import NameFinder
from kg.stores.rows import to_asset, to_caption, to_chunk, to_document_info, to_entity, to_mention, to_triple
from kg.stores.schema import SCHEMA_VERSION, assets, captions, chunks, documents, entities, mentions, meta, triples
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
    Triple,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BUSY_TIMEOUT_S", "SqlRecordStore", "open_record"]

BUSY_TIMEOUT_S = 30.0
"""A write holds the lock for the milliseconds of one document; 30 s covers hundreds of writers in a queue, or one
very large document, and still ends."""

_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


def open_record(
    url_or_path: str | Path,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    clock: Callable[[], datetime] = _now,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    schema_version: int = SCHEMA_VERSION,
) -> SqlRecordStore:
    """Open a record, or make it (and the folder it lies in) if there is none.

    :param url_or_path: A path (SQLite) or a database URL.
    :param busy_timeout_s: How long a call waits for other threads and processes, in seconds.
    :param clock: Where the time of ``DocumentInfo.added_at`` comes from; it must be aware of its time zone.
    :param migrations: The step from each schema version to the next.
    :param schema_version: The schema version to reach.
    :returns: The store; :meth:`SqlRecordStore.close` it when done.
    :raises ConfigError: If the URL cannot be read or the time-out is not positive.
    :raises SchemaVersionError: If a newer version wrote the record, or a migration is missing.
    :raises StoreError: If the database cannot be opened, or is not a record.
    """
    url = resolve_url(url_or_path)
    path = sqlite_path(url)
    where = str(path) if path else url.render_as_string(hide_password=True)
    reader, writer = make_engine(url, busy_timeout_s=busy_timeout_s)
    store = SqlRecordStore(
        reader=reader, writer=writer, where=where, path=path, busy_timeout_s=busy_timeout_s, clock=clock
    )
    try:
        with explained(where=where, path=path, action="open the record"):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                enable_wal(reader, busy_timeout_s=busy_timeout_s)
            with reader.begin() as connection:
                ready = is_current(connection, target=schema_version)
            if not ready:
                _make_or_migrate(writer, where=where, migrations=migrations, target=schema_version)
    except BaseException:
        store.close()
        raise
    return store


def _make_or_migrate(writer: Engine, *, where: str, migrations: Mapping[int, Migration], target: int) -> None:
    with writer.connect() as connection:
        set_foreign_keys(connection, enforced=False)
        try:
            with connection.begin():
                prepare_schema(connection, where=where, migrations=migrations, target=target)
        finally:
            set_foreign_keys(connection, enforced=True)


class SqlRecordStore:
    """The record in an SQL database. Make it with :func:`open_record`.

    :param reader: The engine for reads.
    :param writer: The engine for writes, on the same pool.
    :param where: The record as a user knows it, for messages.
    :param path: The SQLite file; ``None`` for a server.
    :param busy_timeout_s: How long a write waits for another thread, in seconds.
    :param clock: Where the time of ``DocumentInfo.added_at`` comes from.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        writer: Engine,
        where: str,
        path: Path | None,
        busy_timeout_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self.where = where
        self.engine = writer
        """The engine for writes: for administration and tests, not for queries of other packages."""
        self._reader = reader
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._clock = clock
        self._names = NameFinder()
        self._closed = False
        self._write_lock = threading.Lock()

    @contextmanager
    def _read(self, action: str) -> Iterator[Connection]:
        self._require_open(action)
        with explained(where=self.where, path=self._path, action=action), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self, action: str) -> Iterator[Connection]:
        """Queue the threads of this process by a lock, which is fair; the processes queue on the database's own."""
        self._require_open(action)
        if not self._write_lock.acquire(timeout=self._busy_timeout_s):
            raise StoreBusyError(
                f"Could not {action}: other requests held {self.where} for {self._busy_timeout_s:g} s. Try again."
            )
        try:
            with explained(where=self.where, path=self._path, action=action), self.engine.begin() as connection:
                writes.lock_writers(connection)
                yield connection
        finally:
            self._write_lock.release()

    def _require_open(self, action: str) -> None:
        if self._closed:
            raise StoreError(f"Could not {action}: the record {self.where} was closed. Open it again.")

    def apply(self, delta: GraphDelta) -> IngestStatus:
        """Write one document's whole change in one transaction, replacing any older document of the same source.

        :param delta: The change.
        :returns: ``UNCHANGED`` if the document is there already (nothing was written, :meth:`version` stays),
            ``REPLACED`` if another one of the same source was, else ``ADDED``.
        :raises InputError: If the delta contradicts itself or holds text that is not valid Unicode.
        :raises StoreError: If the database refuses; the record is as it was before.
        """
        added_at = self._clock().astimezone(UTC).isoformat(timespec="seconds")
        with self._write(f"store {delta.document.name!r}") as connection:
            return writes.apply_delta(connection, delta, added_at=added_at)

    def remove(self, document_id: str) -> None:
        """Delete a document and every trace of it, in one transaction.

        Its bytes are overwritten in the database file, and the write-ahead log is emptied, unless another reader holds
        the old state for longer than half a second; then the log is emptied when the last one is closed.

        :param document_id: The document.
        :raises NotFoundError: If there is no such document.
        :raises StoreError: If the database refuses; the record is as it was before.
        """
        with self._write(f"remove document {document_id!r}") as connection:
            writes.remove_document(connection, document_id, where=self.where)
        if self._path is not None:
            self._empty_log(self._path)

    def _empty_log(self, path: Path) -> None:
        """Move the log into the file. The removal is committed by now, so a failure here is not one of it."""
        try:
            with explained(where=self.where, path=path, action="empty the log"):
                checkpoint(self._reader, busy_timeout_s=self._busy_timeout_s)
        except StoreError as error:
            _log.warning("%s The removed bytes stay in the log until the record is next closed.", error)

    def version(self) -> int:
        """Return the number of committed changes; it rises by one with each :meth:`apply` or :meth:`remove`."""
        with self._read("read the version") as connection:
            return int(connection.execute(select(meta.c.version)).scalar_one())

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

    def documents(self) -> list[DocumentInfo]:
        """List all documents by name, then id."""
        with self._read("list the documents") as connection:
            infos = [to_document_info(row) for row in connection.execute(select(*queries.INFO_COLUMNS))]
        return sorted(infos, key=lambda info: (info.name, info.document_id))

    def chunk_ids(self) -> list[str]:
        """List the ids of all chunks, sorted."""
        with self._read("list the chunks") as connection:
            return sorted(connection.execute(select(chunks.c.chunk_id)).scalars())

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
        """Return the caption of an asset, if it has one."""
        with self._read("read a caption") as connection:
            row = connection.execute(select(captions).where(captions.c.asset_id == asset_id)).first()
        return None if row is None else to_caption(row)

    def entities(self, entity_ids: Sequence[str] | None = None) -> list[Entity]:
        """Return these entities in the order given (``NotFoundError`` for an unknown one), or all of them by id."""
        with self._read("read entities") as connection:
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

    def relations(self, *, entity_id: str | None = None) -> list[Relation]:
        """Return relations (that touch an entity), by id; one that several origins state comes once for each."""
        with self._read("read relations") as connection:
            return queries.relations(connection, entity_id=entity_id)

    def mention_rows(self) -> list[MentionRow]:
        """Return every mention's chunk and entity: the incidence of the graph, by chunk, then span."""
        with self._read("read mentions") as connection:
            return queries.mention_rows(connection)

    def triple_rows(self, *, relation: tuple[str, str, str] | None = None) -> list[TripleRow]:
        """Return every statement, or those of one ``(head_id, name, tail_id)``, by id."""
        with self._read("read statements") as connection:
            return queries.triple_rows(connection, relation=relation)

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

    def put_vectors(self, *, encoder: str, rows: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Store the vectors that ``encoder`` (a fingerprint) gave these chunks; unknown chunk ids are ignored.

        :param encoder: The fingerprint of the encoder.
        :param rows: Chunk ids and vectors. *Shape:* ``(D,)`` each, finite. They replace older ones of this encoder.
        :raises InputError: If a vector is not one row of finite numbers; nothing is stored then.
        """
        with self._write("store vectors") as connection:
            writes.put_vectors(connection, encoder=encoder, rows=rows)

    def vectors(self, *, encoder: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the stored vectors of these chunks for this encoder, read-only; those that have none are left out."""
        with self._read("read vectors") as connection:
            return queries.vectors_of(connection, encoder=encoder, chunk_ids=chunk_ids)

    def statistics(self) -> dict[str, int]:
        """Count documents, pages, assets, chunks, mentions, entities, relations and triples."""
        with self._read("count") as connection:
            return queries.statistics(connection)

    def close(self) -> None:
        """Release the database; every later call raises ``StoreError``. Closing twice does nothing."""
        self._closed = True
        self.engine.dispose()
