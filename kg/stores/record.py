"""The record of a workspace in one SQL database: the implementation of :class:`kg.ports.RecordStore`.

Layer: ``kg``; SQLAlchemy Core. This file opens a record and writes to it; what can be read is in
:mod:`kg.stores.reading`, transactions and locks are in :mod:`kg.stores.session`, the SQL stands in
:mod:`kg.stores.queries`, :mod:`kg.stores.writes` and :mod:`kg.stores.names`, what is set on a connection in
:mod:`kg.stores.engine`.

Each method is one transaction: a read sees one committed state, a write happens wholly or not at all. A store may be
used by many threads at once, and several processes may open the same record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from kg.errors import StoreError
from kg.ports import EntityMatcher
from kg.stores import writes
from kg.stores.contradictions import FUNCTIONAL, Fixed
from kg.stores.curating import RecordCuration
from kg.stores.engine import checkpoint, enable_wal, make_engine, resolve_url, set_foreign_keys, sqlite_path
from kg.stores.failures import explained
from kg.stores.matching import NamesOnlyMatcher
from kg.stores.migrations import MIGRATIONS, Migration, is_current, prepare_schema
from kg.stores.schema import SCHEMA_VERSION
from kg.stores.vectors import RecordVectors
from kg.types import GraphDelta, IngestStatus

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
    matcher: EntityMatcher | None = None,
    functional: Mapping[str, Fixed] = FUNCTIONAL,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    schema_version: int = SCHEMA_VERSION,
) -> SqlRecordStore:
    """Open a record, or make it (and the folder it lies in) if there is none.

    :param url_or_path: A path (SQLite) or a database URL.
    :param busy_timeout_s: How long a call waits for other threads and processes, in seconds.
    :param clock: Where the time of ``DocumentInfo.added_at`` comes from; it must be aware of its time zone.
    :param matcher: Decides which names mean the same thing; ``None`` takes equal names for one thing and compares no
        others. A record that was resolved by another matcher is resolved again by the first write, all or nothing.
    :param functional: Relations that have one answer, and the end that is fixed: where sources differ, they contradict
        each other. What a caller adds, it adds to :data:`kg.stores.contradictions.FUNCTIONAL`.
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
        reader=reader,
        writer=writer,
        where=where,
        path=path,
        busy_timeout_s=busy_timeout_s,
        clock=clock,
        matcher=matcher or NamesOnlyMatcher(),
        functional=functional,
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


class SqlRecordStore(RecordCuration, RecordVectors):
    """The record in an SQL database. Make it with :func:`open_record`.

    :param reader: The engine for reads.
    :param writer: The engine for writes, on the same pool.
    :param where: The record as a user knows it, for messages.
    :param path: The SQLite file; ``None`` for a server.
    :param busy_timeout_s: How long a write waits for another thread, in seconds.
    :param clock: Where the time of ``DocumentInfo.added_at`` comes from.
    :param matcher: Decides which names mean the same thing.
    :param functional: Relations that have one answer.
    """

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
            self._bring_up_to_date(connection)
            return writes.apply_delta(
                connection, delta, matcher=self._matcher, functional=self._functional, added_at=added_at
            )

    def remove(self, document_id: str) -> None:
        """Delete a document and every trace of it, in one transaction.

        Its bytes are overwritten in the database file, and the write-ahead log is emptied, unless another reader holds
        the old state for longer than half a second; then the log is emptied when the last one is closed.

        :param document_id: The document.
        :raises NotFoundError: If there is no such document.
        :raises StoreError: If the database refuses; the record is as it was before.
        """
        with self._write(f"remove document {document_id!r}") as connection:
            self._bring_up_to_date(connection)
            writes.remove_document(
                connection, document_id, matcher=self._matcher, functional=self._functional, where=self.where
            )
        if self._path is not None:
            self._empty_log(self._path)

    def _empty_log(self, path: Path) -> None:
        """Move the log into the file. The removal is committed by now, so a failure here is not one of it."""
        try:
            with explained(where=self.where, path=path, action="empty the log"):
                checkpoint(self._reader, busy_timeout_s=self._busy_timeout_s)
        except StoreError as error:
            _log.warning("%s The removed bytes stay in the log until the record is next closed.", error)
