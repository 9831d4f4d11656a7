"""Another encoder: a search says so and encodes no corpus in silence, and making its vectors can be interrupted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kg.errors import ConfigError, EncoderError, VectorsMissingError
from kg.stores.record import open_record
from kg.testing import make_delta
from retrieval import derived
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.types import Query

FEW = RetrievalConfig(max_encoded_by_search=3)
FISH = make_delta("Fish\n\n" + "\n\n".join(f"Herring number {n} swims in the sea." for n in range(11)), name="fish.txt")
QUERY = Query(text="Herring swim")


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    opened.apply(FISH)
    yield opened
    opened.close()


def engine(store, folder: Path, encoder=None, config=FEW):
    return RetrievalEngine(store, encoder or HashingTextEncoder(), config, folder / "index")


class Failing(HashingTextEncoder):
    """Fails at its second batch, as a server does that goes down."""

    def encode(self, texts):
        if self.encoded:
            raise EncoderError("the server went down")
        return super().encode(texts)


@pytest.mark.parametrize("mode", ["auto", "naive", "hybrid", "mix"])
def test_a_search_refuses_to_encode_many_chunks_and_names_the_command(store, tmp_path, mode):
    encoder = HashingTextEncoder()
    n_chunks = len(store.chunk_ids())

    with pytest.raises(VectorsMissingError, match=rf"{n_chunks} chunks have no vector.*'hashing'.*mmkg reindex"):
        engine(store, tmp_path, encoder).search(QUERY, k=2, mode=mode)

    assert encoder.encoded == []
    assert store.vector_counts() == {}


@pytest.mark.parametrize("mode", ["bm25", "local"])
def test_modes_without_vectors_still_search(store, tmp_path, mode):
    assert engine(store, tmp_path).search(QUERY, k=2, mode=mode)[0]


def test_a_few_missing_vectors_are_made_on_the_way(store, tmp_path):
    made = engine(store, tmp_path)
    made.reindex()
    store.apply(make_delta("Zoo\n\nThe zebra sleeps.", name="zoo.txt"))

    assert made.search(Query(text="zebra sleeps"), k=1, mode="naive")[0][0].document.name == "zoo.txt"
    assert store.chunks_without_vector(encoder=made.vector_space) == []


def test_many_new_chunks_whose_vectors_are_in_the_record_are_no_reason_to_refuse(store, tmp_path):
    engine(store, tmp_path).reindex()
    encoder = HashingTextEncoder()
    fresh = engine(store, tmp_path / "elsewhere", encoder)  # no index file, but all vectors

    assert fresh.search(QUERY, k=2, mode="naive")[0]
    assert encoder.encoded == ["Herring swim"]


def test_refresh_says_what_is_missing_and_raises_nothing(store, tmp_path):
    down = Failing()
    down.encoded.append("the first batch")

    (too_many,) = engine(store, tmp_path).refresh()
    (failed,) = engine(store, tmp_path, down, RetrievalConfig()).refresh()

    assert "mmkg reindex" in too_many
    assert failed == "the server went down"
    assert engine(store, tmp_path, config=RetrievalConfig()).refresh() == ()


def test_reindex_makes_all_vectors_and_tells_how_far_it_is(store, tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "_ENCODED_AT_ONCE", 5)
    made = engine(store, tmp_path)
    n_chunks = len(store.chunk_ids())
    steps: list[tuple[int, int]] = []

    assert made.reindex(lambda done, total: steps.append((done, total))) == n_chunks

    assert steps == [(0, n_chunks), (5, n_chunks), (10, n_chunks), (n_chunks, n_chunks)]
    assert made.search(QUERY, k=2, mode="naive")[0]
    assert made.reindex(lambda done, total: steps.append((done, total))) == 0
    assert steps[-1] == (0, 0)


def test_an_interrupted_reindex_goes_on_where_it_ended(store, tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "_ENCODED_AT_ONCE", 5)
    with pytest.raises(EncoderError, match="went down"):
        engine(store, tmp_path, Failing()).reindex()
    assert list(store.vector_counts().values()) == [5]

    again = HashingTextEncoder()
    n_chunks = len(store.chunk_ids())
    assert engine(store, tmp_path, again).reindex() == n_chunks - 5
    assert len(again.encoded) == n_chunks - 5


def test_what_is_reindexed_answers_as_if_the_encoder_had_always_been_there(store, tmp_path):
    engine(store, tmp_path).reindex()
    other = HashingTextEncoder(dimension=64, fingerprint="hashing-2")
    changed = engine(store, tmp_path, other)
    changed.reindex()
    with closing(open_record(tmp_path / "fresh.sqlite")) as untouched:
        untouched.apply(FISH)
        fresh = engine(untouched, tmp_path / "fresh", HashingTextEncoder(dimension=64, fingerprint="hashing-2"))
        fresh.reindex()
        for mode in ("naive", "mix"):
            old, new = changed.search(QUERY, k=20, mode=mode)[0], fresh.search(QUERY, k=20, mode=mode)[0]
            assert [item.chunk.chunk_id for item in old] == [item.chunk.chunk_id for item in new]
    assert len(store.vector_counts()) == 2  # the old ones stay, so that going back costs nothing
    back = HashingTextEncoder()
    assert engine(store, tmp_path, back).reindex() == 0


def test_vectors_of_two_widths_under_one_name_are_told(store, tmp_path):
    made = engine(store, tmp_path)
    first, *_ = store.chunk_ids()
    store.put_vectors(encoder=made.vector_space, rows=[(first, np.ones(4, dtype=np.float32))])

    with pytest.raises(EncoderError, match=r"vectors of \[4, 256\] numbers.*mmkg reindex --all"):
        made.reindex()


def test_a_negative_limit_is_refused():
    with pytest.raises(ConfigError, match="max_encoded_by_search"):
        RetrievalConfig(max_encoded_by_search=-1)
