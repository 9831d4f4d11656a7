"""E low-rank matrices side by side, applied to rows that are sorted by expert; no full-size delta is ever made.

Layer: ``moe_backbone``; imports torch only.
Source: Hu et al. 2021, LoRA, arXiv:2106.09685, section 4.1 (``ΔW = (alpha / r) B A``, Gaussian A, zero B).

Shape suffixes: S rows sorted by expert, E experts, R rank, I input width, O output width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import MoEConfigError, require_count
from moe_backbone.dispatch.grouped import can_group

__all__ = ["LoRAConfig", "LowRank", "add_up_slots", "grouped_product", "sort_slots"]

_ROW_ALIGNMENT_BYTES = 16  # of torch's grouped product, which writes rows of O numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRAConfig:
    """How large an adapter is.

    :param rank: Rank R of each expert's adapter, at least 1.
    :param alpha: Numerator of the scale ``alpha / rank``, > 0. The default, twice the default rank, is common practice.
    :raises MoEConfigError: If a number is out of its range.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        require_count("rank", self.rank, minimum=1)
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise MoEConfigError(f"alpha must be finite and > 0, got {self.alpha!r}.")

    @property
    def scale(self) -> float:
        """Factor of the adapters' product."""
        return self.alpha / self.rank


class LowRank(nn.Module):
    """``x ↦ scale · B_e A_e x`` for rows of expert e: parameters ``a[E, R, I]`` and ``b[E, O, R]``; it starts as zero.

    :param config: Rank and scale.
    :param n_experts: E.
    :param n_in: I.
    :param n_out: O.
    :param like: A tensor whose dtype and device the parameters take.
    """

    def __init__(self, config: LoRAConfig, *, n_experts: int, n_in: int, n_out: int, like: Tensor) -> None:
        super().__init__()
        self.scale = config.scale
        self.a = nn.Parameter(like.new_empty(n_experts, config.rank, n_in))
        self.b = nn.Parameter(like.new_zeros(n_experts, n_out, config.rank))
        nn.init.normal_(self.a, std=n_in**-0.5)

    def forward(self, x_SI: Tensor, counts_E: Tensor) -> Tensor:
        """Apply each expert's adapter to its rows; an expert without rows is not read.

        :param x_SI: Rows sorted by expert. *Shape:* ``(S, I)``.
        :param counts_E: Rows of each expert; they sum to S. *Shape:* ``(E,)``.
        :returns: Rows in the dtype of ``x_SI``. *Shape:* ``(S, O)``.
        """
        low_SR = grouped_product(x_SI.to(self.a.dtype), self.a, counts_E)
        return (grouped_product(low_SR, self.b, counts_E) * self.scale).to(x_SI.dtype)

    @torch.no_grad()
    def delta(self, expert: int) -> Tensor:
        """Return the full matrix that one expert's adapter adds, in at least float32. *Shape:* ``(O, I)``."""
        precision = torch.promote_types(self.a.dtype, torch.float32)
        return self.scale * (self.b[expert].to(precision) @ self.a[expert].to(precision))


def grouped_product(x_SI: Tensor, weight_EOI: Tensor, counts_E: Tensor) -> Tensor:
    """Multiply each row by the transposed matrix of its expert.

    :param x_SI: Rows sorted by expert. *Shape:* ``(S, I)``.
    :param weight_EOI: Matrices; any strides. *Shape:* ``(E, O, I)``.
    :param counts_E: Rows of each expert; they sum to S. *Shape:* ``(E,)``.
    :returns: Products. *Shape:* ``(S, O)``.
    """
    n_out = weight_EOI.shape[1]
    aligned = n_out * weight_EOI.element_size() % _ROW_ALIGNMENT_BYTES == 0
    if x_SI.shape[0] and aligned and weight_EOI.is_contiguous() and can_group((x_SI, weight_EOI)):
        offsets_E = counts_E.cumsum(0).to(torch.int32)
        return functional.grouped_mm(x_SI, weight_EOI.transpose(-2, -1), offs=offsets_E)
    counts = counts_E.tolist()
    busy = [expert for expert, count in enumerate(counts) if count] or [0]
    parts = torch.split(x_SI, [counts[expert] for expert in busy])
    weights = weight_EOI.unbind(0)  # not indexing, whose backward makes a full-size gradient for every expert
    return torch.cat([functional.linear(x, weights[expert]) for expert, x in zip(busy, parts, strict=True)])


def sort_slots(index_TK: Tensor, *, n_experts: int) -> tuple[Tensor, Tensor]:
    """Sort the slots that hold an expert by expert, stably.

    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param n_experts: E.
    :returns: Slots ``t·K + k``, ``(S,)``, and how many each expert has, ``(E,)``.
    """
    flat = index_TK.reshape(-1)
    flat = torch.where((flat >= 0) & (flat < n_experts), flat, n_experts)
    counts_E = torch.bincount(flat, minlength=n_experts + 1)[:n_experts]
    return flat.argsort(stable=True)[: int(counts_E.sum())], counts_E


def add_up_slots(y_SO: Tensor, slots_S: Tensor, weights_TK: Tensor) -> Tensor:
    """Weigh the slots' rows and add up those of each token, in a fixed order.

    :param y_SO: Rows of the slots. *Shape:* ``(S, O)``.
    :param slots_S: What :func:`sort_slots` returned. *Shape:* ``(S,)``.
    :param weights_TK: Weights. *Shape:* ``(T, K)``.
    :returns: Sums in the dtype of ``y_SO``. *Shape:* ``(T, O)``.
    """
    weighted_SO = y_SO * weights_TK.reshape(-1)[slots_S, None]
    per_slot = weighted_SO.new_zeros(weights_TK.numel(), y_SO.shape[1]).index_copy(0, slots_S, weighted_SO)
    return per_slot.view(*weights_TK.shape, y_SO.shape[1]).sum(dim=1).to(y_SO.dtype)
