"""Look up the known ends of ``(head, relation, ?)`` and ``(?, relation, tail)`` fast.

Layer: ``generation``; NumPy only. Both directions live in one table: the head direction is stored as the inverse
relation ``relation + n_relations``, which is a way to ask and never a triple that is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KnownEnds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEnds:
    """For each asked ``(anchor, relation)`` the sorted entities that are known to answer it."""

    n_relations: int
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def build(cls, triples_M3: NDArray[np.int64], *, n_relations: int) -> KnownEnds:
        """Index triples; repeated ones count once.

        :param triples_M3: Known triples, without inverses. *Shape:* ``(M, 3)``.
        :param n_relations: Number of relations without inverses.
        :returns: The index.
        """
        anchors = np.concatenate([triples_M3[:, 0], triples_M3[:, 2]])
        relations = np.concatenate([triples_M3[:, 1], triples_M3[:, 1] + n_relations])
        answers = np.concatenate([triples_M3[:, 2], triples_M3[:, 0]])
        asked = anchors * (2 * n_relations) + relations
        order = np.lexsort((answers, asked))
        asked, answers = asked[order], answers[order]
        fresh = np.ones(len(asked), dtype=np.bool_)
        fresh[1:] = (asked[1:] != asked[:-1]) | (answers[1:] != answers[:-1])
        asked, answers = asked[fresh], answers[fresh]
        keys, first = np.unique(asked, return_index=True)
        return cls(n_relations=n_relations, keys=keys, starts=np.append(first, len(asked)), ends=answers)

    def of(
        self, anchors: NDArray[np.int64], relations: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the known answers of a batch of questions.

        :param anchors: Entity of each question. *Shape:* ``(B,)``.
        :param relations: Relation of each, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Row numbers in ``0..B-1`` (ascending) and answers, aligned. *Shape:* both ``(K,)``.
        """
        asked = anchors * (2 * self.n_relations) + relations
        place = np.searchsorted(self.keys, asked)
        place_in = np.minimum(place, max(0, len(self.keys) - 1))
        found = self.keys[place_in] == asked if len(self.keys) else np.zeros(len(asked), dtype=np.bool_)
        first = np.where(found, self.starts[place_in], 0)
        sizes = np.where(found, self.starts[np.minimum(place_in + 1, len(self.starts) - 1)] - first, 0)
        rows = np.repeat(np.arange(len(asked), dtype=np.int64), sizes)
        offsets = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rows, self.ends[np.repeat(first, sizes) + offsets]

    def answers(self, anchor: int, relation: int) -> NDArray[np.int64]:
        """Return the known answers of one question, sorted."""
        return self.of(np.array([anchor]), np.array([relation]))[1]
