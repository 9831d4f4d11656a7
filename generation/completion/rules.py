"""Rules of length 1, ``r1(x, y) → r2(x, y)`` with inverses: the trivial baseline that stands beside every model.

Layer: ``generation``; NumPy only. Much of what benchmarks ask for is a known pair under another relation; what a model
adds is what it scores above these rules.
Source: confidence with a pessimistic constant, ``support / (body + 5)``, Meilicke et al. 2019 (AnyBURL, IJCAI), eq. 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet

__all__ = ["FrequencyScorer", "Rule", "RuleScorer", "mine_rules"]

_PESSIMISM = 5
_TIE_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """If ``body(x, y)`` then ``head(x, y)``; relations from ``n_relations`` up are inverses.

    ``support`` counts the train pairs that have both, ``n_body`` those that have the body, and ``confidence`` is
    ``support / (n_body + 5)``.
    """

    body: int
    head: int
    support: int
    n_body: int

    @property
    def confidence(self) -> float:
        """How often the rule would have been right, seen pessimistically, in ``[0, 1)``."""
        return self.support / (self.n_body + _PESSIMISM)


def _with_inverses(graph: TripleSet) -> NDArray[np.int64]:
    inverses = graph.train[:, ::-1].copy()
    inverses[:, 1] += graph.n_relations
    return np.unique(np.concatenate([graph.train, inverses]), axis=0)


def mine_rules(graph: TripleSet, *, min_support: int = 2) -> list[Rule]:
    """Find the rules of length 1 that train supports.

    :param graph: The graph; only train is read.
    :param min_support: The least number of pairs a rule must have been right for.
    :returns: Rules by falling confidence, then falling support, then relation numbers. Each comes in both directions.
    """
    rows = _with_inverses(graph)
    n_body = np.bincount(rows[:, 1], minlength=2 * graph.n_relations)
    order = np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))
    rows = rows[order]
    borders = np.flatnonzero((np.diff(rows[:, 0]) != 0) | (np.diff(rows[:, 2]) != 0)) + 1
    sizes = np.diff(np.concatenate([[0], borders, [len(rows)]]))
    starts = np.concatenate([[0], borders])
    support: Counter[tuple[int, int]] = Counter()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        relations = rows[start : start + size, 1].tolist()
        support.update((body, head) for body in relations for head in relations if body != head)
    rules = [
        Rule(body=body, head=head, support=n, n_body=int(n_body[body]))
        for (body, head), n in support.items()
        if n >= min_support
    ]
    return sorted(rules, key=lambda rule: (-rule.confidence, -rule.support, rule.body, rule.head))


class FrequencyScorer:
    """Scores an entity by its share among the train ends of the relation, whatever the anchor.

    :param graph: The graph; only train is read.
    """

    def __init__(self, graph: TripleSet) -> None:
        self.n_entities, self.n_relations = graph.n_entities, graph.n_relations
        rows = _with_inverses(graph)
        asked, counts = np.unique(rows[:, 1] * graph.n_entities + rows[:, 2], return_counts=True)
        self._relations, self._ends = asked // graph.n_entities, asked % graph.n_entities
        totals = np.bincount(rows[:, 1], minlength=2 * graph.n_relations)
        self._shares = (counts / totals[self._relations]).astype(np.float32)

    @property
    def n_parameters(self) -> int:
        """Nothing is learnt by gradient: 0."""
        return 0

    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        scores_BN = np.zeros((len(anchors), self.n_entities), dtype=np.float32)
        first = np.searchsorted(self._relations, relations, side="left")
        last = np.searchsorted(self._relations, relations, side="right")
        for row, (start, stop) in enumerate(zip(first, last, strict=True)):
            scores_BN[row, self._ends[start:stop]] = self._shares[start:stop]
        return scores_BN

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)


class RuleScorer(FrequencyScorer):
    """Scores an entity by the most confident rule that leads to it; frequency breaks ties and covers the rest.

    :param graph: The graph; only train is read.
    :param rules: Rules to use; ``None`` mines them.
    """

    def __init__(self, graph: TripleSet, *, rules: Iterable[Rule] | None = None) -> None:
        super().__init__(graph)
        self._confidence: dict[int, dict[int, float]] = {}
        for rule in mine_rules(graph) if rules is None else rules:
            self._confidence.setdefault(rule.head, {})[rule.body] = rule.confidence
        rows = _with_inverses(graph)
        self._anchor_first = np.searchsorted(rows[:, 0], np.arange(graph.n_entities + 1))
        self._neighbours = rows[:, 1:]

    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        shares_BN = super().score_all(anchors, relations) * np.float32(_TIE_WEIGHT)
        for row, (anchor, relation) in enumerate(zip(anchors.tolist(), relations.tolist(), strict=True)):
            bodies = self._confidence.get(relation)
            if not bodies:
                continue
            best: dict[int, float] = {}
            neighbours = self._neighbours[self._anchor_first[anchor] : self._anchor_first[anchor + 1]]
            for body, end in neighbours.tolist():
                if body in bodies:
                    best[end] = max(best.get(end, 0.0), bodies[body])
            for end, confidence in best.items():
                shares_BN[row, end] += confidence
        return shares_BN
