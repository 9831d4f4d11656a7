"""Route each token to its top k experts.

Layer: ``moe_backbone``; imports torch only.
Source: Shazeer et al. 2017, arXiv:1701.06538, section 2.1 (softmax over the kept top k); Switch Transformers,
arXiv:2101.03961, section 2.4 (routing in float32 inside a half-precision model: bfloat16 logits tie, and a tie routes
to the wrong expert).

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import MoEConfig, SoftmaxOrder

__all__ = ["TopKRouter", "choose_top_k"]


def choose_top_k(logits_TE: Tensor, *, top_k: int, softmax: SoftmaxOrder) -> tuple[Tensor, Tensor]:
    """Choose the ``top_k`` experts of each token and weigh them.

    :param logits_TE: Router logits in the precision of the weights to return. *Shape:* ``(T, E)``.
    :param top_k: Experts per token, between 1 and E.
    :param softmax: Where the softmax stands; see :class:`~moe_backbone.config.SoftmaxOrder`.
    :returns: Weights in the dtype of the logits, and expert ids, int64, best first. *Shape:* both ``(T, K)``.
    """
    if softmax is SoftmaxOrder.BEFORE_TOP_K:
        weights_TK, index_TK = torch.topk(logits_TE.softmax(dim=-1), top_k, dim=-1)
        return weights_TK, index_TK
    kept_TK, index_TK = torch.topk(logits_TE, top_k, dim=-1)
    return kept_TK.softmax(dim=-1), index_TK


class TopKRouter(nn.Module):
    """A linear router whose arithmetic is at least float32, whatever the model's precision.

    The parameter is named and shaped as in the stock routers of transformers (``weight[E, H]``), and the returned
    triple has their order.

    :param config: Shape of the layer.
    """

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_experts, config.width))
        nn.init.normal_(self.weight, std=config.init_std)

    def forward(self, x_TH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Route tokens.

        :param x_TH: Token states, floating point. *Shape:* ``(T, H)``.
        :returns: Logits ``(T, E)``, weights ``(T, K)``, both float32 (float64 for float64 input), and expert ids
            ``(T, K)``, int64.
        :raises ValueError: If ``x_TH`` is not of shape ``(T, H)``.
        """
        if x_TH.ndim != 2 or x_TH.shape[1] != self.config.width:
            raise ValueError(f"x_TH must have shape (T, {self.config.width}), got {tuple(x_TH.shape)}.")
        precision = torch.promote_types(x_TH.dtype, torch.float32)
        logits_TE = functional.linear(x_TH.to(precision), self.weight.to(precision))
        weights_TK, index_TK = choose_top_k(logits_TE, top_k=self.config.top_k, softmax=self.config.softmax)
        return logits_TE, weights_TK, index_TK
