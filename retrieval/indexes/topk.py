"""Pick the best of many scores, deterministically.

Layer: ``retrieval``; NumPy and ``kg.errors`` only.

Shape suffixes: N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kg.errors import InputError

__all__ = ["best_first", "require_k"]


def require_k(k: int, *, where: str) -> None:
    """Refuse a ``k`` below 1.

    :param k: The number of results that was asked for.
    :param where: Who was asked, for the message.
    :raises InputError: If ``k`` is below 1.
    """
    if k < 1:
        raise InputError(f"{where}: k must be at least 1, got {k}.")


def best_first(
    scores_N: NDArray[np.floating[Any]], ids: Sequence[str], *, k: int, above: float | None = None
) -> list[tuple[str, float]]:
    """Return the ``k`` best ``(id, score)`` pairs by falling score, ties by id.

    All items that tie with the ``k``-th are candidates, so the cut does not depend on the order in which they stand.

    :param scores_N: One score per id, finite, higher is better. *Shape:* ``(N,)``.
    :param ids: The ids, in the order of the scores.
    :param k: The most pairs to return, at least 1.
    :param above: Keep only scores greater than this; ``None`` keeps all.
    :returns: At most ``k`` pairs.
    """
    rows = np.arange(len(scores_N)) if above is None else np.flatnonzero(scores_N > above)
    if len(rows) > k:
        kept = scores_N[rows]
        worst = np.partition(kept, len(kept) - k)[len(kept) - k]
        rows = rows[kept >= worst]
    pairs = [(ids[row], float(scores_N[row])) for row in rows.tolist()]
    pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    return pairs[:k]
