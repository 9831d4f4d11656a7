"""The one file of this package that knows transformers: our dispatches inside stock models, and float32 routing.

Layer: ``moe_backbone``; imports torch and transformers.
transformers calls ``fn(experts_module, hidden, top_k_index, top_k_weights)`` for the name given as
``experts_implementation``; registering a dispatch therefore needs no forked modelling code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from moe_backbone.dispatch.registry import dispatch_names, get_dispatch
from moe_backbone.dispatch.spec import Dispatch
from moe_backbone.stats import find_routers

__all__ = ["can_dispatch", "implementation_name", "register_dispatches", "route_in_float32"]


def implementation_name(dispatch: str) -> str:
    """Return the ``experts_implementation`` under which ``dispatch`` is registered."""
    return f"mmkg_{dispatch}"


def register_dispatches() -> tuple[str, ...]:
    """Make every dispatch of ours an ``experts_implementation`` of transformers. Calling it again changes nothing.

    :returns: The registered names.
    """
    for name in dispatch_names():
        ALL_EXPERTS_FUNCTIONS.register(implementation_name(name), _experts_forward(get_dispatch(name)))
    return tuple(implementation_name(name) for name in dispatch_names())


def can_dispatch(model: nn.Module) -> bool:
    """Tell whether every fused expert module of ``model`` is laid out as our dispatches read it."""
    return not any(_oddities(module) for module in model.modules() if hasattr(module, "gate_up_proj"))


def _oddities(experts: Any) -> list[str]:
    usual = {"has_bias": False, "has_gate": True, "is_transposed": False, "is_concatenated": True,
             "has_post_expert_norm": False}  # fmt: skip
    return [f"{flag}={not value}" for flag, value in usual.items() if bool(getattr(experts, flag, value)) is not value]


def _experts_forward(dispatch: Dispatch) -> Any:
    def forward(experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        if odd := _oddities(experts):
            raise ValueError(
                f"{type(experts).__name__} lays its experts out as this dispatch does not read them "
                f"({', '.join(odd)}). Use experts_implementation='grouped_mm'."
            )
        return dispatch(
            hidden_states, experts.gate_up_proj, experts.down_proj, top_k_index, top_k_weights, experts.act_fn
        )

    return forward


def route_in_float32(model: nn.Module) -> int:
    """Run the routers of a half-precision model in float32; its experts stay as they are.

    A stock Mixtral multiplies by its router in the model's own precision, and bfloat16 logits of different experts tie
    (2-4 of 1,536 decisions of an upcycled SmolLM2 went wrong).

    :param model: A model with routers that :func:`~moe_backbone.stats.find_routers` finds. Changed in place.
    :returns: How many routers were changed.
    """
    n_routers = 0
    for _, router in find_routers(model):
        if any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in router.parameters()):
            router.float()
            router.register_forward_pre_hook(_to_float32)
            n_routers += 1
    return n_routers


def _to_float32(router: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(item.float() if isinstance(item, Tensor) and item.is_floating_point() else item for item in inputs)
