"""What every fast dispatch shares: sort the chosen slots by expert, form the inner state, add the outputs up.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, N rows,
S slots (``t·K + k``) that hold an expert, sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["combine_slots", "finish_rows", "inner_state", "sort_slots"]


def sort_slots(index_TK: Tensor, *, n_experts: int) -> tuple[Tensor, Tensor]:
    """Return the slots that hold an expert, sorted by expert and stable, and how many each expert has.

    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param n_experts: E.
    :returns: Slots and counts, int64. *Shape:* ``(S,)`` and ``(E,)``.
    """
    flat = index_TK.reshape(-1)
    flat = torch.where((flat >= 0) & (flat < n_experts), flat, n_experts)  # "no expert" sorts to the end
    counts_E = torch.bincount(flat, minlength=n_experts + 1)[:n_experts]
    order = torch.argsort(flat, stable=True)
    return order[: int(counts_E.sum())], counts_E


def inner_state(gate_up_NG: Tensor, activation: Callable[[Tensor], Tensor], layout: ExpertLayout | None) -> Tensor:
    """Turn the first product into the inner state.

    :param gate_up_NG: The first product, bias added. *Shape:* ``(N, G)``.
    :param activation: Non-linearity of the gate.
    :param layout: Its ``combine`` replaces ``act(gate) ⊙ up``.
    :returns: *Shape:* ``(N, I)``.
    """
    if layout is not None and layout.combine is not None:
        return layout.combine(gate_up_NG)
    gate_NI, up_NI = gate_up_NG.chunk(2, dim=-1)
    return activation(gate_NI) * up_NI


def finish_rows(y_NH: Tensor, layout: ExpertLayout | None) -> Tensor:
    """Apply the layout's norm of an expert's output, if it has one."""
    return y_NH if layout is None or layout.finish is None else layout.finish(y_NH)


def combine_slots(y_SH: Tensor, slots_S: Tensor, weights_TK: Tensor, hidden_TH: Tensor) -> Tensor:
    """Weigh the slots' outputs and add up each token's, in the wider of the two dtypes.

    :param y_SH: Outputs of the experts, in the order of ``slots_S``. *Shape:* ``(S, H)``.
    :param slots_S: Slots that hold an expert. *Shape:* ``(S,)``.
    :param weights_TK: Weight of each slot. *Shape:* ``(T, K)``.
    :param hidden_TH: Gives the dtype of the result. *Shape:* ``(T, H)``.
    :returns: *Shape:* ``(T, H)``.
    """
    n_tokens, top_k = weights_TK.shape
    weighted_SH = y_SH * weights_TK.reshape(-1)[slots_S, None]
    # Slots are unique, so a copy and a sum are deterministic on every device; index_add is not on CUDA.
    per_slot = weighted_SH.new_zeros(n_tokens * top_k, hidden_TH.shape[1]).index_copy(0, slots_S, weighted_SH)
    return per_slot.view(n_tokens, top_k, hidden_TH.shape[1]).sum(dim=1).to(hidden_TH.dtype)
