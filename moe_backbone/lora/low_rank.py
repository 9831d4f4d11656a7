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
from moe_backbone.dispatch.processor import cpu_multiplies
from moe_backbone.dispatch.products import multiply, multiply_in_float32
from moe_backbone.dispatch.slots import Groups

__all__ = ["LoRAConfig", "LowRank", "grouped_product"]

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

    def forward(self, x_SI: Tensor, groups: Groups) -> Tensor:
        """Apply each expert's adapter to its rows; an expert without rows is not read.

        :param x_SI: Rows sorted by expert. *Shape:* ``(S, I)``.
        :param groups: Which rows are whose.
        :returns: Rows in the dtype of ``x_SI``. *Shape:* ``(S, O)``.
        """
        low_SR = grouped_product(x_SI.to(self.a.dtype), self.a, groups)
        return (grouped_product(low_SR, self.b, groups) * self.scale).to(x_SI.dtype)

    @torch.no_grad()
    def delta(self, expert: int) -> Tensor:
        """Return the full matrix that one expert's adapter adds, in at least float32. *Shape:* ``(O, I)``."""
        precision = torch.promote_types(self.a.dtype, torch.float32)
        return self.scale * (self.b[expert].to(precision) @ self.a[expert].to(precision))


def grouped_product(x_SI: Tensor, weight_EOI: Tensor, groups: Groups) -> Tensor:
    """Multiply each row by the transposed matrix of its expert.

    :param x_SI: Rows sorted by expert. *Shape:* ``(S, I)``.
    :param weight_EOI: Matrices, or a view of transposed ones. *Shape:* ``(E, O, I)``.
    :param groups: Which rows are whose; at least one expert, which may have no rows.
    :returns: Products. *Shape:* ``(S, O)``.
    """
    aligned = weight_EOI.shape[1] * weight_EOI.element_size() % _ROW_ALIGNMENT_BYTES == 0
    if len(x_SI) and x_SI.device.type != "cpu" and aligned and can_group(x_SI, weight_EOI, weight_EOI):
        counts_E = x_SI.new_zeros(len(weight_EOI), dtype=torch.int32)
        counts_E[torch.tensor(groups.experts, device=x_SI.device)] = torch.tensor(
            groups.counts, device=x_SI.device, dtype=torch.int32
        )
        offsets_E = counts_E.cumsum(0, dtype=torch.int32)
        return functional.grouped_mm(x_SI, weight_EOI.transpose(-2, -1), offs=offsets_E)
    weights = weight_EOI.unbind(0)  # not indexing, whose backward makes a full-size gradient for every expert
    parts = zip(groups.experts, torch.split(x_SI, groups.counts), strict=True)
    product = multiply if x_SI.device.type != "cpu" or cpu_multiplies(x_SI.dtype) else multiply_in_float32
    return torch.cat([product(x_NI, weights[expert]) for expert, x_NI in parts])
