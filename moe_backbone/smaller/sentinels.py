"""Let every stock model take "no expert" for an index, and know where it cannot.

Layer: ``moe_backbone``; imports torch only.
An index of E (one past the last expert) means *no expert*. transformers' ``grouped_mm`` leaves the rows of such slots
uninitialised unless the experts are marked as expert-parallel (5.23), so zero weights may meet NaN there; its loops of
GPT-OSS count E classes and fail. :func:`no_expert_allowed` sets the mark, and :func:`drop_slots` falls back to expert 0
with weight zero (right, but nothing is saved) where "no expert" is not understood.

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks

__all__ = ["drop_slots", "mark_no_expert", "no_expert_allowed", "understands_no_expert"]

_MARK = "_is_expert_parallel"


@contextmanager
def no_expert_allowed(model: nn.Module) -> Iterator[None]:
    """Mark the experts of ``model`` so that slots without an expert are masked, while the block runs."""
    blocks = find_blocks(model)
    before = [vars(block.experts).get(_MARK) for block in blocks]
    for block in blocks:
        mark_no_expert(block.experts)
    try:
        yield
    finally:
        for block, value in zip(blocks, before, strict=True):
            if value is not None:
                setattr(block.experts, _MARK, value)


def mark_no_expert(experts: nn.Module) -> None:
    """Mark one module of experts for good, where it knows the mark."""
    if hasattr(experts, _MARK):
        setattr(experts, _MARK, True)


@torch.no_grad()
def understands_no_expert(experts: nn.Module, *, n_experts: int, width: int) -> bool:
    """Tell, by trying two tokens, whether ``experts`` leaves out a slot whose index is E.

    :param experts: A module of fused experts, called as transformers calls them.
    :param n_experts: How many it holds.
    :param width: Model width H.
    :returns: Whether such a slot adds nothing to the output, whatever its weight.
    """
    weight = next(experts.parameters(), None)
    if weight is None:
        return True
    hidden_TH = torch.ones(2, width, dtype=weight.dtype, device=weight.device)
    index_TK = torch.tensor([[n_experts], [0]], device=weight.device)  # one slot is real, as in use
    try:
        out_TH = experts.forward(hidden_TH, index_TK, torch.ones_like(index_TK, dtype=weight.dtype))
    except (RuntimeError, IndexError):
        return False
    return bool((out_TH[0] == 0).all())


def drop_slots(
    block: MoEBlock, index_TK: Tensor, weights_TK: Tensor, dropped_TK: Tensor, *, understood: bool
) -> tuple[Tensor, Tensor]:
    """Take the experts of some slots away.

    :param block: Where.
    :param index_TK: Chosen experts. *Shape:* ``(T, K)``.
    :param weights_TK: Their weights. *Shape:* ``(T, K)``.
    :param dropped_TK: True where the slot loses its expert. *Shape:* ``(T, K)``.
    :param understood: What :func:`understands_no_expert` says.
    :returns: Index and weights.
    """
    weights_TK = weights_TK.masked_fill(dropped_TK, 0.0)
    return index_TK.masked_fill(dropped_TK, block.n_experts if understood else 0), weights_TK
