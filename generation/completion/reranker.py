"""The reranker: a small network that corrects the scores of the best candidates, where the gate's sum is too simple.

Layer: ``generation``; imports torch. The gate adds up logarithms with weights that know the question; how far an expert
stands out, how many answers the question has already, and how common a candidate is, change what such a sum is worth.
A network of two hidden layers reads that of each candidate (:meth:`generation.completion.shortlist.Shortlist.features`)
and adds a number to its score. Several such networks, begun differently, are averaged.
Source: stacking, Wolpert 1992; a second ranker over the candidates of a first, as in learning to rank (Cao et al. 2007,
ICML, ListNet, whose list-wise cross entropy is the loss); averaging of networks, Lakshminarayanan et al. 2017,
arXiv:1612.01474.

Shape suffixes: B questions, N entities, C candidates, F features, H hidden units, M members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu

from generation.completion.shortlist import shortlist
from generation.completion.train_facts import TrainFacts
from generation.completion.triples import TripleSet

__all__ = ["Reranker", "Reranking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranker:
    """The learnt networks, and the mean and spread of the features that they were fitted on."""

    mean_F: Tensor  # noqa: N815 (shape suffix)
    spread_F: Tensor  # noqa: N815 (shape suffix)
    first_MFH: Tensor  # noqa: N815 (shape suffix)
    first_M1H: Tensor  # noqa: N815 (shape suffix)
    second_MHH: Tensor  # noqa: N815 (shape suffix)
    second_M1H: Tensor  # noqa: N815 (shape suffix)
    last_MH1: Tensor  # noqa: N815 (shape suffix)

    @classmethod
    def fresh(
        cls, mean_F: Tensor, spread_F: Tensor, *, n_members: int, n_hidden: int, generator: torch.Generator
    ) -> Reranker:
        """Make networks that correct nothing yet.

        :param mean_F: Mean of the features.
        :param spread_F: Their standard deviation, above 0.
        :param n_members: How many networks.
        :param n_hidden: Units of each hidden layer.
        :param generator: Draws the weights.
        :returns: The networks.
        """
        n_features = len(mean_F)

        def drawn(n_in: int, *shape: int) -> Tensor:
            return torch.empty(shape).uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)

        return cls(
            mean_F=mean_F,
            spread_F=spread_F,
            first_MFH=drawn(n_features, n_members, n_features, n_hidden),
            first_M1H=drawn(n_features, n_members, 1, n_hidden),
            second_MHH=drawn(n_hidden, n_members, n_hidden, n_hidden),
            second_M1H=drawn(n_hidden, n_members, 1, n_hidden),
            last_MH1=torch.zeros(n_members, n_hidden, 1),
        )

    @classmethod
    def tables(cls) -> tuple[str, ...]:
        """Return the names of the tables, in the order in which they are applied."""
        return tuple(one.name for one in fields(cls))

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        return sum(getattr(self, name).numel() for name in self.tables())

    def corrections(self, features_BCF: Tensor) -> Tensor:
        """Return what to add to the scores. *Shape:* ``(B, C, F)`` → ``(M, B, C)``, one for each member."""
        shape = features_BCF.shape[:2]
        flat_TF = ((features_BCF - self.mean_F) / self.spread_F).flatten(0, 1)
        hidden_MTH = gelu(torch.matmul(flat_TF, self.first_MFH) + self.first_M1H)
        hidden_MTH = gelu(torch.matmul(hidden_MTH, self.second_MHH) + self.second_M1H)
        return torch.matmul(hidden_MTH, self.last_MH1).reshape(-1, *shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranking:
    """A reranker over the train facts of one graph."""

    reranker: Reranker
    facts: TrainFacts

    @classmethod
    def over(cls, reranker: Reranker | None, graph: TripleSet) -> Reranking | None:
        """Put a reranker over the train part of a graph.

        :param reranker: The reranker, if there is one.
        :param graph: The graph whose train the experts have learnt.
        :returns: The two together; ``None`` where there is no reranker.
        """
        return None if reranker is None else cls(reranker=reranker, facts=graph.train_facts)

    def corrections(
        self, scores_BN: Tensor, asked: Sequence[Tensor], anchors: NDArray[np.int64], relations: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Say what to add to the scores of the best candidates.

        :param scores_BN: Scores of the gate. *Shape:* ``(B, N)``.
        :param asked: Log probabilities per expert. *Shape:* each ``(B, N)``.
        :param anchors: Entity of each question. *Shape:* ``(B,)``.
        :param relations: Relation of each. *Shape:* ``(B,)``.
        :returns: The candidates and the mean of the members' corrections, 0 where a list is filled up. *Shape:* both
            ``(B, C)``.
        """
        lists = shortlist(scores_BN, asked, anchors, relations, self.facts)
        added_MBC = self.reranker.corrections(lists.features())
        return lists.places_BC, added_MBC.mean(dim=0) * lists.is_open_BC
