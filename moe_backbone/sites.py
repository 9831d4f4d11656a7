"""Where a model routes: the places that can be watched, its routers, and experts outside the experts interface.

Layer: ``moe_backbone``; imports torch only.
:func:`~moe_backbone.blocks.find_blocks` returns what every tool of this library can work on. Some models hold their
experts otherwise: a list of modules, fused weights inside children (Aria before transformers moved it to the
interface), or packed integers of a quantiser. Here they are found by a child called ``experts`` alone.

Shape suffixes: E experts.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks, router_of

__all__ = ["ForeignExperts", "Site", "find_foreign", "find_routers", "find_sites", "follows_interface", "self_router"]

_N_ARGUMENTS = 3  # hidden states, index, weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignExperts:
    """A module called ``experts`` that the library's tools cannot edit.

    :param name: Name of the block that holds it.
    :param block: The block.
    :param router: Its ``gate`` or ``router``, if it has one.
    :param experts: The module.
    :param n_experts: Experts E, or 0 where they cannot be counted.
    :param found: What was found, for people: ``8 modules of MLP``, ``fused weights fc1.weight (8, 32, 48)`` …
    """

    name: str
    block: nn.Module
    router: nn.Module | None
    experts: nn.Module
    n_experts: int
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place whose routing can be watched: a block of the interface, or foreign experts that route by themselves.

    :param name: Name of the router in the model, or of the experts where there is none.
    :param block: The module that holds both.
    :param router: The routing module, if there is one.
    :param experts: The experts.
    :param n_experts: Routed experts E.
    """

    name: str
    block: nn.Module
    router: nn.Module | None
    experts: nn.Module
    n_experts: int


def follows_interface(block: MoEBlock) -> bool:
    """Tell whether a block's experts are called with states, index and weights."""
    parameters = inspect.signature(block.experts.forward).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= _N_ARGUMENTS or any(one.kind is one.VAR_POSITIONAL for one in parameters)


def find_foreign(model: nn.Module) -> tuple[ForeignExperts, ...]:
    """Return the modules called ``experts`` that :func:`~moe_backbone.blocks.find_blocks` does not return."""
    known = {id(block.experts) for block in find_blocks(model)}
    found = []
    for name, module in model.named_modules():
        experts = getattr(module, "experts", None)
        if not isinstance(experts, nn.Module) or id(experts) in known:
            continue
        n_experts, what = _measure(experts)
        found.append(
            ForeignExperts(
                name=name, block=module, router=router_of(module), experts=experts, n_experts=n_experts, found=what
            )
        )
    return tuple(found)


def find_routers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each router of ``model`` with its name: a ``gate`` or ``router`` that has a sibling called ``experts``."""
    for name, module in model.named_modules():
        router = router_of(module) if isinstance(getattr(module, "experts", None), nn.Module) else None
        if router is not None:
            yield _joined(name, _child_name(module, router)), router


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """Return every place whose routing can be watched, in the order of the model."""
    sites = {
        block.name: Site(
            name=_joined(block.name, _child_name(block.block, block.router or block.experts)),
            block=block.block,
            router=block.router,
            experts=block.experts,
            n_experts=block.n_experts,
        )
        for block in find_blocks(model)
        if follows_interface(block)
    }
    for one in find_foreign(model):
        if one.n_experts and self_router(one.block, one.experts) is not None:
            name = _joined(one.name, _child_name(one.block, one.router or one.experts))
            sites[one.name] = Site(
                name=name, block=one.block, router=one.router, experts=one.experts, n_experts=one.n_experts
            )
    order = [name for name, _ in model.named_modules() if name in sites]
    return tuple(sites[name] for name in order)


def self_router(block: nn.Module, experts: nn.Module) -> Any:
    """Return the method that chooses experts from logits where the router module does not, else ``None``."""
    for owner in (experts, block):
        method = getattr(owner, "route_tokens_to_experts", None)
        if callable(method):
            return method
    return None


def _measure(experts: nn.Module) -> tuple[int, str]:
    if isinstance(experts, nn.ModuleList):
        kinds = sorted({type(one).__name__ for one in experts})
        return len(experts), f"{len(experts)} modules of {', '.join(kinds) or 'nothing'}, not fused"
    fused = [(name, one) for name, one in _tensors(experts) if one.ndim == 3]
    if fused and len({one.shape[0] for _, one in fused}) == 1:
        listed = ", ".join(f"{name} {tuple(one.shape)}" for name, one in fused)
        return int(fused[0][1].shape[0]), f"fused weights {listed} under other names"
    listed = ", ".join(f"{name} {tuple(one.shape)} {one.dtype}" for name, one in _tensors(experts)[:4])
    return 0, f"{type(experts).__name__} with {listed or 'no weights'}"


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _child_name(block: nn.Module, child: nn.Module) -> str:
    return next(name for name, module in block.named_children() if module is child)


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)
