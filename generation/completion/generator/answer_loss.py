"""The loss of answers that follow prompts, for causal and for encoder-decoder models, with mixtures kept in balance.

Layer: ``generation``; imports torch.

Shape suffixes: B sequences, S tokens, P kept places, N answer tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.lora.token_mixtures import mixture_balance, recorded_mixtures
from moe_backbone.training.data import IGNORED, Batch
from moe_backbone.training.objectives import ObjectiveSums

__all__ = ["AnswerLoss", "answer_loss"]


class AnswerLoss:
    """Cross-entropy of the answers' tokens (an :class:`~moe_backbone.training.objectives.Objective`).

    A causal model's logits are computed at the answers alone where the model can: with a vocabulary of 49,152 and
    prompts of 200 tokens the head would else cost as much as a fifth of SmolLM2-135M.

    :param model: The model that will be judged; only its kind is read.
    :param balance_weight: Weight of the load-balance loss of mixtures of LoRA experts, each micro-batch by itself.
    """

    def __init__(self, model: nn.Module, *, balance_weight: float = 0.0) -> None:
        self.seq2seq = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        self.balance_weight = balance_weight
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    def n_targets(self, batch: Batch) -> int:
        """Return how many tokens of answers are predicted."""
        labels = batch.labels if self.seq2seq else batch.labels[:, 1:]
        return int((labels != IGNORED).sum())

    def __call__(self, model: nn.Module, batch: Batch) -> ObjectiveSums:
        """Return the summed cross-entropy in nats, and the balance loss where there are mixtures."""
        with recorded_mixtures(model) as record:
            logits_NV, labels_N = self._seq2seq(model, batch) if self.seq2seq else self._causal(model, batch)
        wide_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
        loss = functional.cross_entropy(wide_NV, labels_N, reduction="sum")
        parts = {"cross_entropy": loss.detach()}
        if record:
            balance = mixture_balance(record, mask=batch.mask) * len(labels_N)
            parts["mixture_balance"] = balance.detach()
            loss = loss + self.balance_weight * balance
        return ObjectiveSums(loss=loss, parts=parts)

    def _causal(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        called: Any = model
        labels_BS = batch.labels[:, 1:]
        kept_BS = labels_BS != IGNORED
        options: dict[str, Any] = {}
        if self._keeps_logits:
            places_P = kept_BS.any(dim=0).nonzero()[:, 0]
            labels_BS, kept_BS, options["logits_to_keep"] = labels_BS[:, places_P], kept_BS[:, places_P], places_P
        out = called(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False, **options)
        logits = out.logits if self._keeps_logits else out.logits[:, :-1]
        return logits[kept_BS], labels_BS[kept_BS]

    def _seq2seq(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        called: Any = model
        out = called(input_ids=batch.ids, attention_mask=batch.mask.long(), labels=batch.labels, use_cache=False)
        kept = batch.labels != IGNORED
        return out.logits[kept], batch.labels[kept]


@torch.no_grad()
def answer_loss(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> float:
    """Return the mean cross-entropy of the answers' tokens under teacher forcing, in nats.

    :param model: The model; it is judged in evaluation mode and left in the mode it was in.
    :param batches: At least one batch, on any device.
    :param autocast: Opens the context of the forward passes.
    :returns: The loss; lower is better.
    """
    objective = AnswerLoss(model)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        total = 0.0
        for batch in batches:
            with autocast():
                total += float(objective(model, batch.to(device)).loss)
    finally:
        model.train(was_training)
    return total / sum(objective.n_targets(batch) for batch in batches)
