"""Tables of files go through the real loaders and the chunker into the real record, and come out whole."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import openpyxl
import pytest

from kg.chunking import ChunkingConfig, chunk_document
from kg.ingest import IngestPipeline
from kg.limits import LoadLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.ports import RecordStore
from kg.stores.record import open_record
from kg.testing import CapitalisedWordExtractor, NameResolver, WordTokenizer
from kg.types import FileOutcome, IngestStatus, Modality

LIMITS = LoadLimits(max_table_rows=30)


def _ingest(store: RecordStore, name: str, data: bytes) -> FileOutcome:
    config = ChunkingConfig(max_tokens=40, overlap_tokens=0, min_tokens=0)
    pipeline = IngestPipeline(
        store=store,
        loaders=LoaderRegistry(default_loaders(LIMITS), LIMITS),
        chunker=partial(chunk_document, tokenizer=WordTokenizer(), config=config),
        extractor=CapitalisedWordExtractor(),
        resolver=NameResolver(),
    )
    return pipeline.ingest_file(raw_from_bytes(name, data))


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return open_record(tmp_path / "record.db")


def _workbook(n_rows: int) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Fleet"
    book.active.append(["Ship", "Seats", "Home"])
    for number in range(n_rows):
        book.active.append([f"Ship{number}", 100 + number, "Aldis"])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_rows_of_a_sheet_are_chunks_of_its_table_in_the_record(store: RecordStore):
    outcome = _ingest(store, "fleet.xlsx", _workbook(10))

    (table,) = store.tables(document_id=outcome.document_id)
    chunks = [chunk for chunk in store.iter_chunks() if chunk.table_id == table.table_id]
    assert outcome.status is IngestStatus.ADDED
    assert table.rows[3] == ("Ship2", "102", "Aldis")
    assert all(chunk.modality is Modality.TABLE and chunk.heading == "Fleet" for chunk in chunks)
    assert all(chunk.text == table.text[chunk.span.start : chunk.span.end] for chunk in chunks)
    # "Ship: Ship0; Seats: 100; Home: Aldis" has six words, so six rows fit into 40.
    assert [chunk.text.count("Home") for chunk in chunks] == [6, 4]


@pytest.mark.parametrize("name", ["fleet.xlsx", "fleet.csv"])
def test_report_says_what_a_limit_left_out_of_a_file_that_went_in(store: RecordStore, name: str):
    csv = b"Ship,Seats\n" + b"".join(b"Ship%d,%d\n" % (i, i) for i in range(60))

    outcome = _ingest(store, name, _workbook(60) if name.endswith("xlsx") else csv)

    assert outcome.status is IngestStatus.ADDED
    assert "only the first 30 of" in outcome.message.lower()
    assert "max_table_rows" in outcome.message


def test_broken_data_file_leaves_nothing_in_the_record(store: RecordStore):
    outcome = _ingest(store, "a.json", b'{"a": [1, 2')

    assert (outcome.status, outcome.error_code) == (IngestStatus.FAILED, "corrupt")
    assert store.documents() == []
