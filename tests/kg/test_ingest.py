"""Ingest takes each file wholly or not at all, and says of each what became of it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kg import ids
from kg.errors import InputError
from kg.ingest import IngestPipeline
from kg.ports import CaptionRequest
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import AltTextCaptioner, PlainTextLoader, canonical_dump, make_pipeline, make_raw
from kg.types import Caption, Chunk, Document, Extraction, FileOutcome, IngestStatus, RawFile

TEXT = "Marie Curie discovered Polonium.\n\n[picture: Marie Curie in Paris]\n\fPierre Curie"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlRecordStore]:
    record = open_record(tmp_path / "record.db")
    yield record
    record.close()


class CountingLoader(PlainTextLoader):
    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, raw: RawFile) -> Document:
        self.loaded.append(raw.name)
        return super().load(raw)


class CountingCaptioner(AltTextCaptioner):
    def __init__(self) -> None:
        self.batches: list[int] = []

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        self.batches.append(len(requests))
        return super().caption(requests)


@dataclass
class FailingExtractor:
    """Raises the error on documents that speak of trouble."""

    error: Exception
    name: str = "failing"

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        if "trouble" in document.text:
            raise self.error
        return Extraction()


def test_outcome_counts_what_went_in(store: SqlRecordStore):
    outcome = make_pipeline(store).ingest_file(make_raw(TEXT))

    assert outcome.status is IngestStatus.ADDED
    assert (outcome.n_pages, outcome.n_assets, outcome.n_chunks, outcome.n_mentions, outcome.n_triples) == (
        2,
        1,
        3,
        5,
        2,
    )
    assert outcome.document_id == ids.document_id("/docs/note.txt", ids.sha256_hex(TEXT.encode()))
    assert (outcome.error_code, outcome.message) == ("", "")
    assert store.statistics()["chunks"] == 3


def test_known_file_is_recognised_without_being_parsed_and_changes_nothing(store: SqlRecordStore):
    loader = CountingLoader()
    pipeline = replace(make_pipeline(store), loaders=loader)
    first = pipeline.ingest_file(make_raw(TEXT))
    before, version, listed = canonical_dump(store), store.version(), store.documents()
    again = pipeline.ingest_file(make_raw(TEXT))

    assert again.status is IngestStatus.UNCHANGED
    assert loader.loaded == ["note.txt"]
    assert (again.document_id, again.n_pages, again.n_chunks, again.n_assets) == (
        first.document_id,
        first.n_pages,
        first.n_chunks,
        first.n_assets,
    )
    assert (canonical_dump(store), store.version(), store.documents()) == (before, version, listed)


def test_changed_file_replaces_its_older_self(store: SqlRecordStore, tmp_path: Path):
    pipeline = make_pipeline(store)
    pipeline.ingest_file(make_raw(TEXT))
    assert pipeline.ingest_file(make_raw("Ada Lovelace")).status is IngestStatus.REPLACED

    fresh = open_record(tmp_path / "fresh.db")
    make_pipeline(fresh).ingest_file(make_raw("Ada Lovelace"))
    assert canonical_dump(store) == canonical_dump(fresh)
    fresh.close()


def test_same_bytes_from_two_places_are_two_documents(store: SqlRecordStore):
    report = make_pipeline(store).ingest([make_raw(TEXT, name="a.txt"), make_raw(TEXT, name="b.txt")])
    assert [outcome.status for outcome in report.outcomes] == [IngestStatus.ADDED] * 2
    assert store.statistics()["documents"] == 2


def test_one_bad_file_does_not_stop_the_others_and_the_order_stays(store: SqlRecordStore):
    unreadable = FileOutcome(
        source="/docs/x", name="x", status=IngestStatus.FAILED, seconds=0.0, error_code="unreadable", message="No."
    )
    items = [
        make_raw("One", name="1.txt"),
        make_raw(b"\xff\xfe\xfd", name="2.txt"),
        unreadable,
        make_raw("", name="4.txt"),
    ]
    items.append(make_raw("Five", name="5.txt"))
    heard: list[FileOutcome] = []
    report = make_pipeline(store).ingest(iter(items), on_outcome=heard.append)

    assert [(outcome.name, outcome.error_code) for outcome in report.outcomes] == [
        ("1.txt", ""),
        ("2.txt", "corrupt"),
        ("x", "unreadable"),
        ("4.txt", "empty"),
        ("5.txt", ""),
    ]
    assert report.n_failed == 3
    assert tuple(heard) == report.outcomes
    assert report.outcomes[1].message == "2.txt is not UTF-8 (byte 0). Save it as UTF-8."
    assert [info.name for info in store.documents()] == ["1.txt", "5.txt"]


def test_failed_replacement_keeps_the_older_document(store: SqlRecordStore):
    pipeline = make_pipeline(store)
    pipeline.ingest_file(make_raw(TEXT))
    before = canonical_dump(store)
    assert pipeline.ingest_file(make_raw(b"\xff")).status is IngestStatus.FAILED
    assert canonical_dump(store) == before


def test_fault_of_the_program_fails_one_file_and_leaves_its_traceback_in_the_log(
    store: SqlRecordStore, caplog: pytest.LogCaptureFixture
):
    pipeline = replace(make_pipeline(store), extractor=FailingExtractor(ZeroDivisionError("by zero")))
    with caplog.at_level(logging.ERROR, logger="kg.ingest"):
        report = pipeline.ingest([make_raw("trouble", name="1.txt"), make_raw("fine", name="2.txt")])

    assert [outcome.error_code for outcome in report.outcomes] == ["internal", ""]
    assert "ZeroDivisionError: by zero" in report.outcomes[0].message
    assert caplog.records[0].exc_info is not None
    assert [info.name for info in store.documents()] == ["2.txt"]


def test_disk_that_is_full_for_temporary_files_is_named_as_such(store: SqlRecordStore):
    full = OSError(errno.ENOSPC, "No space left on device")
    outcome = replace(make_pipeline(store), extractor=FailingExtractor(full)).ingest_file(make_raw("trouble"))
    assert (outcome.error_code, "disk is full" in outcome.message) == ("store_full", True)


def test_interruption_is_not_swallowed_and_keeps_what_is_in(store: SqlRecordStore):
    def items() -> Iterator[RawFile]:
        yield make_raw("One", name="1.txt")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pipeline(store).ingest(items())
    assert [info.name for info in store.documents()] == ["1.txt"]


def test_files_are_asked_for_one_at_a_time(store: SqlRecordStore):
    seen: list[int] = []

    def items() -> Iterator[RawFile]:
        for number in range(3):
            seen.append(store.statistics()["documents"])
            yield make_raw(f"Doc {number}", name=f"{number}.txt")

    make_pipeline(store).ingest(items())
    assert seen == [0, 1, 2]


def test_pictures_are_described_in_batches_and_those_without_words_stay(store: SqlRecordStore):
    captioner = CountingCaptioner()
    text = "Start\n\n" + "\n\n".join(f"[picture: Figure {number}]" for number in range(4)) + "\n\n[picture: ]"
    outcome = replace(make_pipeline(store), captioner=captioner, caption_batch=2).ingest_file(make_raw(text))

    assert captioner.batches == [2, 2, 1]
    assert (outcome.n_assets, outcome.n_chunks) == (5, 6)  # the start, and each picture; one by its file's name
    captions = [store.caption(asset.asset_id) for asset in store.document(outcome.document_id).assets]
    assert [caption.text if caption else None for caption in captions] == [
        *(f"Figure {n}" for n in range(4)),
        "note.txt, picture 5",
    ]
    assert captions[4] is not None
    assert [line.source for line in captions[4].lines] == ["name"]


def test_picture_without_any_word_is_kept_and_the_report_says_so(store: SqlRecordStore):
    outcome = make_pipeline(store).ingest_file(make_raw("[picture: ]"))
    assert (outcome.status, outcome.n_chunks, outcome.n_assets, outcome.error_code) == (IngestStatus.ADDED, 1, 1, "")
    assert outcome.message.startswith("No words were found in or on note.txt")
    (chunk,) = store.iter_chunks()
    assert chunk.text == "note.txt"
    assert store.entities() == []  # a file's name states nothing


def test_document_with_neither_words_nor_pictures_fails_as_empty(store: SqlRecordStore):
    pipeline = replace(make_pipeline(store), chunker=lambda document, captions: ())
    assert pipeline.ingest_file(make_raw("words that the chunker drops")).error_code == "empty"
    assert store.version() == 0


def test_no_captioner_means_no_captions(store: SqlRecordStore):
    outcome = replace(make_pipeline(store), captioner=None).ingest_file(make_raw(TEXT))
    assert (outcome.n_assets, outcome.n_chunks) == (1, 2)


def test_loader_that_returns_another_document_is_caught(store: SqlRecordStore):
    class WrongLoader(PlainTextLoader):
        def load(self, raw: RawFile) -> Document:
            return super().load(make_raw("something else"))

    outcome = replace(make_pipeline(store), loaders=WrongLoader()).ingest_file(make_raw(TEXT))
    assert outcome.error_code == "load"
    assert store.version() == 0


def test_batch_of_pictures_must_hold_one(store: SqlRecordStore):
    with pytest.raises(InputError, match="caption_batch"):
        replace(make_pipeline(store), caption_batch=0)


def test_record_locked_by_another_program_ends_the_run_quickly(tmp_path: Path):
    import sqlite3

    store = open_record(tmp_path / "record.db", busy_timeout_s=0.05)
    loader = CountingLoader()
    other = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pipeline: IngestPipeline = replace(make_pipeline(store), loaders=loader)
    report = pipeline.ingest([make_raw("One", name="1.txt"), make_raw("Two", name="2.txt")])
    other.close()

    assert [outcome.error_code for outcome in report.outcomes] == ["store_busy", "store_busy"]
    assert loader.loaded == ["1.txt"]
    assert make_pipeline(store).ingest([make_raw("One", name="1.txt")]).n_failed == 0
    store.close()
