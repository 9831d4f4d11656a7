"""The auxiliary losses that keep a router healthy, exact per layer, under padding and over micro-batches.

Layer: ``moe_backbone``; imports torch only.
Source: load balance, Switch Transformers, arXiv:2101.03961, equations 4-6, extended to top k by counting slots;
z-loss, ST-MoE, arXiv:2202.08906, equation 5.

The stock loss of transformers pools all layers before it multiplies, so a model whose every layer sends all tokens to
one expert, another one in each layer, scores 1.0: the optimum. Here each layer is judged alone and scores E.

Shape suffixes: L layers, T tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RoutingTotals", "load_balance_loss", "load_balance_per_layer", "router_z_loss", "routing_totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTotals:
    """What a load-balance loss must know of the *whole* batch: slots per expert, and tokens. Sums with ``+``.

    ``counts`` holds how many of the ``top_k · n_tokens`` slots of each layer went to each expert, ``(L, E)``, float64,
    without gradient.
    """

    counts: Tensor
    n_tokens: int

    def __add__(self, other: RoutingTotals) -> RoutingTotals:
        """Add the totals of another micro-batch."""
        return RoutingTotals(counts=self.counts + other.counts, n_tokens=self.n_tokens + other.n_tokens)


def routing_totals(logits: Sequence[Tensor], *, top_k: int, mask: Tensor | None = None) -> RoutingTotals:
    """Count the slots of each expert in each layer.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token.
    :param mask: True (or 1) for a real token, False for padding; any shape with T elements. ``None``: all are real.
    :returns: Totals of this batch.
    :raises ValueError: If the shapes do not fit each other.
    """
    kept = _real_tokens(logits, top_k=top_k, mask=mask)
    counts = [
        torch.bincount(layer_TE.detach().topk(top_k, dim=-1).indices.reshape(-1), minlength=layer_TE.shape[1])
        for layer_TE in kept
    ]
    return RoutingTotals(counts=torch.stack(counts).double(), n_tokens=kept[0].shape[0])


def load_balance_per_layer(
    logits: Sequence[Tensor], *, top_k: int, mask: Tensor | None = None, totals: RoutingTotals | None = None
) -> Tensor:
    """Return the load-balance loss of each layer: ``E · Σ_e f_e P_e``.

    ``f_e`` is the share of all slots that went to expert e (no gradient), ``P_e`` the mean router probability of e. A
    uniform router scores 1, one that is sure of a single expert scores E.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it: the results then **add up**
        to those of the whole batch, and so do their gradients. ``None``: this batch is the whole.
    :returns: One loss per layer; zeros where there is no token. *Shape:* ``(L,)``, at least float32.
    :raises ValueError: If the shapes do not fit each other.
    """
    kept = _real_tokens(logits, top_k=top_k, mask=mask)
    whole = totals if totals is not None else routing_totals(kept, top_k=top_k)
    n_experts = kept[0].shape[1]
    if tuple(whole.counts.shape) != (len(kept), n_experts):
        raise ValueError(
            f"totals count {tuple(whole.counts.shape)} (layers, experts), but logits have {(len(kept), n_experts)}."
        )
    n_tokens = max(whole.n_tokens, 1)
    losses = []
    for layer_TE, counts_E in zip(kept, whole.counts, strict=True):
        probabilities_E = _at_least_float32(layer_TE).softmax(dim=-1).sum(dim=0) / n_tokens
        share_E = (counts_E / (top_k * n_tokens)).to(probabilities_E.dtype)
        losses.append(n_experts * (share_E * probabilities_E).sum())
    return torch.stack(losses)


def load_balance_loss(
    logits: Sequence[Tensor], *, top_k: int, mask: Tensor | None = None, totals: RoutingTotals | None = None
) -> Tensor:
    """Return the mean over layers of :func:`load_balance_per_layer`, a scalar.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param top_k: Experts per token.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :returns: The loss, from 1 (uniform) to E (collapsed). *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    return load_balance_per_layer(logits, top_k=top_k, mask=mask, totals=totals).mean()


def router_z_loss(logits: Sequence[Tensor], *, mask: Tensor | None = None, n_tokens: int | None = None) -> Tensor:
    """Return the mean squared log-partition of the routers, which keeps their logits small.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param n_tokens: Real tokens of the whole batch where ``logits`` is one micro-batch of it; the results then add up.
    :returns: ``mean_l (1/N) Σ_t logsumexp(logits_lt)²``. *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    kept = _real_tokens(logits, top_k=1, mask=mask)
    count = max(kept[0].shape[0] if n_tokens is None else n_tokens, 1)
    return torch.stack([_at_least_float32(layer).logsumexp(dim=-1).square().sum() / count for layer in kept]).mean()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _real_tokens(logits: Sequence[Tensor], *, top_k: int, mask: Tensor | None) -> list[Tensor]:
    """Check the shapes and drop the padding tokens of every layer."""
    if not logits:
        raise ValueError("logits is empty: pass the router logits of at least one layer (output_router_logits=True).")
    shape = tuple(logits[0].shape)
    if len(shape) != 2 or any(tuple(layer.shape) != shape for layer in logits):
        raise ValueError(f"every layer must have one shape (T, E), got {[tuple(layer.shape) for layer in logits]}.")
    if not 1 <= top_k <= shape[1]:
        raise ValueError(f"top_k must be between 1 and the {shape[1]} experts, got {top_k}.")
    if mask is None:
        return list(logits)
    if mask.numel() != shape[0]:
        raise ValueError(f"mask must have one element for each of the {shape[0]} tokens, got {tuple(mask.shape)}.")
    keep_T = mask.reshape(-1).bool()
    return [layer[keep_T] for layer in logits]
