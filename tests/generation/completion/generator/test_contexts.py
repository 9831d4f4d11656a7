"""What a sequence model is shown of a graph: leaks first."""

import numpy as np
import pytest

from generation.completion.generator.contexts import (
    ARMS,
    LinkContexts,
    cut_at_word,
    drop_neighbours,
)
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

NAMES = ("Clementine", "Linda Darnell", "John Ford", "Stagecoach", "Western", "Henry Fonda")
RELATIONS = ("cast member", "director", "followed by", "genre")
TEXTS = ("a film", "an actress", "a man with a patch", "", "", "an actor")
TRAIN = [(0, 0, 1), (0, 0, 5), (0, 1, 2), (3, 2, 0), (3, 0, 5), (0, 3, 4), (3, 3, 4)]


def western(**options):
    return graph_of(TRAIN, entity_names=NAMES, relation_names=RELATIONS, entity_texts=TEXTS, **options)


def random_graph(rng, *, n_entities=8, n_relations=3, n_train=30):
    rows = np.stack([rng.integers(n, size=n_train + 10) for n in (n_entities, n_relations, n_entities)], axis=1)
    train = np.unique(rows[:n_train], axis=0)
    known = set(map(tuple, train.tolist()))
    test = [row for row in map(tuple, np.unique(rows[n_train:], axis=0).tolist()) if row not in known]
    return graph_of(
        train.tolist(),
        test=test,
        n_entities=n_entities,
        n_relations=n_relations,
        entity_names=tuple(f"name{i}" for i in range(n_entities)),
        relation_names=tuple(f"rel{i}" for i in range(n_relations)),
        entity_texts=tuple(f"text{i}" if i % 2 else "" for i in range(n_entities)),
    )


def shown_edges(prompt):
    """Read the edges back from a prompt: relation name, whether reversed, name of the other end."""
    lines = prompt.split("\n")[1:-1]
    edges = []
    for line in lines:
        relation, rest = line.split(": ", 1)
        if relation != "description":
            edges.append(
                (relation.removeprefix("reverse of "), relation.startswith("reverse of "), rest.split(" - ")[0])
            )
    return edges


@pytest.mark.parametrize("seed", range(25))
def test_no_prompt_of_a_train_question_shows_the_queried_edge_or_its_inverse(seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    contexts = LinkContexts(graph, arm=ARMS[seed % 4], max_neighbours=int(rng.integers(1, 40)), seed=seed)

    for head, relation, tail in graph.train.tolist():
        for anchor, asked, answer in ((head, relation, tail), (tail, relation + graph.n_relations, head)):
            prompt = contexts.prompt(anchor, asked, left_out=answer)
            edges = {(name, other) for name, _, other in shown_edges(prompt)}
            assert (f"rel{relation}", f"name{answer}") not in edges


@pytest.mark.parametrize("seed", range(25))
def test_every_edge_shown_is_in_train_and_held_out_ones_never_are(seed):
    rng = np.random.default_rng(100 + seed)
    graph = random_graph(rng)
    contexts = LinkContexts(graph, arm=ARMS[seed % 4], max_neighbours=50)
    train = set(map(tuple, graph.train.tolist()))
    n_shown = 0

    for head, relation, tail in graph.test.tolist():
        for anchor, asked in ((head, relation), (tail, relation + graph.n_relations)):
            for name, is_reversed, other in shown_edges(contexts.prompt(anchor, asked)):
                place, end = int(name.removeprefix("rel")), int(other.removeprefix("name"))
                triple = (end, place, anchor) if is_reversed else (anchor, place, end)
                assert triple in train
                assert triple != (head, relation, tail)
                n_shown += 1
    assert n_shown > 0


@pytest.mark.parametrize("seed", range(10))
def test_a_prompt_does_not_change_with_the_held_out_triples(seed):
    rng = np.random.default_rng(200 + seed)
    graph = random_graph(rng)
    train = graph.train.tolist()
    texts = {"entity_names": graph.entity_names, "entity_texts": graph.entity_texts, "n_entities": 8, "n_relations": 3}
    blind = LinkContexts(graph_of(train, relation_names=graph.relation_names, **texts))
    contexts = LinkContexts(graph)

    assert [contexts.prompt(a, r) for a in range(8) for r in range(6)] == [
        blind.prompt(a, r) for a in range(8) for r in range(6)
    ]


def test_the_template_holds_question_texts_and_links_in_both_directions():
    contexts = LinkContexts(western(), arm="both")

    assert contexts.prompt(0, 0, left_out=1) == (
        "query: Clementine | cast member\n"
        "description: a film\n"
        "cast member: Henry Fonda - an actor\n"  # the asked relation first: it shows what kind of answer is wanted
        "director: John Ford - a man with a patch\n"  # once in train, as is "followed by", which has the higher number
        "reverse of followed by: Stagecoach\n"
        "genre: Western\n"  # twice in train
        "cast member:"
    )


@pytest.mark.parametrize(
    ("arm", "own", "theirs"),
    [("none", False, False), ("own", True, False), ("neighbours", False, True), ("both", True, True)],
)
def test_arms_differ_in_texts_alone(arm, own, theirs):
    prompt = LinkContexts(western(), arm=arm).prompt(0, 1)

    assert ("description: a film" in prompt) is own
    assert (" - an actor" in prompt) is theirs
    assert [name for name, _, _ in shown_edges(prompt)] == [
        "director",
        "followed by",
        "genre",
        "cast member",
        "cast member",
    ]


def test_the_inverse_question_asks_for_heads():
    prompt = LinkContexts(western(), arm="none").prompt(
        4, 3 + 4, left_out=0
    )  # (?, genre, Western), Clementine left out

    assert prompt == "query: Western | reverse of genre\nreverse of genre: Stagecoach\nreverse of genre:"


def test_an_edge_of_the_same_relation_the_other_way_round_is_left_out_too_and_others_stay():
    graph = graph_of([(0, 0, 1), (1, 0, 0), (0, 1, 1), (0, 0, 2)])

    assert LinkContexts(graph).neighbours(0, 0, left_out=1) == [(0, 2), (1, 1)]
    assert LinkContexts(graph).neighbours(1, 0, left_out=0) == [(1 + 2, 0)]


def test_each_relation_gives_one_neighbour_before_any_gives_a_second():
    train = [(0, 0, end) for end in range(1, 7)] + [(0, 1, 7), (8, 1, 7)]
    relations = [relation for relation, _ in LinkContexts(graph_of(train), max_neighbours=4).neighbours(0, 1)]
    assert relations == [1, 0, 0, 0]

    asked_otherwise = LinkContexts(graph_of(train), max_neighbours=2).neighbours(0, 0)
    assert [relation for relation, _ in asked_otherwise] == [0, 1]


def test_the_order_within_a_relation_comes_from_the_seed_and_texts_come_first():
    train = [(0, 0, end) for end in range(1, 30)]
    texts = tuple("seen" if entity == 17 else "" for entity in range(30))
    graph = graph_of(train, entity_texts=texts)
    orders = [
        [end for _, end in LinkContexts(graph, max_neighbours=29, seed=seed).neighbours(0, 0)] for seed in (0, 0, 1)
    ]

    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] == orders[2][0] == 17
    assert sorted(orders[0]) == list(range(1, 30))
    assert orders[0] != sorted(orders[0])


def test_an_unseen_entity_is_asked_about_by_its_text_alone():
    graph = graph_of([(0, 0, 1)], n_entities=3, entity_names=("a", "b", "New"), entity_texts=("", "", "a new\nthing"))

    assert LinkContexts(graph).prompt(2, 0) == "query: New | r0\ndescription: a new thing\nr0:"


def test_reflexive_and_repeated_edges_are_shown_at_most_once():
    graph = graph_of([(0, 0, 0), (0, 0, 1), (0, 0, 1)])

    assert LinkContexts(graph).neighbours(0, 0) == [(0, 1)]
    assert LinkContexts(graph, max_neighbours=0).neighbours(0, 0) == []


def test_empty_names_fall_back_on_ids_and_homonyms_share_an_answer():
    graph = graph_of(
        [(0, 0, 1)], n_entities=4, entity_names=(" \t", "John_Cox", "John  Cox", "Jo\nhn"), relation_names=("",)
    )
    contexts = LinkContexts(graph)

    assert [contexts.answer(entity) for entity in range(4)] == ["e0", "John Cox", "John Cox", "Jo hn"]
    assert contexts.prompt(0, 1, left_out=1) == "query: e0 | reverse of r0\nreverse of r0:"


def test_texts_are_cut_between_words():
    assert cut_at_word("one two  three\nfour", max_words=3) == "one two three…"
    assert cut_at_word("one two three", max_words=3) == "one two three"
    assert cut_at_word("a" * 20 + " " + "b" * 20, max_words=3) == "a" * 20 + "…"  # 36 characters at most
    assert cut_at_word("字" * 30, max_words=2) == "字" * 24 + "…"
    assert cut_at_word("", max_words=2) == ""
    assert cut_at_word("word " * 100_000, max_words=2) == "word word…"


def test_a_prompt_is_shortened_from_its_least_informative_neighbour():
    prompt = LinkContexts(western(), arm="own").prompt(0, 1)

    shorter = drop_neighbours(prompt, n=4)
    assert shorter == "query: Clementine | director\ndescription: a film\ndirector: John Ford\ndirector:"
    assert drop_neighbours(prompt, n=99) == "query: Clementine | director\ndirector:"
    assert drop_neighbours(prompt, n=0) == prompt
    assert drop_neighbours("director:", n=1) == "director:"


def test_bad_arms_numbers_and_questions_are_refused():
    graph = western()
    with pytest.raises(CompletionError, match="no context arm 'all'. Use one of none, own, neighbours, both"):
        LinkContexts(graph, arm="all")
    with pytest.raises(CompletionError, match="max_neighbours must be 0 or more"):
        LinkContexts(graph, max_neighbours=-1)
    for anchor, relation in ((6, 0), (-1, 0), (0, 8)):
        with pytest.raises(CompletionError, match="no question"):
            LinkContexts(graph).prompt(anchor, relation)
