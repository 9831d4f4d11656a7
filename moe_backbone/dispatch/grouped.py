"""Two grouped products over slots sorted by expert: torch's own grouped matrix product, where it can run.

Layer: ``moe_backbone``; imports torch only.
Source: MegaBlocks, arXiv:2211.15841 (dropless grouped products). Sums are taken in a fixed order, so a result does not
depend on which experts are busy.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, S slots
that hold an expert (at most T·K), sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from moe_backbone.dispatch.looped import looped_experts
from moe_backbone.dispatch.slots import combine_slots, finish_rows, inner_state, sort_slots
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["can_group", "grouped_experts"]

_GROUPED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ROW_ALIGNMENT_BYTES = 16  # torch.nn.functional.grouped_mm refuses row strides that are no multiple of this


def can_group(hidden_TH: Tensor, gate_up_EGH: Tensor, down_EHI: Tensor) -> bool:
    """Tell whether torch's grouped product can run on these operands.

    It takes float32, bfloat16 and float16 of one dtype, and rows that are 16-byte multiples; on CUDA it needs compute
    capability 8.0. A Mixtral of width 30 crashes stock transformers on CPU for the want of this question.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections, or a view of transposed ones. *Shape:* ``(E, G, H)``.
    :param down_EHI: Down projections, or a view of transposed ones. *Shape:* ``(E, H, I)``.
    :returns: Whether :func:`torch.nn.functional.grouped_mm` accepts all of them.
    """
    if not hasattr(functional, "grouped_mm"):
        return False
    operands = (hidden_TH, gate_up_EGH, down_EHI)
    if hidden_TH.dtype not in _GROUPED_DTYPES or any(tensor.dtype != hidden_TH.dtype for tensor in operands):
        return False
    if hidden_TH.device.type == "cuda" and torch.cuda.get_device_capability(hidden_TH.device) < (8, 0):
        return False
    return all(_is_aligned(tensor) for tensor in operands)


def _is_aligned(tensor: Tensor) -> bool:
    rows, columns = tensor.stride()[-2:]
    if 1 not in (rows, columns):
        return False
    in_bytes = (tensor.shape[-1], rows if columns == 1 else columns)  # rows of the tokens that meet it, and its own
    return tensor.data_ptr() % _ROW_ALIGNMENT_BYTES == 0 and all(  # weights mapped from a file may start anywhere
        length * tensor.element_size() % _ROW_ALIGNMENT_BYTES == 0 for length in in_bytes
    )


def grouped_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run the experts with two grouped products, or with :func:`looped_experts` where torch has none for the operands.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    slots_S, counts_E = sort_slots(index_TK, n_experts=gate_up_EGH.shape[0])
    if slots_S.numel() == 0 or not can_group(hidden_TH, gate_up_EGH, down_EHI):
        return looped_experts(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout=layout)
    offsets_E = counts_E.cumsum(0).to(torch.int32)
    layout = layout or ExpertLayout()
    x_SH = hidden_TH[slots_S // index_TK.shape[1]]
    gate_up_SG = functional.grouped_mm(x_SH, gate_up_EGH.transpose(-2, -1), offs=offsets_E)
    if layout.gate_up_bias is not None:
        gate_up_SG = gate_up_SG + layout.gate_up_bias[index_TK.reshape(-1)[slots_S]]
    inner_SI = inner_state(gate_up_SG, activation, layout)
    y_SH = functional.grouped_mm(inner_SI, down_EHI.transpose(-2, -1), offs=offsets_E)
    if layout.down_bias is not None:
        y_SH = y_SH + layout.down_bias[index_TK.reshape(-1)[slots_S]]
    return combine_slots(finish_rows(y_SH, layout), slots_S, weights_TK, hidden_TH)
