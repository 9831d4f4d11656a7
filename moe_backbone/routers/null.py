"""Let a token spend its slots on experts that do nothing, so that easy tokens cost less.

Layer: ``moe_backbone``; imports torch only.
Source: Zeng et al. 2024, AdaMoE, arXiv:2406.13233, section 3 (null experts among the choices, a larger k, and a balance
loss that treats all null experts as one; see ``null_experts`` of
:func:`moe_backbone.losses.balance.load_balance_per_layer`). The weights of the true experts are renormalised.

A slot that went to a null expert holds the id E (*no expert*) and weight 0: no dispatch multiplies for it. A token all
of whose slots are null gets exactly zero. The logits have E + N columns, the null experts last.

Shape suffixes: T tokens, H model width, E experts, N null experts, K slots per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.config import require_count
from moe_backbone.routers.base import LinearRouter, RouterConfig
from moe_backbone.routers.context import RoutingContext

__all__ = ["NullConfig", "NullRouter", "reference_null"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NullConfig(RouterConfig):
    """What the null-expert router is told; ``top_k`` counts true and null choices, at most ``n_experts + n_null``.

    With balanced use a token visits ``top_k · E / (E + N)`` true experts on the mean.

    :param n_null: Null experts N, at least 1.
    :raises MoEConfigError: If a setting is out of its range.
    """

    n_null: int = 1

    def __post_init__(self) -> None:
        require_count("n_null", self.n_null, minimum=1)
        RouterConfig.__post_init__(self)

    @property
    def most_slots(self) -> int:
        """How many choices a token has at most: true and null experts."""
        return self.n_experts + self.n_null


class NullRouter(LinearRouter):
    """A linear router over true and null experts, ``weight[E + N, H]``.

    :param config: Settings; see :class:`NullConfig`.
    """

    def __init__(self, config: NullConfig) -> None:
        super().__init__(config)
        self.config = config

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose the top k of all; the softmax stands over the true experts among them."""
        best_TK, index_TK = logits_TE.topk(self.config.top_k, dim=-1)
        is_true_TK = index_TK < self.n_experts
        # A softmax over nothing is NaN, also in its gradient: where no expert is true, all slots stay and get weight 0.
        kept_TK = is_true_TK | ~is_true_TK.any(dim=-1, keepdim=True)
        weights_TK = best_TK.masked_fill(~kept_TK, float("-inf")).softmax(dim=-1)
        return torch.where(is_true_TK, weights_TK, 0.0), torch.where(is_true_TK, index_TK, self.n_experts)


def reference_null(logits_TE: Tensor, config: NullConfig) -> list[dict[int, float]]:
    """Choose as :class:`NullRouter` does, one token at a time.

    :param logits_TE: Router logits, null experts last. *Shape:* ``(T, E + N)``.
    :param config: Settings.
    :returns: The weight of each true expert chosen, one mapping per token; empty where all are null.
    """
    chosen = []
    for logits_E in logits_TE.double():
        order = sorted(range(len(logits_E)), key=lambda expert: -float(logits_E[expert]))[: config.top_k]
        true = [expert for expert in order if expert < config.n_experts]
        total = sum(float(logits_E[expert].exp()) for expert in true)
        chosen.append({expert: float(logits_E[expert].exp()) / total for expert in true})
    return chosen
