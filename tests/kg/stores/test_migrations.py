"""A record of an older schema is brought up to date or left alone, and one of a newer schema is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection

from kg.errors import SchemaVersionError, StoreError
from kg.stores.migrations import MIGRATIONS
from kg.stores.record import open_record
from kg.stores.schema import SCHEMA_VERSION
from kg.testing import canonical_dump, make_delta


def _schema_version(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("SELECT schema_version FROM meta").fetchone()
    connection.close()
    return int(version)


def _schema(path: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(path)
    statements = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return statements


@pytest.fixture
def version_zero(tmp_path: Path) -> Path:
    """A record as an imagined version 0 wrote it: chunks did not know the headings above them."""
    path = tmp_path / "record.db"
    store = open_record(path)
    store.apply(make_delta("Marie Curie discovered Polonium."))
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE chunks DROP COLUMN heading")
    connection.execute("UPDATE meta SET schema_version = 0")
    connection.commit()
    connection.close()
    return path


def _add_heading(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE chunks ADD COLUMN heading TEXT NOT NULL DEFAULT 'unknown'")


def test_every_released_schema_has_a_step_to_the_next():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_older_record_is_migrated_when_it_is_opened(version_zero: Path):
    store = open_record(version_zero, migrations={0: _add_heading})
    assert [chunk.heading for chunk in store.iter_chunks()] == ["unknown"]
    assert store.version() == 1
    store.close()
    assert _schema_version(version_zero) == SCHEMA_VERSION

    untouched = open_record(version_zero, migrations={})
    untouched.close()


def test_steps_run_one_after_the_other(version_zero: Path):
    ran: list[int] = []

    def first(connection: Connection) -> None:
        _add_heading(connection)
        ran.append(0)

    store = open_record(version_zero, migrations={1: lambda _: ran.append(1), 0: first}, schema_version=2)
    store.close()
    assert ran == [0, 1]
    assert _schema_version(version_zero) == 2


def test_migration_that_fails_leaves_the_record_as_it_was(version_zero: Path):
    before = _schema(version_zero)

    def fail(connection: Connection) -> None:
        _add_heading(connection)
        connection.exec_driver_sql("UPDATE recipes SET x = 1")

    with pytest.raises(StoreError, match="no such table"):
        open_record(version_zero, migrations={0: fail})
    after = _schema(version_zero)
    assert after == before
    assert _schema_version(version_zero) == 0


def test_migration_that_breaks_a_reference_is_rolled_back(version_zero: Path):
    def orphan(connection: Connection) -> None:
        _add_heading(connection)
        connection.exec_driver_sql("DELETE FROM documents")

    with pytest.raises(StoreError, match="broken references"):
        open_record(version_zero, migrations={0: orphan})
    assert _schema_version(version_zero) == 0


def test_record_without_a_step_is_refused_with_what_to_do(version_zero: Path):
    with pytest.raises(SchemaVersionError, match="no step from 0 to 1"):
        open_record(version_zero, migrations={})


def test_record_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path):
    path = tmp_path / "record.db"
    open_record(path, schema_version=SCHEMA_VERSION + 1).close()
    with pytest.raises(SchemaVersionError, match="Upgrade mmkgrag"):
        open_record(path)
    assert _schema_version(path) == SCHEMA_VERSION + 1


def test_foreign_keys_hold_again_after_a_migration(version_zero: Path):
    store = open_record(version_zero, migrations={0: _add_heading})
    delta = make_delta("Ada Lovelace", name="other.txt")
    empty = canonical_dump(store)
    store.apply(delta)
    store.remove(delta.document.document_id)
    assert canonical_dump(store) == empty
    store.close()


def test_database_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="not a record of mmkgrag"):
        open_record(path)
