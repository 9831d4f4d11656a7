"""Diversity: a hit that says what a better one said already is put back.

Layer: ``retrieval``; NumPy only.
Source: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), with ``diversity = 1 - lambda``.

Shape suffixes: N candidates, D vector width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["diversify"]


def diversify(
    relevance: Sequence[float] | NDArray[np.float64], vectors_ND: NDArray[np.float32], *, diversity: float
) -> list[tuple[int, float]]:
    """Order candidates greedily by ``(1 - diversity) * relevance - diversity * max cosine with those taken``.

    Relevance is brought to ``[0, 1]`` over the candidates first, so that the two are of one size whatever search gave
    it; a cosine below 0 counts 0.

    :param relevance: One finite score a candidate, higher is better.
    :param vectors_ND: Unit vectors of the candidates; a row of zeros is like nothing. *Shape:* ``(N, D)``.
    :param diversity: In ``[0, 1]``; at 0 the order is that of relevance.
    :returns: Each place once, in the new order, with its marginal relevance; ties go by place.
    """
    relevance_N = np.asarray(relevance, dtype=np.float64)
    if not len(relevance_N):
        return []
    spread = float(np.ptp(relevance_N))
    relevance_N = (relevance_N - relevance_N.min()) / spread if spread > 0.0 else np.ones_like(relevance_N)
    alike_NN = np.clip(vectors_ND.astype(np.float64) @ vectors_ND.T.astype(np.float64), 0.0, None)
    nearest_N = np.zeros(len(relevance_N))
    is_left_N = np.ones(len(relevance_N), dtype=bool)
    order: list[tuple[int, float]] = []
    for _ in range(len(relevance_N)):
        marginal_N = (1.0 - diversity) * relevance_N - diversity * nearest_N
        place = int(np.argmax(np.where(is_left_N, marginal_N, -np.inf)))
        order.append((place, float(marginal_N[place])))
        is_left_N[place] = False
        nearest_N = np.maximum(nearest_N, alike_NN[place])
    return order
