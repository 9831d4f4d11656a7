"""Drop experts, as many in each layer as it can spare.

Layer: ``moe_backbone``; imports torch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from moe_backbone.smaller.surgery import ShrinkError, keep_experts, require_blocks, shared_copy

__all__ = ["prune"]


def prune(model: nn.Module, kept: Sequence[Sequence[int]]) -> Any:
    """Return a model that has only some of the experts; it computes what ``model`` does with the others masked.

    :param model: The model; it is not changed, and shares what the result did not lose.
    :param kept: Ids of the experts to keep, for each block (:func:`~moe_backbone.smaller.criteria.choose_experts`).
    :returns: A model of the same class. Saved with :mod:`moe_backbone.smaller.saving`.
    :raises ShrinkError: If ``kept`` does not fit the blocks.
    """
    blocks = require_blocks(model)
    if len(kept) != len(blocks):
        raise ShrinkError(f"{len(kept)} lists of experts for {len(blocks)} blocks.")
    pruned = shared_copy(model)
    for block, ids in zip(require_blocks(pruned), kept, strict=True):
        keep_experts(block, ids)
    return pruned
