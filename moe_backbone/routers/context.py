"""What routing may depend on besides the token: its modality, the skill that a request names, and which are padding.

Layer: ``moe_backbone``; imports torch only.
A layer takes the context as an argument. Inside a stock model, whose blocks pass no argument on,
:func:`routing_context` sets it for the calls of one thread or task (a ``ContextVar``), so that requests which share a
model do not see each other's. Work that runs in another thread does not see it: the backward pass of activation
checkpointing on CUDA is such work, so give the context as an argument there.

Shape suffixes: T tokens (batch and sequence flattened), B sequences, H model width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor

__all__ = ["MODALITIES", "SKILLS", "RoutingContext", "current_context", "routing_context"]

MODALITIES = ("text", "image", "graph")
"""Modalities by the id that ``modality`` holds; append only, ids are stored in data."""

SKILLS = ("answer", "complete", "extract", "verify")
"""What a request may ask of this service's generator."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingContext:
    """What is known of the tokens of one call.

    :param modality: Id of each token in :data:`MODALITIES`, whole numbers. Any shape with T elements.
    :param skill: The skill that the request names.
    :param mask: True for a real token, False for padding. Any shape with T elements.
    :param instance: One vector per sequence by which instance routing chooses, as the mean state of the question.
        *Shape:* ``(B, H)``.
    """

    modality: Tensor | None = None
    skill: str | None = None
    mask: Tensor | None = None
    instance: Tensor | None = None

    def real(self, *shape: int) -> Tensor | None:
        """Return ``mask`` as booleans of the given shape, or ``None`` where all tokens are real.

        :param *shape: Shape of the tokens.
        :returns: True for a real token.
        :raises ValueError: If ``mask`` has another number of elements.
        """
        if self.mask is None:
            return None
        if self.mask.numel() != math.prod(shape):
            raise ValueError(f"mask must have one element for each of {shape} tokens, got {tuple(self.mask.shape)}.")
        return self.mask.reshape(shape).bool()


_NOTHING = RoutingContext()
_CONTEXT: ContextVar[RoutingContext] = ContextVar("moe_routing_context", default=_NOTHING)


def current_context() -> RoutingContext:
    """Return the context that the innermost :func:`routing_context` set; an empty one outside of any."""
    return _CONTEXT.get()


@contextmanager
def routing_context(
    *,
    modality: Tensor | None = None,
    skill: str | None = None,
    mask: Tensor | None = None,
    instance: Tensor | None = None,
) -> Iterator[RoutingContext]:
    """Set the context of every call inside the ``with`` block that is given none of its own.

    :param modality: See :class:`RoutingContext`.
    :param skill: See :class:`RoutingContext`.
    :param mask: See :class:`RoutingContext`.
    :param instance: See :class:`RoutingContext`.
    :yields: The context.
    """
    token = _CONTEXT.set(RoutingContext(modality=modality, skill=skill, mask=mask, instance=instance))
    try:
        yield _CONTEXT.get()
    finally:
        _CONTEXT.reset(token)
