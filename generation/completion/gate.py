"""The gate: how much each expert counts for a question and for a candidate.

Layer: ``generation``; imports torch. ``score(e) = sum_k w_k(q) m_k(e) log p_k(e | q) + b(e)``, where ``p_k`` is the
softmax of expert k. The weight ``w_k(q) = exp(base_k + relation_k[r] + traits(anchor) · a_k)`` knows the relation and
the anchor; ``m_k(e) = exp(traits(e) · c_k)`` and ``b(e) = traits(e) · b`` know the candidate. Traits say whether an
entity was seen in train, how rarely, and which modalities it lacks. All deviations are drawn towards one global weight
an expert, so a small graph gets that.
Source: logarithmic opinion pool, Heskes 1998 (NeurIPS 10); the gate of a mixture of experts, Jacobs et al. 1991.

Shape suffixes: B questions, N entities or candidates, K experts, F traits, R relations and their inverses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.config import STRUCTURAL
from generation.completion.experts.features import FeatureMatrix
from generation.completion.triples import TripleSet

__all__ = ["Gate", "entity_traits"]

_UNSEEN_STRUCTURE = -1.5
_NEVER = -60.0
_MOST = 4.0
"""The largest logarithm of a weight: a step of the fitting must not overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The learnt weights. ``kind`` is how much it may tell apart: ``single``, ``global``, ``traits``, ``relations``."""

    experts: tuple[str, ...]
    traits: tuple[str, ...]
    kind: str
    base_K: Tensor  # noqa: N815 (shape suffix)
    relation_RK: Tensor  # noqa: N815 (shape suffix)
    anchor_FK: Tensor  # noqa: N815 (shape suffix)
    candidate_FK: Tensor  # noqa: N815 (shape suffix)
    bias_F: Tensor  # noqa: N815 (shape suffix)

    @classmethod
    def fresh(cls, experts: Sequence[str], traits: Sequence[str], *, n_relations: int, kind: str = "global") -> Gate:
        """Make a gate of equal weights, but for one prior: structural experts count ``exp(-1.5)`` for an unseen anchor.

        The prior holds where validation has no unseen entity to learn better from.

        :param experts: Names of the experts.
        :param traits: Names of the traits.
        :param n_relations: Number of relations without inverses.
        :param kind: What it may tell apart.
        :returns: The gate.
        """
        n_experts, n_traits = len(experts), len(traits)
        anchor = torch.zeros(n_traits, n_experts)
        for number, name in enumerate(experts):
            if name in STRUCTURAL and "unseen" in traits and n_experts > 1:
                anchor[traits.index("unseen"), number] = _UNSEEN_STRUCTURE
        return cls(
            experts=tuple(experts),
            traits=tuple(traits),
            kind=kind,
            base_K=torch.full((n_experts,), -float(np.log(n_experts))),
            relation_RK=torch.zeros(2 * n_relations, n_experts),
            anchor_FK=anchor,
            candidate_FK=torch.zeros(n_traits, n_experts),
            bias_F=torch.zeros(n_traits),
        )

    @classmethod
    def only(cls, expert: str, experts: Sequence[str], traits: Sequence[str], *, n_relations: int) -> Gate:
        """Make a gate that listens to one expert.

        :param expert: Its name.
        :param experts: Names of all experts.
        :param traits: Names of the traits.
        :param n_relations: Number of relations without inverses.
        :returns: The gate.
        """
        gate = cls.fresh(experts, traits, n_relations=n_relations, kind="single")
        gate.anchor_FK.zero_()
        gate.base_K.fill_(_NEVER)
        gate.base_K[experts.index(expert)] = 0.0
        return gate

    def with_tables(self, tables: Mapping[str, Tensor]) -> Gate:
        """Return the gate with other values of the named tables."""
        return replace(self, **dict[str, Any](tables))

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers that are not 0."""
        if self.kind == "single":
            return 0
        tables = (self.base_K, self.relation_RK, self.anchor_FK, self.candidate_FK, self.bias_F)
        return sum(int(torch.count_nonzero(table)) for table in tables)

    def weights(self, relations_B: Tensor, anchor_traits_BF: Tensor) -> Tensor:
        """Weigh the experts for questions.

        :param relations_B: Relations, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :param anchor_traits_BF: Traits of the anchors. *Shape:* ``(B, F)``.
        :returns: Weights, at least 0. *Shape:* ``(B, K)``.
        """
        logs_BK = self.base_K + self.relation_RK[relations_B] + anchor_traits_BF @ self.anchor_FK
        return torch.exp(logs_BK.clamp(max=_MOST))

    def multipliers(self, candidate_traits_NF: Tensor) -> Tensor:
        """Weigh the experts for candidates. *Shape:* ``(..., F)`` → ``(..., K)``."""
        return torch.exp((candidate_traits_NF @ self.candidate_FK).clamp(max=_MOST))

    def blend(
        self, log_probabilities: Sequence[Tensor], relations_B: Tensor, anchor_traits_BF: Tensor, traits_NF: Tensor
    ) -> Tensor:
        """Blend the experts.

        :param log_probabilities: Per expert. *Shape:* each ``(B, N)``.
        :param relations_B: Relations. *Shape:* ``(B,)``.
        :param anchor_traits_BF: Traits of the anchors. *Shape:* ``(B, F)``.
        :param traits_NF: Traits of the candidates. *Shape:* ``(N, F)`` or ``(B, N, F)``.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``.
        """
        weights_BK, multipliers_NK = self.weights(relations_B, anchor_traits_BF), self.multipliers(traits_NF)
        score_BN = (traits_NF @ self.bias_F).expand(log_probabilities[0].shape).clone()
        plain = bool((self.candidate_FK == 0).all()) and not self.candidate_FK.requires_grad
        for number, log_BN in enumerate(log_probabilities):
            weight_B1 = weights_BK[:, number, None]
            score_BN = score_BN + weight_B1 * (log_BN if plain else log_BN * multipliers_NK[..., number])
        return score_BN


def entity_traits(
    graph: TripleSet, features: Mapping[str, FeatureMatrix], *, seen: NDArray[np.bool_] | None = None
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Say of each entity what the gate may know.

    :param graph: The graph; only train is read.
    :param features: The vectors of each feature expert.
    :param seen: Which entities the experts have seen; ``None`` takes those of train. *Shape:* ``(N,)``.
    :returns: Names of the traits: ``unseen``, ``rare`` (``1 / (1 + degree)``, 0 for unseen ones), and ``lacks BLOCK``
        for each block that some have and some lack; and their values in ``[0, 1]``. *Shape:* ``(N, F)``.
    """
    degree = np.bincount(graph.train[:, [0, 2]].ravel(), minlength=graph.n_entities)
    known = degree > 0 if seen is None else seen
    names, columns = ["unseen", "rare"], [~known, np.where(known, 1.0 / (1.0 + degree), 0.0)]
    for matrix in features.values():
        for number, (block, _) in enumerate(matrix.blocks):
            has = matrix.has_NK[:, number]
            is_new = not any(np.array_equal(~has, column) for column in columns[2:])
            if has.any() and not has.all() and is_new:
                names.append(f"lacks {block}")
                columns.append(~has)
    return tuple(names), np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
