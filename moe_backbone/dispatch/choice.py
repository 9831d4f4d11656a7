"""Choose a dispatch by device, dtype, alignment and number of tokens, and say why.

Layer: ``moe_backbone``; imports torch only.
The choice is made at each call, since decoding and prefill want different ones; each new reason is logged once per
experts module (known by its weights).

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from moe_backbone.dispatch.backends import BACKENDS
from moe_backbone.dispatch.spec import DispatchSpec, ExpertLayout, Situation

__all__ = ["Choice", "auto_experts", "choose_dispatch"]

_LOG = logging.getLogger(__name__)
_told: Any = WeakIdKeyDictionary()  # weights -> what was said of them


@dataclass(frozen=True, slots=True)
class Choice:
    """A dispatch and why it was chosen.

    :param spec: The dispatch.
    :param reason: One line for people.
    """

    spec: DispatchSpec
    reason: str

    @property
    def name(self) -> str:
        """The dispatch's name in the registry."""
        return self.spec.name


def choose_dispatch(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    *,
    top_k: int,
    weights_TK: Tensor | None = None,
    layout: ExpertLayout | None = None,
    backends: tuple[DispatchSpec, ...] = BACKENDS,
) -> Choice:
    """Return the first exact dispatch of the table that can run these operands and has a reason to.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param top_k: Experts per token K.
    :param weights_TK: Weight of each chosen expert; a gradient may be asked for it alone, to train a router.
    :param layout: What the experts have beyond two matrices; only dispatches that read layouts are then asked.
    :param backends: The table to choose from.
    :returns: The choice.
    :raises ValueError: If no dispatch of the table can run these operands.
    """
    leaves = [hidden_TH, gate_up_EGH, down_EHI, weights_TK]
    if layout is not None:
        leaves += [layout.gate_up_bias, layout.down_bias]
    situation = Situation(
        device=hidden_TH.device.type,
        dtype=hidden_TH.dtype,
        n_tokens=hidden_TH.shape[0],
        top_k=top_k,
        n_experts=gate_up_EGH.shape[0],
        width=hidden_TH.shape[1],
        expert_width=down_EHI.shape[2],
        needs_grad=torch.is_grad_enabled() and any(tensor.requires_grad for tensor in leaves if tensor is not None),
    )
    for spec in backends:
        if not spec.exact or (layout and not spec.reads_layouts) or (situation.needs_grad and not spec.differentiable):
            continue
        reason = spec.prefer(situation)
        if reason and spec.available() and spec.supports(hidden_TH, gate_up_EGH, down_EHI):
            return Choice(spec, reason)
    raise ValueError(
        f"none of the dispatches {', '.join(spec.name for spec in backends)} runs {situation}; name one instead of "
        "'auto' to see why it cannot."
    )


def auto_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run the experts with the dispatch that :func:`choose_dispatch` chooses for this call.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: The weighted sum of the experts' outputs, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    choice = choose_dispatch(
        hidden_TH, gate_up_EGH, down_EHI, top_k=index_TK.shape[1], weights_TK=weights_TK, layout=layout
    )
    _tell_once(choice, gate_up_EGH)
    operands = (hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)
    return choice.spec.run(*operands, layout=layout) if layout else choice.spec.run(*operands)


def _tell_once(choice: Choice, gate_up_EGH: Tensor) -> None:
    owner = gate_up_EGH if gate_up_EGH._base is None else gate_up_EGH._base  # a transposed view is new at each call
    told = _told.setdefault(owner, set())
    if (choice.name, choice.reason) not in told:
        told.add((choice.name, choice.reason))
        shape, dtype = "x".join(map(str, gate_up_EGH.shape)), str(gate_up_EGH.dtype).removeprefix("torch.")
        _LOG.info("experts %s %s: dispatch %s (%s)", shape, dtype, choice.name, choice.reason)
