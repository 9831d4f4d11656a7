"""Optional losses for routers that tell experts apart: orthogonal router rows, and scores that vary over tokens.

Layer: ``moe_backbone``; imports torch only.
Source: Guo et al. 2025, Advancing Expert Specialization for Better MoE, arXiv:2505.22323 (an orthogonality and a
variance loss beside load balance). Its orthogonality is between experts' outputs, which fused experts do not keep
apart; here it is between router rows, which decide what experts see.

Padding: bit-equal (orthogonality sees no token). Micro-batches: variance adds up exactly with the totals of the whole
batch; orthogonality is of the weights, so add it once per step, not once per micro-batch.

Shape suffixes: L layers, T tokens, E experts, H model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from moe_backbone.losses.common import at_least_float32, part_of_whole, real_tokens

__all__ = ["ScoreTotals", "router_orthogonality_loss", "score_totals", "score_variance_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTotals:
    """What the variance loss must know of the *whole* batch. Sums with ``+``.

    ``sums`` are each expert's router probabilities and their squares, summed over tokens, ``(L, 2, E)``, no gradient.
    """

    sums: Tensor
    n_tokens: int

    def __add__(self, other: ScoreTotals) -> ScoreTotals:
        """Add the totals of another micro-batch."""
        return ScoreTotals(sums=self.sums + other.sums, n_tokens=self.n_tokens + other.n_tokens)


def router_orthogonality_loss(weights: Sequence[Tensor]) -> Tensor:
    """Return the mean squared cosine between different router rows; 0 where all are orthogonal.

    :param weights: Router weights, one tensor per layer. *Shape:* each ``(E, H)``, E at least 2.
    :returns: The mean over layers and pairs, in [0, 1]. *Shape:* ``()``.
    :raises ValueError: If there is no layer, or one has fewer than two rows.
    """
    if not weights or any(weight.ndim != 2 or len(weight) < 2 for weight in weights):
        raise ValueError(f"weights must be layers of shape (E >= 2, H), got {[tuple(w.shape) for w in weights]}.")
    losses = []
    for weight_EH in weights:
        rows_EH = functional.normalize(at_least_float32(weight_EH), dim=-1)
        cosine_EE = rows_EH @ rows_EH.T
        n_pairs = len(rows_EH) * (len(rows_EH) - 1)
        losses.append((cosine_EE - torch.diag_embed(cosine_EE.diagonal())).square().sum() / n_pairs)
    return torch.stack(losses).mean()


def score_totals(logits: Sequence[Tensor], *, mask: Tensor | None = None) -> ScoreTotals:
    """Sum each expert's router probabilities and their squares.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :returns: Totals of this batch.
    :raises ValueError: If the shapes do not fit each other.
    """
    sums_L2E, n_tokens = _sums(logits, mask)
    return ScoreTotals(sums=sums_L2E.detach(), n_tokens=n_tokens)


def score_variance_loss(
    logits: Sequence[Tensor], *, mask: Tensor | None = None, totals: ScoreTotals | None = None
) -> Tensor:
    """Return the negative variance over tokens of the router's probabilities, summed over experts.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements.
    :param totals: The totals of the whole batch where ``logits`` is one micro-batch of it.
    :returns: ``-mean_l Σ_e Var_t(p_lte)``, from ``1/E - 1`` to 0. *Shape:* ``()``.
    :raises ValueError: If the shapes do not fit each other.
    """
    part_L2E, n_part = _sums(logits, mask)
    count = max(n_part if totals is None else totals.n_tokens, 1)

    def function(sums_L2E: Tensor) -> Tensor:
        mean_L2E = sums_L2E / count
        return -(mean_L2E[:, 1] - mean_L2E[:, 0].square()).sum(dim=-1).mean()

    return part_of_whole(function, part_L2E, whole=None if totals is None else totals.sums, share=n_part / count)


def _sums(logits: Sequence[Tensor], mask: Tensor | None) -> tuple[Tensor, int]:
    kept = [at_least_float32(layer).softmax(dim=-1) for layer in real_tokens(logits, mask=mask)]
    sums = [torch.stack([p_TE.sum(dim=0), p_TE.square().sum(dim=0)]) for p_TE in kept]
    return torch.stack(sums), kept[0].shape[0]
