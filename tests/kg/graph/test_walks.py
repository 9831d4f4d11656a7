"""Walks find what NetworkX finds, and stop where they are told to."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.errors import InputError
from kg.graph.walks import expand, require_walk, shortest
from kg.ids import relation_id
from kg.types import Origin, Relation

EDGES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 3)),
    min_size=1,
    max_size=16,
    unique_by=lambda e: e[:2],
)


def relation(head: str, tail: str, n: int = 1) -> Relation:
    return Relation(
        relation_id=relation_id(head, "knows", tail),
        head_id=head,
        name="knows",
        tail_id=tail,
        origin=Origin.EXTRACTED,
        n_statements=n,
    )


def adjacency(relations):
    return lambda node: [one for one in relations if node in (one.head_id, one.tail_id)]


@settings(max_examples=150)
@given(edges=EDGES, start=st.integers(0, 7), end=st.integers(0, 7), max_hops=st.integers(1, 6))
def test_the_shortest_ways_are_those_of_networkx_best_supported_first(edges, start, end, max_hops):
    relations = [relation(str(a), str(b), n) for a, b, n in edges]
    graph = nx.Graph()
    graph.add_nodes_from([str(start), str(end)])
    for one in relations:
        known = graph.get_edge_data(one.head_id, one.tail_id, {"n": 0})["n"]
        graph.add_edge(one.head_id, one.tail_id, n=max(known, one.n_statements))
    expected = []
    if start != end and nx.has_path(graph, str(start), str(end)):
        ways = [tuple(way) for way in nx.all_shortest_paths(graph, str(start), str(end)) if len(way) - 1 <= max_hops]
        weighed = [(-sum(graph[a][b]["n"] for a, b in nx.utils.pairwise(way)), way) for way in ways]
        expected = sorted(weighed)[:3]

    found = shortest(adjacency(relations), str(start), str(end), max_hops=max_hops, limit=3)

    assert [(-way.weight, way.entity_ids) for way in found] == expected


@settings(max_examples=100)
@given(edges=EDGES, hops=st.integers(1, 4))
def test_the_rings_are_the_distances_of_networkx(edges, hops):
    graph = nx.Graph([(str(a), str(b)) for a, b, _ in edges])
    start = str(edges[0][0])

    def next_ring(ring, seen, room):
        found = sorted({other for node in ring for other in graph[node]} - seen)
        return found[:room], len(found)

    rings = expand([start], next_ring, hops=hops, max_nodes=100)

    assert rings.hops == nx.single_source_shortest_path_length(graph, start, cutoff=hops)
    assert rings.n_left_out == 0


def test_more_seeds_than_may_be_kept_are_counted_as_left_out():
    rings = expand(["a", "b", "a", "c"], lambda *_: ([], 0), hops=2, max_nodes=2)

    assert dict(rings.hops) == {"a": 0, "b": 0}
    assert rings.n_left_out == 1


@pytest.mark.parametrize(("hops", "limit"), [(0, 1), (9, 1), (1, 0)])
def test_bounds_that_make_no_sense_are_refused(hops, limit):
    with pytest.raises(InputError):
        require_walk(hops=hops, limit=limit)
