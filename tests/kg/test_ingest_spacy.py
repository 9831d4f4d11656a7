"""The default road into the record: real loaders and chunker, spaCy's entities and statements, names resolved."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import platformdirs
import pytest

from kg.chunking import chunk_document
from kg.extraction.spacy_rules import SpacyExtractor
from kg.ingest import IngestPipeline
from kg.limits import LoadLimits
from kg.loaders.html import HtmlLoader
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry
from kg.loaders.text import TextLoader
from kg.resolution import NameResolver
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import WordTokenizer, canonical_dump
from kg.types import IngestStatus

MODEL = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models" / "spacy-en"
LIMITS = LoadLimits()
FILES = {
    "curie.txt": b"Marie Curie discovered polonium in Paris. In 1903 Marie Curie married Pierre Curie.",
    "sark.html": b"<h1>Ada Lovelace</h1><p>Ada Lovelace visited Marie Curie in Paris.</p>",
}

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not MODEL.is_dir(), reason=f"no spaCy model in {MODEL}; `mmkg models pull` fetches it"),
]


@pytest.fixture(scope="module")
def extractor() -> SpacyExtractor:
    return SpacyExtractor(MODEL)


def _pipeline(store: SqlRecordStore, extractor: SpacyExtractor) -> IngestPipeline:
    return IngestPipeline(
        store=store,
        loaders=LoaderRegistry((TextLoader(LIMITS), HtmlLoader(LIMITS)), LIMITS),
        chunker=partial(chunk_document, tokenizer=WordTokenizer()),
        extractor=extractor,
        resolver=NameResolver(),
    )


def test_statement_becomes_a_relation_between_entities_that_both_documents_share(
    tmp_path: Path, extractor: SpacyExtractor
):
    store = open_record(tmp_path / "record.db")
    raws = [raw_from_bytes(name, data) for name, data in FILES.items()]
    report = _pipeline(store, extractor).ingest(raws)
    assert [outcome.status for outcome in report.outcomes] == [IngestStatus.ADDED] * 2

    (curie,) = store.find_entities("Marie Curie", limit=1)
    assert (curie.name, curie.n_documents) == ("Marie Curie", 2)
    names = {entity.entity_id: entity.name for entity in store.entities()}
    said = {(names[one.head_id], names[one.tail_id]) for one in store.relations(entity_id=curie.entity_id)}
    assert ("Marie Curie", "polonium") in said
    for chunk in store.iter_chunks():
        for mention in store.mentions(chunk.chunk_id):
            assert store.document(chunk.document_id).text[mention.span.start : mention.span.end] == mention.text
    store.close()


def test_removing_a_document_restores_what_the_other_one_alone_makes(tmp_path: Path, extractor: SpacyExtractor):
    store = open_record(tmp_path / "record.db")
    first, second = (raw_from_bytes(name, data) for name, data in FILES.items())
    pipeline = _pipeline(store, extractor)
    pipeline.ingest_file(first)
    before = canonical_dump(store)
    added = pipeline.ingest_file(second)
    both = canonical_dump(store)
    assert both != before

    store.remove(added.document_id)
    assert canonical_dump(store) == before
    pipeline.ingest_file(second)
    assert canonical_dump(store) == both
    assert [outcome.status for outcome in pipeline.ingest([first, second]).outcomes] == [IngestStatus.UNCHANGED] * 2
    store.close()
