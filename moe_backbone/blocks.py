"""Find the mixture-of-experts blocks of any model by their shape, and edit what their routers chose.

Layer: ``moe_backbone``; imports torch only.
A block is a module with a child ``experts`` that holds fused weights (``gate_up_proj`` or ``up_proj``, and
``down_proj``) and is called ``experts(hidden, top_k_index, top_k_weights)``: the experts interface of transformers and
of :class:`~moe_backbone.layer.MoELayer`. No table of architectures is kept. As every family calls its experts alike,
an edit of the routing stands before the experts, not behind the routers, whose outputs differ.

Shape suffixes: T tokens, H model width, E experts, I inner width, K experts per token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["MoEBlock", "RoutingEdit", "edit_routing", "find_blocks", "router_of"]

_ROUTER_NAMES = ("gate", "router")
_HIDDEN, _INDEX, _WEIGHTS = "hidden_states", "top_k_index", "top_k_weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEBlock:
    """One mixture-of-experts block inside a model.

    :param name: Name of the block's module in the model; ``""`` if the model is the block.
    :param layer: Place among the model's blocks, from 0.
    :param block: The module that holds router and experts.
    :param router: The routing module (``gate`` or ``router``), or ``None`` where the block routes by itself.
    :param experts: The module of fused experts.
    :param n_experts: Routed experts E.
    :param width: Model width H.
    :param expert_width: Inner width I of one routed expert.
    """

    name: str
    layer: int
    block: nn.Module
    router: nn.Module | None
    experts: nn.Module
    n_experts: int
    width: int
    expert_width: int


class RoutingEdit:
    """Changes what a router chose; subclass and override :meth:`__call__`, or pass a function of the same signature."""

    def __call__(
        self, block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the edited choice.

        :param block: Where it was made.
        :param hidden_TH: Token states. *Shape:* ``(T, H)``.
        :param index_TK: Chosen experts; ``n_experts`` or more is *no expert* to our dispatches, and to stock ones as
            :mod:`moe_backbone.smaller.sentinels` says. *Shape:* ``(T, K)``.
        :param weights_TK: Their weights. *Shape:* ``(T, K)``.
        :returns: Index and weights; K may differ from what came in.
        """
        return index_TK, weights_TK


def find_blocks(model: nn.Module) -> tuple[MoEBlock, ...]:
    """Return the mixture-of-experts blocks of ``model`` in the order of its modules; empty if there is none."""
    blocks: list[MoEBlock] = []
    for name, module in model.named_modules():
        experts = getattr(module, "experts", None)
        down = getattr(experts, "down_proj", None)
        up = getattr(experts, "gate_up_proj", getattr(experts, "up_proj", None))
        if not isinstance(experts, nn.Module) or not isinstance(down, Tensor) or not isinstance(up, Tensor):
            continue
        if down.ndim != 3 or up.ndim != 3:
            continue
        transposed = bool(getattr(experts, "is_transposed", False))
        n_experts, rows, columns = down.shape
        width, expert_width = (columns, rows) if transposed else (rows, columns)
        blocks.append(
            MoEBlock(
                name=name,
                layer=len(blocks),
                block=module,
                router=router_of(module),
                experts=experts,
                n_experts=n_experts,
                width=width,
                expert_width=expert_width,
            )
        )
    return tuple(blocks)


def router_of(block: nn.Module) -> nn.Module | None:
    """Return the routing module of a block, its ``gate`` or ``router``; ``None`` where it has neither."""
    routers = (getattr(block, child, None) for child in _ROUTER_NAMES)
    return next((router for router in routers if isinstance(router, nn.Module)), None)


@contextmanager
def edit_routing(
    model: nn.Module,
    edit: RoutingEdit | Callable[[MoEBlock, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    *,
    this_thread_only: bool = True,
) -> Iterator[tuple[MoEBlock, ...]]:
    """Apply ``edit`` to every choice of experts that the model makes inside the ``with`` block.

    :param model: A model with blocks that :func:`find_blocks` finds. It is not changed.
    :param edit: Called as ``edit(block, hidden_TH, index_TK, weights_TK)``; returns the index and the weights to use.
    :param this_thread_only: Edit only the calls of the thread that entered, so that requests which share the model do
        not see each other's edits.
    :yields: The blocks.
    :raises ValueError: If the model has no block.
    """
    blocks = find_blocks(model)
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no mixture-of-experts block to edit.")
    thread = threading.get_ident() if this_thread_only else None
    handles = [
        block.experts.register_forward_pre_hook(_hook(block, edit, thread), with_kwargs=True) for block in blocks
    ]
    try:
        yield blocks
    finally:
        for handle in handles:
            handle.remove()


def _hook(block: MoEBlock, edit: Callable[..., tuple[Tensor, Tensor]], thread: int | None) -> Any:
    def change(experts: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        # torch notes apart that a hook takes arguments by name, so a call that runs in another thread while the hook is
        # put in or taken out can reach it without them; such a call began outside the block.
        if kwargs is None or (thread is not None and threading.get_ident() != thread):
            return None
        named = dict(zip((_HIDDEN, _INDEX, _WEIGHTS), args, strict=False)) | kwargs
        named[_INDEX], named[_WEIGHTS] = edit(block, named[_HIDDEN], named[_INDEX], named[_WEIGHTS])
        return (named.pop(_HIDDEN), named.pop(_INDEX), named.pop(_WEIGHTS)), named

    return change
