"""Rank link predictions by a protocol under which published mistakes cannot happen.

Layer: ``generation``; NumPy only, so any scorer can be measured.

* All entities are ranked, those unseen in train included.
* Filtered: other answers known to be true in any split, or in a filter-only file, are left out of a question's ranking.
* Both directions: each triple is asked for its tail and for its head. Inverses are a way to ask, never counted triples.
* Realistic ties: a rank is the mean of the best and the worst place among equal scores, so a constant scorer comes out
  near chance. (Berrendorf et al. 2020, arXiv:2002.06914.)
* A score that is not a number is an error, not a rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Evaluation", "RankMetrics", "Scorer", "evaluate", "realistic_ranks"]

_CHUNK_BYTES = 64 * 2**20


class Scorer(Protocol):
    """Anything that scores all entities as an end of a triple; higher is better."""

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        ...

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        ...

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMetrics:
    """Means over ``n`` rankings, as fractions; all are 0 where ``n`` is 0."""

    mrr: float
    hits_1: float
    hits_3: float
    hits_10: float
    n: int

    @classmethod
    def of(cls, ranks: NDArray[np.float64]) -> RankMetrics:
        """Summarise ranks that count from 1. *Shape:* ``(n,)``."""
        if not ranks.size:
            return cls(mrr=0.0, hits_1=0.0, hits_3=0.0, hits_10=0.0, n=0)
        hits = [float((ranks <= k).mean()) for k in (1, 3, 10)]
        return cls(mrr=float((1.0 / ranks).mean()), hits_1=hits[0], hits_3=hits[1], hits_10=hits[2], n=ranks.size)

    def to_mapping(self) -> dict[str, object]:
        """Return ``mrr``, ``hits@1``, ``hits@3``, ``hits@10`` and ``n``."""
        return {
            "mrr": self.mrr,
            "hits@1": self.hits_1,
            "hits@3": self.hits_3,
            "hits@10": self.hits_10,
            "n": self.n,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics of both directions together and apart, and of triples that touch an entity unseen in train.

    ``head_ranks`` and ``tail_ranks`` are the ranks behind them, in the order of the triples.
    """

    both: RankMetrics
    head: RankMetrics
    tail: RankMetrics
    unseen: RankMetrics
    n_triples: int
    n_parameters: int
    seconds: float
    head_ranks: NDArray[np.float64]
    tail_ranks: NDArray[np.float64]

    @property
    def mrr(self) -> float:
        """The mean reciprocal rank over both directions."""
        return self.both.mrr

    def to_mapping(self) -> dict[str, object]:
        """Return the metrics as plain values; ``n`` counts triples, and each is ranked twice."""
        return {
            **self.both.to_mapping(),
            "head": self.head.to_mapping(),
            "tail": self.tail.to_mapping(),
            "unseen": self.unseen.to_mapping(),
            "n": self.n_triples,
            "params": self.n_parameters,
            "seconds": self.seconds,
        }


def realistic_ranks(
    scores_BN: NDArray[np.float32],
    targets_B: NDArray[np.int64],
    known_rows: NDArray[np.int64],
    known_ends: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Rank each row's target among the entities that are not known answers of that row.

    Counts over all entities and then takes the known ones out, so the scores are neither copied nor changed.

    :param scores_BN: Scores, higher is better. *Shape:* ``(B, N)``.
    :param targets_B: The entity to rank in each row. *Shape:* ``(B,)``.
    :param known_rows: Row of each known answer. *Shape:* ``(K,)``.
    :param known_ends: The known answer itself; a row's own target may be among them. *Shape:* ``(K,)``.
    :returns: ``1 + n_better + n_equal / 2``, counting other entities. *Shape:* ``(B,)``.
    :raises CompletionError: If a score is not a number.
    """
    n_batch = len(targets_B)
    if np.isnan(scores_BN).any():
        raise CompletionError("The scorer returned scores that are not numbers; the model is damaged. Train it again.")
    target_scores = scores_BN[np.arange(n_batch), targets_B]
    n_better = np.count_nonzero(scores_BN > target_scores[:, None], axis=1)
    n_equal = np.count_nonzero(scores_BN == target_scores[:, None], axis=1) - 1
    other = known_ends != targets_B[known_rows]
    rows, ends = known_rows[other], known_ends[other]
    known_scores = scores_BN[rows, ends]
    n_better = n_better - np.bincount(rows[known_scores > target_scores[rows]], minlength=n_batch)
    n_equal = n_equal - np.bincount(rows[known_scores == target_scores[rows]], minlength=n_batch)
    ranks: NDArray[np.float64] = 1.0 + n_better + n_equal / 2.0
    return ranks


def evaluate(
    scorer: Scorer,
    graph: TripleSet,
    *,
    triples: NDArray[np.int64],
    chunk_bytes: int = _CHUNK_BYTES,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Rank the head and the tail of each triple.

    A reflexive triple is ranked as any other, with itself among the candidates. A triple that is asked twice counts
    twice. A relation that train lacks is ranked by whatever the scorer makes of it.

    :param scorer: What scores.
    :param graph: The graph, for the filter and for which entities train has seen.
    :param triples: The triples to rank, one of the graph's splits or a part of it. *Shape:* ``(M, 3)``.
    :param chunk_bytes: The most bytes of scores to hold at once; one row is always allowed.
    :param on_progress: Called after each chunk with the number of triples it held.
    :returns: The metrics.
    :raises CompletionError: If the scores are of another number of entities than the graph has, or not numbers.
    """
    start = time.perf_counter()
    known = graph.known_ends
    rows = max(1, chunk_bytes // (4 * max(1, graph.n_entities)))
    head_ranks, tail_ranks = np.empty(len(triples)), np.empty(len(triples))
    for first in range(0, len(triples), rows):
        part = slice(first, first + rows)
        heads, relations, tails = (np.ascontiguousarray(column) for column in triples[part].T)
        tail_scores = _checked(scorer.score_tails(heads, relations), len(heads), graph)
        tail_ranks[part] = realistic_ranks(tail_scores, tails, *known.of(heads, relations))
        head_scores = _checked(scorer.score_heads(relations, tails), len(heads), graph)
        head_ranks[part] = realistic_ranks(head_scores, heads, *known.of(tails, relations + graph.n_relations))
        if on_progress is not None:
            on_progress(len(heads))
    unseen = ~(graph.seen[triples[:, 0]] & graph.seen[triples[:, 2]])
    return Evaluation(
        both=RankMetrics.of(np.concatenate([head_ranks, tail_ranks])),
        head=RankMetrics.of(head_ranks),
        tail=RankMetrics.of(tail_ranks),
        unseen=RankMetrics.of(np.concatenate([head_ranks[unseen], tail_ranks[unseen]])),
        n_triples=len(triples),
        n_parameters=scorer.n_parameters,
        seconds=time.perf_counter() - start,
        head_ranks=head_ranks,
        tail_ranks=tail_ranks,
    )


def _checked(scores_BN: NDArray[np.float32], n_rows: int, graph: TripleSet) -> NDArray[np.float32]:
    if scores_BN.shape != (n_rows, graph.n_entities):
        raise CompletionError(
            f"The scorer returned scores of shape {scores_BN.shape} for {n_rows} questions over the {graph.n_entities} "
            f"entities of {graph.name!r}: it is of another graph. Use the graph that it was trained on."
        )
    return scores_BN
