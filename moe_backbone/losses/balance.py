"""Load balance, exact per layer, under padding and over micro-batches.

Layer: ``moe_backbone``; imports torch only.
Source: Switch Transformers, arXiv:2101.03961, equations 4-6, extended to top k by counting slots; DeepSeek-V3,
arXiv:2412.19437, equations 17-20 (sigmoid scores, normalised); AdaMoE, arXiv:2406.13233, section 3.2 (all null experts
share one mean load).

The stock loss of transformers pools all layers before it multiplies, so a model whose every layer sends all tokens to
one expert, another one in each layer, scores 1.0 (times top k): the optimum. Here each layer is judged alone and scores
E.

Padding: bit-equal. Micro-batches: add up exactly, with the totals of the whole batch.

Shape suffixes: L layers, T tokens, E experts (true and null), K slots per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from moe_backbone.losses.common import at_least_float32, check_logits, keep_real, real_tokens

__all__ = ["RoutingTotals", "load_balance_loss", "load_balance_per_layer", "routing_totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTotals:
    """What a load-balance loss must know of the *whole* batch: slots per expert, and tokens. Sums with ``+``.

    ``counts`` holds how many slots of each layer went to each expert, ``(L, E)``, float64, without gradient; a slot
    without expert is not counted.
    """

    counts: Tensor
    n_tokens: int

    def __add__(self, other: RoutingTotals) -> RoutingTotals:
        """Add the totals of another micro-batch."""
        return RoutingTotals(counts=self.counts + other.counts, n_tokens=self.n_tokens + other.n_tokens)


def routing_totals(
    logits: Sequence[Tensor],
    *,
    top_k: int,
    mask: Tensor | None = None,
    experts: Sequence[Tensor] | None = None,
    null_experts: int = 0,
) -> RoutingTotals:
    """Count the slots of each expert in each layer.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token, by which the choice is made again from the logits.
    :param mask: True (or 1) for a real token, False for padding; any shape with T elements. ``None``: all are real.
    :param experts: What the routers chose, one tensor per layer, for those that do not take the top k of their logits
        (selection bias, top-p, margin, groups). *Shape:* each ``(T, K)``.
    :param null_experts: How many of the last columns of the logits are null experts. Slots without expert are theirs,
        in equal parts.
    :returns: Totals of this batch.
    :raises ValueError: If the shapes do not fit each other.
    """
    n_tokens, n_experts = check_logits(logits, mask=mask)
    if not 1 <= top_k <= n_experts:
        raise ValueError(f"top_k must be between 1 and the {n_experts} experts, got {top_k}.")
    if experts is None:
        chosen = [keep_real(layer, mask).detach().topk(top_k, dim=-1).indices for layer in logits]
    else:
        if len(experts) != len(logits) or any(layer.ndim != 2 or len(layer) != n_tokens for layer in experts):
            given = [tuple(layer.shape) for layer in experts]
            raise ValueError(f"experts must hold {len(logits)} layers of shape ({n_tokens}, K), got {given}.")
        chosen = [keep_real(layer, mask) for layer in experts]
    true = n_experts - null_experts
    counts = torch.stack([_count(layer, true=true, null=null_experts) for layer in chosen])
    return RoutingTotals(counts=counts, n_tokens=chosen[0].shape[0])


def _count(index_TK: Tensor, *, true: int, null: int) -> Tensor:
    flat = index_TK.reshape(-1)
    flat = torch.where((flat >= 0) & (flat < true), flat, true)
    counts = torch.bincount(flat, minlength=true + 1).double()
    return torch.cat([counts[:true], (counts[true:] / null).expand(null)]) if null else counts[:true]


def load_balance_per_layer(
    logits: Sequence[Tensor],
    *,
    top_k: int,
    mask: Tensor | None = None,
    totals: RoutingTotals | None = None,
    experts: Sequence[Tensor] | None = None,
    null_experts: int = 0,
    scores: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """Return the load-balance loss of each layer: ``E · Σ_e f_e P_e``.

    ``f_e`` is the share of the used slots that went to expert e (no gradient), ``P_e`` the mean router probability of
    e. A uniform router scores 1, one that is sure of a single expert scores E.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it: the results then **add up**
        to those of the whole batch, and so do their gradients. ``None``: this batch is the whole.
    :param experts: What the routers chose; see :func:`routing_totals`.
    :param null_experts: Null experts among the columns; see :func:`routing_totals`.
    :param scores: How logits become probabilities: ``sigmoid`` are sigmoids over their sum, as in DeepSeek-V3.
    :returns: One loss per layer; zeros where there is no token. *Shape:* ``(L,)``, at least float32.
    :raises ValueError: If the shapes do not fit each other.
    """
    counted = totals
    if counted is None:
        counted = routing_totals(logits, top_k=top_k, mask=mask, experts=experts, null_experts=null_experts)
    kept = real_tokens(logits, mask=mask)
    n_experts = kept[0].shape[1]
    if tuple(counted.counts.shape) != (len(kept), n_experts):
        raise ValueError(
            f"totals count {tuple(counted.counts.shape)} (layers, experts), but logits have {(len(kept), n_experts)}."
        )
    n_tokens = max(counted.n_tokens, 1)
    losses = []
    for layer_TE, counts_E in zip(kept, counted.counts, strict=True):
        probabilities_E = _probabilities(at_least_float32(layer_TE), scores).sum(dim=0) / n_tokens
        share_E = (counts_E / counts_E.sum().clamp(min=1)).to(probabilities_E.dtype)
        losses.append(n_experts * (share_E * probabilities_E).sum())
    return torch.stack(losses)


def _probabilities(logits_TE: Tensor, scores: str) -> Tensor:
    if scores == "softmax":
        return logits_TE.softmax(dim=-1)
    if scores != "sigmoid":
        raise ValueError(f"scores must be 'softmax' or 'sigmoid', got {scores!r}.")
    scores_TE = logits_TE.sigmoid()
    return scores_TE / scores_TE.sum(dim=-1, keepdim=True)


def load_balance_loss(
    logits: Sequence[Tensor],
    *,
    top_k: int,
    mask: Tensor | None = None,
    totals: RoutingTotals | None = None,
    experts: Sequence[Tensor] | None = None,
    null_experts: int = 0,
    scores: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """Return the mean over layers of :func:`load_balance_per_layer`, a scalar.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :param experts: What the routers chose; see :func:`routing_totals`.
    :param null_experts: Null experts among the columns; see :func:`routing_totals`.
    :param scores: How logits become probabilities.
    :returns: The loss, from 1 (uniform) to E (collapsed). *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    return load_balance_per_layer(
        logits, top_k=top_k, mask=mask, totals=totals, experts=experts, null_experts=null_experts, scores=scores
    ).mean()
