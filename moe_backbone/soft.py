"""Soft mixture of experts: every expert works on weighted means of all tokens, and nothing is chosen.

Layer: ``moe_backbone``; imports torch only.
Source: Puigcerver et al. 2023, From Sparse to Soft Mixtures of Experts, arXiv:2308.00951, section 2.1 (slots, dispatch
and combine weights) and 2.3 (L2-normalised tokens and slots with a learned scale).

**Not causal**: a slot mixes all tokens of a sequence, so each output depends on later tokens. It is for encoders, as of
picture patches or of whole passages; do not put it into a model that generates text. Every expert always runs.

Shape suffixes: B sequences, L tokens of each, H model width, E experts, P slots of each expert, S = E·P slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import Activation, MoEConfig, MoEConfigError, require_count, require_member
from moe_backbone.experts import Experts
from moe_backbone.routers.base import full_precision
from moe_backbone.routers.context import RoutingContext, current_context

__all__ = ["SoftMoEConfig", "SoftMoELayer", "reference_soft_moe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftMoEConfig:
    """The shape of a soft mixture.

    :param width: Model width H, at least 1.
    :param expert_width: Inner width of each expert, at least 1.
    :param n_experts: Experts E, at least 1.
    :param slots_per_expert: Slots P of each expert, at least 1. The layer costs ``E · P`` rows per sequence however
        long it is; the paper takes about as many slots as tokens.
    :param activation: Non-linearity of the experts.
    :param init_std: Standard deviation of fresh expert weights, >= 0.
    :raises MoEConfigError: If a number is out of its range.
    """

    width: int
    expert_width: int
    n_experts: int
    slots_per_expert: int = 1
    activation: Activation = Activation.SILU
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for field in ("width", "expert_width", "n_experts", "slots_per_expert"):
            require_count(field, getattr(self, field), minimum=1)
        require_member("activation", self.activation, Activation)
        if not (math.isfinite(self.init_std) and self.init_std >= 0):
            raise MoEConfigError(f"init_std must be finite and >= 0, got {self.init_std!r}.")


class SoftMoELayer(nn.Module):
    """Replace a feed-forward network of an encoder by a soft mixture.

    :param config: Shape of the layer.
    :param dispatch: How to run the experts, one of :func:`~moe_backbone.dispatch.registry.dispatch_names`.
    """

    def __init__(self, config: SoftMoEConfig, *, dispatch: str = "auto") -> None:
        super().__init__()
        self.config = config
        n_slots = config.n_experts * config.slots_per_expert
        self.slots = nn.Parameter(torch.randn(n_slots, config.width) / math.sqrt(config.width))
        self.scale = nn.Parameter(torch.ones(()))
        self.experts = Experts(
            MoEConfig(
                width=config.width,
                expert_width=config.expert_width,
                n_experts=config.n_experts,
                top_k=1,
                activation=config.activation,
                init_std=config.init_std,
            ),
            dispatch=dispatch,
        )

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """Mix the tokens into slots, run each slot's expert, and mix the results back.

        :param x: States. *Shape:* ``(B, L, H)``.
        :param context: Its ``mask`` keeps padding out of every slot; the output of padding is zero. ``None`` takes the
            context that was set.
        :returns: States of the same shape and dtype.
        :raises ValueError: If the shapes do not fit.
        """
        if x.ndim != 3 or x.shape[2] != self.config.width:
            raise ValueError(f"x must have shape (B, L, {self.config.width}), got {tuple(x.shape)}.")
        context = current_context() if context is None else context
        real_BL = context.real(*x.shape[:2])
        real_BL1 = None if real_BL is None else real_BL[..., None]
        if real_BL1 is not None:
            x = torch.where(real_BL1, x, 0.0)  # not a product: padding may hold NaN
        with full_precision(x):
            logits_BLS = self._logits(x.to(torch.promote_types(x.dtype, torch.float32)))
            masked_BLS = logits_BLS if real_BL1 is None else logits_BLS.masked_fill(~real_BL1, -math.inf)
            dispatch_BLS = masked_BLS.softmax(dim=1).nan_to_num()  # a sequence of padding alone fills no slot
            combine_BLS = logits_BLS.softmax(dim=2)
        mixed_BSH = dispatch_BLS.to(x.dtype).transpose(1, 2) @ x
        done_BSH = self._run(mixed_BSH.reshape(-1, x.shape[2])).reshape(mixed_BSH.shape)
        y_BLH = combine_BLS.to(x.dtype) @ done_BSH
        return y_BLH if real_BL1 is None else torch.where(real_BL1, y_BLH, 0.0)

    def _logits(self, x_BLH: Tensor) -> Tensor:
        slots_SH = functional.normalize(self.slots.to(x_BLH.dtype), dim=-1) * self.scale.to(x_BLH.dtype)
        return functional.linear(functional.normalize(x_BLH, dim=-1), slots_SH)

    def _run(self, slots_NH: Tensor) -> Tensor:
        n_slots = len(self.slots)
        expert_S = torch.arange(n_slots, device=slots_NH.device) // self.config.slots_per_expert
        index_N1 = expert_S.repeat(len(slots_NH) // n_slots)[:, None]
        out: Tensor = self.experts(slots_NH, index_N1, torch.ones_like(index_N1, dtype=slots_NH.dtype))
        return out


def reference_soft_moe(layer: SoftMoELayer, x_LH: Tensor) -> Tensor:
    """Return what the layer returns for one sequence, one slot and one token at a time.

    :param layer: The layer.
    :param x_LH: States of one sequence, at least one token. *Shape:* ``(L, H)``.
    :returns: States. *Shape:* ``(L, H)``.
    """
    logits = [[layer.scale * (x / x.norm()) @ (slot / slot.norm()) for slot in layer.slots] for x in x_LH]
    outputs = []
    for number in range(len(layer.slots)):
        over_tokens = torch.stack([row[number] for row in logits]).softmax(dim=0)
        mixed = sum((weight * x for weight, x in zip(over_tokens, x_LH, strict=True)), torch.zeros_like(x_LH[0]))
        expert = number // layer.config.slots_per_expert
        gate, up = (layer.experts.gate_up_proj[expert] @ mixed).chunk(2)
        outputs.append(layer.experts.down_proj[expert] @ (layer.experts.act_fn(gate) * up))
    rows = []
    for row in logits:
        over_slots = torch.stack(row).softmax(dim=0)
        rows.append(sum((w * y for w, y in zip(over_slots, outputs, strict=True)), torch.zeros_like(x_LH[0])))
    return torch.stack(rows)
