"""Route each token to its top k experts by a softmax: the router of Mixtral, OLMoE and Qwen.

Layer: ``moe_backbone``; imports torch only.
Source: Shazeer et al. 2017, arXiv:1701.06538, section 2.1 (softmax over the kept top k).

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.config import SoftmaxOrder, require_member
from moe_backbone.routers.base import LinearRouter, RouterConfig
from moe_backbone.routers.context import RoutingContext

__all__ = ["TopKConfig", "TopKRouter", "choose_top_k", "reference_top_k"]


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


def reference_top_k(logits_TE: Tensor, *, top_k: int, softmax: SoftmaxOrder) -> list[dict[int, float]]:
    """Choose as :func:`choose_top_k` does, one token at a time, by sorting.

    :param logits_TE: Router logits. *Shape:* ``(T, E)``.
    :param top_k: Experts per token.
    :param softmax: Where the softmax stands.
    :returns: The weight of each chosen expert, one mapping per token.
    """
    chosen = []
    for logits_E in logits_TE.double():
        order = sorted(range(len(logits_E)), key=lambda expert: -float(logits_E[expert]))[:top_k]
        mass = logits_E.exp()
        total = mass.sum() if softmax is SoftmaxOrder.BEFORE_TOP_K else mass[order].sum()
        chosen.append({expert: float(mass[expert] / total) for expert in order})
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKConfig(RouterConfig):
    """What the top-k router is told, besides what every router is.

    :param softmax: Where the softmax stands; the default is Mixtral's.
    :raises MoEConfigError: If a setting is out of its range.
    """

    softmax: SoftmaxOrder = SoftmaxOrder.AFTER_TOP_K

    def __post_init__(self) -> None:
        RouterConfig.__post_init__(self)
        require_member("softmax", self.softmax, SoftmaxOrder)


class TopKRouter(LinearRouter):
    """A linear router; its parameter is named and shaped as in transformers (``weight[E, H]``).

    :param config: Settings; see :class:`TopKConfig`.
    """

    def __init__(self, config: TopKConfig) -> None:
        super().__init__(config)
        self.config = config

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose the top k; see :func:`choose_top_k`."""
        return choose_top_k(logits_TE, top_k=self.config.top_k, softmax=self.config.softmax)
