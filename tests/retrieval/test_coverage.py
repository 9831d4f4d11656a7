"""The order in which the first candidates hold together what a question names."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from kg.stores.record import open_record
from kg.testing.builders import make_delta
from retrieval.config import RetrievalConfig
from retrieval.coverage import order_by_coverage, standard_logs
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.types import Query


def order(base, holds, *, groups=None, strength=1.5, n_groups=5):
    holds_NT = np.array(holds, dtype=bool).reshape(len(base), -1)
    return order_by_coverage(
        np.array(base, dtype=float),
        holds_NT,
        groups=range(len(base)) if groups is None else groups,
        strength=strength,
        n_groups=n_groups,
    )


def naive_order(base, holds, *, groups, strength, n_groups):
    """Each round looks at every candidate of every group that is not taken yet."""
    n, n_terms = holds.shape
    counts = [sum(holds[i][t] for i in range(n)) for t in range(n_terms)]
    weights = [math.log(1 + (n - c + 0.5) / (c + 0.5)) if c else 0.0 for c in counts]
    covered, taken, leads = set(), [], []
    for number in range(n_groups):
        missing = sum(w for t, w in enumerate(weights) if t not in covered)
        if missing <= 0 or len(taken) == len(set(groups)):
            break
        rows = []
        for i in range(n):
            if groups[i] in taken:
                continue
            brought = sum(weights[t] for t in range(n_terms) if holds[i][t] and t not in covered) / missing
            rows.append((base[i] + (strength * brought if number else 0.0), i))
        first_of = {g: min(i for i in range(n) if groups[i] == g) for g in groups}
        best = max(rows, key=lambda row: (row[0], -first_of[groups[row[1]]]))
        group = groups[best[1]]
        taken.append(group)
        leads.append(first_of[group])
        covered |= {t for i in range(n) if groups[i] == group for t in range(n_terms) if holds[i][t]}
    return leads + [i for i in range(n) if i not in leads]


def test_the_candidate_that_brings_what_the_first_lacks_comes_second():
    # Two terms, each held by half of the four: the first holds one, so all that is missing is the other.
    found = order([3.0, 1.0, 0.9, 0.0], [[1, 0], [1, 0], [0, 1], [0, 1]])

    assert [place for place, _ in found] == [0, 2, 1, 3]
    assert found[1] == (2, 1.0)


def test_what_is_brought_weighs_against_how_good_a_candidate_is_by_itself():
    holds = [[1, 0], [1, 0], [0, 1], [0, 1]]

    assert [place for place, _ in order([3.0, 2.5, 0.9, 0.0], holds, strength=1.5)] == [0, 1, 2, 3]
    assert [place for place, _ in order([3.0, 2.5, 0.9, 0.0], holds, strength=2.0)] == [0, 2, 1, 3]


def test_a_rare_term_is_worth_more_than_a_common_one():
    # Of five, one holds the rare term and three the common: ln(1 + 4.5 / 1.5) against ln(1 + 2.5 / 3.5).
    found = order([2.0, 0.5, 0.5, 0.4, 0.3], [[0, 0], [1, 0], [0, 1], [1, 0], [1, 0]], n_groups=2)

    rare, common = math.log(4.0), math.log(1 + 2.5 / 3.5)
    assert found[1] == (2, pytest.approx(rare / (rare + common)))


def test_a_second_piece_of_a_page_brings_nothing_new_and_keeps_its_place_behind_the_chosen():
    found = order([3.0, 2.0, 1.0, 0.0], [[1, 0], [0, 1], [0, 1], [1, 1]], groups=["p1", "p1", "p2", "p3"])

    assert [place for place, _ in found] == [0, 1, 2, 3]  # the page holds both terms: nothing is missing any more


@pytest.mark.parametrize("seed", range(30))
def test_the_order_equals_the_naive_reference(seed):
    draw = random.Random(seed)
    n, n_terms = draw.randint(1, 12), draw.randint(0, 6)
    base = np.array(sorted((draw.uniform(-2, 2) for _ in range(n)), reverse=True))
    holds = np.array([[draw.random() < 0.4 for _ in range(n_terms)] for _ in range(n)]).reshape(n, n_terms)
    groups = [draw.randint(0, 6) for _ in range(n)]
    settings = {"groups": groups, "strength": draw.uniform(0, 3), "n_groups": draw.randint(0, 6)}

    found = [place for place, _ in order_by_coverage(base, holds, **settings)]

    assert found == naive_order(base, holds, **settings)
    assert sorted(found) == list(range(n))


def test_standard_logs_worked_by_hand():
    assert standard_logs([math.e**3, math.e]).tolist() == pytest.approx([1.0, -1.0])
    assert standard_logs([0.5, 0.5]).tolist() == [0.0, 0.0]
    assert standard_logs([]).tolist() == []


def test_the_engine_puts_the_other_half_of_a_question_second_and_says_so(tmp_path):
    store = open_record(tmp_path / "record.sqlite")
    for name, text in {
        "a.txt": "The Arden lighthouse stands in the north and was built of granite.",
        "b.txt": "The Arden lighthouse keeper lived in the north beside the granite tower.",
        "c.txt": "The Arden lighthouse granite came by ship to the north.",
        "d.txt": "Belmont is a hamlet whose chapel has a zinc roof.",
    }.items():
        store.apply(make_delta(text, name=name))
    question = Query(text="Was the Arden lighthouse of granite, and Belmont chapel's roof of zinc?")

    def names(coverage):
        config = RetrievalConfig(coverage=coverage)
        engine = RetrievalEngine(store, HashingTextEncoder(), config, tmp_path / "index")
        evidence, _ = engine.search(question, k=4, mode="mix")
        return [item.document.name for item in evidence], evidence

    covering, evidence = names(1.5)

    assert "d.txt" in covering[:2]
    put_forward = next(item for item in evidence[1:2])
    share = next(c for c in put_forward.contributions if c.retriever == "coverage")
    assert 0.0 < share.score <= 1.0
    assert share.rank == put_forward.rank == 2
    assert sorted(names(0.0)[0]) == sorted(covering)  # nothing is lost, nothing comes twice
    store.close()
