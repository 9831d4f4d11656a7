"""Graph search against networkx, and its behaviour on graphs small enough to see through."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from kg.ports import MentionRow
from kg.types import Entity
from retrieval.config import RetrievalConfig
from retrieval.graph_search import EntityGraph

PRECISE = RetrievalConfig(damping=0.5, walk_tolerance=1e-12, max_walk_steps=1000)


def make_graph(mentions, *, names=None, chunks=None, config=PRECISE, aliases=None):
    """Make a graph from ``{chunk: [entity, ...]}``; a repeated entity is mentioned as often."""
    names = names or {}
    entities = sorted({entity for listed in mentions.values() for entity in listed} | set(names))
    rows = [
        MentionRow(chunk_id=chunk, entity_id=entity, start=place, end=place + 1)
        for chunk, listed in mentions.items()
        for place, entity in enumerate(listed)
    ]
    return EntityGraph(
        chunks or sorted(mentions),
        mentions=rows,
        entities=[
            Entity(entity_id=e, name=names.get(e, e), type="X", aliases=(aliases or {}).get(e, ())) for e in entities
        ],
        config=config,
    )


def naive_walk(mentions, seeds, named, *, config):
    """Build the same graph in networkx, weights from the definition, and ask its pagerank."""
    chunks = sorted(mentions)
    frequency = {}
    for listed in mentions.values():
        for entity in set(listed):
            frequency[entity] = frequency.get(entity, 0) + 1
    graph = nx.Graph()
    for chunk in chunks:
        graph.add_node(chunk)
        for entity in set(mentions[chunk]):
            idf = np.log(1 + (len(chunks) - frequency[entity] + 0.5) / (frequency[entity] + 0.5))
            graph.add_edge(chunk, entity, weight=mentions[chunk].count(entity) ** config.mention_exponent * idf)
        if not mentions[chunk]:
            graph.add_edge(chunk, ("own", chunk), weight=1.0)
    share = config.entity_share if named else 0.0
    start = {chunk: (1 - share) * weight / sum(seeds.values()) for chunk, weight in seeds.items()}
    start.update({entity: share * weight / sum(named.values()) for entity, weight in named.items()})
    return nx.pagerank(graph, alpha=config.damping, personalization=start, weight="weight", tol=1e-14, max_iter=1000)


def random_mentions(*, seed, n_chunks=40, n_entities=25):
    draw = np.random.default_rng(seed)
    return {
        f"c{row:02d}": [f"e{column:02d}" for column in draw.integers(0, n_entities, draw.integers(0, 7))]
        for row in range(n_chunks)
    }


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85])
def test_the_walk_equals_networkx_pagerank(damping):
    config = RetrievalConfig(walk_tolerance=1e-12, max_walk_steps=1000, damping=damping)
    for seed in range(5):
        mentions = random_mentions(seed=seed)
        graph = make_graph(mentions, config=config)
        seeds = {"c00": 1.0, "c07": 0.5, "c31": 0.1}
        named = {graph.names.index("e03"): 0.7, graph.names.index("e11"): 0.3}
        expected = naive_walk(mentions, seeds, {"e03": 0.7, "e11": 0.3}, config=config)

        scores = graph.walk(seeds, named).scores

        for chunk in mentions:
            assert scores.get(chunk, 0.0) == pytest.approx(expected[chunk], abs=1e-6)


def test_a_chunk_that_shares_a_rare_entity_with_the_seed_is_reached_and_a_stranger_is_not():
    graph = make_graph({"seed": ["rare"], "friend": ["rare", "other"], "stranger": ["else"]})

    walk = graph.walk({"seed": 1.0}, {})

    assert walk.scores["seed"] > walk.scores["friend"] > 0.0
    assert "stranger" not in walk.scores
    assert walk.entities["friend"] == ("rare",)


def test_walk_by_hand_on_two_chunks_that_share_one_entity():
    # p = .5 start at a; a's walkers go to e; e's go half to a, half to b:
    # a = .5 + .25 e, e = .5 a + .5 b, b = .25 e  =>  a = 7/12, e = 1/3, b = 1/12 (multiply out: they sum to 1).
    scores = make_graph({"a": ["e"], "b": ["e"]}).walk({"a": 1.0}, {}).scores

    assert scores == pytest.approx({"a": 7 / 12, "b": 1 / 12})


def test_a_common_entity_carries_less_than_a_rare_one():
    mentions = {f"crowd{n}": ["common"] for n in range(20)} | {"seed": ["common", "rare"], "twin": ["rare"]}

    scores = make_graph(mentions).walk({"seed": 1.0}, {}).scores

    assert scores["twin"] > 10 * scores["crowd0"]


def _labelled(rows, *, concept_mention):
    return EntityGraph(
        sorted({chunk for chunk, _, _ in rows}),
        mentions=[
            MentionRow(chunk_id=chunk, entity_id=entity, start=place, end=place + 1, label=label)
            for place, (chunk, entity, label) in enumerate(rows)
        ],
        entities=[Entity(entity_id=e, name=e, type="X") for e in sorted({entity for _, entity, _ in rows})],
        config=replace(PRECISE, concept_mention=concept_mention),
    )


@pytest.mark.parametrize("concept_mention", [0.04, 0.25, 1.0])
def test_a_noun_phrase_joins_less_than_a_name(concept_mention):
    rows = [
        ("seed", "Ada Lovelace", "PERSON"),
        ("by name", "Ada Lovelace", "PERSON"),
        ("seed", "the engine", "CONCEPT"),
        ("by phrase", "the engine", "CONCEPT"),
    ]

    scores = _labelled(rows, concept_mention=concept_mention).walk({"seed": 1.0}, {}).scores

    # Equal frequencies, so the seed's edges weigh 1 and the root of what a phrase counts (mention_exponent is .5).
    assert scores["by phrase"] / scores["by name"] == pytest.approx(concept_mention**0.5)


def test_where_noun_phrases_count_nothing_their_chunks_still_keep_their_place():
    rows = [("a", "the engine", "CONCEPT"), ("b", "the engine", "CONCEPT")]

    scores = _labelled(rows, concept_mention=0.0).walk({"a": 1.0}, {}).scores

    assert scores == pytest.approx({"a": 2 / 3})  # itself, and the node of its own behind it


def test_a_chunk_without_mentions_keeps_its_place_among_equally_good_seeds():
    # Behind a sits an entity nobody shares; b mentions nothing. Both have a leaf: x = .25 + .5 y, y = .5 x, x = 1/3.
    scores = make_graph({"a": ["only"], "b": []}).walk({"a": 1.0, "b": 1.0}, {}).scores

    assert scores == pytest.approx({"a": 1 / 3, "b": 1 / 3})


def test_a_filter_hides_chunks_and_every_path_through_them():
    graph = make_graph({"seed": ["x"], "bridge": ["x", "y"], "far": ["y"]})

    assert graph.walk({"seed": 1.0}, {}).scores["far"] > 0.0
    walk = graph.walk({"seed": 1.0}, {}, allowed=frozenset({"seed", "far", "unknown"}))

    assert set(walk.scores) == {"seed"}


def test_a_walk_under_a_filter_equals_the_walk_on_the_filtered_graph_in_its_support():
    mentions = random_mentions(seed=9)
    allowed = frozenset(sorted(mentions)[::2])
    seeds = dict.fromkeys(sorted(allowed)[:3], 1.0)
    filtered = make_graph(mentions).walk(seeds, {}, allowed=allowed)
    alone = make_graph({chunk: mentions[chunk] for chunk in allowed}).walk(seeds, {})

    assert set(filtered.scores) == set(alone.scores)


def test_a_walk_can_start_at_an_entity_alone():
    graph = make_graph({"a": ["x"], "b": ["x", "z"], "c": ["y"]}, names={"x": "Ada Lovelace"})

    walk = graph.walk({}, graph.recognise("Who was Ada Lovelace?"))

    assert sorted(walk.scores) == ["a", "b"]
    assert walk.entities["a"] == ("Ada Lovelace",)


def test_a_walk_from_nowhere_is_empty():
    graph = make_graph({"a": ["x"]})

    assert graph.walk({}, {}).scores == {}
    assert graph.walk({"unknown": 1.0}, {}).scores == {}
    assert make_graph({}).walk({}, {}).scores == {}


def test_what_a_chunk_sent_out_and_got_back_is_no_way_of_reaching_it():
    walk = make_graph({"seed": ["own", "shared"], "other": ["shared"]}).walk({"seed": 1.0, "other": 1.0}, {})

    assert walk.entities["seed"] == ("shared",)


@pytest.mark.parametrize(
    "question",
    ["Where did Ada Lovelace live?", "ADA LOVELACE's house", "the Ada  Lovelace, again", "Countess of Lovelace?"],
)
def test_names_are_recognised_whatever_their_case_punctuation_or_alias(question):
    graph = make_graph({"a": ["x"]}, names={"x": "Ada Lovelace"}, aliases={"x": ("the Countess of Lovelace",)})

    assert [graph.names[column] for column in graph.recognise(question)] == ["Ada Lovelace"]


def test_the_longest_name_wins_and_function_words_are_no_names():
    graph = make_graph({"a": ["x", "y", "w"]}, names={"x": "New York", "y": "New York Times", "w": "Who"})

    assert [graph.names[c] for c in graph.recognise("Who owns the New York Times?")] == ["New York Times"]
    assert graph.recognise("Where is it?") == {}


def test_rarer_names_weigh_more_and_the_weights_sum_to_one():
    mentions = {f"c{n}": ["Tom"] for n in range(9)} | {"c9": ["Tom", "Zenobia"]}
    graph = make_graph(mentions)

    weights = {graph.names[column]: weight for column, weight in graph.recognise("Tom and Zenobia").items()}

    assert weights["Zenobia"] > weights["Tom"] > 0.0
    assert sum(weights.values()) == pytest.approx(1.0)


def test_a_question_of_100_000_words_is_read_in_linear_time():
    graph = make_graph({"a": ["x"]}, names={"x": "Ada Lovelace"})

    assert len(graph.recognise("word " * 100_000 + "Ada Lovelace")) == 1


def test_the_best_of_a_walk_are_the_first_of_the_whole_walk_with_ties_by_id():
    graph = make_graph({name: ["x", name] for name in "abcdef"}, names={"x": "Ada Lovelace"})
    whole = graph.walk({"c": 1.0}, graph.recognise("Ada Lovelace"))

    for n_best in range(1, 8):
        best = graph.walk({"c": 1.0}, graph.recognise("Ada Lovelace"), n_best=n_best)
        assert list(best.scores.items()) == list(whole.scores.items())[:n_best]
        assert best.restarts == {one: whole.restarts[one] for one in best.scores}
    assert list(whole.scores) == ["c", "a", "b", "d", "e", "f"]  # the others tie
