"""Coverage as a reranker: the second hit is the one that brings what the first lacks, in any mode."""

from __future__ import annotations

import pytest

from generation.testing import make_evidence
from retrieval.rerank.coverage import CoverageArranger
from retrieval.rerank.types import Arranger
from retrieval.types import Query

QUESTION = Query(text="Where was the director of Lone Harbour born?")
FILM = make_evidence("Lone Harbour is a film by the director Anna Reyes.", rank=1, name="a")
REVIEW = make_evidence("Lone Harbour, the film, was liked by critics of the harbour.", rank=2, name="b")
BIRTH = make_evidence("Anna Reyes was born in Quito.", rank=3, name="c")


def test_the_candidate_with_the_missing_word_follows_the_first():
    order = CoverageArranger().arrange(QUESTION, [FILM, REVIEW, BIRTH], [1.0, 0.2, -0.2])

    assert [place for place, _ in order] == [0, 2, 1]
    assert order[1][1] == 1.0  # "born" was all that was missing


def test_at_strength_zero_the_order_stays():
    order = CoverageArranger(strength=0.0).arrange(QUESTION, [FILM, REVIEW, BIRTH], [1.0, 0.2, -0.2])

    assert [place for place, _ in order] == [0, 1, 2]


def test_titles_and_headings_count_and_pieces_of_one_page_are_taken_together():
    page = make_evidence("It was founded there.", name="d.pdf", page=3, title="Lone Harbour")
    same = make_evidence("Its director came later.", name="d.pdf", page=3, start=50)
    order = CoverageArranger().arrange(QUESTION, [page, same, FILM, BIRTH], [1.0, 0.9, 0.8, -0.5])

    assert [place for place, _ in order][:2] == [0, 3]  # the page holds all but "born"


@pytest.mark.parametrize("query", [Query(image=b"x"), Query(text="which of what?")])
def test_a_question_that_names_nothing_leaves_the_order(query):
    order = CoverageArranger().arrange(query, [FILM, REVIEW], [1.0, 0.0])

    assert order == [(0, 0.0), (1, 0.0)]


def test_no_candidates_have_no_order():
    assert CoverageArranger().arrange(QUESTION, [], []) == []


def test_it_satisfies_the_port():
    assert isinstance(CoverageArranger(), Arranger)
