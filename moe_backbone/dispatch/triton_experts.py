"""Run the experts with Triton kernels on a CUDA device: gather, both projections and the activation in three launches.

Layer: ``moe_backbone``; imports torch, and triton lazily. It is a dispatch as
:mod:`moe_backbone.dispatch.registry` defines it.

Why beside torch's grouped product: that one needs the tokens gathered, the two halves of gate_up stored, activated and
stored again, and the result scattered, each a pass over memory; and its tiles are made for many rows, where a decoded
token has one. Here a gathered row is read where it lies, ``act(gate) ⊙ up`` leaves the registers once, and tiles are as
tall as the experts are busy. Up to :data:`FEW_SLOTS` slots are sorted by one program; one token is not sorted at all.

Gradients: the backward pass runs the grouped dispatch again on the same inputs (one more forward pass), so training
through it is exact, and no faster than ``grouped``.

Shape suffixes: T tokens, K experts per token, S = T·K slots, E experts, H model width, I inner width, G = 2 I.
"""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moe_backbone.dispatch.grouped import grouped_experts

__all__ = [
    "FEW_SLOTS",
    "Tile",
    "choose_tiles",
    "is_triton_available",
    "known_activation",
    "triton_experts",
    "triton_supports",
]

FEW_SLOTS = 4096
"""The most slots that one program sorts; above it three programs' launches cost less than one long one."""

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_SORTED_SLOTS_PER_PROGRAM = 1024
_COMBINED_COLUMNS = 1024
_MOST_EXPERTS = 4096  # one program holds a count for each
_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """How one matrix product is cut.

    :param rows: Rows of a block, those of one expert; a power of two, at least 16.
    :param columns: Columns of a program's tile; a power of two, at least 16.
    :param depth: Step along the summed dimension; a power of two, at least 16.
    :param warps: Warps per program.
    :param stages: Loads in flight.
    :param group: Row blocks that share a run of columns, for the L2 cache.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = 1


@cache
def is_triton_available() -> bool:
    """Tell whether triton is installed; it comes with the CUDA builds of torch."""
    return importlib.util.find_spec("triton") is not None


def triton_supports(
    hidden_TH: Tensor, gate_up_EGH: Tensor, down_EHI: Tensor, activation: Callable[[Tensor], Tensor]
) -> bool:
    """Tell whether :func:`triton_experts` runs these operands: one dtype of 16 or 32 bits, and an activation it knows.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param activation: Non-linearity of the gate.
    :returns: Whether it can; where it cannot, ``grouped`` can.
    """
    operands = (hidden_TH, gate_up_EGH, down_EHI)
    return (
        is_triton_available()
        and hidden_TH.dtype in _DTYPES
        and all(operand.dtype == hidden_TH.dtype and operand.device == hidden_TH.device for operand in operands)
        and gate_up_EGH.is_contiguous()
        and down_EHI.is_contiguous()
        and len(gate_up_EGH) <= _MOST_EXPERTS
        and known_activation(activation) is not None
    )


def known_activation(activation: Callable[[Tensor], Tensor]) -> str | None:
    """Tell which of ``silu``, ``gelu`` and ``relu`` a function computes, by its values, or ``None``.

    transformers has a class for some activations and a function for others; what they compute is what counts.

    :param activation: A function of a tensor, element by element.
    :returns: Its name, remembered for the object's life.
    """
    try:
        return _known[activation]
    except (KeyError, TypeError):  # TypeError: an object that cannot be referred to weakly
        pass
    points = torch.tensor([-6.0, -2.0, -0.7, -0.1, 0.0, 0.3, 1.0, 2.5, 7.0])
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": functional.silu, "gelu": functional.gelu, "relu": functional.relu
    }  # fmt: skip
    with torch.no_grad():
        values = activation(points.clone())
        names = [name for name, function in known.items() if torch.allclose(function(points), values, atol=1e-6)]
    found = names[0] if names else None
    with suppress(TypeError):
        _known[activation] = found
    return found


def choose_tiles(*, n_slots: int, n_experts: int, dtype: torch.dtype) -> tuple[Tile, Tile]:
    """Choose the tiles of both products from how many rows an expert has on average.

    An expert whose rows do not fit one block has its weights read twice, so a block is taller than the average by
    several standard deviations of a random count. The table is the best of what ``tests/benchmarks/moe_gpu.py --tune``
    measured on an H100.

    :param n_slots: S.
    :param n_experts: E.
    :param dtype: Of the operands.
    :returns: Tiles of gate_up and of down; both have the same ``rows``.
    """
    rows = n_slots / min(n_experts, max(n_slots, 1))
    if dtype == torch.float32:
        height = 16 if rows <= 16 else 32 if rows <= 32 else 64
        return (
            Tile(rows=height, columns=32, depth=32, warps=4, stages=3, group=8),
            Tile(rows=height, columns=64, depth=32, warps=4, stages=3, group=8),
        )
    if rows <= 10:
        return (
            Tile(rows=16, columns=128, depth=128, warps=8, stages=3),
            Tile(rows=16, columns=64, depth=128, warps=4, stages=4),
        )
    if rows <= 24:
        return (
            Tile(rows=32, columns=128, depth=128, warps=8, stages=3, group=8),
            Tile(rows=32, columns=128, depth=128, warps=8, stages=3, group=8),
        )
    if rows <= 48:
        return (
            Tile(rows=64, columns=128, depth=64, warps=8, stages=4, group=8),
            Tile(rows=64, columns=128, depth=64, warps=4, stages=4, group=8),
        )
    return (
        Tile(rows=128, columns=128, depth=64, warps=8, stages=4, group=8),
        Tile(rows=128, columns=256, depth=64, warps=8, stages=3, group=8),
    )


def triton_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run the experts with Triton, or with :func:`~moe_backbone.dispatch.grouped.grouped_experts` where it cannot.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. Products sum in float32; a slot's
        weighed output is rounded to the dtype before a token's are added. *Shape:* ``(T, H)``.
    """
    if index_TK.numel() == 0 or not triton_supports(hidden_TH, gate_up_EGH, down_EHI, activation):
        return grouped_experts(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)
    if torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (hidden_TH, gate_up_EGH, down_EHI, weights_TK)
    ):
        out: Tensor = _WithGradient.apply(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)  # type: ignore[no-untyped-call]
        return out
    return run_tiles(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        hidden, gate_up, down, index, weights, ctx.activation = inputs
        ctx.save_for_backward(hidden, gate_up, down, index, weights)
        return run_tiles(hidden, gate_up, down, index, weights, ctx.activation)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        hidden, gate_up, down, index, weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        with torch.enable_grad():
            again = [
                tensor.detach().requires_grad_(need)
                for tensor, need in zip((hidden, gate_up, down, weights), (*wanted[:3], wanted[4]), strict=True)
            ]
            out = grouped_experts(again[0], again[1], again[2], index, again[3], ctx.activation)
        sources = [tensor for tensor in again if tensor.requires_grad]
        found = iter(torch.autograd.grad(out, sources, grad_outputs[0].contiguous()))
        x, up, low, weight = (next(found) if tensor.requires_grad else None for tensor in again)
        return x, up, low, None, weight, None


def run_tiles(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    tiles: tuple[Tile, Tile] | None = None,
) -> Tensor:
    """Launch the kernels, without gradients; operands as :func:`triton_experts`, which checks them.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections, contiguous. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections, contiguous. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids. *Shape:* ``(T, K)``, T·K at least 1.
    :param weights_TK: Their weights. *Shape:* ``(T, K)``.
    :param activation: One that :func:`known_activation` names.
    :param tiles: Of gate_up and down, with equal ``rows``; ``None`` chooses.
    :returns: As :func:`triton_experts`.
    """
    from moe_backbone.dispatch import triton_kernels as kernels

    (n_tokens, top_k), (n_experts, width, inner_width) = index_TK.shape, down_EHI.shape
    n_slots = n_tokens * top_k
    wide, tall = tiles or choose_tiles(n_slots=n_slots, n_experts=n_experts, dtype=hidden_TH.dtype)
    hidden_TH, index_TK, weights_TK = hidden_TH.contiguous(), index_TK.contiguous(), weights_TK.contiguous()
    direct = n_tokens == 1
    n_blocks = n_slots if direct else n_slots // wide.rows + min(n_experts, n_slots)
    rows = _Rows.unsorted(index_TK) if direct else _sort(index_TK, n_experts, wide.rows, n_blocks)
    inner = hidden_TH.new_empty(n_blocks * wide.rows, inner_width)
    slot_out_SH = hidden_TH.new_empty(n_slots, width)
    precision = "ieee" if hidden_TH.dtype == torch.float32 else "tf32"  # for 16-bit operands it has no effect
    common = {"DIRECT": direct, "PRECISION": precision}
    kernels.gate_up_and_activate[(n_blocks * _parts(inner_width, wide.columns),)](
        hidden_TH, gate_up_EGH, inner, index_TK, *rows.pointers(), n_blocks, n_experts, width, inner_width, top_k,
        BLOCK_M=wide.rows, BLOCK_N=wide.columns, BLOCK_K=wide.depth, GROUP_M=wide.group,
        WHOLE_K=width % wide.depth == 0, ACTIVATION=known_activation(activation), num_warps=wide.warps,
        num_stages=wide.stages, **common,
    )  # fmt: skip
    kernels.down_and_weigh[(n_blocks * _parts(width, tall.columns),)](
        inner, down_EHI, slot_out_SH, index_TK, weights_TK, *rows.pointers(), n_blocks, n_experts, width, inner_width,
        BLOCK_M=tall.rows, BLOCK_N=tall.columns, BLOCK_K=tall.depth, GROUP_M=tall.group,
        WHOLE_K=inner_width % tall.depth == 0, num_warps=tall.warps, num_stages=tall.stages, **common,
    )  # fmt: skip
    out_TH = torch.empty_like(hidden_TH)
    kernels.combine_slots[(n_tokens, _parts(width, _COMBINED_COLUMNS))](
        slot_out_SH, index_TK, out_TH, n_experts, width, TOP_K=top_k, BLOCK_N=_COMBINED_COLUMNS, num_warps=4
    )
    return out_TH


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Where the sorted slots lie: the expert, the real rows and the slots of each block."""

    block_expert: Tensor
    block_rows: Tensor
    n_blocks: Tensor
    slots: Tensor

    @staticmethod
    def unsorted(index_TK: Tensor) -> _Rows:
        return _Rows(block_expert=index_TK, block_rows=index_TK, n_blocks=index_TK, slots=index_TK)

    def pointers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.block_expert, self.block_rows, self.n_blocks, self.slots


def _sort(index_TK: Tensor, n_experts: int, rows: int, n_blocks: int) -> _Rows:
    from moe_backbone.dispatch import triton_kernels as kernels

    n_slots, bins = index_TK.numel(), _power_of_two(n_experts + 1)
    # One allocation; the parts that need a start value are written by the kernels.
    sizes = [bins, n_blocks, n_blocks, 1, n_blocks * rows]
    cursor, block_expert, block_rows, used, slots = torch.split(
        torch.empty(sum(sizes), dtype=torch.int32, device=index_TK.device), sizes
    )
    if n_slots <= FEW_SLOTS:
        kernels.sort_few_slots[(1,)](
            index_TK, cursor, block_expert, block_rows, used, slots, n_slots, n_experts,
            BLOCK_M=rows, SLOTS=max(_power_of_two(n_slots), 32), BINS=bins, num_warps=8,
        )  # fmt: skip
    else:
        counts = torch.zeros(bins, dtype=torch.int32, device=index_TK.device)
        programs = (_parts(n_slots, _SORTED_SLOTS_PER_PROGRAM),)
        per_program = {"SLOTS": _SORTED_SLOTS_PER_PROGRAM}
        kernels.count_slots[programs](index_TK, counts, n_slots, n_experts, BINS=bins, **per_program)
        kernels.place_blocks[(1,)](counts, cursor, block_expert, block_rows, used, n_experts, BLOCK_M=rows, BINS=bins)
        kernels.place_slots[programs](index_TK, cursor, slots, n_slots, n_experts, **per_program)
    return _Rows(block_expert=block_expert, block_rows=block_rows, n_blocks=used, slots=slots)


def _parts(whole: int, part: int) -> int:
    return -(-whole // part)


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()
