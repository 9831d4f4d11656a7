"""The best candidates of a question, and what a reranker may know of each of them.

Layer: ``generation``; imports torch. Train's own answers to the question are no candidates: what is asked for is what
else is true. Each expert's probabilities are therefore shares of what it leaves to the others. Nothing here reads
validation or test.

Shape suffixes: B questions, N entities, C candidates, K experts, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.tensor_rows import TensorRows
from generation.completion.train_facts import TrainFacts

__all__ = ["N_BEST", "Shortlist", "n_features", "shortlist"]

N_BEST = 128
"""Candidates of a question that are ranked again."""
_LEAST = 1e-6
_FAR = -30.0
_NEAR = -15.0
_UNSEEN_COUNT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist(TensorRows):
    """The best candidates of questions, in no order; places that ``is_open_BC`` denies are filled up with others.

    ``logs_BCK`` is each expert's log probability among candidates that train does not know as answers, at least
    ``-30``.
    """

    places_BC: Tensor  # noqa: N815 (shape suffix)
    is_open_BC: Tensor  # noqa: N815 (shape suffix)
    scores_BC: Tensor  # noqa: N815 (shape suffix)
    logs_BCK: Tensor  # noqa: N815 (shape suffix)
    answered_BC: Tensor  # noqa: N815 (shape suffix)
    linked_BC: Tensor  # noqa: N815 (shape suffix)
    is_anchor_BC: Tensor  # noqa: N815 (shape suffix)
    degrees_BC: Tensor  # noqa: N815 (shape suffix)
    anchor_degree_B: Tensor  # noqa: N815 (shape suffix)
    n_known_B: Tensor  # noqa: N815 (shape suffix)
    n_relation_B: Tensor  # noqa: N815 (shape suffix)

    def features(self) -> Tensor:
        """Return what a reranker reads of each candidate.

        Of each expert: its log probability, how far that is below its best on the list, that best, and the entropy
        of the list; of the candidate: how often it answers the relation in train, whether it ever does, how many other
        links it has with the anchor, whether it is the anchor, its degree; of the question: the anchor's degree, how
        many answers train has, and how many triples the relation has.

        :returns: Features, of the order of 1. *Shape:* ``(B, C, F)``.
        """
        logs_BCK = self.logs_BCK
        shape = (*logs_BCK.shape[:2], 1)
        best_B1K = logs_BCK.masked_fill(~self.is_open_BC[..., None], _FAR).amax(dim=1, keepdim=True)
        shares_BCK = logs_BCK.exp() * self.is_open_BC[..., None]
        entropy_B1K = -(shares_BCK * logs_BCK).sum(dim=1, keepdim=True)
        relation_B11 = self.n_relation_B[:, None, None]
        answered_BC1 = self.answered_BC[..., None]
        return torch.cat(
            [
                logs_BCK / 6.0,
                (logs_BCK - best_B1K).clamp(min=_NEAR) / 5.0,
                (best_B1K / 3.0).expand_as(logs_BCK),
                (entropy_B1K / 3.0).expand_as(logs_BCK),
                torch.log((answered_BC1 + _UNSEEN_COUNT) / (relation_B11 + 1.0)) / 4.0,
                (answered_BC1 > 0).float(),
                torch.log1p(self.linked_BC)[..., None],
                self.is_anchor_BC[..., None].float(),
                torch.log1p(self.degrees_BC)[..., None] / 4.0,
                (torch.log1p(self.anchor_degree_B)[:, None, None] / 4.0).expand(shape),
                (torch.log1p(self.n_known_B)[:, None, None] / 2.0).expand(shape),
                (torch.log1p(relation_B11) / 6.0).expand(shape),
            ],
            dim=2,
        )


def n_features(n_experts: int) -> int:
    """Count the features of a candidate."""
    return 4 * n_experts + 8


def shortlist(
    scores_BN: Tensor,
    asked: Sequence[Tensor],
    anchors: NDArray[np.int64],
    relations: NDArray[np.int64],
    facts: TrainFacts,
    *,
    n_best: int = N_BEST,
) -> Shortlist:
    """List the best candidates of questions.

    :param scores_BN: Scores, higher is better; left as they are. *Shape:* ``(B, N)``.
    :param asked: Log probabilities per expert. *Shape:* each ``(B, N)``.
    :param anchors: Entity of each question. *Shape:* ``(B,)``.
    :param relations: Relation of each, inverses from ``n_relations``. *Shape:* ``(B,)``.
    :param facts: What train says.
    :param n_best: Candidates a question, or all where there are fewer entities.
    :returns: The lists.
    """
    rows, known = (torch.from_numpy(one) for one in facts.ends.of(anchors, relations))
    open_BN = scores_BN.clone()
    open_BN[rows, known] = -math.inf
    best = open_BN.topk(min(n_best, open_BN.shape[1]), dim=1, sorted=False)
    listed_BC, is_open_BC = best.indices, torch.isfinite(best.values)
    logs = []
    for log_BN in asked:
        taken_B = torch.zeros(len(log_BN)).index_add_(0, rows, log_BN[rows, known].exp())
        left_B1 = torch.log((1.0 - taken_B).clamp(min=_LEAST))[:, None]
        logs.append((log_BN.gather(1, listed_BC) - left_B1).clamp(min=_FAR, max=0.0))
    places, anchors_B1 = listed_BC.numpy(), anchors[:, None]
    return Shortlist(
        places_BC=listed_BC,
        is_open_BC=is_open_BC,
        scores_BC=scores_BN.gather(1, listed_BC),
        logs_BCK=torch.stack(logs, dim=2),
        answered_BC=torch.from_numpy(facts.times_answered(relations[:, None], places)).float(),
        linked_BC=torch.from_numpy(facts.times_linked(anchors_B1, places)).float(),
        is_anchor_BC=torch.from_numpy(places == anchors_B1),
        degrees_BC=torch.from_numpy(facts.degrees_N[places]).float(),
        anchor_degree_B=torch.from_numpy(facts.degrees_N[anchors]).float(),
        n_known_B=torch.bincount(rows, minlength=len(anchors)).float(),
        n_relation_B=torch.from_numpy(facts.relation_counts_R[relations]).float(),
    )
