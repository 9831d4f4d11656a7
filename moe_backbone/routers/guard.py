"""Refuse bad routing in any stock model, with the name of the block, before it becomes NaN in every token.

Layer: ``moe_backbone``; imports torch only.
The routers of this package check their own logits; those of stock models check nothing, and a NaN logit there chooses
some expert with weight NaN.
"""

from __future__ import annotations

from torch import Tensor

from moe_backbone.blocks import MoEBlock, RoutingEdit
from moe_backbone.routers.base import RouterError

__all__ = ["RefuseBadRouting"]


class RefuseBadRouting(RoutingEdit):
    """An edit for :func:`~moe_backbone.blocks.edit_routing` that changes nothing and checks each choice.

    .. code-block:: python

        with edit_routing(model, RefuseBadRouting()):
            model.generate(...)
    """

    def __call__(
        self, block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the choice as it came.

        :param block: Where it was made.
        :param hidden_TH: Token states. *Shape:* ``(T, H)``.
        :param index_TK: Chosen experts. *Shape:* ``(T, K)``.
        :param weights_TK: Their weights. *Shape:* ``(T, K)``.
        :returns: Index and weights.
        :raises RouterError: If the shapes do not fit, an id is neither an expert nor *no expert*, or a weight is NaN or
            infinite.
        """
        if index_TK.shape != weights_TK.shape or index_TK.ndim != 2 or len(index_TK) != len(hidden_TH):
            raise RouterError(
                f"{block.name}: {len(hidden_TH)} tokens were routed with ids {tuple(index_TK.shape)} and weights "
                f"{tuple(weights_TK.shape)}; both must have one row per token."
            )
        if index_TK.numel() == 0:
            return index_TK, weights_TK
        low, high = int(index_TK.min()), int(index_TK.max())
        if low < 0 or high > block.n_experts:
            raise RouterError(
                f"{block.name}: expert ids reach from {low} to {high}; there are {block.n_experts} experts, and "
                f"{block.n_experts} means none."
            )
        bad_T = ~weights_TK.detach().isfinite().all(dim=-1)
        if bool(bad_T.any()):
            raise RouterError(
                f"{block.name}: the router's weights are NaN or infinite for {int(bad_T.sum())} of {len(bad_T)} tokens "
                f"(first: token {int(bad_T.nonzero()[0])}). Look for NaN in the states that enter this block or in its "
                "router."
            )
        return index_TK, weights_TK
