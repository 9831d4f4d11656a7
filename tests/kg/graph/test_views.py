"""Figures, ways with evidence and communities, against values worked by hand."""

from __future__ import annotations

import pytest

from kg.errors import InputError
from kg.graph.communities import CommunitySettings, find_communities, summarise
from kg.graph.record_graph import RecordGraph
from kg.graph.views import figures, hops_of, undirected
from kg.ids import entity_id
from kg.stores.record import open_record
from kg.testing import make_delta
from kg.testing.graph_contract import graph_deltas
from tests.kg.graph.test_walks import relation

TWO_CIRCLES = "\n\n".join(
    f"{head} knows {tail}."
    for circle in (("Anna", "Bert", "Clara", "Dora"), ("Xaver", "Yvonne", "Zoe", "Wanda"))
    for head in circle
    for tail in circle
    if head < tail
)


@pytest.fixture
def open_graph_of(tmp_path):
    opened = []

    def open_one(*deltas):
        store = open_record(tmp_path / f"{len(opened)}.db")
        opened.append(store)
        for delta in deltas:
            store.apply(delta)
        return RecordGraph(store)

    yield open_one
    for store in opened:
        store.close()


def test_figures_of_a_small_graph_are_those_counted_by_hand(open_graph_of):
    # Anna-Bert (knows 2×, likes), Bert-Clara, Clara-Dora, Anna-Emil, Emil-Clara; Fritz-Greta; Nobody is alone
    found = figures(open_graph_of(*graph_deltas(), make_delta("Nobody sleeps.", name="third.txt")), top=2)

    assert (found.counts.n_entities, found.counts.n_relations, found.counts.n_statements) == (8, 7, 8)
    assert found.degrees == {0: 1, 1: 3, 2: 1, 3: 3}
    assert (found.n_components, found.n_largest_component, found.n_isolated) == (2, 5, 1)
    assert found.share_isolated == pytest.approx(1 / 8)
    assert found.mean_degree == pytest.approx(2 * 7 / 8)
    assert {one.entity.name: one.value for one in found.top_by_degree}.items() <= {
        "Anna": 3,
        "Bert": 3,
        "Clara": 3,
    }.items()
    assert [(one.name, one.n_relations, one.n_statements) for one in found.relations] == [
        ("knows", 6, 7),
        ("likes", 1, 1),
    ]
    assert found.types == {"NAME": 8}


def test_figures_of_an_empty_graph_are_zero(open_graph_of):
    found = figures(open_graph_of())

    assert (found.degrees, found.n_components, found.share_isolated, found.mean_degree) == ({}, 0, 0.0, 0.0)


def test_each_hop_of_a_way_comes_with_its_best_relation_and_a_sentence(open_graph_of):
    graph = open_graph_of(*graph_deltas())
    (way, *_) = graph.shortest_paths(entity_id("dora"), entity_id("anna"))

    hops = hops_of(graph, way)

    assert [(hop.start.name, hop.relation.name, hop.end.name, hop.is_forward) for hop in hops] == [
        ("Dora", "knows", "Clara", False),
        ("Clara", "knows", "Bert", False),
        ("Bert", "knows", "Anna", False),
    ]
    assert [hop.evidence.quote for hop in hops] == ["Clara knows Dora", "Bert knows Clara", "Anna knows Bert"]


def test_edges_of_the_simple_graph_weigh_the_statements_of_both_ways_and_all_names(open_graph_of):
    graph = undirected(open_graph_of(*graph_deltas()).relations())

    assert graph.edges[entity_id("anna"), entity_id("bert")]["weight"] == 3  # knows twice, likes once
    assert len(graph.edges) == 6


def test_two_circles_of_friends_with_one_bridge_are_two_communities(open_graph_of):
    graph = open_graph_of(make_delta(TWO_CIRCLES + "\n\nDora knows Xaver.", name="circles.txt"))
    relations = graph.relations()

    found = find_communities(relations)

    names = [{one.name for one in graph.entities(community.entity_ids)} for community in found]
    assert sorted(map(sorted, names)) == [["Anna", "Bert", "Clara", "Dora"], ["Wanda", "Xaver", "Yvonne", "Zoe"]]
    assert [(one.number, one.level, one.parent) for one in found] == [(0, 0, None), (1, 0, None)]
    assert [(one.n_relations, one.n_relations_outside) for one in found] == [(6, 1), (6, 1)]
    assert find_communities(relations) == found  # the same seed, the same communities


def test_communities_that_are_too_large_are_split_into_a_level_below():
    # A ring of 40 triangles: modularity joins neighbouring triangles, and each such pair is a graph of its own again.
    ring = []
    for i in range(40):
        corners = [f"e_{i:02}{corner}" for corner in "abc"]
        ring += [relation(corners[0], corners[1]), relation(corners[1], corners[2]), relation(corners[2], corners[0])]
        ring.append(relation(corners[2], f"e_{(i + 1) % 40:02}a"))

    found = find_communities(ring, CommunitySettings(max_size=5))

    by_number = {one.number: one for one in found}
    below = [one for one in found if one.level == 1]
    assert below
    for one in below:
        above = by_number[one.parent]
        assert above.level == 0
        assert len(above.entity_ids) > 5
        assert set(one.entity_ids) < set(above.entity_ids)
        assert len(one.entity_ids) == 3
    assert sum(len(one.entity_ids) for one in found if one.level == 0) == 120


def test_a_community_is_summarised_by_its_entities_relations_and_sentences_with_citations(open_graph_of):
    graph = open_graph_of(*graph_deltas())
    relations = graph.relations()
    (largest, _) = find_communities(relations, CommunitySettings(resolution=0.1))

    summary = summarise(graph, largest, relations=relations)

    assert summary.name.split(", ")[0] in {"Anna", "Bert", "Clara"}
    assert [one.name for one in summary.relations] == ["knows", "likes"]
    assert len(summary.sentences) == 3
    assert len({one.quote for one in summary.sentences}) == 3
    assert {one.document_name for one in summary.sentences} <= {"first.txt", "second.txt"}


def test_a_graph_without_relations_has_no_communities(open_graph_of):
    assert find_communities(open_graph_of(make_delta("Nobody sleeps.")).relations()) == []


@pytest.mark.parametrize("values", [{"resolution": 0}, {"max_size": 1}])
def test_settings_of_communities_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError):
        CommunitySettings(**values)
