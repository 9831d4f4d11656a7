"""Balance without a loss: after each step, raise the selection bias of idle experts and lower that of busy ones.

Layer: ``moe_backbone``; imports torch only.
Source: Wang et al., arXiv:2408.15664, algorithm 1; DeepSeek-V3, arXiv:2412.19437, section 2.1.2.

Padding is not in the counts if they come from :func:`~moe_backbone.losses.balance.routing_totals` with its mask.
Micro-batches: add their totals and update once; an update per micro-batch is another algorithm, for a sign is not
additive.

Shape suffixes: L layers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_backbone.losses.balance import RoutingTotals

__all__ = ["update_biases", "updated_bias"]


def updated_bias(bias_E: Tensor, counts_E: Tensor, *, rate: float = 0.001) -> Tensor:
    """Return ``bias + rate · sign(mean load - load)``.

    :param bias_E: Selection bias. *Shape:* ``(E,)``.
    :param counts_E: Slots of each expert in the step. *Shape:* ``(E,)``.
    :param rate: Step, > 0. 0.001 is the value of both sources (over most of the training of DeepSeek-V3).
    :returns: The new bias. *Shape:* ``(E,)``.
    :raises ValueError: If the shapes differ, the rate is not positive, or the bias is in half precision, where a step
        is rounded away.
    """
    if bias_E.dtype in (torch.bfloat16, torch.float16):
        raise ValueError(f"the bias is {bias_E.dtype}, in which steps of {rate} vanish; keep it in float32.")
    if bias_E.shape != counts_E.shape or bias_E.ndim != 1:
        raise ValueError(
            f"bias and counts must both have shape (E,), got {tuple(bias_E.shape)} and {tuple(counts_E.shape)}."
        )
    if not rate > 0:
        raise ValueError(f"rate must be > 0, got {rate!r}.")
    counts_E = counts_E.double()
    return bias_E + rate * torch.sign(counts_E.mean() - counts_E).to(bias_E)


@torch.no_grad()
def update_biases(biases: Sequence[Tensor], totals: RoutingTotals, *, rate: float = 0.001) -> None:
    """Update the bias of every layer in place.

    :param biases: One per layer: ``e_score_correction_bias`` of our sigmoid routers or of stock ones. *Shape:* each
        ``(E,)``.
    :param totals: Totals of the step, counted with the routers' own choice (``experts=``), which the bias moved.
    :param rate: Step, > 0.
    :raises ValueError: If the layers differ in number, or the shapes do.
    """
    if len(biases) != len(totals.counts):
        raise ValueError(f"there are {len(biases)} biases and totals of {len(totals.counts)} layers.")
    for bias_E, counts_E in zip(biases, totals.counts, strict=True):
        bias_E.copy_(updated_bias(bias_E, counts_E.to(bias_E.device), rate=rate))
