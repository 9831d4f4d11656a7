"""Read an experts module of any family: its weights as our dispatches want them, and what is special about it.

Layer: ``moe_backbone``; imports torch only.
transformers (5.17 and later) leaves on each experts module the flags of its layout: transposed weights (Aria, GPT-OSS),
biases, no gate (Nemotron-H), a norm after the expert; and a method ``_apply_gate``, which a family overrides when its
gate and up are interleaved, clamped or shifted (GPT-OSS). No table of families is kept.

Shape suffixes: H model width, E experts, I inner width, G = 2 I (gate above up), or I without a gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["activation_of", "first_weight_name", "holds_experts", "layout_of", "oddities", "weights_of"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_INTERFACE = "transformers.integrations.moe"  # where a gate that is no family's own is defined


def holds_experts(module: nn.Module) -> bool:
    """Tell experts from dense networks, which may fuse gate and up too but name no number of experts."""
    return hasattr(module, "down_proj") and (hasattr(module, "has_gate") or hasattr(module, "num_experts"))


def first_weight_name(experts: Any) -> str:
    """Return the name of the first projection's weights."""
    return "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"


def oddities(experts: Any) -> list[str]:
    """Say what keeps us from reading these experts: anything but floating-point weights ``(E, ., .)``."""
    odd = []
    for name in (first_weight_name(experts), "down_proj"):
        weight = getattr(experts, name, None)
        if not isinstance(weight, Tensor):
            odd.append(f"{name} is {type(weight).__name__}")
        elif weight.ndim != 3 or weight.dtype not in _DTYPES:
            odd.append(f"{name} is {str(weight.dtype).removeprefix('torch.')} of shape {tuple(weight.shape)}")
    return odd


def weights_of(experts: Any) -> tuple[Tensor, Tensor]:
    """Return the projections as ``(E, G, H)`` and ``(E, H, I)``; views of transposed ones."""
    first, down = getattr(experts, first_weight_name(experts)), experts.down_proj
    if getattr(experts, "is_transposed", False):
        return first.transpose(-2, -1), down.transpose(-2, -1)
    return first, down


def activation_of(experts: Any) -> Callable[[Tensor], Tensor]:
    """Return the non-linearity of the gate."""
    activation: Callable[[Tensor], Tensor] = getattr(experts, "act_fn", _no_activation)
    return activation


def layout_of(experts: Any) -> ExpertLayout | None:
    """Return what the experts have beyond two matrices and an activation, or ``None``."""
    combine = None
    if not getattr(experts, "has_gate", True):
        combine = experts.act_fn
    elif getattr(getattr(experts, "_apply_gate", None), "__module__", _INTERFACE) != _INTERFACE:
        combine = experts._apply_gate
    has_bias = getattr(experts, "has_bias", False)
    has_norm = getattr(experts, "has_post_expert_norm", False)
    if combine is None and not has_bias and not has_norm:
        return None
    return ExpertLayout(
        combine=combine,
        gate_up_bias=getattr(experts, f"{first_weight_name(experts)}_bias") if has_bias else None,
        down_bias=experts.down_proj_bias if has_bias else None,
        finish=experts.post_expert_norm if has_norm else None,
    )


def _no_activation(gate: Tensor) -> Tensor:
    raise ValueError("these experts have neither act_fn nor a gate of their own; give their module an act_fn.")
