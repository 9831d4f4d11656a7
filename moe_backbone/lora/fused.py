"""Low-rank adapters around the fused experts of any stock model, one per expert and, if wished, one set per skill.

Layer: ``moe_backbone``; imports torch only.
Source: LoRA, arXiv:2106.09685; the sets per skill are those of :mod:`~moe_backbone.lora.skills`.

Wrapping fused parameters the usual way adds ``B_e A_e`` of **every** expert to ``gate_up_proj[E, 2 I, H]`` before each
call: a second copy of the weights, and E products where K are needed. Here a token's rows go through its own experts'
``A_e`` and ``B_e`` only. The wrapper is called as the experts it holds, so routers, hooks and ``find_blocks`` work on.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I, K experts per token, S slots that hold an
expert, sorted by expert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.dispatch.slots import Groups, run_sorted
from moe_backbone.dispatch.spec import ExpertLayout
from moe_backbone.lora.low_rank import LoRAConfig, LowRank, grouped_product
from moe_backbone.lora.skills import DEFAULT, SkillAdapter
from moe_backbone.routers.context import current_context

__all__ = ["LoRAFusedExperts"]


class LoRAFusedExperts(SkillAdapter):
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
        self._check(base, name)
        names = () if skills is None else tuple(skills) or (DEFAULT,)
        super().__init__(base, config, skills=names, name=name)

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

    def fresh_set(self) -> nn.Module:
        """Return a set of adapters that adds zero."""
        up_EGH, down_EHI = self._weights()
        n_experts, n_gate_up, width = up_EGH.shape
        return nn.ModuleDict(
            {
                "gate_up": LowRank(self.config, n_experts=n_experts, n_in=width, n_out=n_gate_up, like=up_EGH),
                "down": LowRank(self.config, n_experts=n_experts, n_in=down_EHI.shape[2], n_out=width, like=down_EHI),
            }
        )

    def pairs(self, skill: str) -> Iterator[tuple[Tensor, LowRank, int]]:
        """Yield each expert's frozen matrices with their adapters.

        :param skill: A set.
        :yields: A view of the matrix, ``(O, I)``, the low-rank matrices, and the expert.
        """
        for weight_EOI, which in zip(self._weights(), ("gate_up", "down"), strict=True):
            pair: LowRank = self.sets[skill][which]  # type: ignore[index]
            for expert, weight_OI in enumerate(weight_EOI):
                yield weight_OI, pair, expert

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen experts with their adapters.

        :param hidden_states: Token states. *Shape:* ``(T, H)``.
        :param top_k_index: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
        :param top_k_weights: Their weights. *Shape:* ``(T, K)``.
        :returns: The weighted sum of their outputs. *Shape:* ``(T, H)``.
        :raises RouterError: If the context names no skill, or one that is not loaded.
        """
        low = self.active_set(current_context())
        if low is None:  # merged, or the skill "base": the model's own dispatch
            plain: Tensor = self.base(hidden_states, top_k_index, top_k_weights)
            return plain
        up_EGH, down_EHI = self._weights()
        return run_sorted(
            lambda x_TH, groups: self._project(x_TH[groups.tokens], up_EGH, low["gate_up"], groups),  # type: ignore[index]
            lambda inner_SI, groups: self._project(inner_SI, down_EHI, low["down"], groups),  # type: ignore[index]
            hidden_states,
            top_k_index,
            top_k_weights,
            functional.silu,  # not called: the layout's gate stands in
            layout=self._layout(),
            n_experts=len(up_EGH),
        )

    @staticmethod
    def _project(x_SI: Tensor, weight_EOI: Tensor, pair: Any, groups: Groups) -> Tensor:
        adapted: Tensor = grouped_product(x_SI, weight_EOI, groups) + pair(x_SI, groups)
        return adapted

    def _layout(self) -> ExpertLayout:
        base: Any = self.base
        return ExpertLayout(
            combine=self._gate,
            gate_up_bias=getattr(base, "gate_up_proj_bias", None),
            down_bias=getattr(base, "down_proj_bias", None),
            finish=base.post_expert_norm if getattr(base, "has_post_expert_norm", False) else None,
        )

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
