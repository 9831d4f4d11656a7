"""Route by independent sigmoid scores and a bias that only the choice sees: balance without an auxiliary loss.

Layer: ``moe_backbone``; imports torch only.
Source: DeepSeek-V3, arXiv:2412.19437, section 2.1.2, equations 12-16 (sigmoid, selection bias, normalised weights) and
its node-limited choice (best groups first); Wang et al., arXiv:2408.15664, algorithm 1 (the bias and its update).

The bias moves the choice and never the weights, so it has no gradient. After a step,
:func:`moe_backbone.losses.bias.updated_bias` raises it for idle experts and lowers it for busy ones. Parameter and
buffer are named as in transformers (``weight[E, H]``, ``e_score_correction_bias[E]``).

Shape suffixes: T tokens, H model width, E experts, K experts per token, N groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.config import MoEConfigError, require_count
from moe_backbone.routers.base import LinearRouter, RouterConfig
from moe_backbone.routers.context import RoutingContext

__all__ = ["SigmoidConfig", "SigmoidRouter", "reference_sigmoid"]

_SCORES_OF_A_GROUP = 2  # DeepSeek-V3: a group is as good as the sum of its two best experts
_TINY = 1e-20  # of the reference implementation: keeps a sum of zero scores from dividing


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmoidConfig(RouterConfig):
    """What the sigmoid router is told, besides what every router is.

    :param normalise: Divide the kept scores by their sum (DeepSeek-V3 does).
    :param scale: Factor of the weights, > 0; DeepSeek-V3 uses 2.5.
    :param n_groups: Groups N into which the experts fall in order; a divisor of ``n_experts``. 1 limits nothing.
    :param top_groups: Groups that a token may choose from, between 1 and ``n_groups``.
    :raises MoEConfigError: If a setting is out of its range.
    """

    normalise: bool = True
    scale: float = 1.0
    n_groups: int = 1
    top_groups: int = 1

    def __post_init__(self) -> None:
        RouterConfig.__post_init__(self)
        require_count("n_groups", self.n_groups, minimum=1)
        require_count("top_groups", self.top_groups, minimum=1)
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise MoEConfigError(f"scale must be finite and > 0, got {self.scale!r}.")
        if self.n_experts % self.n_groups:
            raise MoEConfigError(f"n_groups={self.n_groups} does not divide n_experts={self.n_experts}.")
        if self.top_groups > self.n_groups:
            raise MoEConfigError(f"top_groups={self.top_groups} is more than n_groups={self.n_groups}.")
        reachable = self.top_groups * (self.n_experts // self.n_groups)
        if self.top_k > reachable:
            raise MoEConfigError(
                f"top_k={self.top_k} is more than the {reachable} experts of {self.top_groups} groups. "
                "Raise top_groups or lower top_k."
            )


class SigmoidRouter(LinearRouter):
    """A linear router whose scores do not compete, with a bias for the choice.

    :param config: Settings; see :class:`SigmoidConfig`.
    """

    e_score_correction_bias: Tensor

    def __init__(self, config: SigmoidConfig) -> None:
        super().__init__(config)
        self.config = config
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_experts))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SigmoidRouter:
        """Move and convert as torch does, but keep the bias in float32: steps of 0.001 vanish in half precision."""
        bias_E = self.e_score_correction_bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved_E = self.e_score_correction_bias
        if moved_E.dtype in (torch.bfloat16, torch.float16):
            self.e_score_correction_bias = bias_E.to(device=moved_E.device)
        return self

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose the top k of score plus bias, and weigh them by their scores."""
        scores_TE = logits_TE.sigmoid()
        wanted_TE = self._limit_to_groups(scores_TE.detach() + self.e_score_correction_bias.to(scores_TE.dtype))
        index_TK = wanted_TE.topk(self.config.top_k, dim=-1).indices
        weights_TK = scores_TE.gather(1, index_TK)
        if self.config.normalise:
            weights_TK = weights_TK / (weights_TK.sum(dim=-1, keepdim=True) + _TINY)
        return weights_TK * self.config.scale, index_TK

    def _limit_to_groups(self, wanted_TE: Tensor) -> Tensor:
        n_groups = self.config.n_groups
        if self.config.top_groups == n_groups:
            return wanted_TE
        grouped_TNg = wanted_TE.view(len(wanted_TE), n_groups, -1)
        best_TN = grouped_TNg.topk(min(_SCORES_OF_A_GROUP, grouped_TNg.shape[-1]), dim=-1).values.sum(dim=-1)
        open_TN = torch.zeros_like(best_TN, dtype=torch.bool)
        open_TN.scatter_(1, best_TN.topk(self.config.top_groups, dim=-1).indices, value=True)
        return grouped_TNg.masked_fill(~open_TN[..., None], -math.inf).view_as(wanted_TE)


def reference_sigmoid(logits_TE: Tensor, bias_E: Tensor, config: SigmoidConfig) -> list[dict[int, float]]:
    """Choose as :class:`SigmoidRouter` does, one token at a time.

    :param logits_TE: Router logits. *Shape:* ``(T, E)``.
    :param bias_E: Selection bias. *Shape:* ``(E,)``.
    :param config: Settings.
    :returns: The weight of each chosen expert, one mapping per token.
    """
    size = config.n_experts // config.n_groups
    chosen = []
    for logits_E in logits_TE.tolist():
        scores = [1 / (1 + math.exp(-logit)) for logit in logits_E]
        wanted = [score + float(bias) for score, bias in zip(scores, bias_E, strict=True)]
        groups = [range(start, start + size) for start in range(0, config.n_experts, size)]
        groups.sort(key=lambda group: -sum(sorted((wanted[e] for e in group), reverse=True)[:_SCORES_OF_A_GROUP]))
        allowed = [expert for group in groups[: config.top_groups] for expert in group]
        kept = sorted(allowed, key=lambda expert: -wanted[expert])[: config.top_k]
        total = sum(scores[expert] for expert in kept) if config.normalise else 1.0
        chosen.append({expert: config.scale * scores[expert] / total for expert in kept})
    return chosen
