"""Real files through the real loaders, chunker and OCR into the real record."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from kg.captioning.ocr import OcrCaptioner
from kg.chunking import chunk_document
from kg.ingest import IngestPipeline
from kg.limits import LoadLimits
from kg.loaders.discover import discover
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.ports import RecordStore
from kg.stores.record import open_record
from kg.testing import CapitalisedWordExtractor, NameResolver, WordTokenizer, canonical_dump
from kg.types import FileOutcome, IngestReport, IngestStatus, Modality, RawFile

LIMITS = LoadLimits()


def _chart() -> bytes:
    picture = Image.new("RGB", (640, 320), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=40)
    draw.text((40, 40), "Harbour traffic", fill="black", font=font)
    draw.text((40, 160), "Ferries 4217", fill="black", font=font)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    (path / "chart.png").write_bytes(_chart())
    (path / "empty.txt").write_bytes(b"")
    (path / "island.txt").write_text("Ada Lovelace visited Sark. She met Charles Babbage there.", encoding="utf-8")
    (path / "notes.md").write_text("# Harbour\n\nTraffic grew.\n\n![Traffic by year](chart.png)\n", encoding="utf-8")
    (path / "page.html").write_text("<h1>Sark</h1><p>Sark lies near Guernsey.</p>", encoding="utf-8")
    (path / "wrong.txt").write_bytes(b"\x7fELF" + bytes(range(256)) * 4)
    return path


def _pipeline(store: RecordStore) -> IngestPipeline:
    return IngestPipeline(
        store=store,
        loaders=LoaderRegistry(default_loaders(LIMITS), LIMITS),
        chunker=partial(chunk_document, tokenizer=WordTokenizer()),
        extractor=CapitalisedWordExtractor(),
        resolver=NameResolver(),
        captioner=OcrCaptioner(),
    )


def _items(paths: Sequence[Path]) -> list[RawFile | FileOutcome]:
    found = [item for candidate in discover(paths, limits=LIMITS) for item in candidate.read()]
    return [item if isinstance(item, RawFile) else item.outcome() for item in found]


def _ingest(store: RecordStore, folder: Path) -> IngestReport:
    return _pipeline(store).ingest(_items([folder]))


@pytest.fixture(scope="module")
def ingested(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordStore, IngestReport]:
    store = open_record(tmp_path_factory.mktemp("home") / "record.db")
    return store, _ingest(store, folder)


def test_each_file_has_its_outcome(ingested: tuple[RecordStore, IngestReport]):
    _, report = ingested
    assert [(outcome.name, outcome.status, outcome.error_code) for outcome in report.outcomes] == [
        ("chart.png", IngestStatus.ADDED, ""),
        ("empty.txt", IngestStatus.FAILED, "empty"),
        ("island.txt", IngestStatus.ADDED, ""),
        ("notes.md", IngestStatus.ADDED, ""),
        ("page.html", IngestStatus.ADDED, ""),
        ("wrong.txt", IngestStatus.FAILED, "unsupported"),
    ]


def test_every_chunk_and_mention_stands_where_it_says(ingested: tuple[RecordStore, IngestReport]):
    store, _ = ingested
    n_mentions = 0
    for chunk in store.iter_chunks():
        caption = store.caption(chunk.asset_id) if chunk.asset_id else None
        text = caption.text if caption else store.document(chunk.document_id).text
        assert text[chunk.span.start : chunk.span.end] == chunk.text
        for mention in store.mentions(chunk.chunk_id):
            assert text[mention.span.start : mention.span.end] == mention.text
            n_mentions += 1
    assert n_mentions == store.statistics()["mentions"] > 0


def test_words_that_stand_only_in_a_picture_are_found_with_the_picture(ingested: tuple[RecordStore, IngestReport]):
    store, _ = ingested
    (entity,) = store.find_entities("Ferries", limit=1)
    chunks = store.chunks([row.chunk_id for row in store.mention_rows() if row.entity_id == entity.entity_id])
    assert {store.document(chunk.document_id).name for chunk in chunks} == {"chart.png", "notes.md"}
    for chunk in chunks:
        assert chunk.modality is not Modality.TEXT
        assert "4217" in chunk.text
        assert chunk.asset_id is not None
        assert store.asset(chunk.asset_id).data.startswith(b"\x89PNG")


def test_second_run_changes_nothing_and_removing_all_leaves_nothing(
    ingested: tuple[RecordStore, IngestReport], folder: Path
):
    store, first = ingested
    before, version = canonical_dump(store), store.version()
    again = _ingest(store, folder)
    assert [outcome.status for outcome in again.outcomes if not outcome.error_code] == [IngestStatus.UNCHANGED] * 4
    assert (canonical_dump(store), store.version()) == (before, version)

    for outcome in first.outcomes:
        if outcome.document_id:
            store.remove(outcome.document_id)
    assert set(store.statistics().values()) == {0}
