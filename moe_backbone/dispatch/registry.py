"""One table of the ways to run routed experts, so that a layer names its dispatch and a test runs them all.

Layer: ``moe_backbone``; imports torch only.

A dispatch is a pure function of tensors, called as
``dispatch(hidden_TH, gate_up_EGH, down_EHI, index_TK, weights_TK, activation)``; it returns ``(T, H)`` in the dtype of
``hidden_TH``. An index outside ``0 … E-1`` means *no expert*: such a slot adds nothing and costs no matrix product.
transformers marks masked slots so (the sentinel is E), and skipping and pruning use the same mark.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from moe_backbone.dispatch.grouped import grouped_experts, looped_experts
from moe_backbone.dispatch.reference import reference_experts

__all__ = ["Dispatch", "dispatch_names", "get_dispatch"]


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


_DISPATCHES: dict[str, Dispatch] = {
    "reference": reference_experts,
    "looped": looped_experts,
    "grouped": grouped_experts,
}


def dispatch_names() -> tuple[str, ...]:
    """Return the names that :func:`get_dispatch` knows, sorted."""
    return tuple(sorted(_DISPATCHES))


def get_dispatch(name: str) -> Dispatch:
    """Return the dispatch called ``name``.

    :param name: One of :func:`dispatch_names`.
    :returns: The function.
    :raises ValueError: If there is none of that name.
    """
    try:
        return _DISPATCHES[name]
    except KeyError:
        raise ValueError(f"there is no dispatch {name!r}; choose one of {', '.join(dispatch_names())}.") from None
