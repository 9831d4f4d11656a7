"""Make one ranking of several retrievers': by rank, or by calibrated scores.

Layer: ``retrieval``; imports ``kg.errors``, NumPy and ``retrieval.types``.
Sources: reciprocal rank is Cormack, Clarke and Buettcher, SIGIR 2009. Calibration is the standard score ("z-score") of
Montague and Aslam, CIKM 2001, taken over a pool of fixed size instead of over whatever a retriever happens to return.

Why scores. Ranks forget how sure a retriever is. A question whose rare words stand in one chunk gives BM25 one towering
score; a paraphrase gives it a plateau, and the same holds for cosines. In units of the spread over its own best
candidates, a towering score stands far out and a plateau does not: so each question decides by itself whom to trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kg.errors import FusionError
from retrieval.types import Hit

__all__ = ["FusedItem", "ScoredPool", "fuse_reciprocal_rank", "fuse_standard_scores"]


def fuse_reciprocal_rank(rankings: Sequence[Sequence[str]], *, k: float = 60.0, limit: int | None = None) -> list[Hit]:
    """Fuse rankings by reciprocal rank, ``score(d) = sum_i 1 / (k + rank_i(d))``.

    :param rankings: One sequence of item ids per retriever, best first; ranks count from 1.
    :param k: Rank offset, > 0, dimensionless. 60 is the value of Cormack et al. 2009.
    :param limit: The most hits to return; ``None`` returns all.
    :returns: Hits by falling score; ties go by item id, so the order is deterministic.
    :raises FusionError: If ``k`` is not positive, or one ranking holds an id twice.
    """
    if not k > 0:
        raise FusionError(f"fuse_reciprocal_rank: k must be positive, got {k}.")
    scores: dict[str, float] = {}
    for source, ranking in enumerate(rankings):
        seen: set[str] = set()
        for rank, item_id in enumerate(ranking, start=1):
            if item_id in seen:
                raise FusionError(
                    f"rankings[{source}] holds {item_id!r} twice (again at rank {rank}). "
                    "Keep the best rank of each item before fusing."
                )
            seen.add(item_id)
            scores[item_id] = scores.get(item_id, 0.0) + 1.0 / (k + rank)
    ordered = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return [
        Hit(item_id=item_id, score=score, rank=rank, retriever="rrf")
        for rank, (item_id, score) in enumerate(ordered, start=1)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPool:
    """One retriever's best candidates, and what its scores mean.

    ``weight`` is the retriever's say, >= 0. ``absent_score`` is the score of an item that was not returned although
    there was room: BM25 says 0 of a text that shares no term; ``None`` stands for "as good as the worst returned".
    """

    pairs: Sequence[tuple[str, float]]
    weight: float = 1.0
    absent_score: float | None = None
    scale: tuple[float, float] | None = None
    """Mean and spread to standardise by, where they are of more than this pool; ``None`` takes those of the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedItem:
    """An item, its fused score, and the part of it that each retriever gave, by the retriever's name."""

    item_id: str
    score: float
    parts: Mapping[str, float]


def fuse_standard_scores(
    pools: Mapping[str, ScoredPool], *, pool_size: int, trust: Callable[[str, str], float] = lambda _item, _pool: 1.0
) -> list[FusedItem]:
    """Fuse scores in units of their spread, ``score(d) = sum_i w_i * t_i(d) * (s_i(d) - mean_i) / std_i``.

    Mean and standard deviation are taken over ``pool_size`` scores: the retriever's best, filled up with its
    ``absent_score`` where it returned fewer and that score is known. A retriever whose scores are all alike says
    nothing.

    :param pools: Each retriever's candidates, each id once; at most the best ``pool_size`` are read.
    :param pool_size: How many scores are the scale, >= 1; no more than the number of items that can be found.
    :param trust: What a retriever's word counts for an item beside its weight, >= 0, by the item's id and the
        retriever's name.
    :returns: Every candidate of every pool, by falling score, ties by id. Higher is better; 0 is an average candidate.
    :raises FusionError: If ``pool_size`` is below 1, or a pool holds an id twice or a score that is not finite.
    """
    if pool_size < 1:
        raise FusionError(f"fuse_standard_scores: pool_size must be at least 1, got {pool_size}.")
    standard = {name: _standardised(name, pool, pool_size) for name, pool in pools.items()}
    items = sorted({item_id for scores, _ in standard.values() for item_id in scores})
    fused = []
    for item_id in items:
        parts = {
            name: trust(item_id, name) * scores.get(item_id, absent) for name, (scores, absent) in standard.items()
        }
        fused.append(FusedItem(item_id=item_id, score=sum(parts.values()), parts=parts))
    return sorted(fused, key=lambda item: (-item.score, item.item_id))


def _standardised(name: str, pool: ScoredPool, pool_size: int) -> tuple[dict[str, float], float]:
    """Return the weighted standard score of each candidate, and that of any other item."""
    pairs = sorted(pool.pairs, key=lambda pair: (-pair[1], pair[0]))[:pool_size]
    scores = np.array([score for _, score in pairs], dtype=np.float64)
    if len({item_id for item_id, _ in pool.pairs}) != len(pool.pairs) or not np.isfinite(scores).all():
        raise FusionError(
            f"fuse_standard_scores: pool {name!r} holds an id twice or a score that is not finite. "
            "Keep the best score of each item, and check the retriever."
        )
    if not len(scores):
        return {}, 0.0
    absent = float(scores[-1])  # of a full pool, the worst in it bounds what was cut off
    if pool.scale is not None:
        mean, spread = pool.scale
        scale = pool.weight / spread
        absent = absent if pool.absent_score is None else pool.absent_score
        return {item_id: scale * (score - mean) for item_id, score in pairs}, scale * (absent - mean)
    if pool.absent_score is not None and len(scores) < pool_size:
        absent = pool.absent_score
        scores = np.concatenate([scores, np.full(pool_size - len(scores), absent)])
    mean, spread = float(scores.mean()), float(scores.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return dict.fromkeys((item_id for item_id, _ in pairs), 0.0), 0.0
    scale = pool.weight / spread
    return {item_id: scale * (score - mean) for item_id, score in pairs}, scale * (absent - mean)
