"""Counts of train that need no learning: how often an entity answers a relation, and what a question already has.

Layer: ``generation``; NumPy only.

Shape suffixes: B questions, C candidates, R relations and their inverses, N entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.known import KnownEnds

__all__ = ["TrainFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFacts:
    """What train says of relations and entities, both directions; relations from ``n_relations`` are inverses."""

    n_entities: int
    ends: KnownEnds
    answer_keys: NDArray[np.int64]
    answer_counts: NDArray[np.int64]
    pair_keys: NDArray[np.int64]
    pair_counts: NDArray[np.int64]
    relation_counts_R: NDArray[np.int64]  # noqa: N815 (shape suffix)
    degrees_N: NDArray[np.int64]  # noqa: N815 (shape suffix)

    @classmethod
    def build(cls, train_M3: NDArray[np.int64], *, n_entities: int, n_relations: int) -> TrainFacts:
        """Count.

        :param train_M3: Train triples, without inverses. *Shape:* ``(M, 3)``.
        :param n_entities: Number of entities.
        :param n_relations: Number of relations without inverses.
        :returns: The counts.
        """
        heads, relations, tails = train_M3.T
        asked = np.concatenate([relations, relations + n_relations])
        keys, counts = np.unique(asked * n_entities + np.concatenate([tails, heads]), return_counts=True)
        pairs = np.minimum(heads, tails) * n_entities + np.maximum(heads, tails)
        pair_keys, pair_counts = np.unique(pairs, return_counts=True)
        return cls(
            n_entities=n_entities,
            ends=KnownEnds.build(train_M3, n_relations=n_relations),
            answer_keys=keys,
            answer_counts=counts,
            pair_keys=pair_keys,
            pair_counts=pair_counts,
            relation_counts_R=np.bincount(asked, minlength=2 * n_relations),
            degrees_N=np.bincount(train_M3[:, [0, 2]].ravel(), minlength=n_entities),
        )

    def times_answered(self, relations_B1: NDArray[np.int64], ends_BC: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the train triples in which an entity answers a relation. *Shape:* ``(B, 1)``, ``(B, C)`` → ``(B, C)``.

        :param relations_B1: Relations.
        :param ends_BC: Candidates.
        :returns: Counts.
        """
        return _counts(self.answer_keys, self.answer_counts, relations_B1 * self.n_entities + ends_BC)

    def times_linked(self, anchors_B1: NDArray[np.int64], ends_BC: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the train triples of two entities, whatever relation and direction.

        *Shape:* ``(B, 1)``, ``(B, C)`` → ``(B, C)``.

        :param anchors_B1: Entities.
        :param ends_BC: Candidates.
        :returns: Counts.
        """
        keys = np.minimum(anchors_B1, ends_BC) * self.n_entities + np.maximum(anchors_B1, ends_BC)
        return _counts(self.pair_keys, self.pair_counts, keys)


def _counts(known: NDArray[np.int64], counts: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Look up the counts of keys, 0 where a key is not known."""
    if not len(known):
        return np.zeros_like(keys)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, counts[places], 0)
