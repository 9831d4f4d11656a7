"""How the Triton kernels cut their matrix products, by how busy the experts are.

Layer: ``moe_backbone``; imports torch for its dtypes.
The tables are the best of what ``python -m tests.benchmarks.moe_gpu --tune`` measured on an H100. The rule for which
slots go unsorted was judged at one token only; ``python -m tests.benchmarks.moe_gpu --sorting`` compares at others.

Shape suffixes: T tokens, K experts per token, S = T·K slots, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

__all__ = ["DIRECT_SLOTS", "Tile", "choose_tiles", "fitted", "goes_unsorted"]

DIRECT_SLOTS = 16
"""The most slots that are run one by one, unsorted: two tokens of eight experts."""

_MOST_READ_TWICE = 0.08  # share of weights; measured at one token only (0), so no more than two tokens of OLMoE need


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
            Tile(rows=64, columns=64, depth=128, warps=4, stages=4, group=8),
            Tile(rows=64, columns=64, depth=128, warps=4, stages=4, group=8),
        )
    return (
        Tile(rows=128, columns=128, depth=64, warps=8, stages=4, group=8),
        Tile(rows=128, columns=256, depth=64, warps=8, stages=3, group=8),
    )


def goes_unsorted(*, n_tokens: int, top_k: int, n_experts: int) -> bool:
    """Tell whether each slot becomes a block of its own, which saves the sort and its launch.

    Two slots of one expert then read its weights twice. How many do is on the device only, so the expectation under an
    even choice decides: of S slots, ``E · (1 - (1 - K/E)^T)`` experts are distinct. One token never chooses one twice.

    :param n_tokens: T, at least 1.
    :param top_k: K.
    :param n_experts: E, at least 1.
    :returns: Whether few enough slots share an expert.
    """
    n_slots = n_tokens * top_k
    if n_tokens == 1 or n_slots > DIRECT_SLOTS:
        return n_tokens == 1
    distinct = n_experts * (1 - (1 - min(top_k, n_experts) / n_experts) ** n_tokens)
    return n_slots <= (1 + _MOST_READ_TWICE) * distinct


def fitted(tile: Tile, *, n_weights: int, itemsize: int, limit_bytes: int) -> Tile:
    """Return ``tile`` with as few loads in flight, then as short a step, as the card's shared memory asks for.

    :param tile: The tile for a large card.
    :param n_weights: Weight matrices that a program reads at a time: 2 for gate_up, 1 for down.
    :param itemsize: Bytes of a number.
    :param limit_bytes: Shared memory that one program may use.
    :returns: A tile that fits, or the smallest step where none does.
    """
    while _shared_bytes(tile, n_weights=n_weights, itemsize=itemsize) > limit_bytes:
        if tile.stages > 2:
            tile = replace(tile, stages=tile.stages - 1)
        elif tile.depth > 16:
            tile = replace(tile, depth=tile.depth // 2)
        else:
            break
    return tile


def _shared_bytes(tile: Tile, *, n_weights: int, itemsize: int) -> int:
    return tile.stages * tile.depth * (tile.rows + n_weights * tile.columns) * itemsize
