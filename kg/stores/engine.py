"""Connections to the database of a record: what is set on them, and why.

Layer: ``kg``; SQLAlchemy Core. Everything that differs between SQLite and PostgreSQL at run time is in this file.

SQLite
- ``journal_mode=WAL``: readers see the last committed state while one writer writes, and neither waits for the other.
- ``synchronous=FULL``: every commit reaches the disk before it is reported. ``NORMAL`` would be safe against a killed
  process too, but could lose the last commits when the power fails; one commit is one document, whose parsing costs far
  more than the one flush that ``FULL`` adds (``tests/benchmarks/store_speed.py`` measures both).
- ``foreign_keys=ON``: SQLite leaves them off otherwise, connection by connection.
- ``secure_delete=ON``: deleted bytes are overwritten with zeros; a removed document cannot be read from the file.
- ``cache_size`` of 16 MiB (2 MiB otherwise), taken as it is needed: a document changes about 2 MiB of pages of a large
  record, which no longer push each other out, and half as many pages are read again (at 10,000 documents 1.2 MiB for
  each one added instead of 2.1, with 64 MiB no less: ``store_speed --pragmas cache_size=-2000`` compares).
- ``BEGIN IMMEDIATE`` for writes: the lock is taken first and waited for. A transaction that reads first and then wants
  to write would fail at once, without waiting, if another had written in between.
- Python's driver opens transactions on its own, and only before some statements: it is told not to
  (``isolation_level=None``), and the ``begin`` event opens them.

PostgreSQL
- Readers take ``REPEATABLE READ`` (one state for all statements of a call). Writers queue on the row of ``meta``, which
  each locks first, with ``lock_timeout`` as the time-out.

Pool: a thread of the REST server holds one connection for the length of one call. 8 are kept, and up to 40 are opened
under load, which is the size of the thread pool that Starlette runs synchronous routes in (AnyIO's default limiter), so
that no request waits for a connection before it waits for the database.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from kg.errors import ConfigError

__all__ = ["checkpoint", "enable_wal", "make_engine", "resolve_url", "set_foreign_keys", "sqlite_path"]

_BEGIN = "mmkgrag_begin"
"""Execution option: the statement that opens a transaction on SQLite; empty for none at all."""
_POOL_KEPT, _POOL_MOST = 8, 40
_CHECKPOINT_WAIT_S = 0.5
_CACHE_KIB = 16 * 1024
_PREPARED = 512
"""Statements that the driver keeps prepared for each connection; the record has about 150, some in ten lengths."""


def resolve_url(target: str | Path) -> URL:
    """Return the database URL of a path (SQLite) or of a URL (anything that SQLAlchemy knows).

    :param target: ``/folder/record.db``, ``sqlite:////folder/record.db`` or ``postgresql+psycopg://…``.
    :returns: The URL.
    :raises ConfigError: If the URL cannot be read, or means a database in memory, which could not survive anything.
    """
    if isinstance(target, Path) or "://" not in target:
        if not str(target) or str(target) == ":memory:":
            raise ConfigError(f"The record needs a file, got {str(target)!r}. Give a path or a database URL.")
        return URL.create("sqlite", database=str(Path(target).absolute()))
    try:
        url = make_url(target)
    except ArgumentError as error:
        raise ConfigError("The record's database URL cannot be read. Write it as DIALECT://USER@HOST/NAME.") from error
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ConfigError(f"The record needs a file, got {target!r}. Give a path or a database URL.")
    return url


def sqlite_path(url: URL) -> Path | None:
    """Return the file behind an SQLite URL, ``None`` for a server."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def make_engine(url: URL, *, busy_timeout_s: float) -> tuple[Engine, Engine]:
    """Return an engine for reads and one for writes; they share one pool.

    :param url: The database.
    :param busy_timeout_s: How long to wait for a lock or a free connection, in seconds, > 0.
    :returns: The engine for reads and the engine for writes.
    :raises ConfigError: If the time-out is not a positive number.
    """
    if not (math.isfinite(busy_timeout_s) and busy_timeout_s > 0):
        raise ConfigError(f"busy_timeout_s must be a positive number of seconds, got {busy_timeout_s}.")
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s, "cached_statements": _PREPARED} if is_sqlite else {},
        json_deserializer=_from_json if is_sqlite else None,
        pool_size=_POOL_KEPT,
        max_overflow=_POOL_MOST - _POOL_KEPT,
        pool_timeout=busy_timeout_s,
        pool_pre_ping=not is_sqlite,
    )
    writer = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine, writer

    def limit_waiting(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(busy_timeout_s * 1000)}")

    event.listen(writer, "begin", limit_waiting)
    return engine.execution_options(isolation_level="REPEATABLE READ"), writer


_READ = json.JSONDecoder().raw_decode


def _from_json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON that the record wrote itself, without white space around it: a sample is a hundred short texts."""
    return _READ(text)[0]


def _set_up_sqlite(driver_connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    driver_connection.isolation_level = None
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON", f"cache_size={-_CACHE_KIB}"):
        driver_connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)


def enable_wal(engine: Engine, *, busy_timeout_s: float) -> None:
    """Switch an SQLite file to write-ahead logging; it stays so.

    SQLite does not wait for a lock while it switches, so two processes that open a new record at once must retry.

    :param engine: The engine of a record.
    :param busy_timeout_s: How long to retry, in seconds.
    :raises OperationalError: If the file is still locked then.
    """
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            _execute_outside(engine, "PRAGMA journal_mode=WAL")
        except OperationalError as error:
            is_busy = getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            if not is_busy or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def checkpoint(engine: Engine, *, busy_timeout_s: float) -> None:
    """Move the write-ahead log of an SQLite file into the file and empty it, unless readers hold it for long.

    :param engine: The engine of a record.
    :param busy_timeout_s: The time-out that the connection has otherwise, in seconds.
    """
    _execute_outside(
        engine,
        f"PRAGMA busy_timeout={int(_CHECKPOINT_WAIT_S * 1000)}",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}",
    )


def set_foreign_keys(connection: Connection, *, enforced: bool) -> None:
    """Switch the checking of foreign keys on SQLite; only outside a transaction does it have an effect."""
    if connection.dialect.name == "sqlite":
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.execute(f"PRAGMA foreign_keys={'ON' if enforced else 'OFF'}")


def _execute_outside(engine: Engine, *statements: str) -> None:
    """Run statements that SQLite refuses inside a transaction."""
    with engine.execution_options(**{_BEGIN: ""}).connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement).close()
