"""Listwise reranking: windows from the worst to the best, and replies that are repaired."""

from __future__ import annotations

import re

import pytest

from generation.testing import make_evidence
from kg.errors import ConfigError
from retrieval.rerank.listwise import ListwiseArranger, repaired_permutation
from retrieval.rerank.types import Arranger, ChatModel
from retrieval.types import Query

QUERY = Query(text="Which is the largest number?")


class Sorter:
    """A model that sorts the passages it is shown by the number that they hold, the largest first."""

    name = "sorter"
    context_tokens = 10_000

    def __init__(self):
        self.shown = []

    def count_tokens(self, text):
        return len(text.split())

    def reply(self, prompt, *, max_new_tokens):
        rows = [(int(number), int(said)) for number, said in re.findall(r"\[(\d+)\] +value (\d+)", prompt)]
        self.shown.append([said for _, said in rows])
        return " > ".join(f"[{number}]" for number, _ in sorted(rows, key=lambda row: -row[1]))


class Silent(Sorter):
    """A model that says nothing of use."""

    def reply(self, prompt, *, max_new_tokens):
        return "I cannot rank these, sorry."


def numbers(*values):
    return [make_evidence(f"value {value}", rank=rank, name=str(value)) for rank, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("[2] > [1] > [3]", [1, 0, 2]),
        ("[3]>[3]>[1]", [2, 0, 1]),  # repeated and forgotten
        ("[9] > [2] > [0]", [1, 0, 2]),  # invented
        ("3, 1, 2", [2, 0, 1]),  # without brackets
        ("The best are [2] and [3].", [1, 2, 0]),
        ("no idea", [0, 1, 2]),
        ("", [0, 1, 2]),
    ],
)
def test_a_reply_becomes_a_permutation_whatever_it_is(reply, expected):
    assert repaired_permutation(reply, 3) == expected


def test_the_best_candidate_rises_from_the_last_window_to_the_top():
    model = Sorter()

    order = ListwiseArranger(model, window=4, step=2).arrange(QUERY, numbers(1, 2, 3, 4, 5, 6, 7, 9), [0.0] * 8)

    assert order[0] == (7, 1.0)
    assert [len(shown) for shown in model.shown] == [4, 4, 4]
    assert model.shown[0] == [5, 6, 7, 9]
    assert model.shown[1] == [3, 4, 9, 7]
    assert model.shown[2] == [1, 2, 9, 7]
    assert sorted(place for place, _ in order) == list(range(8))


def test_one_window_sorts_a_short_list_whole():
    order = ListwiseArranger(Sorter()).arrange(QUERY, numbers(3, 9, 6), [0.0] * 3)

    assert order == [(1, 1.0), (2, 1 / 2), (0, 1 / 3)]


def test_a_model_that_says_nothing_changes_and_loses_nothing():
    order = ListwiseArranger(Silent(), window=4, step=2).arrange(QUERY, numbers(*range(11)), [0.0] * 11)

    assert [place for place, _ in order] == list(range(11))


def test_one_candidate_and_none_ask_no_model():
    model = Sorter()

    assert ListwiseArranger(model).arrange(QUERY, numbers(3), [0.0]) == [(0, 1.0)]
    assert ListwiseArranger(model).arrange(QUERY, [], []) == []
    assert model.shown == []


def test_a_small_context_makes_the_window_smaller_and_cuts_the_passages():
    model = Sorter()
    model.context_tokens = 200
    long = [make_evidence(f"value {n} " + "word " * 400, name=str(n)) for n in range(8)]

    order = ListwiseArranger(model).arrange(QUERY, long, [0.0] * 8)

    assert sorted(place for place, _ in order) == list(range(8))
    assert max(len(shown) for shown in model.shown) < 8


@pytest.mark.parametrize(("window", "step"), [(1, 1), (4, 0), (4, 5)])
def test_a_window_that_cannot_slide_is_refused(window, step):
    with pytest.raises(ConfigError, match="window"):
        ListwiseArranger(Sorter(), window=window, step=step)


def test_it_satisfies_the_ports():
    assert isinstance(ListwiseArranger(Sorter()), Arranger)
    assert isinstance(Sorter(), ChatModel)
