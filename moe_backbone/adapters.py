"""The one file of this package that knows transformers: our dispatches inside stock models, and float32 routing.

Layer: ``moe_backbone``; imports torch and transformers.
transformers calls ``fn(experts_module, hidden, top_k_index, top_k_weights)`` for the name given as
``experts_implementation``; registering a dispatch therefore needs no forked modelling code. How a family lays its
experts out (transposed, biased, interleaved, clamped) is read from the flags that transformers leaves on the module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.dispatch.spec import DispatchSpec, ExpertLayout
from moe_backbone.stats import find_routers

__all__ = ["can_dispatch", "implementation_name", "register_dispatches", "route_in_float32"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_INTERFACE = type(ALL_EXPERTS_FUNCTIONS).__module__  # where a gate that is no family's own is defined


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
    return not any(_oddities(module) for module in model.modules() if _is_fused(module))


def _is_fused(module: nn.Module) -> bool:
    """Tell experts from dense networks, which may fuse gate and up too but name no number of experts."""
    return hasattr(module, "down_proj") and (hasattr(module, "has_gate") or hasattr(module, "num_experts"))


def _oddities(experts: Any) -> list[str]:
    """Say what keeps us from reading these experts: anything but floating-point weights (E, ., .)."""
    odd = []
    for name in (_first_name(experts), "down_proj"):
        weight = getattr(experts, name, None)
        if not isinstance(weight, Tensor):
            odd.append(f"{name} is {type(weight).__name__}")
        elif weight.ndim != 3 or weight.dtype not in _DTYPES:
            odd.append(f"{name} is {str(weight.dtype).removeprefix('torch.')} of shape {tuple(weight.shape)}")
    return odd


def _first_name(experts: Any) -> str:
    return "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"


def _experts_forward(spec: DispatchSpec) -> Any:
    def forward(experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        if odd := _oddities(experts):
            raise ValueError(
                f"{type(experts).__name__} holds no plain floating-point experts ({', '.join(odd)}), so the dispatch "
                f"{spec.name!r} cannot run it. Use the experts_implementation that belongs to its quantisation."
            )
        gate_up, down = getattr(experts, _first_name(experts)), experts.down_proj
        if getattr(experts, "is_transposed", False):
            gate_up, down = gate_up.transpose(-2, -1), down.transpose(-2, -1)
        activation = getattr(experts, "act_fn", _no_activation)
        operands = (hidden_states, gate_up, down, top_k_index, top_k_weights, activation)
        layout = _layout(experts)
        if layout is None:
            return spec.run(*operands)
        if not spec.reads_layouts:
            raise ValueError(
                f"{type(experts).__name__} has biases, a norm or a gate of its own, which the dispatch {spec.name!r} "
                f"does not read. Use experts_implementation={implementation_name('auto')!r}."
            )
        return spec.run(*operands, layout=layout)

    return forward


def _layout(experts: Any) -> ExpertLayout | None:
    """Read the flags that ``use_experts_implementation`` leaves on a module; ``None`` for experts without extras."""
    combine = None
    if not getattr(experts, "has_gate", True):
        combine = experts.act_fn
    elif getattr(getattr(experts, "_apply_gate", None), "__module__", _INTERFACE) != _INTERFACE:
        combine = experts._apply_gate  # interleaved gate and up (GPT-OSS), clamps, shifts: the module knows
    has_bias = getattr(experts, "has_bias", False)
    has_norm = getattr(experts, "has_post_expert_norm", False)
    if combine is None and not has_bias and not has_norm:
        return None
    return ExpertLayout(
        combine=combine,
        gate_up_bias=getattr(experts, f"{_first_name(experts)}_bias") if has_bias else None,
        down_bias=experts.down_proj_bias if has_bias else None,
        finish=experts.post_expert_norm if has_norm else None,
    )


def _no_activation(gate: Tensor) -> Tensor:
    raise ValueError("these experts have no act_fn, and their gate is their own; this is a fault of the dispatch.")


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
