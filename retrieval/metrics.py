"""Measure a ranking against the gold items of its question.

Layer: ``retrieval``; ``kg.errors`` only. Relevance is binary, every measure is in ``[0, 1]`` and higher is better, but
for :func:`wrong_modality_at`, of which 0 is best.

Sources: nDCG is Järvelin and Kekäläinen 2002 with gain 1 and discount ``log2(rank + 1)``; MRR counts the first gold
item over the whole ranking that it is given, and is 0 where there is none. Retrieval over one space of words and
pictures favours one kind whatever was asked for: MM-Embed (Lin et al. 2024, arXiv:2411.02571) calls it modality bias,
UniversalRAG (Yeo et al. 2025, arXiv:2504.20734) modality gap; the share of hits of a wrong kind measures it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from kg.errors import InputError

__all__ = [
    "METRIC_NAMES",
    "all_gold_at",
    "evaluate",
    "hit_at",
    "mean_metrics",
    "ndcg_at",
    "recall_at",
    "reciprocal_rank",
    "wrong_modality_at",
]

METRIC_NAMES: tuple[str, ...] = (
    "recall@1",
    "recall@2",
    "recall@5",
    "recall@10",
    "hit@5",
    "mrr",
    "ndcg@10",
    "all_gold@8",
)
"""What :func:`evaluate` reports, in the order in which tables show it."""


def _checked(ranking: Sequence[str], gold: AbstractSet[str], k: int = 1) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}.")
    if not gold:
        raise InputError("gold is empty: a question without gold items cannot be scored; leave it out of the run.")
    if len(set(ranking)) != len(ranking):
        raise InputError("the ranking holds an item twice. Keep the best rank of each item before scoring.")


def recall_at(ranking: Sequence[str], gold: AbstractSet[str], *, k: int) -> float:
    """Return the share of the gold items that stand in the first ``k``.

    :param ranking: Item ids, best first, each at most once.
    :param gold: The ids that answer the question, at least one.
    :param k: How many ranks count, >= 1.
    :returns: ``|top k and gold| / |gold|``.
    :raises InputError: If ``k`` is below 1, ``gold`` is empty or the ranking repeats an item.
    """
    _checked(ranking, gold, k)
    return sum(item in gold for item in ranking[:k]) / len(gold)


def hit_at(ranking: Sequence[str], gold: AbstractSet[str], *, k: int) -> float:
    """Return 1.0 if any gold item stands in the first ``k``, else 0.0; errors as :func:`recall_at`."""
    _checked(ranking, gold, k)
    return float(any(item in gold for item in ranking[:k]))


def all_gold_at(ranking: Sequence[str], gold: AbstractSet[str], *, k: int) -> float:
    """Return 1.0 if every gold item stands in the first ``k``, else 0.0; errors as :func:`recall_at`.

    It is what a reader that needs all the evidence gets out of a context of ``k`` items.
    """
    return float(recall_at(ranking, gold, k=k) == 1.0)


def reciprocal_rank(ranking: Sequence[str], gold: AbstractSet[str]) -> float:
    """Return ``1 / rank`` of the first gold item, 0.0 where there is none; errors as :func:`recall_at`."""
    _checked(ranking, gold)
    return next((1.0 / rank for rank, item in enumerate(ranking, start=1) if item in gold), 0.0)


def ndcg_at(ranking: Sequence[str], gold: AbstractSet[str], *, k: int) -> float:
    """Return the discounted gain of the first ``k`` over the best possible one; errors as :func:`recall_at`."""
    _checked(ranking, gold, k)
    gained = sum(1.0 / math.log2(rank + 1) for rank, item in enumerate(ranking[:k], start=1) if item in gold)
    best = sum(1.0 / math.log2(rank + 1) for rank in range(1, min(k, len(gold)) + 1))
    return gained / best


def wrong_modality_at(modalities: Sequence[str], gold: AbstractSet[str], *, k: int) -> float:
    """Return the share of the first ``k`` hits that are of another kind than anything that answers the question.

    :param modalities: The kind of each hit (text, table, chart, …), best first; a kind may come again.
    :param gold: The kinds of the items that answer the question, at least one.
    :param k: How many hits count, >= 1.
    :returns: ``|hits of the first k whose kind is not in gold| / |hits of the first k|``, 0 for no hits. Lower is
        better.
    :raises InputError: If ``k`` is below 1 or ``gold`` is empty.
    """
    _checked((), gold, k)
    first = modalities[:k]
    return sum(kind not in gold for kind in first) / len(first) if first else 0.0


def evaluate(ranking: Sequence[str], gold: Iterable[str]) -> dict[str, float]:
    """Score one ranking by every measure of :data:`METRIC_NAMES`.

    :param ranking: Item ids, best first, each at most once; at least 10 long where the corpus allows it.
    :param gold: The ids that answer the question, at least one; repeats count once.
    :returns: One value per name of :data:`METRIC_NAMES`, in that order.
    :raises InputError: If ``gold`` is empty or the ranking repeats an item.
    """
    wanted = frozenset(gold)
    return {
        "recall@1": recall_at(ranking, wanted, k=1),
        "recall@2": recall_at(ranking, wanted, k=2),
        "recall@5": recall_at(ranking, wanted, k=5),
        "recall@10": recall_at(ranking, wanted, k=10),
        "hit@5": hit_at(ranking, wanted, k=5),
        "mrr": reciprocal_rank(ranking, wanted),
        "ndcg@10": ndcg_at(ranking, wanted, k=10),
        "all_gold@8": all_gold_at(ranking, wanted, k=8),
    }


def mean_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the measures of several questions.

    :param rows: What :func:`evaluate` returned, one per question.
    :returns: The mean of each measure; every measure is 0.0 for no rows.
    :raises InputError: If the rows do not hold the same measures.
    """
    if not rows:
        return dict.fromkeys(METRIC_NAMES, 0.0)
    names = list(rows[0])
    if any(set(row) != set(names) for row in rows):
        raise InputError("mean_metrics: the rows hold different measures; score them all with evaluate().")
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in names}
