"""One matrix product per busy expert: any device, any floating dtype, any width. The fastest on CPU.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, N rows
of one expert, S slots that hold an expert (at most T·K), sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moe_backbone.dispatch.products import multiply, multiply_in_float32
from moe_backbone.dispatch.slots import Groups, run_sorted
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["float32_experts", "looped_experts"]


def looped_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run the experts with one matrix product per busy expert; any floating dtype, any width.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    return _run(multiply, hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout)


def float32_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run half-precision experts by products in float32, for a processor that only emulates half precision.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    return _run(multiply_in_float32, hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout)


def _run(
    multiply_rows: Callable[[Tensor, Tensor], Tensor],
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    layout: ExpertLayout | None,
) -> Tensor:
    # unbind, not indexing: its backward writes each expert's gradient once instead of a full-size tensor per expert.
    gate_up, down = gate_up_EGH.unbind(0), down_EHI.unbind(0)

    def each(rows_SI: Tensor, weights: Sequence[Tensor], groups: Groups) -> Tensor:
        parts = zip(groups.experts, torch.split(rows_SI, groups.counts), strict=True)
        return torch.cat([multiply_rows(rows_NI, weights[expert]) for expert, rows_NI in parts])

    return run_sorted(
        lambda x_TH, groups: each(x_TH[groups.tokens], gate_up, groups),
        lambda inner_SI, groups: each(inner_SI, down, groups),
        hidden_TH,
        index_TK,
        weights_TK,
        activation,
        layout=layout,
        n_experts=len(down),
    )
