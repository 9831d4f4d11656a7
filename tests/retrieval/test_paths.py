"""Ways from what a question names to what was found, on a record small enough to see through."""

from __future__ import annotations

import pytest

from retrieval.paths import explain_hits
from retrieval.types import Query

CURIE = "Curie\n\nMarie Curie was born in Warsaw."
CITY = "City\n\nnear Warsaw flows the Vistula."
FISH = "Fish\n\nHerring swim in cold water."
TEXTS = {"curie.txt": CURIE, "city.txt": CITY, "fish.txt": FISH}


@pytest.fixture
def explained(store, engine):
    evidence, _ = engine.search(Query(text="Where was Marie Curie born?"), k=10)
    return evidence, explain_hits(store, engine.entities_of("Where was Marie Curie born?"), evidence)


def said(explanation, item):
    return [
        [explanation.names[way[0].start], *(text for step in way for text in (step.name, explanation.names[step.end]))]
        for way in explanation.ways[item.chunk.chunk_id]
    ]


def hit(evidence, text):
    return next(item for item in evidence if item.chunk.text.startswith(text))


def test_a_hit_that_mentions_what_is_asked_for_is_one_step_away(explained):
    evidence, explanation = explained
    item = hit(evidence, "Marie Curie was")

    assert "Marie Curie" in [one.name for one in explanation.entities]
    assert ["Marie Curie", "mentioned in", f"#{item.rank} curie.txt, passage 2"] in said(explanation, item)


def test_a_hit_behind_a_shared_entity_is_reached_through_it(explained):
    evidence, explanation = explained
    item = hit(evidence, "near Warsaw")
    (way, *_) = said(explanation, item)

    assert way[0] == "Marie Curie"
    assert way[-3:] == ["Warsaw", "mentioned in", f"#{item.rank} city.txt, passage 2"]


def test_a_hit_that_nothing_joins_to_the_question_has_no_way(explained):
    evidence, explanation = explained

    assert explanation.ways[hit(evidence, "Herring swim").chunk.chunk_id] == ()


def test_the_picture_holds_the_nodes_and_edges_of_all_ways_once(explained):
    _, explanation = explained
    nodes, edges = explanation.drawn()
    steps = {step for ways in explanation.ways.values() for way in ways for step in way}

    assert {one.entity_id for one in nodes} >= {x for step in steps for x in (step.start, step.end)}
    assert len(nodes) == len({one.entity_id for one in nodes})
    assert {(one.head_id, one.name, one.tail_id) for one in edges} == {
        (s.start, s.name, s.end) if s.is_forward else (s.end, s.name, s.start) for s in steps
    }
    assert "PASSAGE" in {one.type for one in nodes}


def test_ways_are_the_shortest_bounded_and_the_same_each_time(explained, store):
    evidence, explanation = explained
    again = explain_hits(store, [one.entity_id for one in explanation.entities], evidence)
    one_each = explain_hits(store, [one.entity_id for one in explanation.entities], evidence, limit=1)

    assert again == explanation
    assert all(len(ways) <= 3 and len({len(way) for way in ways}) <= 1 for ways in explanation.ways.values())
    assert {chunk: ways[:1] for chunk, ways in explanation.ways.items()} == one_each.ways


def test_a_question_that_names_nothing_has_no_ways(store, explained):
    evidence, _ = explained
    explanation = explain_hits(store, [], evidence)

    assert explanation.entities == ()
    assert set(explanation.ways.values()) == {()}
