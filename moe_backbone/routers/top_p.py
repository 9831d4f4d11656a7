"""Give each token as many experts as its routing is unsure: the fewest whose probability reaches a threshold.

Layer: ``moe_backbone``; imports torch only.
Source: Huang et al. 2024, Harder Tasks Need More Experts, arXiv:2403.07652, section 3.2 (dynamic k by top-p; the kept
probabilities are the weights, not renormalised). Train it with
:func:`moe_backbone.losses.per_token.router_entropy_loss`, or the router learns to use every expert.

Shape suffixes: T tokens, H model width, E experts, K slots per token.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.base import LinearRouter, RouterConfig, keep_slots
from moe_backbone.routers.context import RoutingContext

__all__ = ["TopPConfig", "TopPRouter", "reference_top_p"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopPConfig(RouterConfig):
    """What the top-p router is told; ``top_k`` is the most experts that a token may get.

    :param threshold: Probability to reach, in (0, 1]. 0.4 is the value of arXiv:2403.07652.
    :param renormalise: Let the kept weights sum to 1, so that the layer's output keeps its scale however many experts
        a token gets. The paper does not.
    :raises MoEConfigError: If a setting is out of its range.
    """

    threshold: float = 0.4
    renormalise: bool = False

    def __post_init__(self) -> None:
        RouterConfig.__post_init__(self)
        if not 0 < self.threshold <= 1:
            raise MoEConfigError(f"threshold must be in (0, 1], got {self.threshold!r}.")


class TopPRouter(LinearRouter):
    """A linear router with a varying number of experts; unused slots hold E and weight 0.

    :param config: Settings; see :class:`TopPConfig`.
    """

    def __init__(self, config: TopPConfig) -> None:
        super().__init__(config)
        self.config = config

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Keep the best experts until their probability reaches the threshold; the best one is always kept."""
        best_TK, index_TK = logits_TE.softmax(dim=-1).topk(self.config.top_k, dim=-1)
        before_TK = best_TK.detach().cumsum(dim=-1) - best_TK.detach()  # what the better experts hold together
        kept_TK = before_TK < self.config.threshold
        kept_TK[:, 0] = True
        return keep_slots(best_TK, index_TK, kept_TK, n_experts=self.n_experts, renormalise=self.config.renormalise)


def reference_top_p(logits_TE: Tensor, config: TopPConfig) -> list[dict[int, float]]:
    """Choose as :class:`TopPRouter` does, one token at a time.

    :param logits_TE: Router logits. *Shape:* ``(T, E)``.
    :param config: Settings.
    :returns: The weight of each chosen expert, one mapping per token.
    """
    chosen = []
    for probabilities_E in logits_TE.double().softmax(dim=-1).tolist():
        kept: dict[int, float] = {}
        for expert in sorted(range(len(probabilities_E)), key=lambda e, p=probabilities_E: -p[e]):  # type: ignore[misc]
            if len(kept) == config.top_k or (kept and sum(kept.values()) >= config.threshold):
                break
            kept[expert] = probabilities_E[expert]
        total = sum(kept.values()) if config.renormalise else 1.0
        chosen.append({expert: weight / total for expert, weight in kept.items()})
    return chosen
