"""Compile every Triton kernel for cards that are not here. A script: the interpreter must be off when it is imported.

Run: ``python -m tests.moe_backbone.triton_compiled``. Prints one line per kernel, its shared memory and its product
instructions.
"""

import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from moe_backbone.dispatch import triton_kernels as kernels
from moe_backbone.dispatch.triton_tiles import DIRECT_SLOTS, choose_tiles, fitted

POINTERS = {"x_ptr", "weight_ptr", "inner_ptr", "out_ptr", "slot_out_ptr"}  # in the model's precision
NAMES = {torch.bfloat16: "bf16", torch.float32: "fp32"}
CARDS = {80: 166_912, 90: 232_448}  # compute capability, and shared memory of a program in bytes


def compiled(kernel, capability, *, dtype, direct=False, warps=4, stages=3, **constants):
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in POINTERS:
            types[name] = f"*{dtype}"
        elif name == "slot_weight_ptr":
            types[name] = "*fp32"
        elif name.endswith("_ptr"):
            types[name] = "*i64" if name == "index_ptr" or direct else "*i32"  # unsorted, all of them are the index
        else:
            types[name] = "i32"
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, name in enumerate(kernel.arg_names)
        if types[name].startswith("*") or name in ("width", "inner_width")
    }
    source = ASTSource(
        kernel, types, {(kernel.arg_names.index(name),): value for name, value in constants.items()}, aligned
    )
    made = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "num_stages": stages}
    )
    ptx = made.asm["ptx"]
    product = "wgmma" if "wgmma" in ptx else "mma" if "mma.sync" in ptx else "-"
    line = (kernel.fn.__name__, capability, dtype, "direct" if direct else "sorted", made.metadata.shared, product)
    sys.stdout.write(" ".join(map(str, line)) + "\n")
    assert made.metadata.shared <= CARDS[capability]


def products(capability, dtype, n_slots):
    """Compile both products with the tiles that this card would take; few slots are not sorted."""
    wide, tall = choose_tiles(n_slots=n_slots, n_experts=64, dtype=dtype)
    limit = {"itemsize": dtype.itemsize, "limit_bytes": CARDS[capability]}
    direct = n_slots <= DIRECT_SLOTS
    for kernel, tile, extra in (
        (kernels.gate_up_and_activate, fitted(wide, n_weights=2, **limit), {"TOP_K": 8, "ACTIVATION": "silu"}),
        (kernels.down_and_weigh, fitted(tall, n_weights=1, **limit), {}),
    ):
        compiled(
            kernel, capability, dtype=NAMES[dtype], direct=direct, warps=tile.warps, stages=tile.stages,
            BLOCK_M=tile.rows, BLOCK_N=tile.columns, BLOCK_K=tile.depth, GROUP_M=tile.group,
            DIRECT=direct, PRECISION="ieee", WHOLE_K=not direct, **extra,
        )  # fmt: skip


def main():
    products(90, torch.bfloat16, 64 * 512)
    products(90, torch.bfloat16, 64 * 8)
    products(90, torch.float32, 64 * 512)
    products(80, torch.bfloat16, 64 * 512)
    products(80, torch.bfloat16, 8)
    products(80, torch.bfloat16, DIRECT_SLOTS)
    products(90, torch.bfloat16, DIRECT_SLOTS)
    compiled(kernels.combine_slots, 90, dtype="bf16", TOP_K=8, BLOCK_N=1024)
    compiled(kernels.sort_few_slots, 90, dtype="bf16", BLOCK_M=16, SLOTS=2048, BINS=256, warps=8)
    compiled(kernels.count_slots, 90, dtype="bf16", SLOTS=1024, BINS=256)
    compiled(kernels.place_blocks, 90, dtype="bf16", BLOCK_M=16, BINS=256)
    compiled(kernels.place_slots, 90, dtype="bf16", SLOTS=1024)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache, triton.knobs.cache.scope():
        triton.knobs.cache.dir = cache
        main()
