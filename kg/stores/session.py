"""The transactions of a record: every method of a store is one, and this says how it begins, waits and ends.

Layer: ``kg``; SQLAlchemy Core.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from kg.errors import StoreBusyError, StoreError
from kg.ports import EntityMatcher
from kg.stores.contradictions import Fixed
from kg.stores.failures import explained
from kg.stores.schema import meta

__all__ = ["RecordSession"]


class RecordSession:
    """The two engines of a record, and the transactions on them.

    :param reader: The engine for reads.
    :param writer: The engine for writes, on the same pool.
    :param where: The record as a user knows it, for messages.
    :param path: The SQLite file; ``None`` for a server.
    :param busy_timeout_s: How long a write waits for another thread, in seconds.
    :param clock: Where the times in the record come from.
    :param matcher: Decides which names mean the same thing.
    :param functional: Relations that have one answer.
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
        matcher: EntityMatcher,
        functional: Mapping[str, Fixed],
    ) -> None:
        self.where = where
        self.engine = writer
        """The engine for writes: for administration and tests, not for queries of other packages."""
        self._reader = reader
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._clock = clock
        self._matcher = matcher
        self._functional = functional
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
                _lock_writers(connection)
                yield connection
        finally:
            self._write_lock.release()

    def _require_open(self, action: str) -> None:
        if self._closed:
            raise StoreError(f"Could not {action}: the record {self.where} was closed. Open it again.")

    def close(self) -> None:
        """Release the database; every later call raises ``StoreError``. Closing twice does nothing."""
        self._closed = True
        self.engine.dispose()


def _lock_writers(connection: Connection) -> None:
    """Wait for other writers (on SQLite ``BEGIN IMMEDIATE`` has done so, and this reads one row)."""
    connection.execute(select(meta.c.version).with_for_update()).scalar_one()
