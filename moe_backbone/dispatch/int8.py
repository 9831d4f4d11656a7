"""Experts of int8 weights on the CPU: a fourth of the bytes, and products several times as fast.

Layer: ``moe_backbone``; imports torch only.
The weights are packed at the first call and kept until the float weights are written or freed. To drop the float
weights too, see :func:`moe_backbone.dispatch.quantised.quantise_experts`. Inference only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, S slots
that hold an expert, sorted by expert.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from moe_backbone.dispatch.int8_matrices import Int8Kind, Int8Matrices, encode_rows
from moe_backbone.dispatch.slots import run_sorted
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["int8_experts", "int8_weight_experts", "run_int8", "supports_int8"]

_SAMPLES = 4  # values in each dimension that are compared at each call, against writes that no version shows
_packed: Any = WeakIdKeyDictionary()  # float weights -> (stamp, Int8Matrices)
_packing = threading.Lock()


def supports_int8(hidden_TH: Tensor, gate_up_EGH: Tensor, down_EHI: Tensor) -> bool:
    """Tell whether the int8 dispatches can run on these operands: floating point, on the CPU."""
    return all(t.device.type == "cpu" and t.is_floating_point() for t in (hidden_TH, gate_up_EGH, down_EHI))


def int8_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run the experts with weights and token states rounded to 8 bits (``w8a8``).

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    return _run(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation, layout, Int8Kind.W8A8)


def int8_weight_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run the experts with their weights alone rounded to 8 bits (``w8``).

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
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
    operands = (hidden_TH, gate_up_EGH, down_EHI)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*operands, weights_TK)):
        raise ValueError(
            "int8 experts have no gradient, and one is asked for. Call the model under torch.inference_mode(), "
            "or train with the dispatch 'auto'."
        )
    if not supports_int8(*operands):
        given = ", ".join(f"{tensor.dtype} on {tensor.device}" for tensor in operands)
        raise ValueError(f"int8 experts run floating-point operands on the CPU, not {given}. Use the dispatch 'auto'.")
    gate_up, down = _matrices(gate_up_EGH), _matrices(down_EHI)
    return run_int8(hidden_TH, gate_up, down, index_TK, weights_TK, activation, layout=layout, kind=kind)


def run_int8(
    hidden_TH: Tensor,
    gate_up: Int8Matrices,
    down: Int8Matrices,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None,
    kind: Int8Kind,
) -> Tensor:
    """Run experts whose weights are packed already.

    :param hidden_TH: Token states, any floating dtype. *Shape:* ``(T, H)``.
    :param gate_up: The packed gate and up projections.
    :param down: The packed down projections.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :param kind: What is rounded.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    with torch.no_grad():
        out_TH = run_sorted(
            lambda x_TH, groups: gate_up.multiply(
                encode_rows(x_TH, kind).take(groups.tokens), groups.experts, groups.counts
            ),
            lambda inner_SI, groups: down.multiply(encode_rows(inner_SI.float(), kind), groups.experts, groups.counts),
            hidden_TH.float(),
            index_TK,
            weights_TK,
            activation,
            layout=layout,
            n_experts=len(down),
        )
    return out_TH.to(hidden_TH.dtype)


def _matrices(weight_EOI: Tensor) -> Int8Matrices:
    """Return the packed form of these weights, packed anew if they were written since."""
    owner = weight_EOI if weight_EOI._base is None else weight_EOI._base  # a transposed view is new at each call
    stamp = _stamp(weight_EOI)
    with _packing:
        known = _packed.get(owner)
        if known is not None and known[0][:-1] == stamp[:-1] and torch.equal(known[0][-1], stamp[-1]):
            matrices: Int8Matrices = known[1]
            return matrices
        matrices = Int8Matrices(weight_EOI.detach().unbind(0))
        _packed[owner] = (stamp, matrices)
        return matrices


def _stamp(weight: Tensor) -> tuple[Any, ...]:
    """Return what changes when the weights do: version, place, layout, and a sample, as ``.data`` hides its writes."""
    version = None if weight.is_inference() else weight._version
    steps = [max(length // _SAMPLES, 1) for length in weight.shape]
    sample = weight.detach()[:: steps[0], :: steps[1], :: steps[2]].clone()
    return version, weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, sample
