"""The engine over a real record, with an encoder that can be worked out by hand."""

from __future__ import annotations

import threading

import pytest

from kg.errors import ConfigError, InputError
from kg.stores.record import open_record
from kg.testing.builders import make_delta
from kg.types import Modality
from retrieval.config import RetrievalConfig
from retrieval.derived import searchable_text
from retrieval.engine import MODES, RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.types import Query

BRIDGE = """Marie Curie

Marie Curie was born in Warsaw and moved to Paris to study.

Pierre Curie taught physics near Paris before he met her."""
CITY = """Warsaw

Warsaw stands on the river Vistula, and has stood there for centuries."""
FISH = """Fish

Herring swim in cold water all winter.

[picture: Chart of herring caught by year]"""
TEXTS = {"curie.txt": BRIDGE, "warsaw.txt": CITY, "fish.txt": FISH}


def texts(evidence):
    return [item.chunk.text for item in evidence]


def ids(evidence):
    return [item.chunk.chunk_id for item in evidence]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "global"])  # it answers from communities alone
def test_every_mode_finds_the_obvious_chunk_first(engine, mode):
    evidence, trace = engine.search(Query(text="Where do Herring swim all winter?"), k=2, mode=mode)

    assert evidence[0].document.name == "fish.txt"
    assert [item.rank for item in evidence] == list(range(1, len(evidence) + 1))
    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)
    assert all(seconds >= 0.0 for _, seconds in trace.stages)


def test_an_unknown_mode_is_refused_with_the_list_of_modes(engine):
    with pytest.raises(InputError, match="auto, bm25, global, graph, hybrid, local, mix, naive"):
        engine.search(Query(text="x"), k=1, mode="planet")


def test_a_k_below_one_is_refused(engine):
    with pytest.raises(InputError, match="at least 1"):
        engine.search(Query(text="x"), k=0)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_workspace_gives_no_evidence(tmp_path, encoder, mode):
    store = open_record(tmp_path / "empty.sqlite")
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")

    engine.refresh()
    assert engine.search(Query(text="anything"), k=5, mode=mode)[0] == []
    store.close()


@pytest.mark.parametrize("mode", ["bm25", "local", "graph"])
def test_modes_without_vectors_do_not_touch_the_encoder(engine, encoder, mode):
    assert engine.search(Query(text="Marie Curie"), k=3, mode=mode)[0]
    assert encoder.encoded == []


def test_a_k_beyond_the_corpus_returns_every_chunk_once(engine, store):
    for mode in ("naive", "hybrid", "mix"):
        evidence, _ = engine.search(Query(text="Warsaw river"), k=1000, mode=mode)
        assert sorted(ids(evidence)) == store.chunk_ids()


def test_each_piece_of_evidence_says_who_found_it_and_through_which_entities(engine):
    evidence, trace = engine.search(Query(text="On which river stands the city where Marie Curie was born?"), k=10)
    by_text = {item.chunk.text: item for item in evidence}
    city = by_text["Warsaw stands on the river Vistula, and has stood there for centuries."]

    assert {item.retriever for item in city.contributions} == {"dense", "bm25", "graph", "coverage"}
    assert sum(item.share for item in city.contributions) == pytest.approx(1.0)
    assert "Warsaw" in city.entities
    assert any("Marie Curie" in note for note in trace.notes)


def test_a_chunk_that_shares_no_word_with_the_question_is_found_through_an_entity(engine):
    evidence, _ = engine.search(Query(text="Marie"), k=10, mode="local")  # names no entity: starts at lexical hits
    found = {item.chunk.text: item for item in evidence}
    far = found["Warsaw stands on the river Vistula, and has stood there for centuries."]

    assert [item.retriever for item in far.contributions] == ["graph"]
    assert far.contributions[0].share == 1.0
    assert far.entities == ("Warsaw",)


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_holds_inside_every_search(engine, store, mode):
    city = store.find(source="/docs/warsaw.txt").document_id
    evidence, _ = engine.search(Query(text="Herring of Marie Curie in Warsaw"), k=10, mode=mode, document_ids=[city])

    assert evidence
    assert {item.document.document_id for item in evidence} == {city}


def test_a_modality_filter_finds_the_picture(engine):
    evidence, _ = engine.search(Query(text="winter water"), k=5, modalities=[Modality.IMAGE])

    assert texts(evidence) == ["Chart of herring caught by year"]


def test_a_filter_that_matches_nothing_gives_no_evidence(engine):
    assert engine.search(Query(text="Herring"), k=5, document_ids=["d_unknown"])[0] == []


def test_a_chunk_is_encoded_once_whatever_process_asks(engine, store, encoder, tmp_path):
    engine.refresh()
    n_chunks = len(store.chunk_ids())
    assert len(encoder.encoded) == n_chunks

    again = HashingTextEncoder()
    RetrievalEngine(store, again, RetrievalConfig(), tmp_path / "other index").refresh()
    assert again.encoded == []

    store.apply(make_delta("News\n\nA new paragraph.", name="news.txt"))
    engine.refresh()
    assert len(encoder.encoded) == n_chunks + 2


def test_another_encoders_vectors_are_never_used(engine, store, tmp_path):
    engine.refresh()
    other = HashingTextEncoder(dimension=64, fingerprint="hashing-2")
    changed = RetrievalEngine(store, other, RetrievalConfig(), tmp_path / "index")

    assert changed.search(Query(text="Herring swim"), k=1, mode="naive")[0][0].document.name == "fish.txt"
    assert len(other.encoded) == len(store.chunk_ids()) + 1


def test_a_change_of_the_record_is_seen_by_the_next_search(engine, store):
    assert engine.search(Query(text="zebra"), k=5, mode="bm25")[0] == []
    store.apply(make_delta("Zoo\n\nThe zebra sleeps.", name="zoo.txt"))
    evidence, _ = engine.search(Query(text="zebra"), k=5)
    assert texts(evidence)[0] == "The zebra sleeps."

    store.remove(evidence[0].document.document_id)
    after, _ = engine.search(Query(text="zebra"), k=50)
    assert "The zebra sleeps." not in texts(after)


def test_a_caught_up_engine_answers_like_a_fresh_one(engine, store, tmp_path):
    engine.refresh()
    store.remove(store.find(source="/docs/fish.txt").document_id)
    store.apply(make_delta("Vistula\n\nThe Vistula flows past Warsaw to the sea.", name="vistula.txt"))
    fresh = RetrievalEngine(store, HashingTextEncoder(), RetrievalConfig(), tmp_path / "fresh")
    query = Query(text="What flows past Warsaw?")

    for mode in MODES:
        old, new = engine.search(query, k=20, mode=mode)[0], fresh.search(query, k=20, mode=mode)[0]
        assert ids(old) == ids(new)
        assert [item.score for item in old] == pytest.approx([item.score for item in new], abs=1e-6)


@pytest.mark.parametrize("name", ["vectors.index", "bm25.index"])
def test_a_damaged_index_file_costs_time_and_nothing_else(engine, store, encoder, tmp_path, name):
    query = Query(text="Where do Herring swim?")
    expected = ids(engine.search(query, k=5)[0])
    file = tmp_path / "index" / name
    file.write_bytes(file.read_bytes()[:-7])

    repaired = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    assert ids(repaired.search(query, k=5)[0]) == expected


def test_an_index_folder_that_cannot_be_written_does_not_stop_a_search(store, encoder, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), blocked)

    assert engine.search(Query(text="Herring"), k=1)[0]


def test_a_picture_is_searched_by_what_is_on_it(store, encoder, tmp_path):
    seen = []

    def describe(data):
        seen.append(data)
        return "herring caught by year"

    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index", describe_image=describe)
    evidence, trace = engine.search(Query(image=b"pixels"), k=1)

    assert texts(evidence) == ["Chart of herring caught by year"]
    assert seen == [b"pixels"]
    assert trace.stages[0][0] == "describe_image"


def test_a_picture_without_words_gives_no_evidence_and_says_so(store, encoder, tmp_path):
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index", describe_image=lambda _: " ")
    evidence, trace = engine.search(Query(image=b"pixels"), k=1)

    assert evidence == []
    assert "no words" in trace.notes[0]


def test_a_picture_is_refused_where_nothing_can_read_it(engine):
    with pytest.raises(InputError, match="cannot read pictures"):
        engine.search(Query(image=b"pixels"), k=1)


@pytest.mark.parametrize("text", ["?!", "華沙在哪裡", "the of and", "word " * 20_000])
def test_odd_questions_are_answered_without_an_error(engine, text):
    for mode in MODES:
        evidence, _ = engine.search(Query(text=text), k=3, mode=mode)
        assert len(evidence) <= 3


def test_searches_during_ingest_and_deletion_return_whole_answers(engine, store):
    engine.refresh()
    failures, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                evidence, _ = engine.search(Query(text="Herring near Warsaw"), k=5)
            except Exception as error:  # noqa: BLE001 - any error of a searching thread is a failure of the test
                failures.append(error)
                return
            if len(set(ids(evidence))) != 5:
                failures.append(ids(evidence))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(6):
        delta = make_delta(f"Note {n}\n\nHerring number {n} passed Warsaw.", name=f"n{n}.txt")
        store.apply(delta)
        if n % 2:
            store.remove(delta.document.document_id)
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []


def test_a_search_does_not_wait_while_another_thread_encodes(engine, store, encoder, monkeypatch):
    engine.refresh()
    store.apply(make_delta("Zoo\n\nThe zebra sleeps.", name="zoo.txt"))
    encoding, go_on = threading.Event(), threading.Event()
    encode = encoder.encode

    def slow(texts):
        if any("zebra" in text for text in texts):
            encoding.set()
            assert go_on.wait(timeout=60)
        return encode(texts)

    monkeypatch.setattr(encoder, "encode", slow)
    thread = threading.Thread(target=engine.refresh)
    thread.start()
    assert encoding.wait(timeout=60)

    assert engine.search(Query(text="Herring"), k=1, mode="naive")[0][0].document.name == "fish.txt"
    go_on.set()
    thread.join()
    assert engine.search(Query(text="zebra sleeps"), k=1, mode="naive")[0][0].document.name == "zoo.txt"


def test_searching_twice_gives_the_same_list(engine):
    query = Query(text="Warsaw and Paris")

    assert engine.search(query, k=10)[0] == engine.search(query, k=10)[0]


def test_what_is_encoded_names_the_place_of_the_words(store):
    chunk = next(chunk for chunk in store.iter_chunks() if chunk.text.startswith("Herring"))

    assert searchable_text(chunk, title="Fish  of\nthe sea", max_context_characters=160) == (
        "Fish of the sea\nHerring swim in cold water all winter."
    )
    assert searchable_text(chunk, title="herring swim", max_context_characters=160) == chunk.text
    assert searchable_text(chunk, title="x" * 500, max_context_characters=3) == "xxx\n" + chunk.text
    assert searchable_text(chunk, title="Fish", max_context_characters=0) == chunk.text


def test_the_kind_of_vector_index_is_a_setting_that_finds_the_same_and_is_named_in_the_trace(
    engine, store, encoder, tmp_path
):
    query = Query(text="Where do Herring swim?")
    expected, trace = engine.search(query, k=5, mode="naive")
    assert not any("vector index" in note for note in trace.notes)  # exact: nothing to tell
    n_encoded = len(encoder.encoded)

    for kind in ("sq8", "hnsw", "ivfpq"):
        other = RetrievalEngine(store, encoder, RetrievalConfig(index=kind), tmp_path / "index")
        found, trace = other.search(query, k=5, mode="naive")
        assert ids(found) == ids(expected)
        assert f"the vector index is approximate: {kind} (set in the configuration)" in trace.notes
    assert len(encoder.encoded) == n_encoded + 3  # the questions; no chunk is encoded again


def test_an_unknown_kind_of_vector_index_is_refused():
    with pytest.raises(ConfigError, match=r"RetrievalConfig.index: 'ivf' is none of auto, flat"):
        RetrievalConfig(index="ivf")


def test_a_large_vector_index_is_written_again_only_when_enough_has_changed(store, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.derived._SAVE_ALWAYS_UP_TO", 0)
    monkeypatch.setattr("retrieval.derived._SAVE_SHARE", 0.5)
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    file = tmp_path / "index" / "vectors.index"
    engine.refresh()
    before = file.read_bytes()

    store.apply(make_delta("News\n\nThe zebra sleeps.", name="news.txt"))
    engine.refresh()
    assert file.read_bytes() == before

    n_encoded = len(encoder.encoded)
    again = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    assert texts(again.search(Query(text="zebra sleeps"), k=1, mode="naive")[0]) == ["The zebra sleeps."]
    assert len(encoder.encoded) == n_encoded + 1
