"""Our dispatches inside stock models of transformers, and routing in float32.

Layer: ``moe_backbone``; imports torch and transformers.
transformers calls ``fn(experts_module, hidden, top_k_index, top_k_weights)`` for the name given as
``experts_implementation``; registering a dispatch therefore needs no forked modelling code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from moe_backbone.dispatch.modules import activation_of, holds_experts, layout_of, oddities, weights_of
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.dispatch.spec import DispatchSpec
from moe_backbone.sites import find_routers

__all__ = ["can_dispatch", "implementation_name", "register_dispatches", "route_in_float32"]


def implementation_name(dispatch: str) -> str:
    """Return the ``experts_implementation`` under which ``dispatch`` is registered."""
    return f"mmkg_{dispatch}"


def register_dispatches() -> tuple[str, ...]:
    """Make every dispatch of ours an ``experts_implementation`` of transformers. Calling it again changes nothing.

    :returns: The registered names.
    """
    for name in dispatch_names():
        ALL_EXPERTS_FUNCTIONS.register(implementation_name(name), _experts_forward(get_spec(name)))
    return tuple(implementation_name(name) for name in dispatch_names())


def can_dispatch(model: nn.Module) -> bool:
    """Tell whether our dispatches can read every fused expert module of ``model``: none is quantised by others."""
    return not any(oddities(module) for module in model.modules() if holds_experts(module))


def _experts_forward(spec: DispatchSpec) -> Any:
    def forward(experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        if odd := oddities(experts):
            raise ValueError(
                f"{type(experts).__name__} holds no plain floating-point experts ({', '.join(odd)}), so the dispatch "
                f"{spec.name!r} cannot run it. Use the experts_implementation that belongs to its quantisation."
            )
        gate_up, down = weights_of(experts)
        operands = (hidden_states, gate_up, down, top_k_index, top_k_weights, activation_of(experts))
        layout = layout_of(experts)
        if layout is None:
            return spec.run(*operands)
        if not spec.reads_layouts:
            raise ValueError(
                f"{type(experts).__name__} has biases, a norm or a gate of its own, which the dispatch {spec.name!r} "
                f"does not read. Use experts_implementation={implementation_name('auto')!r}."
            )
        return spec.run(*operands, layout=layout)

    return forward


def route_in_float32(model: nn.Module) -> int:
    """Run the routers of a half-precision model in float32; its experts stay as they are.

    A stock Mixtral multiplies by its router in the model's own precision, and bfloat16 logits of different experts tie
    (2-4 of 1,536 decisions of an upcycled SmolLM2 went wrong).

    :param model: A model with routers that :func:`~moe_backbone.sites.find_routers` finds. Changed in place.
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
