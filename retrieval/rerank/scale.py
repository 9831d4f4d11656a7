"""Bring scores of different origin to one scale, so that they can be weighed against each other.

Layer: ``retrieval``; NumPy and ``retrieval.types``.
Source: standard scores, as in :mod:`retrieval.fusion`.

Shape suffixes: N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kg.errors import RetrievalError
from retrieval.types import Evidence

__all__ = ["first_stage", "standard"]

_LEAST_SHARE = 1e-6
"""What stands for the logarithm's zero: a chunk that the walk never reached."""


def standard(scores: Sequence[float] | NDArray[np.float64], *, who: str) -> NDArray[np.float64]:
    """Return scores in units of their spread; scores that are all alike say nothing and become 0.

    :param scores: One a candidate, higher is better.
    :param who: Gave them, for the message.
    :returns: Mean 0, standard deviation 1, or all 0. *Shape:* ``(N,)``.
    :raises RetrievalError: If a score is not finite.
    """
    scores_N = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores_N).all():
        place = int(np.flatnonzero(~np.isfinite(scores_N))[0])
        raise RetrievalError(f"{who}: the score of candidate {place} is {scores_N[place]}. Check its model's weights.")
    if not len(scores_N):
        return scores_N
    spread = float(scores_N.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(scores_N).max())):
        return np.zeros_like(scores_N)
    standard_N: NDArray[np.float64] = (scores_N - scores_N.mean()) / spread
    return standard_N


def first_stage(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Return the standard scores of a search's candidates.

    The shares of a walk fall off like powers, so their logarithm is taken. Measured with ``coverage`` over 30
    candidates, Recall@2 with logarithms and with the shares as they are: multi-hop .800 and .750, chats .819 and .806,
    pages .444 and .452, charts .877 and .863.

    A search may rank candidates otherwise than by their scores (it puts forward what brings what the better ones lack):
    its order is its last word, so the scores are dealt out in it, the best to the first.

    :param evidence: Candidates, best first.
    :returns: Standard scores. *Shape:* ``(N,)``.
    """
    scores_N = np.array([item.score for item in evidence], dtype=np.float64)
    by_graph = any(one.retriever == "graph" for item in evidence for one in item.contributions)
    # What several searches found together has sums of standard scores, of which some are negative or the best is large.
    if by_graph and scores_N.min() >= 0.0 and scores_N.max() <= 1.0:
        scores_N = np.log(np.maximum(scores_N, _LEAST_SHARE))
    return np.sort(standard(scores_N, who="search"))[::-1]
