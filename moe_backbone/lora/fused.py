"""Low-rank adapters around the fused experts of any stock model, one per expert and, if wished, one set per skill.

Layer: ``moe_backbone``; imports torch only.
Source: LoRA, arXiv:2106.09685; the sets per skill follow task-level routing, arXiv:2110.03742.

Wrapping fused parameters the usual way adds ``B_e A_e`` of **every** expert to ``gate_up_proj[E, 2 I, H]`` before each
call: a second copy of the weights, and E products where K are needed. Here a token's rows go through its own experts'
``A_e`` and ``B_e`` only. The wrapper is called as the experts it holds, so routers, hooks and ``find_blocks`` work on.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I, K experts per token, S slots that hold an
expert, sorted by expert.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.lora.low_rank import LoRAConfig, LowRank, add_up_slots, grouped_product, sort_slots
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext, current_context

__all__ = ["BASE", "DEFAULT", "LoRAFusedExperts"]

BASE = "base"
"""The skill that uses no adapter."""

DEFAULT = "default"
"""Name of the set of a wrapper without skills."""


class LoRAFusedExperts(nn.Module):
    """Fused experts, frozen, with low-rank adapters that are computed for the active experts alone.

    :param base: Experts of transformers or :class:`~moe_backbone.experts.Experts`. Their parameters are frozen.
    :param config: Rank and scale.
    :param skills: Skills that have a set of their own, fresh; the context names one per call. ``()`` makes one set
        that every call uses; ``None`` makes none (sets are loaded later).
    :param name: Name of the layer, for errors.
    :raises ValueError: If ``base`` holds no fused, gated experts.
    """

    def __init__(
        self, base: nn.Module, config: LoRAConfig, *, skills: Iterable[str] | None = (), name: str = "experts"
    ) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self._check(base, name)
        self.base = base.requires_grad_(requires_grad=False)
        self.sets = nn.ModuleDict()
        self.merged: str | None = None
        names = () if skills is None else tuple(skills) or (DEFAULT,)
        for skill in names:
            self.add_set(skill)

    @staticmethod
    def _check(base: Any, name: str) -> None:
        up, down = getattr(base, "gate_up_proj", None), getattr(base, "down_proj", None)
        if not isinstance(up, Tensor) or not isinstance(down, Tensor) or up.ndim != 3 or down.ndim != 3:
            raise ValueError(
                f"{name}: {type(base).__name__} holds no fused gate_up_proj[E, 2 I, H] and down_proj[E, H, I]."
            )
        if not up.is_floating_point():
            raise ValueError(f"{name}: the experts are quantised ({up.dtype}); adapt them before they are quantised.")

    @property
    def gate_up_proj(self) -> Tensor:
        """The frozen weights, as :func:`~moe_backbone.blocks.find_blocks` looks for them."""
        weight: Tensor = self.base.gate_up_proj  # type: ignore[assignment]
        return weight

    @property
    def down_proj(self) -> Tensor:
        """The frozen weights, as :func:`~moe_backbone.blocks.find_blocks` looks for them."""
        weight: Tensor = self.base.down_proj  # type: ignore[assignment]
        return weight

    @property
    def is_transposed(self) -> bool:
        """Whether the frozen weights are stored ``(E, in, out)``, as GPT-OSS stores them."""
        return bool(getattr(self.base, "is_transposed", False))

    def add_set(self, skill: str) -> None:
        """Make a fresh set of adapters, which adds zero until it is trained.

        :param skill: Its name; :data:`BASE` is taken.
        :raises ValueError: If there is such a set.
        """
        if skill in self.sets or skill == BASE:
            raise ValueError(f"{self.name} has a set {skill!r} already.")
        up_EGH, down_EHI = self._weights()
        n_experts, n_gate_up, width = up_EGH.shape
        self.sets[skill] = nn.ModuleDict(
            {
                "gate_up": LowRank(self.config, n_experts=n_experts, n_in=width, n_out=n_gate_up, like=up_EGH),
                "down": LowRank(self.config, n_experts=n_experts, n_in=down_EHI.shape[2], n_out=width, like=down_EHI),
            }
        )

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen experts with their adapters.

        :param hidden_states: Token states. *Shape:* ``(T, H)``.
        :param top_k_index: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
        :param top_k_weights: Their weights. *Shape:* ``(T, K)``.
        :returns: The weighted sum of their outputs. *Shape:* ``(T, H)``.
        :raises RouterError: If the context names no skill, or one that is not loaded.
        """
        low = self._active(current_context())
        up_EGH, down_EHI = self._weights()
        slots_S, counts_E = sort_slots(top_k_index, n_experts=len(up_EGH))
        expert_S = top_k_index.reshape(-1)[slots_S]
        x_SH = hidden_states[slots_S // max(top_k_index.shape[1], 1)]
        gate_up_SG = self._project(x_SH, up_EGH, "gate_up", low, counts_E, expert_S)
        inner_SI = self._gate(gate_up_SG)
        y_SH = self._project(inner_SI, down_EHI, "down", low, counts_E, expert_S)
        if getattr(self.base, "has_post_expert_norm", False):
            y_SH = self.base.post_expert_norm(y_SH)  # type: ignore[operator]
        return add_up_slots(y_SH, slots_S, top_k_weights).to(hidden_states.dtype)

    def _project(
        self, x_SI: Tensor, weight_EOI: Tensor, which: str, low: Any, counts_E: Tensor, expert_S: Tensor
    ) -> Tensor:
        y_SO = grouped_product(x_SI, weight_EOI, counts_E)
        bias_EO = getattr(self.base, f"{which}_proj_bias", None)
        if isinstance(bias_EO, Tensor):
            y_SO = y_SO + bias_EO[expert_S]
        return y_SO if low is None else y_SO + low[which](x_SI, counts_E)

    def _gate(self, gate_up_SG: Tensor) -> Tensor:
        if hasattr(self.base, "_apply_gate"):  # transformers: interleaved and clipped gates have one of their own
            gated: Tensor = self.base._apply_gate(gate_up_SG)  # type: ignore[operator]
            return gated
        gate_SI, up_SI = gate_up_SG.chunk(2, dim=-1)
        activated: Tensor = self.base.act_fn(gate_SI)  # type: ignore[operator]
        return activated * up_SI

    def _weights(self) -> tuple[Tensor, Tensor]:
        if self.is_transposed:
            return self.gate_up_proj.transpose(-2, -1), self.down_proj.transpose(-2, -1)
        return self.gate_up_proj, self.down_proj

    def _active(self, context: RoutingContext) -> nn.ModuleDict | None:
        skill = context.skill
        if skill != BASE and list(self.sets) == [DEFAULT]:
            skill = DEFAULT
        if self.merged is not None:
            if skill in (self.merged, None):
                return None
            raise RouterError(f"{self.name}: the set {self.merged!r} is merged; unmerge it before {skill!r} is used.")
        if skill == BASE:
            return None
        if skill is None or skill not in self.sets:
            asked = "no skill is named" if skill is None else f"the skill {skill!r} is not loaded"
            raise RouterError(
                f"{self.name}: {asked}; there are {', '.join((BASE, *self.sets))} (routing_context(skill=...))."
            )
        return self.sets[skill]  # type: ignore[return-value]

    @torch.no_grad()
    def merge(self, skill: str = DEFAULT) -> None:
        """Add one set to the frozen weights, one expert at a time, so that calls cost nothing more.

        In float32, :meth:`unmerge` restores the weights to rounding (1e-6 of their size); in half precision both round.

        :param skill: The set.
        :raises ValueError: If a set is merged already, or there is no such set.
        """
        if self.merged is not None or skill not in self.sets:
            raise ValueError(f"{self.name} cannot merge {skill!r}: merged is {self.merged!r}, sets {list(self.sets)}.")
        self._add(skill, sign=1.0)
        self.merged = skill

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the merged set out of the weights again.

        :raises ValueError: If none is merged.
        """
        if self.merged is None:
            raise ValueError(f"{self.name} has no merged set to take out.")
        self._add(self.merged, sign=-1.0)
        self.merged = None

    def _add(self, skill: str, *, sign: float) -> None:
        for weight_EOI, which in zip(self._weights(), ("gate_up", "down"), strict=True):
            pair: Any = self.sets[skill][which]  # type: ignore[index]
            for expert in range(len(weight_EOI)):
                weight_OI = weight_EOI[expert]
                weight_OI.copy_(weight_OI.to(torch.promote_types(weight_OI.dtype, torch.float32))
                                + sign * pair.delta(expert))  # fmt: skip
