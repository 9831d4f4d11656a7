"""A copy of the graph follows its record, and a database that vanishes costs nothing but time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from kg.errors import ConfigError, GraphUnreachableError, InputError, StoreError
from kg.graph.mirror import sync
from kg.graph.neo4j_driver import BoltServer
from kg.graph.neo4j_graph import Neo4jGraph
from kg.graph.record_graph import RecordGraph
from kg.ports import DecisionKind, GraphChanges
from kg.stores.record import open_record
from kg.testing import canonical_dump, make_delta
from kg.testing.graph_contract import graph_contents, graph_deltas
from tests.kg.graph.bolt_server import BoltProcess

PATIENCE = {"attempts": 2, "backoff_s": 0.01, "connect_timeout_s": 2.0}


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.db")
    yield opened
    opened.close()


def links(graph: Neo4jGraph) -> frozenset:
    return graph.contents([entity.entity_id for entity in graph.entities()]).mentions


def same_as_record(graph, store) -> bool:
    return graph_contents(graph) == graph_contents(RecordGraph(store)) and graph.version() == store.version()


def test_each_sync_after_a_change_leaves_what_a_fresh_one_would(open_graph, store):
    graph, fresh = open_graph(), open_graph()
    names = ["Anna", "ANNA", "Bert", "Clara", "Dora Berg", "Emil"]
    choose = random.Random(7)
    for step in range(12):
        if step % 4 == 3:
            store.remove(choose.choice(store.documents()).document_id)
        else:
            lines = [
                f"{choose.choice(names)} {choose.choice(['knows', 'likes'])} {choose.choice(names)}." for _ in range(5)
            ]
            store.apply(make_delta("\n\n".join(lines), name=f"{choose.randrange(4)}.txt"))
        if step % 2:
            report = sync(store, graph, batch_rows=4)
            assert report.is_fresh == (step == 1)
            assert same_as_record(graph, store)
    sync(store, fresh)
    assert graph_contents(graph) == graph_contents(fresh)
    assert links(graph) == links(fresh)


def test_a_persons_decisions_and_their_undoing_reach_the_copy(open_graph, store):
    for delta in graph_deltas():
        store.apply(delta)
    graph, fresh = open_graph(), open_graph()
    sync(store, graph)
    ids = {entity.name: entity.entity_id for entity in store.entities()}

    decision = store.decide(DecisionKind.SAME, ids["Anna"], ids["Fritz"], by="a person")
    sync(store, graph, batch_rows=3)
    assert len(graph.entities()) == 6
    assert same_as_record(graph, store)
    sync(store, fresh)
    assert links(graph) == links(fresh)

    store.undo(decision.decision_id)
    sync(store, graph, batch_rows=3)
    assert len(graph.entities()) == 7
    assert same_as_record(graph, store)


def test_a_sync_with_nothing_new_sends_only_the_version(open_graph, store):
    store.apply(graph_deltas()[0])
    graph = open_graph()
    sync(store, graph)

    again = sync(store, graph)

    assert (again.n_rows, again.n_parts, again.from_version, again.version) == (0, 1, 1, 1)


def test_a_sync_sends_what_changed_and_not_the_rest(open_graph, store):
    for delta in graph_deltas():
        store.apply(delta)
    graph = open_graph()
    sync(store, graph)
    store.apply(make_delta("Xaver knows Yvonne.", name="other.txt"))

    report = sync(store, graph)

    # one document that was asked to go first, itself, its chunk, two entities, two mentions, a relation, a statement
    assert report.n_rows == 1 + 1 + 1 + 2 + 2 + 1 + 1
    assert same_as_record(graph, store)


def test_two_workspaces_share_a_database_and_know_nothing_of_each_other(open_graph, store, tmp_path):
    other_store = open_record(tmp_path / "other.db")
    first, second = graph_deltas()
    store.apply(first)
    other_store.apply(second)
    graph, other = open_graph(), open_graph()
    sync(store, graph)
    sync(other_store, other)
    assert same_as_record(graph, store)
    assert same_as_record(other, other_store)

    graph.clear()

    assert graph.version() is None
    assert graph.entities() == []
    assert same_as_record(other, other_store)
    other_store.close()


def test_a_copy_of_another_record_is_made_anew(open_graph, store, tmp_path):
    graph = open_graph()
    first, second = graph_deltas()
    store.apply(second)
    store.apply(first)
    sync(store, graph)
    younger, twin = open_record(tmp_path / "younger.db"), open_record(tmp_path / "twin.db")
    younger.apply(first)
    assert sync(younger, graph).is_fresh  # its version is below the copy's
    assert same_as_record(graph, younger)
    twin.apply(second)
    assert sync(twin, graph).is_fresh  # the same version, other documents
    assert same_as_record(graph, twin)
    younger.close()
    twin.close()


def test_a_fresh_sync_deletes_what_someone_else_wrote_into_the_copy(open_graph, store):
    graph = open_graph()
    store.apply(graph_deltas()[0])
    sync(store, graph)
    (one, *_), stranger = graph.entities(), replace(graph.entities()[0], entity_id="e_stranger")
    graph.apply(GraphChanges(entities=(stranger, replace(one, name="wrong"))))
    assert not same_as_record(graph, store)

    sync(store, graph, fresh=True)

    assert same_as_record(graph, store)


@pytest.mark.parametrize("cut_after", [1, 2, 4, 7])
def test_a_connection_that_breaks_mid_write_leaves_the_record_unharmed_and_the_next_sync_catches_up(
    open_graph, store, bolt, proxy, cut_after
):
    for delta in graph_deltas():
        store.apply(delta)
    through = open_graph(server=replace(bolt, uri=proxy.uri, **PATIENCE))
    sync(store, through, batch_rows=4)
    store.remove(store.documents()[0].document_id)
    store.apply(make_delta("Anna likes Dora.\n\nDora likes Hans.", name="third.txt"))
    before = canonical_dump(store)

    with pytest.raises(GraphUnreachableError, match="mmkg graph sync") as failure:
        sync(store, through, batch_rows=2, on_part=lambda parts, _: proxy.cut() if parts == cut_after else None)

    assert failure.value.code == "graph_unreachable"
    assert isinstance(failure.value, StoreError)
    assert canonical_dump(store) == before
    proxy.mend()
    assert through.version() == 2  # not a word of the new version before all of it is there
    report = sync(store, through)
    assert not report.is_fresh
    assert same_as_record(through, store)
    fresh = open_graph()
    sync(store, fresh)
    assert links(through) == links(fresh)


def test_a_break_shorter_than_the_patience_is_not_noticed(open_graph, store, bolt, proxy):
    for delta in graph_deltas():
        store.apply(delta)
    through = open_graph(server=replace(bolt, uri=proxy.uri, attempts=4, backoff_s=0.2))

    def blink(parts: int, _rows: int) -> None:
        if parts == 3:
            proxy.cut()
            proxy.mend()

    sync(store, through, batch_rows=4, on_part=blink)

    assert same_as_record(through, store)


def test_a_database_that_is_killed_mid_write_is_caught_up_when_it_is_back(tmp_path, store):
    for delta in graph_deltas():
        store.apply(delta)
    before = canonical_dump(store)
    process = BoltProcess(tmp_path / "bolt")
    graph = Neo4jGraph(process.server(**PATIENCE), workspace="killed")
    try:
        with pytest.raises(GraphUnreachableError):
            sync(store, graph, batch_rows=4, on_part=lambda parts, _: process.kill() if parts == 5 else None)
        assert canonical_dump(store) == before
        process = BoltProcess(tmp_path / "bolt", port=process.port)
        sync(store, graph, batch_rows=4)
        assert same_as_record(graph, store)
    finally:
        graph.close()
        process.kill()


def test_a_wrong_password_and_an_address_that_cannot_be_used_say_which_setting_to_change(bolt, store):
    graph = Neo4jGraph(replace(bolt, password="wrong", **PATIENCE), workspace="refused")
    with pytest.raises(ConfigError, match="MMKG_NEO4J__PASSWORD"):
        sync(store, graph)
    graph.close()
    with pytest.raises(ConfigError, match="MMKG_NEO4J__URI"):
        Neo4jGraph(BoltServer(uri="ftp://nowhere"), workspace="refused")


def test_bounds_that_make_no_sense_are_refused(open_graph, store):
    with pytest.raises(InputError, match="batch_rows"):
        sync(store, open_graph(), batch_rows=0)
    with pytest.raises(InputError, match="attempts"):
        BoltServer(uri="bolt://localhost", attempts=0)
