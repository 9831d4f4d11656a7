"""Run the experts with Triton kernels on a CUDA device: gather, projections and activation in three or four launches.

Layer: ``moe_backbone``; imports torch, and triton lazily. It is a dispatch as
:mod:`moe_backbone.dispatch.registry` defines it.

Why beside torch's grouped product: that one needs the tokens gathered, the two halves of gate_up stored, activated and
stored again, and the result scattered, each a pass over memory; and its tiles are made for many rows, where a decoded
token has one. Here a gathered row is read where it lies, ``act(gate) ⊙ up`` leaves the registers once, and tiles are as
tall as the experts are busy. Up to :data:`FEW_SLOTS` slots are sorted by one program: four launches. One token, or two
of many experts (:func:`~moe_backbone.dispatch.triton_tiles.goes_unsorted`), are not sorted at all: three.

Gradients: the backward pass runs the grouped dispatch again on the same inputs (one more forward pass), so training
through it is exact, and no faster than ``grouped``.

Shape suffixes: T tokens, K experts per token, S = T·K slots, E experts, H model width, I inner width, G = 2 I.
"""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moe_backbone.dispatch.grouped import grouped_experts
from moe_backbone.dispatch.triton_tiles import Tile, choose_tiles, fitted, goes_unsorted

__all__ = [
    "FEW_SLOTS",
    "is_triton_available",
    "known_activation",
    "run_tiles",
    "triton_experts",
    "triton_supports",
]

FEW_SLOTS = 4096
"""The most slots that one program sorts; above it three programs' launches cost less than one long one."""

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_SORTED_SLOTS_PER_PROGRAM = 1024
_COMBINED_COLUMNS = 1024
_LEAST_SHARED_BYTES = 101_376  # what a program may use on the smallest card of compute capability 8 and above
_MOST_EXPERTS = 4096  # one program holds a count for each
_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


@cache
def is_triton_available() -> bool:
    """Tell whether triton is installed; it comes with the CUDA builds of torch."""
    return importlib.util.find_spec("triton") is not None


def triton_supports(hidden_TH: Tensor, gate_up_EGH: Tensor, down_EHI: Tensor) -> bool:
    """Tell whether :func:`triton_experts` can run these operands: one dtype of 16 or 32 bits, contiguous, on a GPU.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :returns: Whether it can, if it knows the activation too; where it cannot, ``grouped`` can.
    """
    operands = (hidden_TH, gate_up_EGH, down_EHI)
    return (
        hidden_TH.dtype in _DTYPES
        and all(operand.dtype == hidden_TH.dtype and operand.device == hidden_TH.device for operand in operands)
        and _runs_on(hidden_TH.device, hidden_TH.dtype)
        and gate_up_EGH.is_contiguous()
        and down_EHI.is_contiguous()
        and gate_up_EGH.shape[1] == 2 * down_EHI.shape[2]
        and len(gate_up_EGH) <= _MOST_EXPERTS
    )


def _runs_on(device: torch.device, dtype: torch.dtype) -> bool:
    if not is_triton_available():
        return False
    if device.type == "cuda":
        return _capability(device) >= (8, 0)
    # Triton's interpreter multiplies the bits of bfloat16 as whole numbers.
    return device.type == "cpu" and dtype != torch.bfloat16 and _is_interpreted()


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _is_interpreted() -> bool:
    """Tell whether the kernels run in Triton's interpreter, as the tests run them; a look costs no import."""
    kernels = sys.modules.get("moe_backbone.dispatch.triton_kernels")
    return kernels is not None and type(kernels.combine_slots).__name__ == "InterpretedFunction"


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


@cache
def _shared_limit(device: torch.device) -> int:
    if device.type != "cuda":
        return sys.maxsize
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", _LEAST_SHARED_BYTES))


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
    supported = index_TK.numel() > 0 and triton_supports(hidden_TH, gate_up_EGH, down_EHI)
    if not supported or known_activation(activation) is None:
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
    direct: bool | None = None,
) -> Tensor:
    """Launch the kernels, without gradients; operands as :func:`triton_experts`, which checks them.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections, contiguous. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections, contiguous. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids. *Shape:* ``(T, K)``, T·K at least 1.
    :param weights_TK: Their weights. *Shape:* ``(T, K)``.
    :param activation: One that :func:`known_activation` names.
    :param tiles: Of gate_up and down, with equal ``rows``; ``None`` chooses.
    :param direct: Run each slot as a block of its own, unsorted: right for any number of slots, made for few. ``None``
        chooses.
    :returns: As :func:`triton_experts`.
    """
    from moe_backbone.dispatch import triton_kernels as kernels

    (n_tokens, top_k), (n_experts, width, inner_width) = index_TK.shape, down_EHI.shape
    n_slots = n_tokens * top_k
    wide, tall = tiles or _tiles_for(hidden_TH.device, n_slots=n_slots, n_experts=n_experts, dtype=hidden_TH.dtype)
    hidden_TH, index_TK, weights_TK = hidden_TH.contiguous(), index_TK.contiguous(), weights_TK.contiguous()
    if direct is None:
        direct = goes_unsorted(n_tokens=n_tokens, top_k=top_k, n_experts=n_experts)
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


@lru_cache(maxsize=1024)
def _tiles_for(device: torch.device, *, n_slots: int, n_experts: int, dtype: torch.dtype) -> tuple[Tile, Tile]:
    wide, tall = choose_tiles(n_slots=n_slots, n_experts=n_experts, dtype=dtype)
    limit = _shared_limit(device)
    return (
        fitted(wide, n_weights=2, itemsize=dtype.itemsize, limit_bytes=limit),
        fitted(tall, n_weights=1, itemsize=dtype.itemsize, limit_bytes=limit),
    )


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
