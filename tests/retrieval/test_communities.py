"""Global questions over a real record: communities, their ranking, their chunks, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from kg.stores.record import open_record
from kg.testing.builders import make_delta
from retrieval.communities import build_themes
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.types import Query

SEA = """Sea

Kestrel sailed with Marigold from Bergen past Puffin to trade in herring.

Marigold met Puffin near Bergen where Kestrel was sold.

Kestrel and Puffin raced to Bergen before Marigold."""
MUSIC = """Music

Clara played Brahms with Robert on the violin.

Robert wrote to Brahms about Clara and her concert."""
LONELY = """Notes

nothing here has a name at all."""
TEXTS = {"sea.txt": SEA, "music.txt": MUSIC, "notes.txt": LONELY}


def ask(engine, text, **options):
    return engine.search(Query(text=text), mode="global", **{"k": 4, **options})


def test_each_theme_is_supported_by_the_chunks_that_state_its_relations(store):
    themes = build_themes(store)
    documents = {chunk.chunk_id: chunk.document_id for chunk in store.iter_chunks()}

    assert len(themes) == 2
    assert {frozenset(theme.entities) for theme in themes} >= {frozenset({"Clara", "Brahms", "Robert"})}
    for theme in themes:
        assert len({documents[chunk_id] for chunk_id in theme.chunk_ids}) == 1
        assert theme.n_statements >= len(theme.chunk_ids)


def test_a_question_for_the_main_themes_takes_communities_by_size_and_chunks_of_each(engine):
    evidence, trace = ask(engine, "What are the main themes of these documents?")

    assert {item.document.name for item in evidence} == {"sea.txt", "music.txt"}
    assert evidence[0].document.name == "sea.txt"
    assert any(note.startswith("communities by size: ") for note in trace.notes)
    assert all(item.community and item.community in " ".join(trace.notes) for item in evidence)


def test_a_question_with_a_subject_takes_the_communities_that_are_like_it_first(engine):
    evidence, trace = ask(engine, "How did Clara and Robert play Brahms?", k=2)

    assert evidence[0].document.name == "music.txt"
    assert {"Clara", "Brahms", "Robert"} >= set(evidence[0].community.split(", "))
    assert [one.retriever for one in evidence[0].contributions] == ["community"]
    assert any("by likeness" in note for note in trace.notes)


def test_the_same_question_gets_the_same_evidence_from_a_fresh_engine_and_from_the_file(engine, store, tmp_path):
    question = "What are the main themes?"
    first = ask(engine, question)[0]
    fresh = RetrievalEngine(store, HashingTextEncoder(), RetrievalConfig(), tmp_path / "other")
    again = HashingTextEncoder()
    kept = RetrievalEngine(store, again, RetrievalConfig(), tmp_path / "index")

    assert ask(fresh, question)[0] == first
    assert ask(kept, question)[0] == first
    assert set(again.encoded) == {question}  # the themes' vectors were read, not made


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda data: b"PK\x03\x04 nonsense"])
def test_a_damaged_file_costs_time_and_nothing_else(engine, store, encoder, tmp_path, damage):
    expected = ask(engine, "What are the main themes?")[0]
    file = tmp_path / "index" / "communities.npz"
    file.write_bytes(damage(file.read_bytes()))

    repaired = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    assert ask(repaired, "What are the main themes?")[0] == expected


def test_communities_follow_the_record(engine, store):
    assert len({item.community for item in ask(engine, "What are the main themes?")[0]}) == 2
    store.remove(store.find(source="/docs/sea.txt").document_id)

    evidence, _ = ask(engine, "What are the main themes?")
    assert {item.document.name for item in evidence} == {"music.txt"}


def test_a_filter_holds_inside_communities(engine, store):
    music = store.find(source="/docs/music.txt").document_id

    evidence, _ = ask(engine, "What are the main themes?", document_ids=[music])
    assert {item.document.name for item in evidence} == {"music.txt"}


def test_a_graph_without_communities_is_searched_as_hybrid_and_it_is_said(tmp_path, encoder):
    store = open_record(tmp_path / "bare.sqlite")
    store.apply(make_delta(LONELY, name="notes.txt"))
    engine = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")

    evidence, trace = ask(engine, "nothing has a name")

    assert evidence[0].chunk.text.startswith("nothing here")
    assert "the graph has no communities: searched as hybrid" in trace.notes
    store.close()


def test_scores_fall_and_each_chunk_comes_once(engine):
    evidence, _ = ask(engine, "What are the main themes?", k=50)

    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)
    assert len({item.chunk.chunk_id for item in evidence}) == len(evidence)
    assert np.isfinite([item.score for item in evidence]).all()
