"""A text is encoded once, wherever and however often it stands."""

from __future__ import annotations

import numpy as np
import pytest

from kg.stores.record import open_record
from kg.testing import make_delta
from retrieval.chunk_vectors import IngestChunkEncoder
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.types import Query
from retrieval.vector_cache import Recent, encode_new
from tests.retrieval.pictures import ingest

REPORT = "# Herring\n\n" + "\n\n".join(f"Paragraph number {n} speaks of herring." for n in range(40))


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    yield opened
    opened.close()


def test_a_copy_under_another_name_costs_nothing(store):
    encoder = HashingTextEncoder()
    ingest(store, {"report.md": REPORT.encode()}, encoder=encoder)
    n_encoded, n_chunks = len(encoder.encoded), len(store.chunk_ids())
    ingest(store, {"copy.md": REPORT.encode()}, encoder=encoder)

    assert n_encoded == n_chunks
    assert len(store.chunk_ids()) == 2 * n_chunks
    assert len(encoder.encoded) == n_encoded
    assert list(store.vector_counts().values()) == [2 * n_chunks]


def test_a_new_version_costs_its_changed_passages_alone(store):
    encoder = HashingTextEncoder()
    ingest(store, {"report.md": REPORT.encode()}, encoder=encoder)
    before = set(encoder.encoded)
    ingest(store, {"report.md": f"{REPORT}\n\nA new ending.".encode()}, encoder=encoder)

    new = set(encoder.encoded) - before
    assert len(encoder.encoded) == len(before) + len(new)  # nothing was encoded twice
    assert 1 <= len(new) <= 2  # the last chunk was cut anew, no other
    assert all("A new ending" in text or "number 39" in text for text in new)


def test_two_documents_of_one_ingest_share_what_is_not_written_yet(store):
    encoder = HashingTextEncoder()
    ingest(store, {"one.md": REPORT.encode(), "two.md": REPORT.encode()}, encoder=encoder)

    assert len(encoder.encoded) == len(set(encoder.encoded))
    assert len(store.chunk_ids()) == 2 * len(encoder.encoded)


def test_a_vector_from_the_cache_is_the_one_that_would_have_been_made(store, tmp_path):
    ingest(store, {"report.md": REPORT.encode()})
    ingest(store, {"copy.md": REPORT.encode()})
    engine = RetrievalEngine(store, HashingTextEncoder(), RetrievalConfig(), tmp_path / "index")
    stored = store.vectors(encoder=engine.vector_space, chunk_ids=store.chunk_ids())
    store.remove_vectors(encoder=engine.vector_space)
    engine.reindex()
    again = store.vectors(encoder=engine.vector_space, chunk_ids=store.chunk_ids())

    assert stored.keys() == again.keys()
    assert all(np.array_equal(stored[chunk_id], again[chunk_id]) for chunk_id in stored)


def test_a_search_and_a_reindex_look_texts_up_too(store, tmp_path):
    encoder = HashingTextEncoder()
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    store.apply(make_delta("Fish\n\nHerring swim.", name="a.txt"))
    engine.reindex()
    n_encoded = len(encoder.encoded)
    store.apply(make_delta("Fish\n\nHerring swim.", name="b.txt"))  # the same title and words

    assert engine.reindex() == 2  # chunks that got a vector
    assert len(encoder.encoded) == n_encoded
    assert {e.document.name for e in engine.search(Query(text="herring"), k=9, mode="naive")[0]} == {"a.txt", "b.txt"}


def test_the_same_words_under_another_title_are_another_text(store):
    encoder = HashingTextEncoder()
    made = IngestChunkEncoder(encoder, RetrievalConfig(), store=store)
    one, other = make_delta("Fish\n\nHerring swim.", name="a.txt"), make_delta("Cats\n\nHerring swim.", name="b.txt")
    contents = [row.content for rows in made.encode([one, other]) for row in rows]

    titles = {delta.document.title for delta in (one, other)}
    assert len(titles) == 2
    assert len(set(contents)) == len(contents) == len(encoder.encoded)


def test_removed_words_leave_no_vector_to_be_found(store):
    encoder = HashingTextEncoder()
    ingest(store, {"report.md": REPORT.encode()}, encoder=encoder)
    for info in store.documents():
        store.remove(info.document_id)
    n_encoded = len(encoder.encoded)
    ingest(store, {"report.md": REPORT.encode()}, encoder=encoder)

    assert len(encoder.encoded) == 2 * n_encoded


def test_no_text_twice_in_one_call_and_none_without_a_record():
    encoder = HashingTextEncoder()
    contents, vectors = encode_new(["a", "b", "a"], encoder, space="x", store=None)

    assert encoder.encoded == ["a", "b"]
    assert contents[0] == contents[2] != contents[1]
    assert set(vectors) == set(contents)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first():
    recent = Recent(capacity=2)
    rows = {name: np.array([n], dtype=np.float32) for n, name in enumerate("abc")}
    recent.remember({"a": rows["a"], "b": rows["b"]})
    recent.remember({"c": rows["c"]})

    assert list(recent.known("abc")) == ["b", "c"]
