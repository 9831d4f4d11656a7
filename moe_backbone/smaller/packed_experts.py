"""Experts stored in few bits, each in its own number, made dense only while they are used.

Layer: ``moe_backbone``; imports torch only.
The stock module stays in charge of the arithmetic: for each call the experts that some token chose are dequantised into
a shallow copy of it, and the chosen ids are renumbered. So every family and every ``experts_implementation`` works.

Shape suffixes: T tokens, H model width, E experts, K experts per token, n experts of one number of bits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.smaller.packing import Packed, dequantised, quantise
from moe_backbone.smaller.sentinels import mark_no_expert
from moe_backbone.smaller.units import expert_tensors

__all__ = ["PackedExperts", "empty_packed", "pack_experts"]

MATRICES = ("gate_up_proj", "up_proj", "down_proj")


class PackedExperts(nn.Module):
    """Stands where a stock module of fused experts stood.

    :param template: The stock module; its matrices are taken out of a copy, what else it has stays.
    :param bits: Bits of each expert.
    :param packed: For each fused matrix, its packed experts in the order of their ids.
    """

    is_packed = True  # the mark by which quantised experts are known

    def __init__(self, template: nn.Module, *, bits: Sequence[int], packed: Mapping[str, Sequence[Packed]]) -> None:
        super().__init__()
        self.bits = tuple(bits)
        self._dtype = next(template.parameters()).dtype
        self._shapes = {name: tuple(template.get_parameter(name).shape[1:]) for name in packed}
        self._transposed = bool(getattr(template, "is_transposed", False))
        stock = copy.copy(template)
        stock._parameters = {name: value for name, value in template._parameters.items() if name not in packed}
        mark_no_expert(stock)
        self.stock = stock
        widths = sorted(set(self.bits))
        self._row = [self.bits[:expert].count(width) for expert, width in enumerate(self.bits)]
        for name, experts in packed.items():
            for width in widths:
                chosen = [item for item, own in zip(experts, self.bits, strict=True) if own == width]
                self.register_buffer(f"{name}_codes_{width}", torch.stack([item.codes for item in chosen]))
                self.register_buffer(f"{name}_scale_{width}", torch.stack([item.scale for item in chosen]))
                self.register_buffer(f"{name}_least_{width}", torch.stack([item.least for item in chosen]))

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen experts; the parameters' names are those that transformers calls with.

        :param hidden_states: Token states. *Shape:* ``(T, H)``.
        :param top_k_index: Expert ids. *Shape:* ``(T, K)``.
        :param top_k_weights: Their weights. *Shape:* ``(T, K)``.
        :returns: The weighted sum of their outputs. *Shape:* ``(T, H)``.
        """
        used = torch.unique(top_k_index)
        busy = used[(used >= 0) & (used < len(self.bits))].tolist() or [0]
        renumber = torch.full((len(self.bits) + 1,), len(busy), device=top_k_index.device)
        renumber[busy] = torch.arange(len(busy), device=top_k_index.device)
        ids = torch.where((top_k_index >= 0) & (top_k_index < len(self.bits)), top_k_index, len(self.bits))
        run: Any = copy.copy(self.stock)
        run._parameters = {
            name: None if value is None else nn.Parameter(value.detach()[busy], requires_grad=False)
            for name, value in self.stock._parameters.items()
        }
        for name in self._shapes:
            run._parameters[name] = nn.Parameter(self.dense(name, busy).to(self._dtype), requires_grad=False)
        run.num_experts = len(busy)
        out: Tensor = run.forward(hidden_states, renumber[ids], top_k_weights)
        return out

    def dense(self, name: str, experts: Sequence[int]) -> Tensor:
        """Return some experts of a fused matrix, dequantised, in the layout of the stock module; float32."""
        shape = self._shapes[name]
        n_columns = shape[0] if self._transposed else shape[1]
        rows: dict[int, Tensor] = {}
        for width in {self.bits[expert] for expert in experts}:
            here = [expert for expert in experts if self.bits[expert] == width]
            places = [self._row[expert] for expert in here]
            parts = (self.get_buffer(f"{name}_{part}_{width}")[places] for part in ("codes", "scale", "least"))
            rows.update(zip(here, dequantised(*parts, bits=width, n_columns=n_columns).unbind(0), strict=True))
        stacked = torch.stack([rows[expert] for expert in experts])
        return stacked.transpose(1, 2).contiguous() if self._transposed else stacked


def pack_experts(
    experts: nn.Module, bits: Sequence[int], *, inputs: Sequence[Mapping[str, Tensor]] | None = None
) -> PackedExperts:
    """Quantise every expert of a module to its own number of bits.

    :param experts: A stock module of fused experts.
    :param bits: Bits of each expert, each one of :data:`~moe_backbone.smaller.packing.BITS`.
    :param inputs: For each expert, calibrated inputs of its matrices by name, for error compensation.
    :returns: A module to put in its place.
    """
    transposed = bool(getattr(experts, "is_transposed", False))
    packed: dict[str, list[Packed]] = {
        name: [] for name in MATRICES if isinstance(getattr(experts, name, None), Tensor)
    }
    for expert, width in enumerate(bits):
        tensors = expert_tensors(experts, expert)
        for name, items in packed.items():
            weight_RC = tensors[name].T if transposed else tensors[name]
            items.append(quantise(weight_RC, width, inputs_NC=inputs[expert].get(name) if inputs else None))
    return PackedExperts(experts, bits=bits, packed=packed).to(next(experts.parameters()).device)


def empty_packed(experts: nn.Module, bits: Sequence[int]) -> PackedExperts:
    """Return packed experts of the right shapes and of no meaning, to load a checkpoint into."""
    zeros = copy.copy(experts)
    zeros._parameters = {
        name: None if value is None else nn.Parameter(torch.zeros_like(value), requires_grad=False)
        for name, value in experts._parameters.items()
    }
    return pack_experts(zeros, bits)
