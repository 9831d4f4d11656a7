"""Low-rank experts beside a frozen linear layer: a mixture routed by token, by instance or by skill.

Layer: ``moe_backbone``; imports torch only.
Source: LoRAMoE, arXiv:2312.09979 (adapters as experts of a frozen layer, a router per token); MoCLE, arXiv:2312.12379
(one choice per instance); task-level routing, arXiv:2110.03742. Any token router of this package can be used.

Only active experts are computed, and no ``B_e A_e`` is made. Routed by instance, all tokens of a sequence use the same
experts. They are chosen by a vector that the context gives, or by the mean state of the sequence; the mean is **not
causal**, so a text that grows token by token needs the vector.

Shape suffixes: B sequences, L tokens of each, T = B·L tokens, I input width, O output width, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.dispatch.slots import combine_slots, group_slots
from moe_backbone.lora.low_rank import LoRAConfig, LowRank
from moe_backbone.lora.skills import SkillAdapter
from moe_backbone.routers.base import Router, RouterError
from moe_backbone.routers.context import RoutingContext, current_context

__all__ = ["InstanceLoRALinear", "SkillLoRALinear", "TokenLoRALinear"]


class TokenLoRALinear(nn.Module):
    """A frozen linear layer plus the low-rank experts that a router chooses for each token.

    :param base: The layer. Its parameters are frozen.
    :param config: Rank and scale of each expert.
    :param router: Chooses among ``router.n_experts`` experts by the layer's input.
    :param name: Name of the layer, for errors.
    :raises ValueError: If the router is for another width.
    """

    def __init__(self, base: nn.Linear, config: LoRAConfig, router: Router, *, name: str = "linear") -> None:
        super().__init__()
        if type(self) is TokenLoRALinear and router.width != base.in_features:
            raise ValueError(f"{name}: the router is for width {router.width}, the layer takes {base.in_features}.")
        self.name = router.name = name
        self.base = base.requires_grad_(requires_grad=False)
        self.gate = router
        self.lora = LowRank(
            config, n_experts=router.n_experts, n_in=base.in_features, n_out=base.out_features, like=base.weight
        )

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as models look at it that ask a layer for its dtype (T5 does)."""
        return self.base.weight

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """Apply the layer and the active experts.

        :param x: States. *Shape:* ``(…, I)``.
        :param context: What routing may depend on; ``None`` takes the one that was set.
        :returns: States. *Shape:* ``(…, O)``.
        """
        x_TI = x.reshape(-1, x.shape[-1])
        weights_TK, index_TK = self._route(x, current_context() if context is None else context)
        out: Tensor = self.base(x)
        groups = group_slots(index_TK, n_experts=self.gate.n_experts)
        if not groups.experts:
            return out
        y_SO = self.lora(x_TI[groups.tokens], groups)
        delta_TO = combine_slots(y_SO, groups.slots, weights_TK, out.reshape(len(x_TI), -1))
        return out + delta_TO.reshape(out.shape)

    def _route(self, x: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        routing = self.gate(x.reshape(-1, x.shape[-1]), context)
        return routing.weights, routing.experts


class InstanceLoRALinear(TokenLoRALinear):
    """A frozen linear layer plus the low-rank experts that a router chooses for each sequence.

    :param base: The layer. Its parameters are frozen.
    :param config: Rank and scale of each expert.
    :param router: Chooses by one vector per sequence. If it is for another width than the layer's input, the context
        must give ``instance``; otherwise the mean of the sequence's real tokens stands in where it does not.
    :param name: Name of the layer, for errors.
    """

    def _route(self, x: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        if x.ndim != 3:
            raise ValueError(f"{self.name} routes by instance: x must have shape (B, L, I), got {tuple(x.shape)}.")
        instance_B = context.instance if context.instance is not None else self._mean(x, context)
        if instance_B.shape[0] != x.shape[0]:
            raise RouterError(f"{self.name}: instance has {instance_B.shape[0]} rows for {x.shape[0]} sequences.")
        routing = self.gate(instance_B, RoutingContext(skill=context.skill))
        return routing.weights.repeat_interleave(x.shape[1], 0), routing.experts.repeat_interleave(x.shape[1], 0)

    def _mean(self, x_BLI: Tensor, context: RoutingContext) -> Tensor:
        if self.gate.width != x_BLI.shape[-1]:
            raise RouterError(
                f"{self.name}: the router is for width {self.gate.width}, the layer takes {x_BLI.shape[-1]}: give "
                "instance, one vector per sequence (routing_context(instance=...))."
            )
        real_BL = context.real(*x_BLI.shape[:2])
        if real_BL is None:
            return x_BLI.mean(dim=1)
        kept_BLI = torch.where(real_BL[..., None], x_BLI, 0.0)  # not a product: padding may hold NaN
        return kept_BLI.sum(dim=1) / real_BL.sum(dim=1, keepdim=True).clamp(min=1)


class SkillLoRALinear(SkillAdapter):
    """A frozen linear layer plus the one low-rank adapter of the skill that the request names.

    Adapters of other skills are not read, and need not be there: make the layer without skills and load what is needed
    (:func:`~moe_backbone.lora.adapters.load_adapter`).

    :param base: The layer. Its parameters are frozen.
    :param config: Rank and scale.
    :param skills: Skills that get a fresh adapter.
    :param name: Name of the layer, for errors.
    """

    base: nn.Linear

    def __init__(
        self, base: nn.Linear, config: LoRAConfig, *, skills: Iterable[str] = (), name: str = "linear"
    ) -> None:
        super().__init__(base, config, skills=skills, name=name)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as models look at it that ask a layer for its dtype (T5 does)."""
        return self.base.weight

    def fresh_set(self) -> nn.Module:
        """Return an adapter that adds zero."""
        linear = self.base
        return LowRank(self.config, n_experts=1, n_in=linear.in_features, n_out=linear.out_features, like=linear.weight)

    def pairs(self, skill: str) -> Iterator[tuple[Tensor, LowRank, int]]:
        """Yield the layer's weight with its adapter.

        :param skill: A set.
        :yields: The weight, ``(O, I)``, the low-rank matrices, and 0.
        """
        yield self.base.weight, self.sets[skill], 0  # type: ignore[misc]

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """Apply the layer and the named skill's adapter.

        :param x: States. *Shape:* ``(…, I)``.
        :param context: Names the skill; ``None`` takes the context that was set.
        :returns: States. *Shape:* ``(…, O)``.
        :raises RouterError: If no skill is named, or it is not loaded.
        """
        pair: Any = self.active_set(current_context() if context is None else context)
        out: Tensor = self.base(x)
        if pair is None:
            return out
        low = functional.linear(x.to(pair.a.dtype), pair.a[0])
        delta: Tensor = pair.scale * functional.linear(low, pair.b[0])
        return out + delta.to(out.dtype)
