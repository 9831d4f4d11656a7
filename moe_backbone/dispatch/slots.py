"""What every fast dispatch shares: sort the chosen slots by expert, form the inner state, add the outputs up.

:func:`run_sorted` is the whole of it around two products, one expert after the other; sums are taken in a fixed order,
so a result does not depend on which experts are busy.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, N rows,
S slots (``t·K + k``) that hold an expert, sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["Groups", "combine_slots", "finish_rows", "group_slots", "inner_state", "run_sorted", "sort_slots"]

_FEW_SLOTS = 512  # up to so many are sorted in Python, which is faster than five calls of torch


@dataclass(frozen=True, slots=True)
class Groups:
    """Slots that hold an expert, sorted by expert.

    :param slots: Slot numbers ``t·K + k``. *Shape:* ``(S,)``.
    :param tokens: Their tokens. *Shape:* ``(S,)``.
    :param experts: The experts that have slots, rising.
    :param counts: How many slots each of them has.
    """

    slots: Tensor
    tokens: Tensor
    experts: list[int]
    counts: list[int]

    def expert_of_slot(self) -> Tensor:
        """Return the expert of each slot, *shape* ``(S,)``."""
        device = self.slots.device
        return torch.tensor(self.experts, device=device).repeat_interleave(torch.tensor(self.counts, device=device))


def group_slots(index_TK: Tensor, *, n_experts: int) -> Groups:
    """Sort the slots by expert, leaving out those without one.

    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param n_experts: E.
    :returns: The groups, in the order of the experts, and of the slots within one.
    """
    top_k = max(index_TK.shape[1], 1)
    if index_TK.numel() <= _FEW_SLOTS:
        of_expert: dict[int, list[int]] = {}
        for slot, expert in enumerate(index_TK.reshape(-1).tolist()):
            if 0 <= expert < n_experts:
                of_expert.setdefault(expert, []).append(slot)
        experts = sorted(of_expert)
        slots = [slot for expert in experts for slot in of_expert[expert]]
        slots_S = torch.tensor(slots, dtype=torch.int64, device=index_TK.device)
        return Groups(slots_S, slots_S // top_k, experts, [len(of_expert[expert]) for expert in experts])
    slots_S, counts_E = sort_slots(index_TK, n_experts=n_experts)
    counts = counts_E.tolist()
    busy = [expert for expert, count in enumerate(counts) if count]
    return Groups(slots_S, slots_S // top_k, busy, [counts[expert] for expert in busy])


def run_sorted(
    first: Callable[[Tensor, Groups], Tensor],
    second: Callable[[Tensor, Groups], Tensor],
    hidden_TH: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None,
    n_experts: int,
) -> Tensor:
    """Run experts whose two products are ``first`` and ``second``.

    :param first: Multiplies token states by the gate and up projections of each slot's expert,
        ``(T, H) -> (S, G)``.
    :param second: Multiplies inner states by the down projection of each slot's expert, ``(S, I) -> (S, H)``.
    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :param n_experts: E.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    groups = group_slots(index_TK, n_experts=n_experts)
    if not groups.experts:
        if not torch.is_grad_enabled():
            return torch.zeros_like(hidden_TH)
        groups = Groups(groups.slots, groups.tokens, [0], [0])  # no rows, but every weight has a gradient, zero
    layout = layout or ExpertLayout()
    gate_up_SG = first(hidden_TH, groups)
    if layout.gate_up_bias is not None:
        gate_up_SG = gate_up_SG + layout.gate_up_bias[groups.expert_of_slot()]
    y_SH = second(inner_state(gate_up_SG, activation, layout), groups)
    if layout.down_bias is not None:
        y_SH = y_SH + layout.down_bias[groups.expert_of_slot()]
    y_SH = finish_rows(y_SH, layout)
    if torch.is_grad_enabled() or hidden_TH.device.type != "cpu":
        return combine_slots(y_SH, groups.slots, weights_TK, hidden_TH)
    weighted_SH = y_SH * weights_TK.reshape(-1)[groups.slots, None]
    out_TH = weighted_SH.new_zeros(hidden_TH.shape)
    return out_TH.index_add_(0, groups.tokens, weighted_SH).to(hidden_TH.dtype)  # in order, on the CPU


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
