"""Losses that see modalities apart: entropies of LIMoE, and the divergence of their routing.

Layer: ``moe_backbone``; imports torch only.
Source: LIMoE, arXiv:2206.02770, section 2.2 (low local entropy: each token is sure; high global entropy: each modality
as a whole uses many experts, at least ``exp(threshold)`` of them); SMAR, arXiv:2506.06406 (the divergence between the
modalities' routing distributions is what a loss controls). Of SMAR the idea is taken; the form here, a symmetric
Kullback-Leibler divergence of mean distributions that is kept in a band, is this library's.

Padding: bit-equal. Micro-batches: all three add up exactly, value and gradient, with the totals of the whole batch
(:func:`modality_totals`); without them, global entropy and divergence of parts do **not** add up to those of the whole,
for they are no means over tokens.

Shape suffixes: L layers, T tokens, E experts, M modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from moe_backbone.losses.common import at_least_float32, finite_log, keep_real, part_of_whole, real_tokens

__all__ = [
    "ModalityTotals",
    "global_entropy_loss",
    "local_entropy_loss",
    "modality_totals",
    "routing_divergence_loss",
]

_LEAST_PROBABILITY = 1e-9  # of a mean distribution inside a logarithm of a quotient


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityTotals:
    """What the losses of this module must know of the *whole* batch. Sums with ``+``.

    ``probabilities`` are the router probabilities summed over the tokens of each modality, ``(L, M, E)``, without
    gradient; ``n_tokens`` how many tokens each has, ``(M,)``.
    """

    probabilities: Tensor
    n_tokens: tuple[int, ...]

    def __add__(self, other: ModalityTotals) -> ModalityTotals:
        """Add the totals of another micro-batch."""
        return ModalityTotals(
            probabilities=self.probabilities + other.probabilities,
            n_tokens=tuple(mine + theirs for mine, theirs in zip(self.n_tokens, other.n_tokens, strict=True)),
        )


def modality_totals(
    logits: Sequence[Tensor], *, modality: Tensor, n_modalities: int, mask: Tensor | None = None
) -> ModalityTotals:
    """Sum the router probabilities of each modality in each layer.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param modality: Id of each token's modality, from 0; any shape with T elements.
    :param n_modalities: M.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :returns: Totals of this batch.
    :raises ValueError: If the shapes do not fit each other, or an id is out of range.
    """
    sums_LME, n_tokens = _sums(logits, modality=modality, n_modalities=n_modalities, mask=mask)
    return ModalityTotals(probabilities=sums_LME.detach(), n_tokens=n_tokens)


def local_entropy_loss(
    logits: Sequence[Tensor],
    *,
    modality: Tensor,
    n_modalities: int,
    mask: Tensor | None = None,
    totals: ModalityTotals | None = None,
) -> Tensor:
    """Return each modality's mean entropy of a token's router distribution. LIMoE lowers it for text.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param modality: Id of each token's modality, from 0; any shape with T elements.
    :param n_modalities: M.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :returns: Means over layers and tokens, in nats; 0 where a modality has no token. *Shape:* ``(M,)``.
    :raises ValueError: If the shapes do not fit each other, or an id is out of range.
    """
    kept, ids_T = _kept(logits, modality=modality, n_modalities=n_modalities, mask=mask)
    entropies = []
    for layer_TE in kept:
        p_TE = at_least_float32(layer_TE).softmax(dim=-1)
        entropies.append(-(p_TE * finite_log(p_TE)).sum(dim=-1))
    entropy_T = torch.stack(entropies).mean(dim=0)
    losses = []
    for number in range(n_modalities):
        own_N = entropy_T[ids_T == number]
        count = len(own_N) if totals is None else totals.n_tokens[number]
        losses.append(own_N.sum() / max(count, 1))
    return torch.stack(losses)


def global_entropy_loss(
    logits: Sequence[Tensor],
    *,
    modality: Tensor,
    n_modalities: int,
    threshold: float | None = None,
    mask: Tensor | None = None,
    totals: ModalityTotals | None = None,
) -> Tensor:
    """Return each modality's negative entropy of its mean router distribution; to lower it spreads the modality.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param modality: Id of each token's modality, from 0; any shape with T elements.
    :param n_modalities: M.
    :param threshold: Entropy in nats that is enough: ``max(0, threshold - H)`` per layer, so that a modality is not
        driven beyond about ``exp(threshold)`` experts. ``None`` returns ``-H``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :returns: Means over layers; 0 where a modality has no token. *Shape:* ``(M,)``.
    :raises ValueError: If the shapes do not fit each other, or an id is out of range.
    """
    part_LME, n_part = _sums(logits, modality=modality, n_modalities=n_modalities, mask=mask)
    losses = []
    for number in range(n_modalities):
        count = n_part[number] if totals is None else totals.n_tokens[number]
        if not count:
            losses.append(part_LME.sum() * 0)
            continue
        whole_LE = None if totals is None else totals.probabilities[:, number]
        function = _spread(count, threshold)
        losses.append(part_of_whole(function, part_LME[:, number], whole=whole_LE, share=n_part[number] / count))
    return torch.stack(losses)


def _spread(count: int, threshold: float | None) -> Callable[[Tensor], Tensor]:
    def function(sums_LE: Tensor) -> Tensor:
        p_LE = sums_LE / count
        negative_L = (p_LE * finite_log(p_LE)).sum(dim=-1)
        return (negative_L if threshold is None else (threshold + negative_L).clamp(min=0)).mean()

    return function


def routing_divergence_loss(
    logits: Sequence[Tensor],
    *,
    modality: Tensor,
    n_modalities: int,
    low: float = 0.0,
    high: float = 0.0,
    mask: Tensor | None = None,
    totals: ModalityTotals | None = None,
) -> Tensor:
    """Return how far the symmetric KL divergence between modalities' mean routing leaves the band ``[low, high]``.

    For each layer and pair of modalities that have tokens, ``D = (KL(a‖b) + KL(b‖a)) / 2``, and the loss is
    ``max(0, low - D) + max(0, D - high)``: ``low`` asks for experts that specialise, ``high`` for some that are shared.
    The defaults pull all modalities together.

    :param logits: Router logits of experts that every modality may use, one tensor per layer. *Shape:* each ``(T, E)``.
    :param modality: Id of each token's modality, from 0; any shape with T elements.
    :param n_modalities: M.
    :param low: Least divergence, in nats, >= 0.
    :param high: Greatest divergence, in nats, >= ``low``; ``math.inf`` sets none.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :returns: The mean over layers and pairs; 0 with fewer than two modalities. *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other, an id is out of range, or the band is none.
    """
    if not 0 <= low <= high:
        raise ValueError(f"low and high must satisfy 0 <= low <= high, got {low!r} and {high!r}.")
    part_LME, n_part = _sums(logits, modality=modality, n_modalities=n_modalities, mask=mask)
    counts = n_part if totals is None else totals.n_tokens
    pairs = list(combinations([number for number, count in enumerate(counts) if count], 2))
    if not pairs:
        return part_LME.sum() * 0

    def function(sums_LME: Tensor) -> Tensor:
        outside = []
        for a, b in pairs:
            log_ratio_LE = (sums_LME[:, a] / counts[a]).clamp(min=_LEAST_PROBABILITY).log()
            log_ratio_LE = log_ratio_LE - (sums_LME[:, b] / counts[b]).clamp(min=_LEAST_PROBABILITY).log()
            apart_LE = (sums_LME[:, a] / counts[a] - sums_LME[:, b] / counts[b]) * log_ratio_LE
            divergence_L = apart_LE.sum(dim=-1) / 2
            outside.append((low - divergence_L).clamp(min=0) + (divergence_L - high).clamp(min=0))
        return torch.stack(outside).mean()

    whole = None if totals is None else totals.probabilities
    return part_of_whole(function, part_LME, whole=whole, share=sum(n_part) / max(sum(counts), 1))


def _sums(
    logits: Sequence[Tensor], *, modality: Tensor, n_modalities: int, mask: Tensor | None
) -> tuple[Tensor, tuple[int, ...]]:
    kept, ids_T = _kept(logits, modality=modality, n_modalities=n_modalities, mask=mask)
    layers = []
    for layer_TE in kept:
        p_TE = at_least_float32(layer_TE).softmax(dim=-1)
        layers.append(torch.stack([p_TE[ids_T == number].sum(dim=0) for number in range(n_modalities)]))
    return torch.stack(layers), tuple(torch.bincount(ids_T, minlength=n_modalities).tolist())


def _kept(
    logits: Sequence[Tensor], *, modality: Tensor, n_modalities: int, mask: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    kept = real_tokens(logits, mask=mask)
    if modality.numel() != logits[0].shape[0]:
        raise ValueError(
            f"modality must have one id for each of the {logits[0].shape[0]} tokens, got {modality.shape}."
        )
    ids_T = keep_real(modality.reshape(-1), mask)
    if ids_T.numel() and not 0 <= int(ids_T.min()) <= int(ids_T.max()) < n_modalities:
        raise ValueError(f"modality ids must lie in 0 … {n_modalities - 1}, got {sorted(set(ids_T.tolist()))}.")
    return kept, ids_T
