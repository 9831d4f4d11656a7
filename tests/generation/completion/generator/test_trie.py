"""The prefix trie over names and the beam that is held to it."""

import math

import numpy as np
import pytest
import torch

from generation.completion.generator.contexts import LinkContexts
from generation.completion.generator.loading import open_sequence_model
from generation.completion.generator.scoring import LocalScorer
from generation.completion.generator.trie import AnswerTrie, beam_search
from kg.errors import CompletionError
from tests.generation.completion.generator.tiny_models import make_llama, make_t5
from tests.generation.completion.helpers import graph_of

PROMPT = "query: film | director\ncast member: Linda Darnell\ndirector:"
NAMES = ("John Ford", "John", "Linda Darnell", "John Ford", "Johnny Cox", "字", "", "Linda")


class Bigram:
    """A model whose every token depends on the one before it alone; token 9 ends a name."""

    name = fingerprint = "bigram"
    context_tokens = 100

    def __init__(self, chances):
        self.logs = torch.full((10, 10), -math.inf)
        for (before, token), chance in chances.items():
            self.logs[before, token] = math.log(chance)

    def prompt_ids(self, prompt):
        return [0]

    def answer_ids(self, answer):
        return [*map(int, answer), 9]

    def read(self, prompt_ids):
        return prompt_ids[-1]

    def log_probabilities(self, read, rows):
        longest = max(map(len, rows))
        padded = [[read, *row, *[0] * (longest - len(row))] for row in rows]
        return self.logs[torch.tensor(padded)]


#  0 begins: 1 with 0.6, 2 with 0.4.  After 1: 3 or 4, 0.5 each.  After 2, 3, 4: the end.
CHANCES = {
    (0, 1): 0.6,
    (0, 2): 0.4,
    (1, 3): 0.5,
    (1, 4): 0.5,
    (2, 9): 1.0,
    (3, 9): 1.0,
    (4, 9): 0.2,
    (4, 5): 0.8,
    (5, 9): 1.0,
}


def trie_of(*names):
    return AnswerTrie([[*map(int, name), 9] for name in names])


def found(beams):
    return [(beam.entities, round(math.exp(beam.log_probability), 6)) for beam in beams]


def test_the_beam_writes_the_most_probable_names_and_no_others():
    model, trie = Bigram(CHANCES), trie_of("13", "2", "14", "145")

    # By hand: 13 = 0.6 * 0.5, 2 = 0.4, 14 = 0.6 * 0.5 * 0.2, 145 = 0.6 * 0.5 * 0.8.
    assert found(beam_search(model, "", trie, width=4)) == [((1,), 0.4), ((0,), 0.3), ((3,), 0.24), ((2,), 0.06)]
    assert found(beam_search(model, "", trie, width=4, n_most=2)) == [((1,), 0.4), ((0,), 0.3)]


def test_a_narrow_beam_may_lose_a_name_whose_beginning_is_improbable_and_says_nothing_wrong():
    # The greedy beginning is 1 (0.6), which leads to 13 and 14 alone: 2 (0.4) is lost.
    assert found(beam_search(Bigram(CHANCES), "", trie_of("13", "2", "14"), width=1)) == [((0,), 0.3)]


def test_names_written_alike_share_a_leaf_with_all_their_ids():
    trie = trie_of("13", "2", "13")

    assert found(beam_search(Bigram(CHANCES), "", trie)) == [((1,), 0.4), ((0, 2), 0.3)]


def test_a_name_that_begins_another_is_found_beside_it_even_without_an_end_token():
    trie = AnswerTrie([[1], [1, 3], [2]])

    assert trie.ended(trie.root) == ()
    tokens, nodes = trie.children(trie.root)
    assert tokens.tolist() == [1, 2]
    assert [trie.ended(node) for node in nodes] == [(0,), (2,)]
    assert found(beam_search(Bigram(CHANCES), "", trie)) == [((0,), 0.6), ((2,), 0.4), ((1,), 0.3)]


def test_the_trie_holds_every_name_once_and_walks_to_each(tmp_path):
    rng = np.random.default_rng(0)
    names = [[*rng.integers(3, size=rng.integers(1, 6)).tolist(), 9] for _ in range(200)]
    trie = AnswerTrie(names)

    reached, stack = {}, [trie.root]
    while stack:
        node = stack.pop()
        if trie.ended(node):
            reached[tuple(trie.tokens_to(node))] = trie.ended(node)
        stack += trie.children(node)[1]
    expected = {}
    for entity, name in enumerate(names):
        expected[tuple(name)] = (*expected.get(tuple(name), ()), entity)
    assert reached == expected


@pytest.mark.parametrize("make", [make_llama, make_t5])
def test_a_wide_beam_ranks_all_names_as_scoring_each_of_them_does(make, tmp_path):
    model = open_sequence_model(make(tmp_path / "model"), device="cpu")
    contexts = LinkContexts(graph_of([(0, 0, 1)], n_entities=8, entity_names=NAMES))
    answers = [contexts.answer(entity) for entity in range(8)]
    scores = LocalScorer(model).score(PROMPT, answers).log_probabilities

    beams = beam_search(model, PROMPT, AnswerTrie.of(model, contexts), width=20, n_most=20)

    assert sorted(entity for beam in beams for entity in beam.entities) == list(range(8))
    assert (0, 3) in [beam.entities for beam in beams]
    for beam in beams:
        for entity in beam.entities:
            assert beam.log_probability == pytest.approx(scores[entity], abs=2e-4)
    assert [beam.log_probability for beam in beams] == sorted((beam.log_probability for beam in beams), reverse=True)


def test_names_the_model_cannot_write_are_not_found_and_bad_numbers_are_refused():
    assert beam_search(Bigram(CHANCES), "", trie_of("7", "2"))[0].entities == (1,)
    assert len(beam_search(Bigram(CHANCES), "", trie_of("7", "2"))) == 1
    with pytest.raises(CompletionError, match="at least one entity"):
        AnswerTrie([])
    with pytest.raises(CompletionError, match="width and n_most must be at least 1"):
        beam_search(Bigram(CHANCES), "", trie_of("1"), width=0)
    broken = Bigram(CHANCES)
    broken.logs[0, 1] = math.nan
    with pytest.raises(CompletionError, match="not numbers"):
        beam_search(broken, "", trie_of("13"))
