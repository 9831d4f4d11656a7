"""One low-rank adapter each of whose ranks is an expert: a router chooses K of R ranks for each token.

Layer: ``moe_backbone``; imports torch only.
Source: SMoRA, Each Rank Could be an Expert, arXiv:2501.15103 (``ΔW x = B · diag(gate(x)) · A x`` with the top K of a
linear router, balanced by a selection bias instead of a loss: the sigmoid router of this package has one).

Ranks that no token of a call chose are not read. Among those that some token chose, a token's product with a rank that
it did not choose is multiplied by zero: one dense product over them is faster than gathering rows per token.

Shape suffixes: T tokens, I input width, O output width, R ranks, U ranks that some token chose, K ranks per token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.routers.base import Router
from moe_backbone.routers.context import RoutingContext

__all__ = ["RankWiseLoRALinear", "reference_rank_wise"]


class RankWiseLoRALinear(nn.Module):
    """A frozen linear layer plus the ranks that a router chooses for each token: ``a[R, I]``, ``b[O, R]``.

    :param base: The layer. Its parameters are frozen.
    :param config: All ranks R, and the scale.
    :param router: Chooses among R "experts" by the layer's input.
    :param name: Name of the layer, for errors.
    :raises ValueError: If the router is for another width or another number of ranks.
    """

    def __init__(self, base: nn.Linear, config: LoRAConfig, router: Router, *, name: str = "linear") -> None:
        super().__init__()
        if (router.width, router.n_experts) != (base.in_features, config.rank):
            raise ValueError(
                f"{name}: the router is for width {router.width} and {router.n_experts} ranks, the layer takes "
                f"{base.in_features} and has {config.rank}."
            )
        router.name = name
        self.base = base.requires_grad_(requires_grad=False)
        self.gate = router
        self.scale = config.scale
        self.a = nn.Parameter(base.weight.new_empty(config.rank, base.in_features))
        self.b = nn.Parameter(base.weight.new_zeros(base.out_features, config.rank))
        nn.init.normal_(self.a, std=base.in_features**-0.5)

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """Apply the layer and the active ranks.

        :param x: States. *Shape:* ``(…, I)``.
        :param context: What routing may depend on; ``None`` takes the one that was set.
        :returns: States. *Shape:* ``(…, O)``.
        """
        out: Tensor = self.base(x)
        x_TI = x.reshape(-1, x.shape[-1])
        _, weights_TK, index_TK = self.gate(x_TI, context)
        n_ranks = len(self.a)
        chosen_TK = (index_TK >= 0) & (index_TK < n_ranks)
        busy_U = torch.unique(index_TK[chosen_TK])
        if not len(busy_U):
            return out
        gate_TR = weights_TK.new_zeros(len(x_TI), n_ranks + 1)
        gate_TR = gate_TR.scatter_add(1, torch.where(chosen_TK, index_TK, n_ranks), weights_TK)
        low_TU = functional.linear(x_TI, self.a[busy_U]) * gate_TR[:, busy_U].to(x.dtype)
        delta_TO = functional.linear(low_TU, self.b[:, busy_U]) * self.scale
        return out + delta_TO.reshape(out.shape).to(out.dtype)


def reference_rank_wise(layer: RankWiseLoRALinear, x_TI: Tensor, weights_TK: Tensor, index_TK: Tensor) -> Tensor:
    """Return what the layer returns, with every token's matrix made in full.

    :param layer: The layer.
    :param x_TI: States. *Shape:* ``(T, I)``.
    :param weights_TK: Weights of the chosen ranks. *Shape:* ``(T, K)``.
    :param index_TK: The chosen ranks. *Shape:* ``(T, K)``.
    :returns: States. *Shape:* ``(T, O)``.
    """
    rows = []
    for x_I, weights, ranks in zip(x_TI, weights_TK, index_TK.tolist(), strict=True):
        matrix_OI = layer.base.weight
        for weight, rank in zip(weights, ranks, strict=True):
            if 0 <= rank < len(layer.a):
                matrix_OI = matrix_OI + layer.scale * weight * torch.outer(layer.b[:, rank], layer.a[rank])
        rows.append(functional.linear(x_I, matrix_OI, layer.base.bias))
    return torch.stack(rows)
