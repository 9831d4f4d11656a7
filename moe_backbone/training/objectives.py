"""What a stage minimises: the next token, a teacher's distribution, or preferences.

Layer: ``moe_backbone``; imports torch only.
Sources: knowledge distillation, arXiv:1503.02531, section 2 (temperature, and the factor of its square); direct
preference optimisation, arXiv:2305.18290, equation 7; a teacher first imitated, then used as the reference of
preferences: LLaVA-MoD, arXiv:2408.15881, section 3.3.

Every objective returns **sums**, which the loop divides by the targets of the whole step: micro-batches then add up
exactly. Logits at place s predict the label at place s + 1.

Shape suffixes: B sequences, S tokens, N targets, V vocabulary, K tokens that the teacher keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.training.config import StageConfig, TrainingError
from moe_backbone.training.data import IGNORED, Batch

__all__ = [
    "Distillation",
    "NextToken",
    "Objective",
    "ObjectiveSums",
    "Preferences",
    "divergence_sum",
    "make_objective",
    "preference_losses",
    "sequence_log_probabilities",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSums:
    """The summed loss of one micro-batch, with its gradient, and sums to log beside it, without."""

    loss: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """Judges a model on a micro-batch."""

    def n_targets(self, batch: Batch) -> int:
        """Return how many targets (tokens or pairs) the sums of ``batch`` are over."""
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> ObjectiveSums:
        """Run the model once and return its sums."""
        ...


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    called: Any = model
    logits: Tensor = called(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False).logits
    return logits


def _targets(logits_BSV: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits ``(N, V)`` that have a label, at least float32, and the labels ``(N,)``."""
    labels = batch.labels[:, 1:].reshape(-1)
    kept = labels != IGNORED
    flat_NV = logits_BSV[:, :-1].reshape(-1, logits_BSV.shape[-1])[kept]
    return flat_NV.to(torch.promote_types(flat_NV.dtype, torch.float32)), labels[kept]


def _n_labels(batch: Batch) -> int:
    return int((batch.labels[:, 1:] != IGNORED).sum())


class NextToken:
    """Cross-entropy of the next token."""

    def n_targets(self, batch: Batch) -> int:
        """Return how many tokens are predicted."""
        return _n_labels(batch)

    def __call__(self, model: nn.Module, batch: Batch) -> ObjectiveSums:
        """Return the summed cross-entropy, in nats."""
        logits_NV, labels_N = _targets(_logits(model, batch), batch)
        loss = functional.cross_entropy(logits_NV, labels_N, reduction="sum")
        return ObjectiveSums(loss=loss, parts={"cross_entropy": loss.detach()})


class Distillation:
    """Divergence from a teacher's distribution, mixed with the next-token loss.

    :param teacher: A model with the student's vocabulary; it is only read.
    :param temperature: Softens both distributions; the divergence is multiplied by its square, so that the gradient
        keeps its size.
    :param top_k: The teacher's most probable tokens kept apart; all others are one bucket. 0 keeps all.
    :param hard_weight: Share of the next-token loss, in [0, 1].
    """

    def __init__(self, teacher: nn.Module, *, temperature: float = 1.0, top_k: int = 0, hard_weight: float = 0.0):
        self.teacher = teacher
        self.temperature = temperature
        self.top_k = top_k
        self.hard_weight = hard_weight

    def n_targets(self, batch: Batch) -> int:
        """Return how many tokens are predicted."""
        return _n_labels(batch)

    def __call__(self, model: nn.Module, batch: Batch) -> ObjectiveSums:
        """Return the summed loss; ``parts`` has the divergence and the cross-entropy apart."""
        with torch.no_grad():
            teacher_NV, _ = _targets(_logits(self.teacher, batch), batch)
        student_NV, labels_N = _targets(_logits(model, batch), batch)
        if teacher_NV.shape[-1] != student_NV.shape[-1]:
            raise TrainingError(
                f"the teacher has a vocabulary of {teacher_NV.shape[-1]} tokens, the student of {student_NV.shape[-1]}."
                " Distillation needs one vocabulary."
            )
        divergence = divergence_sum(student_NV, teacher_NV, temperature=self.temperature, top_k=self.top_k)
        hard = functional.cross_entropy(student_NV, labels_N, reduction="sum")
        loss = (1 - self.hard_weight) * divergence + self.hard_weight * hard
        return ObjectiveSums(loss=loss, parts={"divergence": divergence.detach(), "cross_entropy": hard.detach()})


def divergence_sum(student_NV: Tensor, teacher_NV: Tensor, *, temperature: float, top_k: int = 0) -> Tensor:
    """Return ``T² Σ_n KL(teacher_n ‖ student_n)`` at temperature T, in nats.

    With ``top_k`` both distributions are coarsened to the teacher's ``top_k`` tokens and one bucket for the rest: still
    a divergence, never above the full one, and equal to it at ``top_k = V``.

    :param student_NV: Logits, with gradient. *Shape:* ``(N, V)``.
    :param teacher_NV: Logits. *Shape:* ``(N, V)``.
    :param temperature: T, > 0.
    :param top_k: Tokens kept apart; 0, or V and more, keeps all.
    :returns: The sum. *Shape:* ``()``.
    """
    log_q_NV = (student_NV / temperature).log_softmax(dim=-1)
    log_p_NV = (teacher_NV / temperature).log_softmax(dim=-1)
    if 0 < top_k < teacher_NV.shape[-1]:
        log_p_NK, index_NK = log_p_NV.topk(top_k, dim=-1)
        log_q_NK = log_q_NV.gather(-1, index_NK)
        # The rest is summed in log space: 1 - Σp loses all its digits where the teacher is sure.
        beyond = torch.zeros_like(log_p_NV, dtype=torch.bool).scatter(-1, index_NK, True)
        rest_p = log_p_NV.masked_fill(beyond, -torch.inf).logsumexp(dim=-1, keepdim=True)
        rest_q = log_q_NV.masked_fill(beyond, -torch.inf).logsumexp(dim=-1, keepdim=True)
        log_p_NV, log_q_NV = torch.cat((log_p_NK, rest_p), dim=-1), torch.cat((log_q_NK, rest_q), dim=-1)
    p_NV = log_p_NV.exp()
    terms_NV = torch.where(p_NV > 0, p_NV * (log_p_NV - log_q_NV), 0.0)  # a token the teacher forbids adds nothing
    return temperature**2 * terms_NV.sum()


class Preferences:
    """Direct preference optimisation against a reference that stays as it is.

    :param reference: The model that the student may not leave: its own copy, or its teacher.
    :param beta: How strongly it is tied, > 0.
    """

    def __init__(self, reference: nn.Module, *, beta: float = 0.1) -> None:
        self.reference = reference
        self.beta = beta

    def n_targets(self, batch: Batch) -> int:
        """Return the number of pairs."""
        return len(batch.ids) // 2

    def __call__(self, model: nn.Module, batch: Batch) -> ObjectiveSums:
        """Return the summed loss; ``parts`` counts pairs ranked right and sums the margins of the rewards."""
        if batch.rows_per_item != 2:
            raise TrainingError("the dpo objective needs preference pairs (prompt, chosen, rejected), got plain text.")
        with torch.no_grad():
            reference_B = sequence_log_probabilities(_logits(self.reference, batch), batch)
        policy_B = sequence_log_probabilities(_logits(model, batch), batch)
        losses, margins = preference_losses(policy_B, reference_B, beta=self.beta)
        parts = {"accuracy": (margins > 0).sum().to(losses.dtype), "margin": margins.detach().sum()}
        return ObjectiveSums(loss=losses.sum(), parts=parts)


def sequence_log_probabilities(logits_BSV: Tensor, batch: Batch) -> Tensor:
    """Return the summed log-probability of each sequence's labels, in nats. *Shape:* ``(B,)``."""
    labels = batch.labels[:, 1:]
    kept = labels != IGNORED
    logits = logits_BSV[:, :-1]
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
    chosen = log_p.gather(-1, labels.masked_fill(~kept, 0)[..., None])[..., 0]
    return (chosen * kept).sum(dim=-1)


def preference_losses(policy_B: Tensor, reference_B: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Return ``-log σ(β Δ)`` of each pair, and the margins ``β Δ``.

    ``Δ = (π_chosen - π_rejected) - (ref_chosen - ref_rejected)`` in log-probabilities; log 2 where the policy is the
    reference.

    :param policy_B: Log-probabilities of chosen and rejected by turns. *Shape:* ``(B,)``, B even.
    :param reference_B: Those of the reference.
    :param beta: β, > 0.
    :returns: Losses and margins. *Shape:* both ``(B / 2,)``.
    """
    gained = policy_B - reference_B
    margins = beta * (gained[0::2] - gained[1::2])
    return -functional.logsigmoid(margins), margins


def make_objective(stage: StageConfig, *, teacher: nn.Module | None) -> Objective:
    """Make the objective that a stage names.

    :param stage: The stage.
    :param teacher: The teacher of ``kl``, and the reference of ``dpo``.
    :returns: The objective.
    :raises TrainingError: If it needs a teacher and there is none.
    """
    if stage.objective == "lm":
        return NextToken()
    if teacher is None:
        raise TrainingError(f"stage {stage.name!r}: the objective {stage.objective!r} needs a teacher or reference.")
    if stage.objective == "dpo":
        return Preferences(teacher, beta=stage.beta)
    return Distillation(
        teacher, temperature=stage.temperature, top_k=stage.teacher_top_k, hard_weight=stage.hard_weight
    )
