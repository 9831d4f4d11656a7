"""Give a token its second expert only where the first is not clearly better.

Layer: ``moe_backbone``; imports torch only.
Source: Li et al. 2023, Adaptive Gating in Mixture-of-Experts based Language Models, arXiv:2310.07188, section 3: one
expert where the two best probabilities differ by more than a threshold, else two.

Shape suffixes: T tokens, H model width, E experts, K = 2 slots per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.base import LinearRouter, RouterConfig, keep_slots
from moe_backbone.routers.context import RoutingContext

__all__ = ["MarginConfig", "MarginRouter", "reference_margin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginConfig(RouterConfig):
    """What the margin router is told; ``top_k`` is 2.

    :param margin: Difference of the two best probabilities above which the second expert is left out, in [0, 1]. 1
        always uses two. The default is a middle of the range to tune in, not a value of the paper.
    :param renormalise: Let the kept weights sum to 1; otherwise they are the probabilities. With one expert the weight
        is then 1 and gives its router no gradient, so the default keeps the probabilities.
    :raises MoEConfigError: If a setting is out of its range.
    """

    top_k: int = 2
    margin: float = 0.25
    renormalise: bool = False

    def __post_init__(self) -> None:
        RouterConfig.__post_init__(self)
        if self.top_k != 2:
            raise MoEConfigError(f"a margin decides between one expert and two: top_k must be 2, got {self.top_k}.")
        if not 0 <= self.margin <= 1:
            raise MoEConfigError(f"margin must be in [0, 1], got {self.margin!r}.")


class MarginRouter(LinearRouter):
    """A linear router with one or two experts; an unused second slot holds E and weight 0.

    :param config: Settings; see :class:`MarginConfig`.
    """

    def __init__(self, config: MarginConfig) -> None:
        super().__init__(config)
        self.config = config

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Keep the best expert, and the second where it is within the margin."""
        best_TK, index_TK = logits_TE.softmax(dim=-1).topk(2, dim=-1)
        kept_TK = torch.ones_like(index_TK, dtype=torch.bool)
        kept_TK[:, 1] = best_TK[:, 0].detach() - best_TK[:, 1].detach() <= self.config.margin
        return keep_slots(best_TK, index_TK, kept_TK, n_experts=self.n_experts, renormalise=self.config.renormalise)


def reference_margin(logits_TE: Tensor, config: MarginConfig) -> list[dict[int, float]]:
    """Choose as :class:`MarginRouter` does, one token at a time.

    :param logits_TE: Router logits. *Shape:* ``(T, E)``.
    :param config: Settings.
    :returns: The weight of each chosen expert, one mapping per token.
    """
    chosen = []
    for probabilities_E in logits_TE.double().softmax(dim=-1).tolist():
        first, second = sorted(range(len(probabilities_E)), key=lambda e, p=probabilities_E: -p[e])[:2]  # type: ignore[misc]
        kept = {first: probabilities_E[first]}
        if probabilities_E[first] - probabilities_E[second] <= config.margin:
            kept[second] = probabilities_E[second]
        total = sum(kept.values()) if config.renormalise else 1.0
        chosen.append({expert: weight / total for expert, weight in kept.items()})
    return chosen
