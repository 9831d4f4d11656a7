"""Maximal marginal relevance against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.rerank.mmr import diversify


def naive(relevance, vectors, diversity):
    """The definition, candidate by candidate."""
    low, high = min(relevance), max(relevance)
    scaled = [(r - low) / (high - low) if high > low else 1.0 for r in relevance]
    left, taken = list(range(len(relevance))), []
    while left:

        def marginal(place):
            alike = [max(sum(a * b for a, b in zip(vectors[place], vectors[t], strict=True)), 0.0) for t in taken]
            return (1.0 - diversity) * scaled[place] - diversity * max(alike, default=0.0)

        best = max(left, key=lambda place: (marginal(place), -place))
        taken.append(best)
        left.remove(best)
    return taken


def test_a_repetition_falls_behind_a_less_relevant_hit_that_says_something_else():
    vectors_ND = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)

    order = diversify([1.0, 0.9, 0.0], vectors_ND, diversity=0.5)

    assert [place for place, _ in order] == [0, 2, 1]
    # .5 * 1; then .5 * 0 - .5 * 0 beats .5 * .9 - .5 * 1.
    assert [said for _, said in order] == pytest.approx([0.5, 0.0, -0.05])


@pytest.mark.parametrize("diversity", [0.0, 0.2, 0.7, 1.0])
def test_the_order_is_that_of_the_definition(diversity):
    rng = np.random.default_rng(1)
    vectors_ND = rng.normal(size=(12, 5)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    relevance = rng.normal(size=12).tolist()

    order = diversify(relevance, vectors_ND, diversity=diversity)

    assert [place for place, _ in order] == naive(relevance, vectors_ND.tolist(), diversity)


def test_without_diversity_the_order_is_that_of_relevance():
    order = diversify([0.1, 0.3, 0.2], np.ones((3, 1), dtype=np.float32), diversity=0.0)

    assert [place for place, _ in order] == [1, 2, 0]


def test_equal_relevance_and_no_candidates_are_no_trouble():
    assert [p for p, _ in diversify([2.0, 2.0], np.eye(2, dtype=np.float32), diversity=0.5)] == [0, 1]
    assert diversify([], np.empty((0, 3), dtype=np.float32), diversity=0.5) == []
