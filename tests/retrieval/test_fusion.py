"""Fusion by rank and by standard scores, by hand and against naive references."""

from __future__ import annotations

import random
import statistics

import pytest

from kg.errors import FusionError
from retrieval.config import RetrievalConfig
from retrieval.fusion import ScoredPool, fuse_reciprocal_rank, fuse_standard_scores


def naive_standard_scores(pools, *, pool_size):
    """Fuse in plain Python, item by item, from the definition."""
    items = {item for pairs, _, _ in pools.values() for item, _ in pairs}
    totals = dict.fromkeys(items, 0.0)
    for pairs, weight, absent in pools.values():
        best = sorted((score for _, score in pairs), reverse=True)[:pool_size]
        missing = best[-1] if absent is None or len(best) == pool_size else absent
        scale = best + ([] if absent is None else [absent] * (pool_size - len(best)))
        mean, spread = statistics.fmean(scale), statistics.pstdev(scale)
        for item in items:
            score = dict(pairs).get(item, missing)
            totals[item] += weight * (score - mean) / spread
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))


def test_item_found_by_both_retrievers_outranks_items_found_by_one():
    hits = fuse_reciprocal_rank([["a", "b"], ["b", "c"]], k=60.0)

    assert [hit.item_id for hit in hits] == ["b", "a", "c"]
    assert hits[0].score == pytest.approx(1 / 62 + 1 / 61)  # ranks 2 and 1, by hand
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_ties_go_by_id_and_the_limit_cuts_after_sorting():
    hits = fuse_reciprocal_rank([["z"], ["y"], ["x"]], limit=2)

    assert [hit.item_id for hit in hits] == ["x", "y"]


def test_reciprocal_rank_refuses_a_repeated_item_and_says_where():
    with pytest.raises(FusionError, match=r"rankings\[1\] holds 'a' twice \(again at rank 3\)"):
        fuse_reciprocal_rank([["a"], ["a", "b", "a"]])


def test_reciprocal_rank_refuses_a_k_that_is_not_positive():
    with pytest.raises(FusionError, match="positive"):
        fuse_reciprocal_rank([["a"]], k=0.0)


def test_no_rankings_fuse_to_nothing():
    assert fuse_reciprocal_rank([]) == []
    assert fuse_standard_scores({}, pool_size=5) == []


def test_standard_scores_worked_by_hand():
    # dense: 3 and 1, mean 2, std 1: a +1, b -1. bm25: 4 and, as b shares no term, 0; mean 2, std 2: a +1, b -1.
    fused = fuse_standard_scores(
        {
            "dense": ScoredPool(pairs=[("a", 3.0), ("b", 1.0)], weight=0.5),
            "bm25": ScoredPool(pairs=[("a", 4.0)], weight=2.0, absent_score=0.0),
        },
        pool_size=2,
    )

    assert [item.item_id for item in fused] == ["a", "b"]
    assert fused[0].parts == pytest.approx({"dense": 0.5, "bm25": 2.0})
    assert fused[1].score == pytest.approx(-2.5)


def test_trust_scales_what_a_retriever_says_of_an_item():
    pools = {
        "dense": ScoredPool(pairs=[("a", 3.0), ("b", 1.0)], weight=0.5),
        "bm25": ScoredPool(pairs=[("a", 4.0), ("b", 0.0)], weight=0.5),
    }
    config = RetrievalConfig()  # .7 of both weights to the vectors: .5 becomes .7 and .5 becomes .3

    fused = fuse_standard_scores(
        pools, pool_size=2, trust=lambda item, name: config.trust(name, is_read_off=item == "b")
    )

    assert fused[0].parts == pytest.approx({"dense": 0.5, "bm25": 0.5})
    assert fused[1].parts == pytest.approx({"dense": -0.7, "bm25": -0.3})


def test_a_towering_score_beats_a_plateau_though_the_ranks_are_the_same():
    tower = [("x", 30.0), *((f"f{n}", 1.0 + n / 100) for n in range(20))]
    plateau = [("y", 0.60), *((f"f{n}", 0.59 - n / 1000) for n in range(20))]
    pools = {"bm25": ScoredPool(pairs=tower), "dense": ScoredPool(pairs=plateau)}

    assert fuse_standard_scores(pools, pool_size=21)[0].item_id == "x"
    assert fuse_standard_scores({"bm25": pools["dense"], "dense": pools["bm25"]}, pool_size=21)[0].item_id == "x"


def test_standard_scores_equal_the_naive_reference_on_random_pools():
    draw = random.Random(3)
    for _ in range(100):
        pool_size = draw.randint(2, 12)
        pools = {}
        for name, absent in (("dense", None), ("bm25", 0.0)):
            items = draw.sample([f"i{n:02d}" for n in range(15)], pool_size if absent is None else draw.randint(1, 12))
            pairs = [(item, draw.uniform(0.1, 9.0)) for item in items]
            pairs = sorted(pairs, key=lambda pair: -pair[1])[:pool_size]
            pools[name] = (pairs, draw.uniform(0.1, 2.0), absent)
        expected = naive_standard_scores(pools, pool_size=pool_size)
        found = fuse_standard_scores(
            {
                name: ScoredPool(pairs=pairs, weight=w, absent_score=absent)
                for name, (pairs, w, absent) in pools.items()
            },
            pool_size=pool_size,
        )

        assert {item.item_id: item.score for item in found} == pytest.approx(dict(expected))
        assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


def test_scaling_or_shifting_one_retrievers_scores_changes_nothing():
    base = [("a", 3.0), ("b", 2.0), ("c", 0.5)]
    other = [("b", 9.0), ("c", 7.0), ("a", 1.0)]
    moved = [(item, 100.0 * score - 7.0) for item, score in base]

    def fused(pairs):
        pools = {"dense": ScoredPool(pairs=pairs), "bm25": ScoredPool(pairs=other)}
        return {item.item_id: item.score for item in fuse_standard_scores(pools, pool_size=3)}

    assert fused(moved) == pytest.approx(fused(base))


def test_a_retriever_whose_scores_are_all_alike_says_nothing():
    pools = {
        "dense": ScoredPool(pairs=[("a", 0.5), ("b", 0.5)]),
        "bm25": ScoredPool(pairs=[("b", 1.0)], absent_score=0.0),
    }
    fused = fuse_standard_scores(pools, pool_size=2)

    assert [item.item_id for item in fused] == ["b", "a"]
    assert fused[0].parts["dense"] == 0.0


@pytest.mark.parametrize("pairs", [[("a", 1.0), ("a", 2.0)], [("a", float("nan")), ("b", 1.0)]])
def test_a_pool_with_a_repeated_item_or_a_broken_score_is_refused(pairs):
    with pytest.raises(FusionError, match="'dense'"):
        fuse_standard_scores({"dense": ScoredPool(pairs=pairs)}, pool_size=2)


def test_a_pool_size_below_one_is_refused():
    with pytest.raises(FusionError, match="at least 1"):
        fuse_standard_scores({}, pool_size=0)
