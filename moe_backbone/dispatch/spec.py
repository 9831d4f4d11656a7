"""What a dispatch is: its call, what it says about itself, and the experts that are more than two matrices.

Layer: ``moe_backbone``; imports torch only.

A dispatch is a pure function of tensors, called as
``dispatch(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)``; it returns ``(T, H)`` in the dtype of
``hidden_TH``. An index outside ``0 … E-1`` means *no expert*: such a slot adds nothing and costs no matrix product.
transformers marks masked slots so (the sentinel is E), and skipping and pruning use the same mark. The weights may be
views (of transposed storage), so their last dimension need not be contiguous.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token, N rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Dispatch", "DispatchSpec", "ExpertLayout", "Situation"]


class Dispatch(Protocol):
    """Runs the experts that a router chose; the module header states the contract."""

    def __call__(
        self,
        hidden_TH: Tensor,
        gate_up_EGH: Tensor,
        down_EHI: Tensor,
        index_TK: Tensor,
        weights_TK: Tensor,
        activation: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, ``(T, H)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLayout:
    """What experts have beyond ``down(act(gate(x)) ⊙ up(x))``; a dispatch that reads layouts takes it as ``layout=``.

    :param combine: Turns the first product into the inner state, ``(N, G) -> (N, I)``, instead of
        ``act(gate) ⊙ up`` (interleaved gate and up, clamped gates, experts without a gate, where G = I).
    :param gate_up_bias: Added to the first product. *Shape:* ``(E, G)``.
    :param down_bias: Added to the second product. *Shape:* ``(E, H)``.
    :param finish: Applied to each expert's output before it is weighed, ``(N, H) -> (N, H)``; a norm.
    """

    combine: Callable[[Tensor], Tensor] | None = None
    gate_up_bias: Tensor | None = None
    down_bias: Tensor | None = None
    finish: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the automatic choice knows of one call, cheap to make.

    :param device: ``"cpu"``, ``"cuda"``, …
    :param dtype: Of the token states.
    :param n_tokens: T.
    :param top_k: K.
    :param n_experts: E.
    :param width: H.
    :param expert_width: I.
    :param needs_grad: Whether a gradient will be asked for.
    """

    device: str
    dtype: torch.dtype
    n_tokens: int
    top_k: int
    n_experts: int
    width: int
    expert_width: int
    needs_grad: bool


def _always() -> bool:
    return True


def _any_operands(hidden_TH: Tensor, gate_up_EGH: Tensor, down_EHI: Tensor) -> bool:
    return True


def _never(situation: Situation) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSpec:
    """One dispatch and what it says about itself, so that tests, adapters and the automatic choice need no names.

    :param name: Its name in the registry; ``mmkg_<name>`` in transformers.
    :param run: The function, a :class:`Dispatch`.
    :param why: One line for people: what it is good at.
    :param available: Whether it can run on this machine at all (a package, a processor feature). Called often: cache.
    :param supports: Whether it can run on these operands (device, dtype, alignment, strides), asked after ``prefer``
        as ``supports(hidden_TH, gate_up_EGH, down_EHI)``.
    :param prefer: The reason why it is the best choice in this situation, or ``None``. The automatic choice takes the
        first entry of the table that is available, supports the operands and gives a reason.
    :param differentiable: Whether gradients flow through it; otherwise it refuses operands that require them.
    :param reference: What it must equal: ``None`` for the float64 reference of exact dispatches; an approximate one
        names the naive form of its own arithmetic.
    :param reads_layouts: Whether it takes ``layout=`` (:class:`ExpertLayout`).
    """

    name: str
    run: Callable[..., Tensor]
    why: str
    available: Callable[[], bool] = _always
    supports: Callable[[Tensor, Tensor, Tensor], bool] = _any_operands
    prefer: Callable[[Situation], str | None] = _never
    differentiable: bool = True
    reference: Dispatch | None = None
    reads_layouts: bool = False

    @property
    def exact(self) -> bool:
        """Whether it computes the experts themselves, not an approximation of them."""
        return self.reference is None
