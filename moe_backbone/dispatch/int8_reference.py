"""The naive int8 dispatches: round, then multiply in float64. The oracles of the packed ones.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moe_backbone.dispatch.int8_matrices import Int8Kind, activation_levels, quantise_rows
from moe_backbone.dispatch.slots import finish_rows, inner_state
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["reference_int8_experts", "reference_int8_weight_experts"]


def reference_int8_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run ``w8a8`` experts one token and one expert at a time.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, float64. *Shape:* ``(T, H)``.
    """
    return _run(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout, Int8Kind.W8A8)


def reference_int8_weight_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run ``w8`` experts, of int8 weights and exact token states, one token and one expert at a time.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, float64. *Shape:* ``(T, H)``.
    """
    return _run(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout, Int8Kind.W8)


def _run(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    layout: ExpertLayout | None,
    kind: Int8Kind,
) -> Tensor:
    layout = layout or ExpertLayout()
    out_TH = torch.zeros(hidden_TH.shape, dtype=torch.float64)
    for token, experts in enumerate(index_TK.tolist()):
        for slot, expert in enumerate(experts):
            if not 0 <= expert < gate_up_EGH.shape[0]:
                continue
            gate_up_G = _product(gate_up_EGH[expert], hidden_TH[token], kind)
            if layout.gate_up_bias is not None:
                gate_up_G = gate_up_G + layout.gate_up_bias[expert]
            y_H = _product(down_EHI[expert], inner_state(gate_up_G[None], activation, layout)[0], kind)
            if layout.down_bias is not None:
                y_H = y_H + layout.down_bias[expert]
            out_TH[token] += weights_TK[token, slot].double() * finish_rows(y_H[None], layout)[0]
    return out_TH


def _product(weight_OI: Tensor, x_I: Tensor, kind: Int8Kind) -> Tensor:
    rounded_OI, scale_O = quantise_rows(weight_OI)
    x_I = x_I.double()
    if kind is Int8Kind.W8A8:
        step = x_I.abs().max().clamp_min(torch.finfo(torch.float32).tiny) / activation_levels()
        x_I = (x_I / step).round() * step
    return (rounded_OI.double() @ x_I) * scale_O
