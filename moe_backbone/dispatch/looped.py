"""One matrix product per busy expert: any device, any floating dtype, any width. The fastest on CPU.

Layer: ``moe_backbone``; imports torch only.
Sums are taken in a fixed order, so a result does not depend on which experts are busy.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, N rows
of one expert, S slots that hold an expert (at most T·K), sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moe_backbone.dispatch.products import multiply, multiply_in_float32
from moe_backbone.dispatch.slots import combine_slots, finish_rows, inner_state, sort_slots
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["float32_experts", "looped_experts", "run_busy_experts"]


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
    run = _expert_runner(multiply, gate_up_EGH, down_EHI, activation, layout)
    return run_busy_experts(run, hidden_TH, index_TK, weights_TK, n_experts=gate_up_EGH.shape[0])


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
    run = _expert_runner(multiply_in_float32, gate_up_EGH, down_EHI, activation, layout)
    return run_busy_experts(run, hidden_TH, index_TK, weights_TK, n_experts=gate_up_EGH.shape[0])


def run_busy_experts(
    run: Callable[[int, Tensor], Tensor], hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor, *, n_experts: int
) -> Tensor:
    """Run every expert that has tokens on its tokens, and add each token's outputs up.

    :param run: Called as ``run(expert, x_NH) -> y_NH``.
    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param n_experts: E.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    n_tokens, top_k = index_TK.shape
    with_grad = torch.is_grad_enabled()
    if n_tokens == 1 and not with_grad:
        return _one_token(run, n_experts, hidden_TH, index_TK, weights_TK)
    slots_S, counts_E = sort_slots(index_TK, n_experts=n_experts)
    counts = counts_E.tolist()
    busy = [expert for expert, count in enumerate(counts) if count]
    if not busy:
        if not with_grad:
            return torch.zeros_like(hidden_TH)
        busy = [0]  # on no rows, so that every weight has a gradient, zero
    token_S = slots_S // max(top_k, 1)
    rows = [counts[expert] for expert in busy]
    parts = zip(busy, torch.split(hidden_TH[token_S], rows), strict=True)
    if with_grad or hidden_TH.device.type != "cpu":
        outputs = [run(expert, x_NH) for expert, x_NH in parts]
        return combine_slots(torch.cat(outputs), slots_S, weights_TK, hidden_TH)
    weights_S1 = weights_TK.reshape(-1)[slots_S, None]
    out_TH = hidden_TH.new_zeros(hidden_TH.shape, dtype=torch.promote_types(hidden_TH.dtype, weights_TK.dtype))
    places = zip(torch.split(token_S, rows), torch.split(weights_S1, rows), strict=True)
    for (expert, x_NH), (token_N, weight_N1) in zip(parts, places, strict=True):
        # Added up while it is in the processor's cache; each token once per expert, experts in order: deterministic.
        out_TH.index_add_(0, token_N, (run(expert, x_NH) * weight_N1).to(out_TH.dtype))
    return out_TH.to(hidden_TH.dtype)


Multiply = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _expert_runner(
    product: Multiply,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    activation: Callable[[Tensor], Tensor],
    layout: ExpertLayout | None,
) -> Callable[[int, Tensor], Tensor]:
    """Return ``run(expert, x_NH) -> y_NH``."""
    # unbind, not indexing: its backward writes each expert's gradient once instead of a full-size tensor per expert.
    gate_up, down = gate_up_EGH.unbind(0), down_EHI.unbind(0)
    layout = layout or ExpertLayout()
    gate_up_bias, down_bias = _rows(layout.gate_up_bias, len(down)), _rows(layout.down_bias, len(down))

    def run(expert: int, x_NH: Tensor) -> Tensor:
        inner_NI = inner_state(product(x_NH, gate_up[expert], gate_up_bias[expert]), activation, layout)
        return finish_rows(product(inner_NI, down[expert], down_bias[expert]), layout)

    return run


def _rows(bias: Tensor | None, n_experts: int) -> Sequence[Tensor | None]:
    return [None] * n_experts if bias is None else bias.unbind(0)


def _one_token(
    run: Callable[[int, Tensor], Tensor], n_experts: int, hidden_1H: Tensor, index_1K: Tensor, weights_1K: Tensor
) -> Tensor:
    """Decode one token: with nothing to sort, sorting is a third of the time that experts add to a small model."""
    out_1H = hidden_1H.new_zeros(hidden_1H.shape, dtype=torch.promote_types(hidden_1H.dtype, weights_1K.dtype))
    for expert, weight in zip(index_1K[0].tolist(), weights_1K[0].tolist(), strict=True):
        if 0 <= expert < n_experts:
            out_1H.add_(run(expert, hidden_1H).to(out_1H.dtype), alpha=weight)
    return out_1H.to(hidden_1H.dtype)
