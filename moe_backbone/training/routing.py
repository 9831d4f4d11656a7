"""Read the routers of a model while it trains: logits with their gradient, and which experts were chosen.

Layer: ``moe_backbone``; imports torch only.
The routers run in float32 outside autocast (Switch Transformers, arXiv:2101.03961, section 2.4). Only passes inside
:meth:`RouterTap.recording` are kept, so the second forward of gradient checkpointing is not counted again.

Shape suffixes: T tokens, E experts, N null experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks
from moe_backbone.losses.balance import RoutingTotals, load_balance_per_layer, routing_totals
from moe_backbone.losses.bias import updated_bias
from moe_backbone.losses.per_token import router_z_loss
from moe_backbone.training.config import TrainingError

_BIAS = "e_score_correction_bias"

__all__ = [
    "RoutedLayer",
    "RouterTap",
    "add_totals",
    "balance_losses",
    "count_routing",
    "update_router_biases",
    "z_loss",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedLayer:
    """What one router did in one forward pass.

    :param block: Where.
    :param logits: Router logits, with their gradient; the last N columns are null experts. *Shape:* ``(T, E + N)``.
    :param index: Chosen experts; ``E`` or more is none. *Shape:* ``(T, K)``.
    """

    block: MoEBlock
    logits: Tensor
    index: Tensor

    @property
    def n_null(self) -> int:
        """Null experts N."""
        return self.logits.shape[-1] - self.block.n_experts

    @property
    def scores(self) -> Literal["softmax", "sigmoid"]:
        """How the router makes probabilities of its logits: those with a selection bias take sigmoids."""
        return "sigmoid" if hasattr(self.block.router, _BIAS) else "softmax"


@dataclass(slots=True)
class _Record:
    layers: list[RoutedLayer] = field(default_factory=list)


class RouterTap:
    """Run the routers of ``model`` in float32 inside a ``with`` block, and record them on demand.

    :param model: Any model; one without experts has nothing to record.
    """

    def __init__(self, model: nn.Module) -> None:
        self.blocks = tuple(block for block in find_blocks(model) if block.router is not None)
        self._record: _Record | None = None

    def __enter__(self) -> RouterTap:
        for block in self.blocks:
            router: Any = block.router
            router.forward = partial(self._route, block, router.forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for block in self.blocks:
            if block.router is not None:
                block.router.__dict__.pop("forward", None)

    @contextmanager
    def recording(self) -> Iterator[list[RoutedLayer]]:
        """Yield a list that every router adds to, in the order in which they run."""
        self._record = _Record()
        try:
            yield self._record.layers
        finally:
            self._record = None

    def _route(self, block: MoEBlock, forward: Any, *args: Any, **kwargs: Any) -> Any:
        device = next((item.device.type for item in args if isinstance(item, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            output = forward(*(_widened(item) for item in args), **{k: _widened(v) for k, v in kwargs.items()})
        if self._record is not None:
            self._record.layers.append(_read(block, output))
        return output


def _widened(item: Any) -> Any:
    if isinstance(item, Tensor) and item.is_floating_point():
        return item.to(torch.promote_types(item.dtype, torch.float32))
    return item


def _read(block: MoEBlock, output: Any) -> RoutedLayer:
    tensors = [item for item in output if isinstance(item, Tensor)] if isinstance(output, (tuple, list)) else []
    logits = next((t for t in tensors if t.is_floating_point() and t.shape[-1] >= block.n_experts), None)
    index = next((t for t in tensors if not t.is_floating_point()), None)
    if logits is None or index is None:
        raise TrainingError(
            f"the router of {block.name!r} returned {type(output).__name__}, not its {block.n_experts} logits and the "
            "chosen experts. Set balance_weight, z_weight and bias_rate to 0 to train without them."
        )
    return RoutedLayer(
        block=block, logits=logits.reshape(-1, logits.shape[-1]), index=index.reshape(-1, index.shape[-1])
    )


def count_routing(layers: list[RoutedLayer], *, mask: Tensor) -> list[RoutingTotals]:
    """Count the slots of each expert, layer by layer, from what was *chosen* (a bias or a mask changes that).

    :param layers: The layers of one forward pass.
    :param mask: True for a real token. *Shape:* any with T elements.
    :returns: Totals of each layer, ``counts`` of shape ``(1, E + N)``.
    """
    return [
        routing_totals(
            [layer.logits.detach()],
            top_k=layer.index.shape[-1],
            mask=mask,
            experts=[layer.index],
            null_experts=layer.n_null,
        )
        for layer in layers
    ]


def add_totals(parts: list[list[RoutingTotals]]) -> list[RoutingTotals]:
    """Add up the totals of micro-batches, layer by layer."""
    summed = list(parts[0])
    for part in parts[1:]:
        summed = [one + other for one, other in zip(summed, part, strict=True)]
    return summed


def balance_losses(layers: list[RoutedLayer], *, mask: Tensor, totals: list[RoutingTotals]) -> Tensor:
    """Return the load-balance loss of each layer; layers may differ in their number of experts.

    :param layers: The layers of one forward pass.
    :param mask: True for a real token.
    :param totals: What :func:`count_routing` counted over the whole batch: the losses of micro-batches then add up.
    :returns: One loss per layer, 1 for a uniform router. *Shape:* ``(L,)``.
    """
    return torch.cat(
        [
            load_balance_per_layer(
                [layer.logits], top_k=layer.index.shape[-1], mask=mask, totals=total, scores=layer.scores
            )
            for layer, total in zip(layers, totals, strict=True)
        ]
    )


def z_loss(layers: list[RoutedLayer], *, mask: Tensor, n_tokens: int) -> Tensor:
    """Return the router z-loss, the mean over layers; over micro-batches it adds up to that of ``n_tokens`` tokens."""
    return torch.stack([router_z_loss([layer.logits], mask=mask, n_tokens=n_tokens) for layer in layers]).mean()


@torch.no_grad()
def update_router_biases(blocks: tuple[MoEBlock, ...], totals: list[RoutingTotals], *, rate: float) -> int:
    """Raise the selection bias of experts with less than the mean load by ``rate``, lower that of the others.

    The arithmetic and its source are in :func:`moe_backbone.losses.bias.updated_bias`.

    :param blocks: The blocks; one whose router has no ``e_score_correction_bias`` is left alone.
    :param totals: The load of each block in the step.
    :param rate: Step, > 0.
    :returns: How many routers were changed.
    """
    n_changed = 0
    for block, total in zip(blocks, totals, strict=True):
        bias_E = getattr(block.router, _BIAS, None)
        if isinstance(bias_E, Tensor):
            bias_E.copy_(updated_bias(bias_E, total.counts[0].to(bias_E.device), rate=rate))
            n_changed += 1
    return n_changed
