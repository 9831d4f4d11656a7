import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.completion.evaluator import RankMetrics, evaluate
from generation.completion.known import KnownEnds
from kg.errors import CompletionError
from tests.generation.completion.helpers import TableScorer, graph_of, naive_ranks

_INDEX = st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 5))


@settings(max_examples=60)
@given(triples=st.lists(_INDEX, min_size=4, max_size=24, unique=True), seed=st.integers(0, 1000))
def test_fast_ranks_equal_the_naive_ones_with_many_ties_and_known_answers(triples, seed):
    third = len(triples) // 3
    graph = graph_of(
        triples[: -third - 1],
        test=triples[-third - 1 : -1],
        filter_only=[triples[-1], triples[0]],
        n_entities=6,
        n_relations=2,
    )
    table = np.random.default_rng(seed).integers(0, 3, size=(6, 2, 6)).astype(np.float32)

    result = evaluate(TableScorer(table), graph, triples=graph.test, chunk_bytes=100)

    heads, tails = naive_ranks(table, graph, graph.test)
    np.testing.assert_array_equal(result.head_ranks, heads)
    np.testing.assert_array_equal(result.tail_ranks, tails)


def test_metrics_of_a_worked_example_are_as_by_hand():
    # (0, 0, 1) is asked. Tails score 0.1, 0.5, 0.9, 0.5, 0.7; 2 is a known tail from train and 4 from the broken file,
    # so only entity 3 is left beside the target and ties with it: rank (1 + 2) / 2. Heads: entity 4 scores above 0.
    graph = graph_of([(0, 0, 2), (3, 0, 3)], test=[(0, 0, 1)], filter_only=[(0, 0, 4)], n_entities=5)
    table = np.zeros((5, 1, 5), dtype=np.float32)
    table[0, 0] = [0.1, 0.5, 0.9, 0.5, 0.7]
    table[:, 0, 1] = [0.5, 0.0, 0.0, 0.0, 0.8]

    result = evaluate(TableScorer(table), graph, triples=graph.test).to_mapping()

    assert result["tail"] == pytest.approx({"mrr": 1 / 1.5, "hits@1": 0.0, "hits@3": 1.0, "hits@10": 1.0, "n": 1})
    assert result["head"] == pytest.approx({"mrr": 0.5, "hits@1": 0.0, "hits@3": 1.0, "hits@10": 1.0, "n": 1})
    assert result["mrr"] == pytest.approx((1 / 1.5 + 0.5) / 2)
    assert result["n"] == 1
    assert result["unseen"]["n"] == 2  # entity 1 is not in train: its triple is ranked, in both directions


def test_a_constant_scorer_comes_out_at_chance():
    graph = graph_of([(0, 0, 1)], test=[(2, 0, 3), (4, 0, 5)], n_entities=101)
    table = np.zeros((101, 1, 101), dtype=np.float32)

    result = evaluate(TableScorer(table), graph, triples=graph.test)

    np.testing.assert_array_equal(result.tail_ranks, [51.0, 51.0])  # the middle of 101 places
    assert result.both.hits_10 == 0.0


def test_scores_that_are_not_numbers_are_refused_and_not_ranked():
    graph = graph_of([(0, 0, 1)], test=[(1, 0, 2)])
    table = np.full((3, 1, 3), np.nan, dtype=np.float32)

    with pytest.raises(CompletionError, match="not numbers"):
        evaluate(TableScorer(table), graph, triples=graph.test)


def test_chunks_of_any_size_give_the_same_ranks():
    rng = np.random.default_rng(1)
    graph = graph_of([(0, 0, 1), (2, 0, 3)], test=[(4, 0, 5), (1, 0, 3), (5, 0, 0)], n_entities=6)
    scorer = TableScorer(rng.normal(size=(6, 1, 6)))

    one = evaluate(scorer, graph, triples=graph.test, chunk_bytes=1)
    whole = evaluate(scorer, graph, triples=graph.test)

    np.testing.assert_array_equal(one.head_ranks, whole.head_ranks)
    np.testing.assert_array_equal(one.tail_ranks, whole.tail_ranks)


def test_known_ends_are_found_in_both_directions_and_repeats_count_once():
    rows = np.array([[0, 0, 3], [0, 0, 1], [0, 0, 3], [2, 1, 3]])
    known = KnownEnds.build(rows, n_relations=2)

    assert known.answers(0, 0).tolist() == [1, 3]
    assert known.answers(3, 0 + 2).tolist() == [0]
    assert known.answers(3, 1 + 2).tolist() == [2]
    assert known.answers(4, 1).tolist() == []
    asked, ends = known.of(np.array([3, 5, 0]), np.array([3, 0, 0]))
    assert asked.tolist() == [0, 2, 2]
    assert ends.tolist() == [2, 1, 3]


def test_no_triples_give_zeros_and_not_a_crash():
    assert RankMetrics.of(np.empty(0)).to_mapping() == {"mrr": 0, "hits@1": 0, "hits@3": 0, "hits@10": 0, "n": 0}
    assert KnownEnds.build(np.empty((0, 3), dtype=np.int64), n_relations=1).answers(0, 0).tolist() == []


def test_scores_over_another_number_of_entities_are_refused_as_those_of_another_graph():
    graph = graph_of([(0, 0, 1)], test=[(1, 0, 2)])

    with pytest.raises(CompletionError, match=r"shape \(1, 4\) for 1 questions over the 3 entities of 'tiny'"):
        evaluate(TableScorer(np.zeros((4, 1, 4))), graph, triples=graph.test)


def test_a_graph_of_one_entity_has_one_place_to_rank():
    graph = graph_of([(0, 0, 0)], test=[(0, 1, 0)], n_entities=1, n_relations=2)

    result = evaluate(TableScorer(np.zeros((1, 2, 1))), graph, triples=graph.test)

    assert result.mrr == 1.0
    assert result.head_ranks.tolist() == result.tail_ranks.tolist() == [1.0]


def test_a_reflexive_triple_ranks_its_entity_among_all_and_a_triple_asked_twice_counts_twice():
    graph = graph_of([(0, 0, 1)], test=[(2, 0, 2)], n_entities=4)
    table = np.zeros((4, 1, 4), dtype=np.float32)
    table[2, 0] = [0.0, 3.0, 1.0, 2.0]  # tails of 2: entity 2 is third
    table[:, 0, 2] = [0.0, 0.0, 1.0, 0.0]  # heads of 2: entity 2 is first

    result = evaluate(TableScorer(table), graph, triples=np.repeat(graph.test, 2, axis=0))

    assert result.tail_ranks.tolist() == [3.0, 3.0]
    assert result.head_ranks.tolist() == [1.0, 1.0]
    assert result.both.n == 4


def test_infinite_scores_are_ranked_as_the_numbers_they_are():
    graph = graph_of([(0, 0, 1)], test=[(1, 0, 2)], n_entities=4)
    table = np.full((4, 1, 4), -np.inf, dtype=np.float32)
    table[1, 0, 0] = np.inf

    result = evaluate(TableScorer(table), graph, triples=graph.test)

    assert result.tail_ranks.tolist() == [3.0]  # one above, two beside: 1 + 1 + 2 / 2


def test_progress_tells_of_every_triple_once():
    graph = graph_of([(0, 0, 1)], test=[(1, 0, 2), (2, 0, 0), (0, 0, 2)])
    told = []

    evaluate(TableScorer(np.zeros((3, 1, 3))), graph, triples=graph.test, chunk_bytes=1, on_progress=told.append)

    assert told == [1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_a_constant_scorer_stays_near_chance_on_a_graph_with_many_known_answers(seed):
    rng = np.random.default_rng(seed)
    rows = sorted({tuple(row) for row in rng.integers(0, [80, 2, 80], size=(2000, 3)).tolist()})
    rows = [rows[place] for place in rng.permutation(len(rows))]
    graph = graph_of(rows[:-100], test=rows[-100:], n_entities=80, n_relations=2)

    result = evaluate(TableScorer(np.zeros((80, 2, 80))), graph, triples=graph.test)

    # Of 80 entities about 13 are other known answers, so the target's place is near the middle of the 67 left.
    chance = 2 / (80 - (len(rows) / 80 / 2) + 1)
    assert result.mrr == pytest.approx(chance, rel=0.1)
    assert result.both.hits_10 == 0.0
