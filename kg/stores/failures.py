"""What a database says when it fails, turned into what a user can act on.

Layer: ``kg``; SQLAlchemy's exceptions, matched by the databases' own error codes and never by message text.
Source: SQLite result codes, https://www.sqlite.org/rescode.html; PostgreSQL error codes, appendix A.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kg.errors import InputError, MmkgError, StoreBusyError, StoreError, StoreFullError

__all__ = ["explained"]

_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_READONLY, _SQLITE_IOERR, _SQLITE_CORRUPT = 5, 6, 8, 10, 11
_SQLITE_FULL, _SQLITE_CANTOPEN, _SQLITE_NOTADB = 13, 14, 26
_POSTGRES_FULL = frozenset({"53100"})
_POSTGRES_BUSY = frozenset({"55P03", "40P01", "40001"})
_ALMOST_FULL_BYTES = 1 << 20
"""With less free than this (1 MiB), an input/output error of SQLite is taken to mean a full disk: the -shm and -wal
files then cannot grow, which SQLite reports as IOERR or CANTOPEN rather than as FULL."""


@contextmanager
def explained(*, where: str, path: Path | None, action: str) -> Iterator[None]:
    """Turn what the database raises inside the block into the errors of :mod:`kg.errors`.

    :param where: The record as a user knows it: a path, or a URL without its password.
    :param path: The SQLite file, whose disk is asked for room; ``None`` for a server.
    :param action: What was being done, to follow "Could not".
    :returns: Nothing; a context manager.
    :raises StoreFullError: If the disk or quota is full.
    :raises StoreBusyError: If a lock or a connection could not be had in time.
    :raises StoreError: If the database cannot be read or written for any other reason.
    :raises InputError: If a text cannot be stored, or rows contradict each other.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreBusyError(f"Could not {action}: all connections to {where} are in use. Try again.") from error
    except IntegrityError as error:
        raise InputError(f"Could not {action} in {where}: its parts contradict each other ({error.orig}).") from error
    except DBAPIError as error:
        raise _translate(error, where=where, path=path, action=action) from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"Could not {action}: its text, or the file's name, holds characters that are not valid Unicode "
            f"(position {error.start}). Rename or repair the file."
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(where, action) from error
        raise StoreError(f"Could not {action} in {where}: {error}. Check the folder and its permissions.") from error


def _translate(error: DBAPIError, *, where: str, path: Path | None, action: str) -> MmkgError:
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(sqlite_code, int):
        return _sqlite(sqlite_code & 0xFF, error, where=where, path=path, action=action)
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state in _POSTGRES_FULL:
        return _full(where, action)
    if state in _POSTGRES_BUSY:
        return _busy(where, action)
    return StoreError(f"Could not {action} in {where}: {error.orig}. Check that the database server is reachable.")


def _sqlite(code: int, error: DBAPIError, *, where: str, path: Path | None, action: str) -> MmkgError:
    starved = code in {_SQLITE_IOERR, _SQLITE_CANTOPEN} and path is not None and _is_almost_full(path)
    if code == _SQLITE_FULL or starved:
        return _full(where, action)
    if code in {_SQLITE_BUSY, _SQLITE_LOCKED}:
        return _busy(where, action)
    if code in {_SQLITE_CORRUPT, _SQLITE_NOTADB}:
        return StoreError(
            f"Could not {action}: {where} is damaged or is not a record ({error.orig}). Restore a backup, or move the "
            "file (with its -wal and -shm) away and ingest the documents again."
        )
    if code in {_SQLITE_READONLY, _SQLITE_CANTOPEN}:
        return StoreError(
            f"Could not {action}: {where} cannot be opened for writing ({error.orig}). Check that the folder exists "
            "and that you may write to it."
        )
    return StoreError(f"Could not {action} in {where}: {error.orig}.")


def _is_almost_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _ALMOST_FULL_BYTES
    except OSError:
        return False


def _full(where: str, action: str) -> StoreFullError:
    return StoreFullError(
        f"Could not {action}: there is no room left for {where}. Nothing was half-written; free some space and run the "
        "same command again."
    )


def _busy(where: str, action: str) -> StoreBusyError:
    return StoreBusyError(
        f"Could not {action}: another process held {where} for longer than the time-out. Nothing was half-written; "
        "wait until it is done, or raise the time-out."
    )
