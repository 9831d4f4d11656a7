"""Reading around few entities one by one finds what reading the whole record finds."""

import pytest

from kg.graph import surroundings as module
from kg.graph.surroundings import existing, surroundings
from kg.ids import entity_id
from kg.stores.record import open_record
from kg.testing.graph_contract import graph_deltas


@pytest.mark.parametrize("names", [["anna"], ["anna", "clara"], ["dora", "greta", "emil"], []])
def test_few_entities_are_read_one_by_one_with_the_same_outcome(tmp_path, monkeypatch, names):
    store = open_record(tmp_path / "record.db")
    for delta in graph_deltas():
        store.apply(delta)
    ids = [entity_id(name) for name in names]

    few, there = surroundings(store, ids), existing(store, [*ids, "e_gone"])

    assert [entity.entity_id for entity in there] == sorted(ids)
    monkeypatch.setattr(module, "BY_ENTITY_MAX", -1)
    assert surroundings(store, ids) == few
    assert existing(store, [*ids, "e_gone"]) == there
    store.close()
