"""Eight threads add, remove and search at once: each sees its own changes, and lists stay whole and in order."""

from __future__ import annotations

import threading

import pytest

from kg.stores.record import open_record
from kg.testing.builders import make_delta
from retrieval.config import RetrievalConfig
from retrieval.derived import DerivedState
from retrieval.types import Query

TEXTS = {
    "fish.txt": "Fish\n\nHerring swim in cold water all winter.",
    "warsaw.txt": "Warsaw\n\nWarsaw stands on the river Vistula.",
}


@pytest.mark.parametrize("mode", ["bm25", "auto"])
def test_eight_threads_add_remove_and_search_and_never_see_what_they_removed(engine, store, mode):
    engine.refresh()
    faults: list[str] = []
    start = threading.Barrier(8)

    def look(text: str) -> list[str]:
        evidence, _ = engine.search(Query(text=text), k=60, mode=mode)
        scores = [item.score for item in evidence]
        chunk_ids = [item.chunk.chunk_id for item in evidence]
        if len(set(chunk_ids)) != len(chunk_ids) or (mode == "bm25" and scores != sorted(scores, reverse=True)):
            faults.append(f"twice or out of order: {chunk_ids} {scores}")  # coverage orders by more than the score
        if [item.rank for item in evidence] != list(range(1, len(evidence) + 1)):
            faults.append("ranks have gaps")
        return [item.document.name for item in evidence]

    def work(thread: int) -> None:
        start.wait()
        for n in range(3):
            name = f"t{thread}n{n}.txt"
            delta = make_delta(f"Note {name}\n\nThe zebra{thread}x{n} of Warsaw sleeps.", name=name)
            store.apply(delta)
            if name not in look(f"zebra{thread}x{n} sleeps"):
                faults.append(f"{name} was added and not found")
            store.remove(delta.document.document_id)
            if name in look(f"zebra{thread}x{n} sleeps"):
                faults.append(f"{name} was removed and found")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert {info.name for info in store.documents()} == set(TEXTS)
    assert look("Herring swim")[0] == "fish.txt"
    assert not any(name.startswith("t") for name in look("zebra sleeps"))


@pytest.mark.parametrize("part", ["lexical", "dense", "graph"])
def test_an_index_is_not_taken_back_for_a_search_that_began_before(store, encoder, tmp_path, part):
    state = DerivedState(store, encoder, RetrievalConfig(), tmp_path / "index")
    before = state.catalog()
    getattr(state, part)(before)
    store.apply(make_delta("Zoo\n\nThe zebra sleeps in Warsaw.", name="zoo.txt"))
    after = state.catalog()
    caught_up = getattr(state, part)(after)

    assert getattr(state, part)(before) is caught_up
    assert getattr(state, part)(after) is caught_up
    if part != "graph":
        held = caught_up.ids if part == "lexical" else caught_up.ids()
        assert set(held) == set(after.document_of)


def test_an_index_of_a_record_that_an_older_copy_replaced_is_caught_up(store, encoder, tmp_path):
    state = DerivedState(store, encoder, RetrievalConfig(), tmp_path / "index")
    for n in range(3):
        store.apply(make_delta(f"Note {n}\n\nZebra {n}.", name=f"{n}.txt"))
    state.lexical(state.catalog())
    older = open_record(tmp_path / "older.sqlite")
    older.apply(make_delta("Only\n\nThe only zebra.", name="only.txt"))
    state._store = older

    catalog = state.catalog()

    assert catalog.version == 1
    assert set(state.lexical(catalog).ids) == set(older.chunk_ids())
    older.close()
