"""The fast dispatches: sort the chosen slots by expert, then one matrix product per expert.

Layer: ``moe_backbone``; imports torch only.
Source: MegaBlocks, arXiv:2211.15841 (dropless grouped products). ``grouped`` uses torch's own grouped product where it
can run (:func:`can_group`) and ``looped`` one product per expert; both sum in a fixed order, so a result does not
depend on which experts are busy.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, S slots
that hold an expert (at most T·K), sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["can_group", "grouped_experts", "looped_experts"]

_GROUPED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ROW_ALIGNMENT_BYTES = 16  # torch.nn.functional.grouped_mm refuses row strides that are no multiple of this


def can_group(tensors: Sequence[Tensor]) -> bool:
    """Tell whether torch's grouped product can run on these matrices (the last dimension of each is contiguous).

    It takes float32, bfloat16 and float16 of one dtype, and rows that are 16-byte multiples; on CUDA it needs compute
    capability 8.0. A Mixtral of width 30 crashes stock transformers on CPU for the want of this question.

    :param tensors: The operands, tokens and expert weights; at least one.
    :returns: Whether :func:`torch.nn.functional.grouped_mm` accepts all of them.
    """
    if not hasattr(functional, "grouped_mm"):
        return False
    first = tensors[0]
    if first.dtype not in _GROUPED_DTYPES or any(tensor.dtype != first.dtype for tensor in tensors):
        return False
    if first.device.type == "cuda" and torch.cuda.get_device_capability(first.device) < (8, 0):
        return False
    return all(
        tensor.shape[-1] * tensor.element_size() % _ROW_ALIGNMENT_BYTES == 0
        and tensor.data_ptr() % _ROW_ALIGNMENT_BYTES == 0  # weights mapped from a file may start anywhere
        for tensor in tensors
    )


def looped_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run the experts with one matrix product per busy expert; any floating dtype, any width.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    if hidden_TH.shape[0] == 1:
        return _one_token(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)
    slots_S, counts_E = _sort_slots(index_TK, n_experts=gate_up_EGH.shape[0])
    counts = counts_E.tolist()
    busy = [expert for expert, count in enumerate(counts) if count] or [0]
    # unbind, not indexing: its backward writes each expert's gradient once instead of a full-size tensor per expert.
    gate_up, down = gate_up_EGH.unbind(0), down_EHI.unbind(0)
    x_SH = hidden_TH[slots_S // max(index_TK.shape[1], 1)]
    outputs = []
    for expert, x_NH in zip(busy, torch.split(x_SH, [counts[expert] for expert in busy]), strict=True):
        gate_NI, up_NI = functional.linear(x_NH, gate_up[expert]).chunk(2, dim=-1)
        outputs.append(functional.linear(activation(gate_NI) * up_NI, down[expert]))
    return _combine(torch.cat(outputs), slots_S, weights_TK, hidden_TH)


def grouped_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run the experts with two grouped products, or with :func:`looped_experts` where torch has none for the operands.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    slots_S, counts_E = _sort_slots(index_TK, n_experts=gate_up_EGH.shape[0])
    if slots_S.numel() == 0 or not can_group((hidden_TH, gate_up_EGH, down_EHI)):
        return looped_experts(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)
    offsets_E = counts_E.cumsum(0).to(torch.int32)
    x_SH = hidden_TH[slots_S // index_TK.shape[1]]
    gate_SI, up_SI = functional.grouped_mm(x_SH, gate_up_EGH.transpose(-2, -1), offs=offsets_E).chunk(2, dim=-1)
    y_SH = functional.grouped_mm(activation(gate_SI) * up_SI, down_EHI.transpose(-2, -1), offs=offsets_E)
    return _combine(y_SH, slots_S, weights_TK, hidden_TH)


def _one_token(
    hidden_1H: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_1K: Tensor,
    weights_1K: Tensor,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Decode one token: with nothing to sort, sorting is a third of the time that experts add to a small model."""
    gate_up, down = gate_up_EGH.unbind(0), down_EHI.unbind(0)
    out_1H = 0 * hidden_1H if torch.is_grad_enabled() else torch.zeros_like(hidden_1H)
    for expert, weight in zip(index_1K[0].tolist(), weights_1K[0].unbind(0), strict=True):
        if 0 <= expert < len(gate_up):
            gate_1I, up_1I = functional.linear(hidden_1H, gate_up[expert]).chunk(2, dim=-1)
            out_1H = out_1H + weight * functional.linear(activation(gate_1I) * up_1I, down[expert]).to(weight.dtype)
    return out_1H.to(hidden_1H.dtype)


def _sort_slots(index_TK: Tensor, *, n_experts: int) -> tuple[Tensor, Tensor]:
    """Return the slots (``t·K + k``) that hold an expert, sorted by expert and stable, and how many each expert has."""
    flat = index_TK.reshape(-1)
    flat = torch.where((flat >= 0) & (flat < n_experts), flat, n_experts)  # "no expert" sorts to the end
    counts_E = torch.bincount(flat, minlength=n_experts + 1)[:n_experts]
    order = torch.argsort(flat, stable=True)
    return order[: int(counts_E.sum())], counts_E


def _combine(y_SH: Tensor, slots_S: Tensor, weights_TK: Tensor, hidden_TH: Tensor) -> Tensor:
    """Weigh the slots' outputs and add up each token's, in the wider of the two dtypes."""
    n_tokens, top_k = weights_TK.shape
    weighted_SH = y_SH * weights_TK.reshape(-1)[slots_S, None]
    # Slots are unique, so a copy and a sum are deterministic on every device; index_add is not on CUDA.
    per_slot = weighted_SH.new_zeros(n_tokens * top_k, hidden_TH.shape[1]).index_copy(0, slots_S, weighted_SH)
    return per_slot.view(n_tokens, top_k, hidden_TH.shape[1]).sum(dim=1).to(hidden_TH.dtype)
