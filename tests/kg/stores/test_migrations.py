"""A record of an older schema is brought up to date or left alone, and one of a newer schema is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection

from kg.errors import SchemaVersionError, StoreError
from kg.ids import entity_id
from kg.ports import DecisionKind, NewPrediction
from kg.stores.migrations import MIGRATIONS
from kg.stores.predictions import SqlPredictionStore
from kg.stores.record import open_record
from kg.stores.schema import SCHEMA_VERSION
from kg.testing import CompanyMatcher, canonical_dump, make_delta
from kg.testing.contract import CURIE, EULER

OLDER = SCHEMA_VERSION - 1
SCHEMA_1 = Path(__file__).with_name("data") / "schema_1.sql"
"""A record that version 0.1.0 wrote, of the two texts imported above, as ``sqlite3``'s ``iterdump`` gives it."""

SCHEMA_2 = SCHEMA_1.with_name("schema_2.sql")
"""A record of :data:`TEXTS_2` as the last version with schema 2 wrote it, with a vector and a decision."""
SCHEMA_3 = SCHEMA_1.with_name("schema_3.sql")
"""The same as the last version with schema 3 wrote it."""
SCHEMA_4 = SCHEMA_1.with_name("schema_4.sql")
"""The same as the last version with schema 4 wrote it."""
TEXTS_2 = {
    "a.txt": "Bob. Ann born_in Oslo",
    "b.txt": "Bob. Ann born_in Rome",
    "c.txt": "Ada King knows Babbage\n[picture: Ada King knows Ann]\n",
    "d.txt": "Al King likes Babbage. Bergen capital_of Norway",
    "e.txt": "Oslo capital_of Norway",
}


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
def one_version_back(tmp_path: Path) -> Path:
    """A record as an imagined older version wrote it: chunks did not know the headings above them."""
    path = tmp_path / "record.db"
    store = open_record(path)
    store.apply(make_delta("Marie Curie discovered Polonium."))
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE chunks DROP COLUMN heading")
    connection.execute("UPDATE meta SET schema_version = ?", (OLDER,))
    connection.commit()
    connection.close()
    return path


def _add_heading(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE chunks ADD COLUMN heading TEXT NOT NULL DEFAULT 'unknown'")


def test_every_released_schema_has_a_step_to_the_next():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_older_record_is_migrated_when_it_is_opened(one_version_back: Path):
    store = open_record(one_version_back, migrations={OLDER: _add_heading})
    assert [chunk.heading for chunk in store.iter_chunks()] == ["unknown"]
    assert store.version() == 1
    store.close()
    assert _schema_version(one_version_back) == SCHEMA_VERSION

    untouched = open_record(one_version_back, migrations={})
    untouched.close()


def test_steps_run_one_after_the_other(one_version_back: Path):
    ran: list[int] = []

    def first(connection: Connection) -> None:
        _add_heading(connection)
        ran.append(0)

    store = open_record(
        one_version_back,
        migrations={SCHEMA_VERSION: lambda _: ran.append(1), OLDER: first},
        schema_version=SCHEMA_VERSION + 1,
    )
    store.close()
    assert ran == [0, 1]
    assert _schema_version(one_version_back) == SCHEMA_VERSION + 1


def test_migration_that_fails_leaves_the_record_as_it_was(one_version_back: Path):
    before = _schema(one_version_back)

    def fail(connection: Connection) -> None:
        _add_heading(connection)
        connection.exec_driver_sql("UPDATE recipes SET x = 1")

    with pytest.raises(StoreError, match="no such table"):
        open_record(one_version_back, migrations={OLDER: fail})
    after = _schema(one_version_back)
    assert after == before
    assert _schema_version(one_version_back) == OLDER


def test_migration_that_breaks_a_reference_is_rolled_back(one_version_back: Path):
    def orphan(connection: Connection) -> None:
        _add_heading(connection)
        connection.exec_driver_sql("DELETE FROM documents")

    with pytest.raises(StoreError, match="broken references"):
        open_record(one_version_back, migrations={OLDER: orphan})
    assert _schema_version(one_version_back) == OLDER


def test_record_without_a_step_is_refused_with_what_to_do(one_version_back: Path):
    with pytest.raises(SchemaVersionError, match=f"no step from {OLDER} to {SCHEMA_VERSION}"):
        open_record(one_version_back, migrations={})


def test_record_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path):
    path = tmp_path / "record.db"
    open_record(path, schema_version=SCHEMA_VERSION + 1).close()
    with pytest.raises(SchemaVersionError, match="Upgrade mmkgrag"):
        open_record(path)
    assert _schema_version(path) == SCHEMA_VERSION + 1


def test_foreign_keys_hold_again_after_a_migration(one_version_back: Path):
    store = open_record(one_version_back, migrations={OLDER: _add_heading})
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


@pytest.fixture
def schema_1(tmp_path: Path) -> Path:
    path = tmp_path / "record.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_1.read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture
def schema_2(tmp_path: Path) -> Path:
    path = tmp_path / "record_2.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_2.read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture
def schema_3(tmp_path: Path) -> Path:
    path = tmp_path / "record_3.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_3.read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture
def schema_4(tmp_path: Path) -> Path:
    path = tmp_path / "record_4.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_4.read_text("utf-8"))
    connection.close()
    return path


def test_record_of_schema_1_reads_as_if_this_version_had_written_it(schema_1: Path, tmp_path: Path):
    deltas = [make_delta(CURIE, name="curie.txt"), make_delta(EULER, name="euler.txt")]
    migrated, fresh = open_record(schema_1), open_record(tmp_path / "fresh.db")
    for delta in deltas:
        fresh.apply(delta)

    assert canonical_dump(migrated) == canonical_dump(fresh)
    assert list(migrated.vectors(encoder="test", chunk_ids=migrated.chunk_ids())) == [deltas[0].chunks[0].chunk_id]
    assert migrated.version() == 2
    everything = migrated.changed_since(0)
    assert set(everything.document_ids) == {info.document_id for info in fresh.documents()}
    assert set(everything.entity_ids) == {entity.entity_id for entity in fresh.entities()}
    for store in (migrated, fresh):
        store.remove(deltas[0].document.document_id)
    assert canonical_dump(migrated) == canonical_dump(fresh)
    migrated.close()
    fresh.close()


def test_migrated_tables_have_the_columns_and_indexes_of_new_ones(
    schema_1: Path, schema_2: Path, schema_3: Path, schema_4: Path, tmp_path: Path
):
    def columns_and_indexes(path: Path) -> tuple[set[tuple[str, ...]], set[str]]:
        connection = sqlite3.connect(path)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            (table, *map(str, row[1:])) for table in names for row in connection.execute(f"PRAGMA table_info({table})")
        }
        indexes = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        connection.close()
        return columns, indexes

    open_record(tmp_path / "fresh.db").close()
    for older in (schema_1, schema_2, schema_3, schema_4):
        open_record(older).close()
        assert columns_and_indexes(older) == columns_and_indexes(tmp_path / "fresh.db")


@pytest.mark.parametrize("older", ["schema_2", "schema_3", "schema_4"])
def test_older_record_reads_as_if_this_version_had_written_it(
    older: str, request: pytest.FixtureRequest, tmp_path: Path
):
    schema_2 = request.getfixturevalue(older)
    deltas = [make_delta(text, name=name) for name, text in TEXTS_2.items()]
    migrated = open_record(schema_2, matcher=CompanyMatcher())
    fresh = open_record(tmp_path / "fresh.db", matcher=CompanyMatcher())
    for delta in deltas:
        fresh.apply(delta)
    fresh.decide(DecisionKind.SAME, entity_id("bergen"), entity_id("rome"))

    assert canonical_dump(migrated) == canonical_dump(fresh)
    assert len(migrated.contradictions()) == 1
    assert list(migrated.vectors(encoder="test", chunk_ids=migrated.chunk_ids())) == [deltas[0].chunks[0].chunk_id]
    assert migrated.version() == fresh.version()
    assert migrated.changed_since(0) == fresh.changed_since(0)
    for delta in deltas:
        for store in (migrated, fresh):
            store.remove(delta.document.document_id)
        assert canonical_dump(migrated) == canonical_dump(fresh)
    migrated.close()
    fresh.close()


def test_vectors_of_an_older_record_stay_and_its_pictures_can_have_some(schema_3: Path):
    vector = np.ones(2, dtype=np.float32)
    store = open_record(schema_3)
    kept = store.vectors(encoder="test", chunk_ids=store.chunk_ids())
    assert [vector.tolist() for vector in kept.values()] == [[1.0, 1.0, 1.0, 1.0]]
    assert store.vectors_by_content(encoder="test", contents=[""]) == {}  # what it was made of was not written down

    (picture,) = store.picture_rows()
    assert store.pictures_without_vector(encoder="eye") == [picture.sha256]
    store.put_picture_vectors(encoder="eye", rows=[(picture.sha256, vector)])
    assert store.picture_vector_counts() == {"eye": 1}
    store.close()


def test_a_record_of_schema_4_can_keep_predictions(schema_4: Path):
    store = open_record(schema_4)
    kept = SqlPredictionStore(store)
    assert kept.predictions() == []

    link = NewPrediction(
        head_id=entity_id("ann"), relation="likes", tail_id=entity_id("babbage"), score=1.0, probability=0.5
    )
    assert kept.save([link], model="m", run="j1").n_new == 1
    assert [one.relation for one in kept.predictions()] == ["likes"]
    store.close()
