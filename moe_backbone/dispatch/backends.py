"""The table of the ways to run routed experts, in the order in which the automatic choice asks them.

Layer: ``moe_backbone``; imports torch only.
A new dispatch is one :class:`~moe_backbone.dispatch.spec.DispatchSpec` here; the registry, the adapters of stock models
and the tests of every dispatch follow from it.
"""

from __future__ import annotations

import torch

from moe_backbone.dispatch.grouped import can_group, grouped_experts
from moe_backbone.dispatch.int8 import int8_experts, int8_weight_experts, supports_int8
from moe_backbone.dispatch.int8_reference import reference_int8_experts, reference_int8_weight_experts
from moe_backbone.dispatch.looped import float32_experts, looped_experts
from moe_backbone.dispatch.processor import cpu_multiplies, has_int8_products
from moe_backbone.dispatch.reference import reference_experts
from moe_backbone.dispatch.spec import DispatchSpec, Situation
from moe_backbone.dispatch.triton_experts import is_triton_available, triton_experts, triton_supports

__all__ = ["BACKENDS"]


def _prefer_grouped(situation: Situation) -> str | None:
    if situation.device == "cpu":
        return None
    return f"two grouped products on {situation.device}"


def _prefer_triton(situation: Situation) -> str | None:
    if situation.device != "cuda" or situation.dtype == torch.float32 or situation.needs_grad:
        return None  # float32 has no tensor cores at full precision; a gradient runs the grouped products again
    return "tokens gathered, gate_up and activation in one kernel"


def _prefer_float32(situation: Situation) -> str | None:
    if situation.device != "cpu" or cpu_multiplies(situation.dtype):
        return None
    dtype = str(situation.dtype).removeprefix("torch.")
    return f"this processor multiplies no {dtype} (no AVX512-BF16, AMX): products of several rows are taken in float32"


def _prefer_looped(situation: Situation) -> str | None:
    return "one product per busy expert runs on any device, dtype and width"


BACKENDS: tuple[DispatchSpec, ...] = (
    DispatchSpec(
        name="triton",
        run=triton_experts,
        why="gather, gate_up and activation in one kernel: fastest on a CUDA GPU in 16 bits, from one token to many",
        available=is_triton_available,
        supports=triton_supports,
        prefer=_prefer_triton,
    ),
    DispatchSpec(
        name="grouped",
        run=grouped_experts,
        why="two grouped products of torch: many experts on an accelerator",
        supports=can_group,
        prefer=_prefer_grouped,
        reads_layouts=True,
    ),
    DispatchSpec(
        name="float32",
        run=float32_experts,
        why="half-precision experts by float32 products: for a CPU without half-precision hardware",
        prefer=_prefer_float32,
        reads_layouts=True,
    ),
    DispatchSpec(
        name="looped",
        run=looped_experts,
        why="one matrix product per busy expert: any device, dtype and width; fastest on CPU",
        prefer=_prefer_looped,
        reads_layouts=True,
    ),
    DispatchSpec(
        name="int8",
        run=int8_experts,
        why="weights and token states in int8: fastest on an x86 CPU, approximate",
        available=has_int8_products,
        supports=supports_int8,
        differentiable=False,
        reference=reference_int8_experts,
        reads_layouts=True,
    ),
    DispatchSpec(
        name="int8_weights",
        run=int8_weight_experts,
        why="weights in int8, token states exact: near the float result, faster than float on an x86 CPU",
        available=has_int8_products,
        supports=supports_int8,
        differentiable=False,
        reference=reference_int8_weight_experts,
        reads_layouts=True,
    ),
    DispatchSpec(
        name="reference",
        run=reference_experts,
        why="one token and one expert at a time: the oracle, for tests",
        reads_layouts=True,
    ),
)
