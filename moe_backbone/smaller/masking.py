"""What a block would choose if some of its experts were gone, without changing the model.

Layer: ``moe_backbone``; imports torch only.
A shallow copy of the block, whose router has lost rows and whose experts only note what they are called with, routes
as the pruned block would, whatever its family: blocks that route by themselves are served too.

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, router_of
from moe_backbone.smaller.surgery import ShrinkError, keep_experts, shared_copy
from moe_backbone.smaller.units import run_slots

__all__ = ["route_among", "routed_output"]


class _Noted(nn.Module):
    """Stands where the experts stood, and keeps what the router chose."""

    def __init__(self) -> None:
        super().__init__()
        self.index_TK = torch.empty(0)
        self.weights_TK = torch.empty(0)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        self.index_TK, self.weights_TK = top_k_index, top_k_weights
        return torch.zeros_like(hidden_states)


def route_among(block: MoEBlock, kept: Sequence[int]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a function that routes states as if only the experts ``kept`` were there.

    :param block: Which block; it is not changed.
    :param kept: Ids of the experts that may be chosen.
    :returns: A function from states ``(T, H)`` to index (ids of ``block``) and weights, both ``(T, K)``.
    :raises ShrinkError: If the block does not call its experts.
    """
    clone = copy.copy(block.block)
    clone._modules = dict(block.block._modules)
    clone._parameters = dict(block.block._parameters)
    clone._buffers = dict(block.block._buffers)
    for name in [name for name, child in clone._modules.items() if child is block.router]:
        clone._modules[name] = shared_copy(block.router) if block.router is not None else None
    scratch = copy.copy(block.experts)
    scratch._parameters, scratch._buffers = {}, {}
    view = MoEBlock(
        name=block.name, layer=block.layer, block=clone, router=router_of(clone), experts=scratch,
        n_experts=block.n_experts, width=block.width, expert_width=block.expert_width,
    )  # fmt: skip
    keep_experts(view, kept)
    noted = _Noted()
    clone._modules["experts"] = noted
    ids = torch.tensor(list(kept))

    @torch.no_grad()
    def route(hidden_TH: Tensor) -> tuple[Tensor, Tensor]:
        noted.index_TK = torch.empty(0)
        clone.forward(hidden_TH[None] if block.name else hidden_TH)
        if not noted.index_TK.numel() and hidden_TH.numel():
            raise ShrinkError(f"{block.name} did not call its experts.")
        return ids.to(noted.index_TK.device)[noted.index_TK], noted.weights_TK

    return route


def routed_output(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, in float32. *Shape:* ``(T, H)``."""
    dtype = next(block.experts.parameters()).dtype
    top_k = index_TK.shape[1]
    y_NH = run_slots(block, hidden_TH.to(dtype).repeat_interleave(top_k, dim=0), index_TK.reshape(-1))
    weighted = y_NH.float() * weights_TK.reshape(-1, 1).float()
    return weighted.view(len(hidden_TH), top_k, -1).sum(1)
