"""ComplEx with reciprocal relations: the model, its scores, and the gradient of one training batch.

Layer: ``generation``; imports torch. Knows indices and tensors, never names or files.
Sources: Trouillon et al. 2016, arXiv:1606.06357 (ComplEx); Lacroix et al. 2018, arXiv:1806.07297 (N3, reciprocal
relations, full softmax); Chen et al. 2021, arXiv:2110.02834 (relation prediction).

A question ``(?, r, t)`` is asked as ``(t, r + n_relations, ?)``: each relation has an inverse with its own row. An
anchor that never occurs in train has no learnt row; the mean row of the relation's train anchors stands in for it,
which ranks by what is usual for the relation.

Shape suffixes: B batch of questions, M their answers, N entities, C candidates, R relations and their inverses,
W row width = ``2 * rank``, real parts first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from generation.completion.answer_softmax import AnswerSoftmax
from generation.completion.candidates import Candidates
from generation.completion.products import against_all
from generation.completion.questions import QuestionBatch, with_inverses

__all__ = ["BatchLoss", "ComplExModel", "Gradients", "loss_and_gradients", "multiply"]


def multiply(left_BW: Tensor, right_BW: Tensor) -> Tensor:
    """Multiply rows of complex numbers, real parts first, element by element. *Shape:* ``(B, W)`` thrice."""
    a, b = left_BW.chunk(2, dim=-1)
    c, d = right_BW.chunk(2, dim=-1)
    return torch.cat([a * c - b * d, a * d + b * c], dim=-1)


def _conjugate_multiply(left_BW: Tensor, right_BW: Tensor) -> Tensor:
    """Multiply the conjugates of the rows ``left`` with the rows ``right``."""
    a, b = left_BW.chunk(2, dim=-1)
    c, d = right_BW.chunk(2, dim=-1)
    return torch.cat([a * c + b * d, a * d - b * c], dim=-1)


@dataclass(slots=True, kw_only=True)
class ComplExModel:
    """The tables of one trained (or fresh) model.

    ``entities_NW`` and ``relations_RW`` are float32; rows ``n_relations`` and up of the latter are the inverses.
    ``seen_N`` says which entities occur in train; ``anchors_RW`` is the mean entity row of each relation's train
    anchors, zero for a relation without any.
    """

    entities_NW: Tensor  # noqa: N815 (shape suffix)
    relations_RW: Tensor  # noqa: N815 (shape suffix)
    seen_N: Tensor  # noqa: N815 (shape suffix)
    anchors_RW: Tensor  # noqa: N815 (shape suffix)

    @classmethod
    def fresh(
        cls, *, n_entities: int, n_relations: int, rank: int, init_scale: float, seed: int, device: str = "cpu"
    ) -> ComplExModel:
        """Make a model with small random rows; the same seed gives the same rows on every device.

        :param n_entities: Number of entities.
        :param n_relations: Number of relations without inverses.
        :param rank: Complex numbers per row.
        :param init_scale: Standard deviation of the initial values.
        :param seed: Seed of the initial values.
        :param device: Where the tables live.
        :returns: The model; no entity counts as seen yet.
        """
        generator = torch.Generator().manual_seed(seed)
        entities = torch.randn(n_entities, 2 * rank, generator=generator) * init_scale
        relations = torch.randn(2 * n_relations, 2 * rank, generator=generator) * init_scale
        return cls(
            entities_NW=entities.to(device),
            relations_RW=relations.to(device),
            seen_N=torch.zeros(n_entities, dtype=torch.bool, device=device),
            anchors_RW=torch.zeros(2 * n_relations, 2 * rank, device=device),
        )

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        return self.entities_NW.numel() + self.relations_RW.numel()

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities."""
        return self.relations_RW.numel()

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity, over all entities."""
        return self.entities_NW.numel()

    @property
    def n_relations(self) -> int:
        """Count the relations, without their inverses."""
        return len(self.relations_RW) // 2

    def note_train(self, train_M3: NDArray[np.int64]) -> None:
        """Record which entities train holds and the mean anchor of each relation; call it after the last update.

        :param train_M3: Train triples, without inverses. *Shape:* ``(M, 3)``.
        """
        rows = torch.from_numpy(with_inverses(train_M3, self.n_relations)).to(self.entities_NW.device)
        self.seen_N[rows[:, 0]] = True
        pairs = torch.unique(rows[:, :2], dim=0)
        self.anchors_RW.zero_().index_add_(0, pairs[:, 1], self.entities_NW[pairs[:, 0]])
        counts = torch.bincount(pairs[:, 1], minlength=len(self.relations_RW)).clamp_(min=1)
        self.anchors_RW /= counts[:, None]

    @torch.inference_mode()
    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``; higher is better.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Scores. *Shape:* ``(B, N)``, float32.
        """
        device = self.entities_NW.device
        anchor_B = torch.from_numpy(anchors).to(device)
        relation_B = torch.from_numpy(relations).to(device)
        rows_BW = torch.where(self.seen_N[anchor_B][:, None], self.entities_NW[anchor_B], self.anchors_RW[relation_B])
        scores_BN = against_all(multiply(rows_BW, self.relations_RW[relation_B]), self.entities_NW)
        scores: NDArray[np.float32] = scores_BN.cpu().numpy()
        return scores

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLoss:
    """The parts of one batch's loss, in nats but for the dimensionless penalty: ``total`` is what is minimised."""

    total: float
    entity: float
    relation: float
    penalty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """The gradients of a batch: of its candidates, in a buffer that the next call overwrites, and of all relations."""

    entities_CW: Tensor  # noqa: N815 (shape suffix)
    relations_RW: Tensor  # noqa: N815 (shape suffix)


def loss_and_gradients(
    model: ComplExModel,
    batch: QuestionBatch,
    *,
    softmax: AnswerSoftmax,
    regularisation: float,
    relation_weight: float,
    candidates: Candidates | None = None,
) -> tuple[BatchLoss, Gradients]:
    """Compute one batch's loss and its gradients.

    ``loss = weight * sum over triples of CE(t | h, r) + relation_weight * CE(r | h, t)
    + regularisation * (|h|^3 + |r|^3 + |t|^3)``, the norms summed over the complex numbers of a row.

    :param model: The model; it is not changed.
    :param batch: Questions with all their answers in train.
    :param softmax: The softmax, with its buffers.
    :param regularisation: Weight of the N3 penalty.
    :param relation_weight: Weight of relation prediction; 0 leaves it out.
    :param candidates: What the answers are compared with; ``None`` takes all entities.
    :returns: The parts of the loss, and the gradients: of all entities where there are no candidates.
    """
    entities, relations = model.entities_NW, model.relations_RW
    anchors_B, relations_B = batch.questions_B2.unbind(1)
    owners_M, answers_M, weight = batch.owners_M, batch.answers_M, batch.weight
    rows_CW = entities.detach()
    if candidates is not None:
        rows_CW, anchors_B, answers_M = rows_CW[candidates.entities_C], candidates.anchors_B, candidates.answers_M
    anchor_BW = rows_CW[anchors_B].requires_grad_()
    answer_MW = rows_CW[answers_M].requires_grad_()
    table_RW = relations.detach().requires_grad_()
    relation_BW = table_RW[relations_B]

    query_BW = multiply(anchor_BW, relation_BW)
    entity_loss, query_gradient, gradient_CW = softmax(
        rows_CW, query_BW.detach(), answers_M, owners_M, weight=weight, candidates=candidates
    )
    counts_B = torch.bincount(owners_M, minlength=len(anchors_B))
    per_question_B = _cubes(anchor_BW) + _cubes(relation_BW)
    penalty = weight * (torch.dot(counts_B.to(per_question_B.dtype), per_question_B) + _cubes(answer_MW).sum())
    side_loss = regularisation * penalty
    relation_loss = torch.zeros((), device=anchor_BW.device)
    if relation_weight:
        logits_MR = _conjugate_multiply(anchor_BW[owners_M], answer_MW) @ table_RW.T
        relation_loss = weight * functional.cross_entropy(logits_MR, relations_B[owners_M], reduction="sum")
        side_loss = side_loss + relation_weight * relation_loss
    torch.autograd.backward([query_BW, side_loss], [query_gradient, torch.ones_like(side_loss)])

    gradient_CW.index_add_(0, anchors_B, _gradient(anchor_BW))
    gradient_CW.index_add_(0, answers_M, _gradient(answer_MW))
    loss = BatchLoss(
        total=entity_loss + side_loss.item(),
        entity=entity_loss,
        relation=relation_loss.item(),
        penalty=penalty.item(),
    )
    return loss, Gradients(entities_CW=gradient_CW, relations_RW=_gradient(table_RW))


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _cubes(rows_BW: Tensor) -> Tensor:
    """Sum each row's cubed moduli; the tiny constant keeps the gradient finite at zero. *Shape:* ``(B,)``."""
    real, imaginary = rows_BW.chunk(2, dim=-1)
    squares = real.square() + imaginary.square() + 1e-20
    return (squares * squares.sqrt()).sum(dim=1)
