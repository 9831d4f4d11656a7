"""What only the SQL record promises: transactions, locks, a full disk, and that deleted bytes are gone."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from kg.errors import ConfigError, InputError, StoreBusyError, StoreError, StoreFullError
from kg.stores.engine import resolve_url
from kg.stores.record import SqlRecordStore, open_record
from kg.stores.schema import metadata
from kg.testing import CompanyMatcher, canonical_dump, make_delta, make_pipeline, make_raw, with_every_field
from kg.testing.contract import CURIE
from kg.types import IngestStatus

TEXT = "Marie Curie discovered Polonium.\n\n[picture: A Quokka in Perth]"


@pytest.fixture
def store(tmp_path: Path):
    record = open_record(tmp_path / "record.db")
    yield record
    record.close()


def _row_counts(store: SqlRecordStore) -> dict[str, int]:
    with store.engine.begin() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def _limit_pages(store: SqlRecordStore, n_pages: int) -> None:
    """Let every new connection of the store find the database full at ``n_pages`` pages."""
    store.engine.dispose()
    event.listen(store.engine.pool, "connect", lambda driver, _: driver.execute(f"PRAGMA max_page_count={n_pages}"))


def test_removing_the_last_document_leaves_no_row_in_any_table(tmp_path: Path):
    store = open_record(tmp_path / "matched.db", matcher=CompanyMatcher())
    deltas = [
        with_every_field(make_delta(CURIE, name="a.txt")),
        make_delta("Mary Curie beside Pierre Curie", name="b.txt"),
        make_delta("Marie Curie born_in Paris and Marie Curie born_in Warsaw", name="c.txt"),
    ]
    for delta in deltas:
        store.apply(delta)
    filled = _row_counts(store)
    assert {name for name, count in filled.items() if not count} == {
        "decisions",
        "job_items",
        "jobs",
        "picture_vectors",
        "prediction_chunks",
        "predictions",
        "vectors",
    }

    for delta in deltas:
        store.remove(delta.document.document_id)
    assert {name for name, count in _row_counts(store).items() if count} == {"changes", "meta"}
    store.close()


def test_bytes_of_a_removed_document_are_not_left_in_the_files(store: SqlRecordStore, tmp_path: Path):
    def found(word: bytes) -> bool:
        return any(word in path.read_bytes() for path in tmp_path.iterdir())

    store.apply(make_delta("Zebra stays.", name="kept.txt"))
    delta = make_delta(TEXT + "\n\nPelican " * 2000, name="gone.txt")
    store.apply(delta)
    assert found(b"Quokka")
    assert found(b"Pelican")

    store.remove(delta.document.document_id)
    assert not found(b"Quokka")
    assert not found(b"Pelican")
    assert found(b"Zebra")


def test_reader_of_the_old_state_does_not_stop_a_removal_and_the_bytes_go_when_it_is_done(
    store: SqlRecordStore, tmp_path: Path
):
    delta = make_delta(TEXT)
    store.apply(delta)
    chunks = store.iter_chunks()
    first = next(chunks)
    store.remove(delta.document.document_id)
    assert store.documents() == []
    assert [first, *chunks] == list(delta.chunks)

    store.close()
    assert not any(b"Quokka" in path.read_bytes() for path in tmp_path.iterdir())


def test_every_foreign_key_has_an_index_so_that_deleting_scans_no_table():
    for table in metadata.sorted_tables:
        prefixes = {tuple(index.columns.keys())[0] for index in table.indexes}
        prefixes.add(next(iter(table.primary_key.columns)).name)
        for key in table.foreign_keys:
            assert key.parent.name in prefixes, f"{table.name}.{key.parent.name}"


def test_foreign_keys_are_enforced_on_every_connection(store: SqlRecordStore):
    assert store.apply(make_delta(TEXT)) is IngestStatus.ADDED
    for engine in (store.engine, store.engine):
        with pytest.raises(Exception, match="FOREIGN KEY"), engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO captions VALUES ('a_unknown', 'x', 1.0, '', '[]')")


def test_schema_compiles_for_postgresql():
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))


def test_reader_sees_the_state_before_a_write_that_is_not_committed(store: SqlRecordStore):
    store.apply(make_delta(TEXT, name="first.txt"))
    before = canonical_dump(store)
    seen: list[str] = []

    def read_beside(_connection: object) -> None:
        thread = threading.Thread(target=lambda: seen.append(canonical_dump(store)))
        thread.start()
        thread.join()

    event.listen(store.engine, "commit", read_beside)  # fires when all is written and nothing is committed
    store.apply(make_delta("Ada Lovelace", name="second.txt"))
    event.remove(store.engine, "commit", read_beside)

    assert seen[0] == before
    assert canonical_dump(store) != before


def test_iteration_shows_one_state_while_documents_come_and_go(store: SqlRecordStore):
    first = make_delta("One\n\nTwo\n\nThree", name="first.txt")
    store.apply(first)
    chunks = store.iter_chunks()
    seen = [next(chunks)]
    store.remove(first.document.document_id)
    store.apply(make_delta("Four", name="second.txt"))
    seen.extend(chunks)

    assert [chunk.text for chunk in seen] == ["One", "Two", "Three"]
    assert [chunk.text for chunk in store.iter_chunks()] == ["Four"]


def test_many_threads_write_and_read_one_store(store: SqlRecordStore, tmp_path: Path):
    deltas = [make_delta(f"Doc {number} names Ada Lovelace", name=f"{number}.txt") for number in range(24)]

    def write_and_read(position: int) -> int:
        store.apply(deltas[position % len(deltas)])
        return store.entities([deltas[0].extraction.mentions[-1].entity_id])[0].n_mentions if position else 0

    store.apply(deltas[0])
    with ThreadPoolExecutor(12) as pool:
        counts = list(pool.map(write_and_read, range(48)))

    assert max(counts) <= 24
    assert store.version() == 24
    with_order = open_record(tmp_path / "ordered.db")
    for delta in deltas:
        with_order.apply(delta)
    assert canonical_dump(store) == canonical_dump(with_order)
    with_order.close()


def test_write_that_meets_a_lock_gives_up_after_the_time_out_and_works_later(tmp_path: Path):
    store = open_record(tmp_path / "record.db", busy_timeout_s=0.05)
    other = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="another process held"):
        store.apply(make_delta(TEXT))
    assert store.documents() == []
    other.execute("ROLLBACK")
    other.close()

    assert store.apply(make_delta(TEXT)) is IngestStatus.ADDED
    store.close()


def test_full_disk_fails_clearly_leaves_the_record_unharmed_and_can_be_resumed(store: SqlRecordStore, tmp_path: Path):
    raws = [make_raw(f"Doc {n}\n\n" + "Words of Alpha. " * 300, name=f"{n}.txt") for n in range(4)]
    assert make_pipeline(store).ingest(raws[:1]).n_failed == 0
    before = canonical_dump(store)
    with store.engine.begin() as connection:
        n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    _limit_pages(store, n_pages + 4)

    report = make_pipeline(store).ingest(raws[1:])
    assert [outcome.error_code for outcome in report.outcomes] == [StoreFullError.code] * 3
    assert "no room left" in report.outcomes[0].message
    assert report.outcomes[1].message.startswith("Not tried, because the record failed at 1.txt")
    assert canonical_dump(store) == before
    store.close()

    again = open_record(tmp_path / "record.db")
    assert canonical_dump(again) == before
    statuses = [outcome.status for outcome in make_pipeline(again).ingest(raws).outcomes]
    assert statuses == [IngestStatus.UNCHANGED, *[IngestStatus.ADDED] * 3]
    undisturbed = open_record(tmp_path / "undisturbed.db")
    make_pipeline(undisturbed).ingest(raws)
    assert canonical_dump(again) == canonical_dump(undisturbed)
    again.close()
    undisturbed.close()


def test_damaged_file_is_named_with_what_to_do(tmp_path: Path):
    path = tmp_path / "record.db"
    path.write_bytes(b"This is a letter, not a database. " * 100)
    with pytest.raises(StoreError, match="is damaged or is not a record"):
        open_record(path)


def test_damage_inside_a_record_is_named_when_it_is_met(tmp_path: Path):
    path = tmp_path / "record.db"
    store = open_record(path)
    store.apply(make_delta("Some words.\n\n" * 3000))
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(bytes(data))

    with pytest.raises(StoreError, match=r"is damaged or is not a record.*Restore a backup"):
        canonical_dump(open_record(path))


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path):
    (tmp_path / "record.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_record(tmp_path / "record.db")


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreError, match="Check the folder"):
        open_record(tmp_path / "home" / "record.db")


@pytest.mark.parametrize("target", ["", ":memory:", "sqlite://", "sqlite:///:memory:", "://nothing"])
def test_record_that_could_not_survive_is_refused(target: str):
    with pytest.raises(ConfigError):
        resolve_url(target)


def test_path_and_url_of_one_file_open_the_same_record(tmp_path: Path):
    path = tmp_path / "a b%20c" / "record.db"
    store = open_record(path)
    store.apply(make_delta(TEXT))
    store.close()
    assert path.is_file()
    again = open_record(str(path))
    assert again.version() == 1
    again.close()
    plain = tmp_path / "record.db"
    open_record(f"sqlite:///{plain}").close()
    assert plain.is_file()


def test_time_out_must_be_positive(tmp_path: Path):
    with pytest.raises(ConfigError, match="busy_timeout_s"):
        open_record(tmp_path / "record.db", busy_timeout_s=0)


def test_closed_store_says_so(store: SqlRecordStore):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.version()


def test_text_that_is_not_valid_unicode_is_refused_before_anything_is_written(store: SqlRecordStore):
    with pytest.raises(InputError, match="not valid Unicode"):
        store.apply(make_delta(TEXT, name="bad\udcff.txt"))
    assert store.version() == 0
    assert make_pipeline(store).ingest_file(make_raw(TEXT, name="bad\udcff.txt")).error_code == InputError.code


def test_statement_found_twice_is_stored_once(store: SqlRecordStore):
    delta = make_delta("Ann knows Bob.")
    doubled = replace(delta.extraction, triples=delta.extraction.triples * 2)
    store.apply(replace(delta, extraction=doubled))
    assert store.relations()[0].n_statements == 1


def test_two_stores_see_each_others_names_at_once(tmp_path: Path):
    one, two = open_record(tmp_path / "record.db"), open_record(tmp_path / "record.db")
    assert two.find_entities("Ada Lovelase") == []
    one.apply(make_delta("Ada Lovelace"))
    assert [entity.name for entity in two.find_entities("Ada Lovelase")] == ["Ada Lovelace"]
    one.close()
    two.close()
