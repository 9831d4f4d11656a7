"""Replies of a model in a small SQLite file beside the record, dropped with the texts they were said of.

Layer: ``generation``; the standard library. It is derived: deleting the file costs only asking again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection
from pathlib import Path

from kg.errors import StoreError

__all__ = ["SqliteReplyCache"]

_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, text_sha256 TEXT NOT NULL, reply TEXT NOT NULL)"


class SqliteReplyCache:
    """A :class:`generation.types.ReplyCache` in one file; safe between threads and processes.

    :param path: The file; it and its folder are made when the first reply is kept.
    :param timeout_s: How long to wait for another process.
    """

    def __init__(self, path: Path, *, timeout_s: float = 30.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """Return what was kept under ``key``, if anything was."""
        if not self._path.is_file():
            return None
        rows = self._run("SELECT reply FROM replies WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def put(self, key: str, reply: str, *, text_sha256: str) -> None:
        """Keep a reply.

        :param key: Under what.
        :param reply: The reply.
        :param text_sha256: SHA-256 of the text it was said of.
        """
        self._run("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", (key, text_sha256, reply))

    def keep_only(self, text_sha256s: Collection[str]) -> int:
        """Drop what was said of any other text, overwriting its bytes, and return how many replies that were."""
        if not self._path.is_file():
            return 0
        kept = frozenset(text_sha256s)
        rows = self._run("SELECT DISTINCT text_sha256 FROM replies", ())
        gone = [str(row[0]) for row in rows if row[0] not in kept]
        return sum(len(self._run("DELETE FROM replies WHERE text_sha256 = ? RETURNING 1", (text,))) for text in gone)

    def _run(self, statement: str, values: tuple[str, ...]) -> list[tuple[object, ...]]:
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._path, timeout=self._timeout_s)
                try:
                    connection.execute("PRAGMA secure_delete=ON")
                    with connection:
                        connection.execute(_TABLE)
                        return connection.execute(statement, values).fetchall()
                finally:
                    connection.close()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The replies kept in {self._path} cannot be used: {error}. Delete the file; it saves asking again."
            ) from error
