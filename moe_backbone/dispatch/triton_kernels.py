"""The Triton kernels of the experts: sort slots by expert, gather · gate_up · act, down · weigh, and combine.

Layer: ``moe_backbone``; imports triton, so import it only where
:func:`~moe_backbone.dispatch.triton_experts.is_triton_available` says so.
Source: MegaBlocks, arXiv:2211.15841, section 5 (blocks of rows that share an expert, padded per expert, no token
dropped); the grouped order of programs is that of Triton's matrix-multiplication tutorial (reuse in the L2 cache).

Blocks of ``BLOCK_M`` rows hold slots of one expert only. The sort writes for each block its expert and its number of
real rows, for each row its slot; the number of blocks is bounded by ``S // BLOCK_M + min(E, S)`` on the host, so that
nothing waits for the device. Rows of a matrix product do not meet, so the order of an expert's slots, which the atomics
leave open, changes no bit of a result; the sum over a token's experts runs in the order of its slots.

Shape suffixes: T tokens, K experts per token, S = T·K slots, E experts, H model width, I inner width.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "combine_slots",
    "count_slots",
    "down_and_weigh",
    "gate_up_and_activate",
    "place_blocks",
    "place_slots",
    "sort_few_slots",
]


@triton.jit
def _expert_of(index_ptr, slots, n_slots, n_experts):
    """Load the experts of slots as int32; ``n_experts`` stands for none."""
    experts = tl.load(index_ptr + slots, mask=slots < n_slots, other=-1).to(tl.int32)
    return tl.where((experts >= 0) & (experts < n_experts), experts, n_experts)


@triton.jit
def _write_blocks(counts, experts, n_experts, cursor_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, BLOCK_M):
    """Give each expert its run of blocks: their expert, their real rows, and the first row of the run (``cursor``)."""
    is_expert = experts < n_experts
    blocks = tl.where(is_expert, (counts + BLOCK_M - 1) // BLOCK_M, 0)
    first = tl.cumsum(blocks, 0) - blocks
    tl.store(cursor_ptr + experts, first * BLOCK_M, mask=is_expert)
    tl.store(n_blocks_ptr, tl.sum(blocks, 0))
    for block in range(tl.max(blocks, 0)):
        inside = block < blocks
        tl.store(block_expert_ptr + first + block, experts, mask=inside)
        tl.store(block_rows_ptr + first + block, tl.minimum(counts - block * BLOCK_M, BLOCK_M), mask=inside)


@triton.jit
def sort_few_slots(
    index_ptr, cursor_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, slot_ptr, n_slots, n_experts,
    BLOCK_M: tl.constexpr, SLOTS: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """Sort up to ``SLOTS`` slots in one program; ``BINS`` is a power of two above E."""
    slots = tl.arange(0, SLOTS)
    experts = _expert_of(index_ptr, slots, n_slots, n_experts)
    bins = tl.arange(0, BINS)
    _write_blocks(
        tl.histogram(experts, BINS),
        bins,
        n_experts,
        cursor_ptr,
        block_expert_ptr,
        block_rows_ptr,
        n_blocks_ptr,
        BLOCK_M,
    )
    tl.debug_barrier()  # the cursors are written by other threads than those that advance them
    used = experts < n_experts
    row = tl.atomic_add(cursor_ptr + experts, 1, mask=used)
    tl.store(slot_ptr + row, slots, mask=used)


@triton.jit
def count_slots(index_ptr, counts_ptr, n_slots, n_experts, SLOTS: tl.constexpr, BINS: tl.constexpr):
    """Add up the slots of each expert; ``counts`` holds ``BINS`` zeros before."""
    slots = tl.program_id(0) * SLOTS + tl.arange(0, SLOTS)
    counts = tl.histogram(_expert_of(index_ptr, slots, n_slots, n_experts), BINS)
    tl.atomic_add(counts_ptr + tl.arange(0, BINS), counts, mask=counts > 0)


@triton.jit
def place_blocks(
    counts_ptr, cursor_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, n_experts,
    BLOCK_M: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """Turn counts into blocks, in one program."""
    bins = tl.arange(0, BINS)
    counts = tl.load(counts_ptr + bins)
    _write_blocks(counts, bins, n_experts, cursor_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, BLOCK_M)


@triton.jit
def place_slots(index_ptr, cursor_ptr, slot_ptr, n_slots, n_experts, SLOTS: tl.constexpr):
    """Write each slot into the next free row of its expert."""
    slots = tl.program_id(0) * SLOTS + tl.arange(0, SLOTS)
    experts = _expert_of(index_ptr, slots, n_slots, n_experts)
    used = experts < n_experts
    row = tl.atomic_add(cursor_ptr + experts, 1, mask=used)
    tl.store(slot_ptr + row, slots, mask=used)


@triton.jit
def _program(n_columns, n_row_blocks, GROUP_M: tl.constexpr):
    """Return the (row, column) block of this program: columns run inside groups of ``GROUP_M`` row blocks."""
    program = tl.program_id(0)
    per_group = GROUP_M * n_columns
    first = (program // per_group) * GROUP_M
    height = tl.minimum(n_row_blocks - first, GROUP_M)
    inside = program % per_group
    return first + inside % height, inside // height


@triton.jit
def _block(index_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, row_block, n_experts, DIRECT: tl.constexpr):
    """Return the expert and the real rows of a row block; rows are 0 where the block is not used."""
    if DIRECT:  # one slot is one block: nothing was sorted
        expert = tl.load(index_ptr + row_block).to(tl.int32)
        rows = tl.where((expert >= 0) & (expert < n_experts), 1, 0)
    else:
        used = row_block < tl.load(n_blocks_ptr)
        expert = tl.load(block_expert_ptr + row_block, mask=used, other=0)
        rows = tl.load(block_rows_ptr + row_block, mask=used, other=0)
    return expert, rows


@triton.jit
def _activate(gate, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        return gate * tl.sigmoid(gate)
    if ACTIVATION == "gelu":
        return 0.5 * gate * (1.0 + tl.math.erf(gate * 0.7071067811865476))
    return tl.maximum(gate, 0.0)


@triton.jit
def gate_up_and_activate(
    x_ptr, weight_ptr, inner_ptr, index_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, slot_ptr,
    n_row_blocks, n_experts, width, inner_width, TOP_K: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    WHOLE_K: tl.constexpr, DIRECT: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write ``act(x W_gate) ⊙ (x W_up)`` of each row of each block, gathering the tokens as it reads them.

    ``x[T, H]``, ``weight[E, 2 I, H]`` and ``inner[blocks · BLOCK_M, I]`` are contiguous.
    """
    row_block, column = _program(tl.cdiv(inner_width, BLOCK_N), n_row_blocks, GROUP_M)
    expert, rows = _block(index_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, row_block, n_experts, DIRECT)
    if rows == 0:
        return
    m = tl.arange(0, BLOCK_M)
    n = column * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    if DIRECT:
        slot = tl.zeros((BLOCK_M,), tl.int32) + row_block
    else:
        slot = tl.load(slot_ptr + row_block * BLOCK_M + m, mask=m < rows, other=0)
    # Rows and columns beyond the edge read real memory, and are not stored: the inner loop needs no mask for them.
    x = x_ptr + (slot // TOP_K).to(tl.int64)[:, None] * width + k[None, :]
    gate = weight_ptr + (expert.to(tl.int64) * 2 * inner_width + n % inner_width)[None, :] * width + k[:, None]
    up = gate + inner_width.to(tl.int64) * width
    gate_sum = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    up_sum = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width, BLOCK_K):
        if WHOLE_K:
            x_MK, gate_KN, up_KN = tl.load(x), tl.load(gate), tl.load(up)
        else:
            inside = k < width - start
            x_MK = tl.load(x, mask=inside[None, :], other=0.0)
            gate_KN = tl.load(gate, mask=inside[:, None], other=0.0)
            up_KN = tl.load(up, mask=inside[:, None], other=0.0)
        gate_sum = tl.dot(x_MK, gate_KN, gate_sum, input_precision=PRECISION)
        up_sum = tl.dot(x_MK, up_KN, up_sum, input_precision=PRECISION)
        x += BLOCK_K
        gate += BLOCK_K
        up += BLOCK_K
    inner = _activate(gate_sum, ACTIVATION) * up_sum
    target = inner_ptr + (row_block * BLOCK_M + m).to(tl.int64)[:, None] * inner_width + n[None, :]
    # The block's rows beyond the real ones are stored too (they hold token 0), so that the next kernel reads numbers.
    tl.store(target, inner.to(inner_ptr.dtype.element_ty), mask=(n < inner_width)[None, :])


@triton.jit
def down_and_weigh(
    inner_ptr, weight_ptr, out_ptr, index_ptr, slot_weight_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr,
    slot_ptr, n_row_blocks, n_experts, width, inner_width,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    WHOLE_K: tl.constexpr, DIRECT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write ``w_slot · (inner W_down)`` of each row to the row of its slot in ``out[S, H]``.

    ``inner[blocks · BLOCK_M, I]``, ``weight[E, H, I]``, ``slot_weight[S]`` and ``out`` are contiguous.
    """
    row_block, column = _program(tl.cdiv(width, BLOCK_N), n_row_blocks, GROUP_M)
    expert, rows = _block(index_ptr, block_expert_ptr, block_rows_ptr, n_blocks_ptr, row_block, n_experts, DIRECT)
    if rows == 0:
        return
    m = tl.arange(0, BLOCK_M)
    n = column * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    real = m < rows
    inner = inner_ptr + (row_block * BLOCK_M + m).to(tl.int64)[:, None] * inner_width + k[None, :]
    down = weight_ptr + (expert.to(tl.int64) * width + n % width)[None, :] * inner_width + k[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, inner_width, BLOCK_K):
        if WHOLE_K:
            inner_MK, down_KN = tl.load(inner), tl.load(down)
        else:
            inside = k < inner_width - start
            inner_MK = tl.load(inner, mask=inside[None, :], other=0.0)
            down_KN = tl.load(down, mask=inside[:, None], other=0.0)
        total = tl.dot(inner_MK, down_KN, total, input_precision=PRECISION)
        inner += BLOCK_K
        down += BLOCK_K
    if DIRECT:
        slot = tl.zeros((BLOCK_M,), tl.int32) + row_block
    else:
        slot = tl.load(slot_ptr + row_block * BLOCK_M + m, mask=real, other=0)
    weight = tl.load(slot_weight_ptr + slot, mask=real, other=0.0).to(tl.float32)
    target = out_ptr + slot.to(tl.int64)[:, None] * width + n[None, :]
    weighed = (total * weight[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(target, weighed, mask=real[:, None] & (n < width)[None, :])


@triton.jit
def combine_slots(
    slot_out_ptr, index_ptr, out_ptr, n_experts, width, TOP_K: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """Add up each token's slots in their order, float32; a slot without expert was never written and is not read."""
    token = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_N,), tl.float32)
    for k in tl.static_range(TOP_K):
        expert = tl.load(index_ptr + token * TOP_K + k)
        columns = tl.where((expert >= 0) & (expert < n_experts), width, 0)  # none to read where there is no expert
        part = tl.load(slot_out_ptr + (token * TOP_K + k) * width + n, mask=n < columns, other=0.0)
        total += part.to(tl.float32)
    tl.store(out_ptr + token * width + n, total.to(out_ptr.dtype.element_ty), mask=n < width)
