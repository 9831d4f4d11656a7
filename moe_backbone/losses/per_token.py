"""Losses that are a mean over tokens: small logits, and sure routers.

Layer: ``moe_backbone``; imports torch only.
Source: z-loss, ST-MoE, arXiv:2202.08906, equation 5; entropy (the dynamic loss of top-p routing), Harder Tasks Need
More Experts, arXiv:2403.07652, section 3.3.

Padding: bit-equal. Micro-batches: add up exactly, with the number of tokens of the whole batch.

Shape suffixes: T tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_backbone.losses.common import at_least_float32, finite_log, real_tokens

__all__ = ["router_entropy_loss", "router_z_loss"]


def router_z_loss(logits: Sequence[Tensor], *, mask: Tensor | None = None, n_tokens: int | None = None) -> Tensor:
    """Return the mean squared log-partition of the routers, which keeps their logits small.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param n_tokens: Real tokens of the whole batch where ``logits`` is one micro-batch of it; the results then add up.
    :returns: ``mean_l (1/N) Σ_t logsumexp(logits_lt)²``. *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    kept = real_tokens(logits, mask=mask)
    count = max(kept[0].shape[0] if n_tokens is None else n_tokens, 1)
    return torch.stack([at_least_float32(layer).logsumexp(dim=-1).square().sum() / count for layer in kept]).mean()


def router_entropy_loss(logits: Sequence[Tensor], *, mask: Tensor | None = None, n_tokens: int | None = None) -> Tensor:
    """Return the mean entropy of a token's router distribution; to lower it makes routers sure, and top-p cheap.

    :param logits: Router logits, one tensor per layer; ``-inf`` is an expert that cannot be chosen. *Shape:* each
        ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param n_tokens: Real tokens of the whole batch where ``logits`` is one micro-batch of it; the results then add up.
    :returns: ``mean_l (1/N) Σ_t H(softmax(logits_lt))``, in nats, from 0 to ``log E``. *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    kept = real_tokens(logits, mask=mask)
    count = max(kept[0].shape[0] if n_tokens is None else n_tokens, 1)
    losses = []
    for layer_TE in kept:
        p_TE = at_least_float32(layer_TE).softmax(dim=-1)
        losses.append(-(p_TE * finite_log(p_TE)).sum() / count)
    return torch.stack(losses).mean()
