"""How senses are joined into entities."""

from __future__ import annotations

from kg.stores.components import Edge, Node, join


def _nodes(**documents: int) -> dict[str, Node]:
    """A sense for each letter; ``x1`` and ``x2`` share the name ``x``."""
    return {sense: Node(sense, sense.rstrip("0123456789"), n) for sense, n in documents.items()}


def test_entity_bears_the_id_of_the_sense_that_most_documents_mean():
    entity_of = join(_nodes(a=1, b=5, c=5), [Edge("a", "b", 0.9), Edge("b", "c", 0.8)], [])
    assert entity_of == {"a": "b", "b": "b", "c": "b"}


def test_pair_kept_apart_overrules_the_weaker_link():
    edges = [Edge("a", "b", 0.9), Edge("b", "c", 0.8)]
    assert join(_nodes(a=1, b=1, c=1), edges, [("a", "c")]) == {"a": "a", "b": "a", "c": "c"}
    assert join(_nodes(a=1, b=1, c=1), [Edge("a", "b", 0.7), edges[1]], [("a", "c")]) == {"a": "a", "b": "b", "c": "b"}


def test_two_senses_of_one_name_are_not_joined_through_a_third():
    edges = [Edge("a", "x1", 0.9), Edge("a", "x2", 0.8)]
    assert join(_nodes(a=2, x1=1, x2=1), edges, []) == {"a": "a", "x1": "a", "x2": "x2"}


def test_person_may_join_two_senses_of_one_name():
    edges = [Edge("x1", "x2", 1.0, is_confirmed=True)]
    assert join(_nodes(x1=1, x2=2), edges, []) == {"x1": "x2", "x2": "x2"}


def test_confirmed_link_comes_before_a_higher_score():
    edges = [Edge("a", "b", 0.99), Edge("b", "c", 0.1, is_confirmed=True)]
    assert join(_nodes(a=1, b=1, c=1), edges, [("a", "c")]) == {"a": "a", "b": "b", "c": "b"}
