"""What the losses share: padding is dropped before anything is computed, and how a micro-batch's part is taken.

Layer: ``moe_backbone``; imports torch only.
Padding rows are removed, not multiplied by zero, so a padded batch computes bit for bit what the same tokens do without
padding, and NaN in padding does no harm.

Shape suffixes: T tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["at_least_float32", "check_logits", "finite_log", "keep_real", "part_of_whole", "real_tokens"]


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def finite_log(x: Tensor) -> Tensor:
    """Return ``log x``, and 0 without gradient where x is 0, so that ``p log p`` and its gradient are 0 there."""
    return torch.where(x > 0, x, 1.0).log()


def check_logits(logits: Sequence[Tensor], *, mask: Tensor | None) -> tuple[int, int]:
    """Check that layers and mask fit each other.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token; any shape with T elements.
    :returns: T and E.
    :raises ValueError: If they do not.
    """
    if not logits:
        raise ValueError("logits is empty: pass the router logits of at least one layer (output_router_logits=True).")
    shape = tuple(logits[0].shape)
    if len(shape) != 2 or any(tuple(layer.shape) != shape for layer in logits):
        raise ValueError(f"every layer must have one shape (T, E), got {[tuple(layer.shape) for layer in logits]}.")
    if mask is not None and mask.numel() != shape[0]:
        raise ValueError(f"mask must have one element for each of the {shape[0]} tokens, got {tuple(mask.shape)}.")
    return shape[0], shape[1]


def keep_real(values: Tensor, mask: Tensor | None) -> Tensor:
    """Drop the rows of padding."""
    return values if mask is None else values[mask.reshape(-1).bool()]


def real_tokens(logits: Sequence[Tensor], *, mask: Tensor | None) -> list[Tensor]:
    """Check the shapes and drop the padding tokens of every layer.

    :param logits: Router logits, one tensor per layer. *Shape:* each ``(T, E)``.
    :param mask: True for a real token, False for padding; any shape with T elements. ``None``: all are real.
    :returns: The logits of real tokens.
    :raises ValueError: If the shapes do not fit each other.
    """
    check_logits(logits, mask=mask)
    return [keep_real(layer, mask) for layer in logits]


def part_of_whole(function: Callable[[Tensor], Tensor], part: Tensor, *, whole: Tensor | None, share: float) -> Tensor:
    """Return a micro-batch's part of a loss that is a smooth function of sums over tokens.

    The parts of all micro-batches add up to ``function(whole)``, and their gradients to its gradient: at the sums of
    the whole batch the function is replaced by its tangent, which is additive.

    :param function: From sums to a scalar.
    :param part: The sums of this micro-batch, with gradient.
    :param whole: The sums of the whole batch; ``None`` if this micro-batch is the whole.
    :param share: Share of the value that this part reports; the shares of all parts sum to 1.
    :returns: The part. *Shape:* ``()``.
    """
    if whole is None:
        return function(part)
    at = whole.detach().to(part.dtype).requires_grad_()
    with torch.enable_grad():
        value = function(at)
        slope = torch.autograd.grad(value, at, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        return value.detach() * share
    return value.detach() * share + (slope * (part - part.detach())).sum()
