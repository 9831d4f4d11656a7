"""Order the best candidates so that together they hold what the question names.

Layer: ``retrieval``; imports NumPy. It needs no model.
Source: choosing by what is not covered yet is the greedy maximisation of a coverage function (Lin and Bilmes, ACL 2011,
"A Class of Submodular Functions for Document Summarization", section 3).

Why. A question that needs two passages names both halves, and the second passage is rarely as near to the whole
question as the neighbours of the first. Once the first is taken, the words that it lacks say what is missing.

Shape suffixes: N candidates, T terms of the question.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["order_by_coverage", "standard_logs"]


def standard_logs(scores: Sequence[float]) -> NDArray[np.float64]:
    """Return the logarithms of positive scores in units of their spread, with mean 0; all 0 where they are alike."""
    logs_N = np.log(np.array(scores, dtype=np.float64))
    spread = float(logs_N.std()) if len(logs_N) else 0.0
    return (logs_N - logs_N.mean()) / spread if spread > 1e-12 else np.zeros(len(logs_N))


def order_by_coverage(
    base_N: NDArray[np.float64],
    holds_NT: NDArray[np.bool_],
    *,
    groups: Sequence[Hashable],
    strength: float,
    n_groups: int,
) -> list[tuple[int, float]]:
    """Put first the best candidate, then, one after another, the one that is good and brings what is missing.

    Candidates of one group (the pieces of a page) are taken together: the group leads with its best, and what any of
    its candidates holds is missing no more. A group's worth is that of its best candidate,
    ``base + strength * (weight of the missing terms that it holds) / (weight of all missing terms)``. A term that ``n``
    of the ``N`` candidates hold weighs ``ln(1 + (N - n + 0.5) / (n + 0.5))``, as in BM25, and one that none holds 0.

    :param base_N: What each candidate is worth by itself, in standard deviations, best first.
    :param holds_NT: Whether each candidate holds each term. *Shape:* ``(N, T)``.
    :param groups: The group of each candidate.
    :param strength: What bringing all that is missing counts beside one standard deviation of ``base``, >= 0.
    :param n_groups: How many groups are chosen so, >= 0; what is left keeps its order.
    :returns: Each candidate's place once, in the new order, with the share of what was missing that it brought; 0 for
        the first and for those that were not chosen.
    """
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    left = list(members.values())
    n_holding_T = holds_NT.sum(axis=0)
    missing_T = np.log1p((len(base_N) - n_holding_T + 0.5) / (n_holding_T + 0.5)) * (n_holding_T > 0)
    order: list[tuple[int, float]] = []
    for number in range(min(n_groups, len(left))):
        total = float(missing_T.sum())
        if total <= 0.0:
            break
        shares_N = holds_NT @ missing_T / total
        worth_N = base_N + (strength * shares_N if number else 0.0)
        best = max(range(len(left)), key=lambda at: (max(worth_N[place] for place in left[at]), -at))
        chosen = left.pop(best)
        order.append((chosen[0], float(shares_N[chosen].max()) if number else 0.0))
        missing_T[holds_NT[chosen].any(axis=0)] = 0.0
    leading = {place for place, _ in order}
    return order + [(place, 0.0) for place in range(len(base_N)) if place not in leading]
