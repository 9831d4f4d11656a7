"""The SQLite record keeps the contract of every record store."""

from __future__ import annotations

from pathlib import Path

from kg.ports import RecordStore
from kg.stores.record import open_record
from kg.testing.contract import RecordStoreContract


class TestSqlRecordStore(RecordStoreContract):
    def open_store(self, folder: Path) -> RecordStore:
        return open_record(folder / "record.db")
