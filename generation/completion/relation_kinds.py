"""Tell one-to-one relations from those with many heads or many tails.

Layer: ``generation``; NumPy only.
Source: Bordes et al. 2013 (TransE, NIPS), section 4.3: a side is "many" at 1.5 entities or more on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet, distinct_triples, sorted_keys

__all__ = ["KINDS", "RelationKinds"]

KINDS = ("1-1", "1-N", "N-1", "N-N", "not in train")
_MANY = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationKinds:
    """The kind of each relation, as a position in :data:`KINDS`. *Shape:* ``(n_relations,)``."""

    of_relation: NDArray[np.int64]

    @classmethod
    def of(cls, graph: TripleSet) -> RelationKinds:
        """Measure the kinds from train alone; 1-N has one head with many tails.

        :param graph: The graph.
        :returns: The kinds; a relation that train lacks has the last one.
        """
        rows = distinct_triples(graph.train, n_entities=graph.n_entities, n_relations=graph.n_relations)
        n_triples = np.bincount(rows[:, 1], minlength=graph.n_relations)

        def per_end(column: int) -> NDArray[np.float64]:
            ends = sorted_keys(rows[:, 1] * graph.n_entities + rows[:, column]) // graph.n_entities
            n_ends = np.bincount(ends, minlength=graph.n_relations)
            ratio: NDArray[np.float64] = n_triples / np.maximum(1, n_ends)
            return ratio

        kinds = 2 * (per_end(2) >= _MANY) + (per_end(0) >= _MANY)
        return cls(of_relation=np.where(n_triples > 0, kinds, len(KINDS) - 1))

    def count(self, triples_M3: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count relations and the given triples of each kind that has any.

        :param triples_M3: Triples. *Shape:* ``(M, 3)``.
        :returns: For each kind ``{"relations": …, "triples": …}``.
        """
        relations = np.bincount(self.of_relation, minlength=len(KINDS))
        triples = np.bincount(self.of_relation[triples_M3[:, 1]], minlength=len(KINDS))
        return {
            kind: {"relations": int(relations[place]), "triples": int(triples[place])}
            for place, kind in enumerate(KINDS)
            if relations[place]
        }
