"""Let each expert choose its tokens: perfect balance, for training only, because the choice looks into the future.

Layer: ``moe_backbone``; imports torch only.
Source: Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing, arXiv:2202.09368, section 3.2.

**Not causal.** Whether an expert takes a token depends on every other token of the call, also on those that follow.
A text that is generated token by token is routed otherwise than in training, so this router refuses to run in eval
mode. A token may be taken by no expert (the layer adds zero) or by several.

Shape suffixes: T tokens, H model width, E experts, C tokens that each expert takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.base import LinearRouter, RouterConfig, RouterError
from moe_backbone.routers.context import RoutingContext

__all__ = ["ExpertChoiceConfig", "ExpertChoiceRouter", "reference_expert_choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertChoiceConfig(RouterConfig):
    """What the expert-choice router is told; ``top_k`` is the mean number of experts per token.

    :param capacity_factor: Times ``top_k · T / E`` tokens that an expert takes, > 0. The mean per token is then
        ``capacity_factor · top_k``; 1 keeps it at ``top_k``.
    :raises MoEConfigError: If a setting is out of its range.
    """

    capacity_factor: float = 1.0

    def __post_init__(self) -> None:
        RouterConfig.__post_init__(self)
        if not (math.isfinite(self.capacity_factor) and self.capacity_factor > 0):
            raise MoEConfigError(f"capacity_factor must be finite and > 0, got {self.capacity_factor!r}.")

    def capacity(self, n_tokens: int) -> int:
        """Return C, how many of ``n_tokens`` tokens each expert takes: rounded up, at most all."""
        return min(n_tokens, math.ceil(self.capacity_factor * self.top_k * n_tokens / self.n_experts))


class ExpertChoiceRouter(LinearRouter):
    """A linear router read along the tokens. The slots of a token are all E experts; those that left it hold E.

    :param config: Settings; see :class:`ExpertChoiceConfig`.
    """

    is_causal: ClassVar[bool] = False

    def __init__(self, config: ExpertChoiceConfig) -> None:
        super().__init__(config)
        self.config = config

    def logits(self, x_TH: Tensor, context: RoutingContext) -> Tensor:
        """Return ``x · w_e`` for every expert. *Shape:* ``(T, E)``.

        :param x_TH: Token states. *Shape:* ``(T, H)``.
        :param context: Not read.
        :returns: Logits.
        :raises RouterError: In eval mode.
        """
        if not self.training:
            raise RouterError(
                f"{self.name}: expert choice looks at later tokens and cannot run in eval mode. Train with it and "
                "decode with a token-choice router, or use one from the start (see docs/experts.md)."
            )
        return super().logits(x_TH, context)

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Let each expert take its C best real tokens. *Shape:* both ``(T, E)``; slot e is expert e's."""
        scores_TE = logits_TE.softmax(dim=-1)
        n_tokens, n_experts = scores_TE.shape
        wanted_TE = scores_TE.detach()
        n_real = n_tokens
        real_T = context.real(n_tokens)
        if real_T is not None:
            wanted_TE, n_real = wanted_TE.masked_fill(~real_T[:, None], -1.0), int(real_T.sum())
        taken_CE = wanted_TE.topk(self.config.capacity(n_real), dim=0).indices
        is_taken_TE = torch.zeros_like(scores_TE, dtype=torch.bool).scatter_(0, taken_CE, value=True)
        expert_E = torch.arange(n_experts, device=scores_TE.device)
        return torch.where(is_taken_TE, scores_TE, 0.0), torch.where(is_taken_TE, expert_E, n_experts)


def reference_expert_choice(logits_TE: Tensor, config: ExpertChoiceConfig) -> list[dict[int, float]]:
    """Choose as :class:`ExpertChoiceRouter` does, one expert at a time.

    :param logits_TE: Router logits of real tokens. *Shape:* ``(T, E)``.
    :param config: Settings.
    :returns: The weight of each expert that took the token, one mapping per token.
    """
    chosen: list[dict[int, float]] = [{} for _ in logits_TE]
    scores = logits_TE.double().softmax(dim=-1)
    for expert in range(config.n_experts):
        by_score = sorted(range(len(chosen)), key=lambda token, e=expert: -float(scores[token, e]))  # type: ignore[misc]
        for token in by_score[: config.capacity(len(chosen))]:
            chosen[token][expert] = float(scores[token, expert])
    return chosen
