"""Ranking measures, by hand and against an independent reference."""

from __future__ import annotations

import math
import random

import pytest

from kg.errors import InputError
from retrieval.metrics import (
    METRIC_NAMES,
    all_gold_at,
    evaluate,
    hit_at,
    mean_metrics,
    ndcg_at,
    recall_at,
    reciprocal_rank,
    wrong_modality_at,
)

RANKING = ["a", "b", "c", "d", "e"]
GOLD = frozenset({"b", "e", "z"})


def naive(ranking, gold):
    """Score by building the 0/1 list of relevance and reading each measure off its textbook definition."""
    relevance = [1 if item in set(gold) else 0 for item in ranking]
    n_gold = len(set(gold))

    def dcg(values):
        return sum(value / math.log2(place + 2) for place, value in enumerate(values[:10]))

    first = relevance.index(1) + 1 if 1 in relevance else None
    return {
        "recall@1": sum(relevance[:1]) / n_gold,
        "recall@2": sum(relevance[:2]) / n_gold,
        "recall@5": sum(relevance[:5]) / n_gold,
        "recall@10": sum(relevance[:10]) / n_gold,
        "hit@5": 1.0 if sum(relevance[:5]) else 0.0,
        "mrr": 1 / first if first else 0.0,
        "ndcg@10": dcg(relevance) / dcg([1] * n_gold),
        "all_gold@8": 1.0 if sum(relevance[:8]) == n_gold else 0.0,
    }


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 1 / 3), (4, 1 / 3), (5, 2 / 3), (100, 2 / 3)])
def test_recall_is_the_share_of_gold_in_the_first_k(k, expected):
    assert recall_at(RANKING, GOLD, k=k) == pytest.approx(expected)


def test_mrr_is_one_over_the_rank_of_the_first_gold_item():
    assert reciprocal_rank(RANKING, GOLD) == 1 / 2
    assert reciprocal_rank(RANKING, frozenset({"z"})) == 0.0


def test_ndcg_divides_the_discounted_gain_by_the_best_possible_one():
    gained = 1 / math.log2(3) + 1 / math.log2(6)  # gold at ranks 2 and 5
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)  # three gold items at ranks 1, 2, 3
    assert ndcg_at(RANKING, GOLD, k=10) == pytest.approx(gained / best)
    assert ndcg_at(RANKING, GOLD, k=1) == 0.0
    assert ndcg_at(["b", "e", "z"], GOLD, k=10) == pytest.approx(1.0)


def test_all_gold_needs_every_gold_item_and_hit_needs_one():
    assert all_gold_at(RANKING, frozenset({"b", "e"}), k=5) == 1.0
    assert all_gold_at(RANKING, frozenset({"b", "e"}), k=4) == 0.0
    assert hit_at(RANKING, GOLD, k=2) == 1.0
    assert hit_at(RANKING, GOLD, k=1) == 0.0


def test_every_measure_equals_the_naive_reference_on_random_rankings():
    draw = random.Random(7)
    for _ in range(200):
        items = [f"i{n}" for n in range(draw.randint(1, 15))]
        draw.shuffle(items)
        gold = draw.sample([f"i{n}" for n in range(18)], draw.randint(1, 12))

        assert evaluate(items, gold) == pytest.approx(naive(items, gold))


def test_evaluate_reports_the_measures_in_the_order_of_their_names():
    assert tuple(evaluate(RANKING, GOLD)) == METRIC_NAMES


def test_mean_is_taken_measure_by_measure():
    assert mean_metrics([{"mrr": 1.0, "hit@5": 0.0}, {"mrr": 0.5, "hit@5": 1.0}]) == {"mrr": 0.75, "hit@5": 0.5}
    assert mean_metrics([]) == dict.fromkeys(METRIC_NAMES, 0.0)


def test_rows_of_different_measures_are_not_averaged():
    with pytest.raises(InputError, match="different measures"):
        mean_metrics([{"mrr": 1.0}, {"hit@5": 1.0}])


@pytest.mark.parametrize(
    ("ranking", "gold", "k", "message"),
    [
        (RANKING, GOLD, 0, "at least 1"),
        (RANKING, frozenset(), 1, "gold is empty"),
        (["a", "a"], GOLD, 1, "twice"),
    ],
)
def test_what_cannot_be_scored_is_refused(ranking, gold, k, message):
    with pytest.raises(InputError, match=message):
        recall_at(ranking, gold, k=k)


def test_wrong_modality_is_the_share_of_the_first_hits_of_another_kind():
    kinds = ["text", "chart", "text", "table", "chart", "text"]

    assert wrong_modality_at(kinds, {"chart"}, k=1) == 1.0
    assert wrong_modality_at(kinds, {"chart"}, k=2) == 0.5
    assert wrong_modality_at(kinds, {"chart"}, k=5) == pytest.approx(3 / 5)
    assert wrong_modality_at(kinds, {"chart", "text"}, k=5) == pytest.approx(1 / 5)
    assert wrong_modality_at(kinds, {"chart"}, k=50) == pytest.approx(4 / 6)  # over the hits that there are
    assert wrong_modality_at([], {"chart"}, k=5) == 0.0
    assert wrong_modality_at(kinds, {"page"}, k=5) == 1.0


@pytest.mark.parametrize(("gold", "k"), [(set(), 5), ({"chart"}, 0)])
def test_wrong_modality_refuses_what_cannot_be_scored(gold, k):
    with pytest.raises(InputError):
        wrong_modality_at(["text"], gold, k=k)
