"""Routing statistics of any mixture-of-experts model while it runs, by hooks on its routers.

Layer: ``moe_backbone``; imports torch only.
transformers returns router logits from a training step but not from ``generate``. A forward hook sees both, in stock
models (``gate`` or ``router`` beside ``experts``) and in :class:`~moe_backbone.layer.MoELayer`. Per token and layer the
cost is one softmax and one count over E numbers; sums stay on the device until they are read.

Shape suffixes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LayerRouting", "RoutingRecorder", "RoutingStats", "find_routers"]

_ROUTER_NAMES = ("gate", "router")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRouting:
    """How one layer routed.

    :param name: Name of the router module in the model.
    :param n_tokens: Tokens routed.
    :param load: Share of the used slots that went to each expert; sums to 1, or all 0 if nothing was routed.
    :param skipped: Share of the slots that held no expert, in [0, 1].
    :param load_entropy: Entropy of ``load`` over its maximum, in [0, 1]: 1 is perfectly balanced, 0 collapsed.
    :param router_entropy: Mean over tokens of the entropy of the router's distribution over its maximum, in [0, 1]: 0
        is certain, 1 undecided.
    """

    name: str
    n_tokens: int
    load: tuple[float, ...]
    skipped: float
    load_entropy: float
    router_entropy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingStats:
    """How every layer routed, in the order of the model."""

    layers: tuple[LayerRouting, ...]

    def collapsed(self, *, below: float = 0.5) -> tuple[str, ...]:
        """Name the layers whose load entropy is below ``below``: at E=8, 0.5 is the load of fewer than 3 experts."""
        return tuple(layer.name for layer in self.layers if layer.n_tokens and layer.load_entropy < below)


def find_routers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each router of ``model`` with its name: a ``gate`` or ``router`` that has a sibling called ``experts``."""
    for name, module in model.named_modules():
        if not isinstance(getattr(module, "experts", None), nn.Module):
            continue
        for child in _ROUTER_NAMES:
            router = getattr(module, child, None)
            if isinstance(router, nn.Module):
                yield f"{name}.{child}" if name else child, router
                break


class RoutingRecorder:
    """Record the routing of a model inside a ``with`` block.

    .. code-block:: python

        with RoutingRecorder(model) as recorder:
            model.generate(...)
        recorder.stats().layers[0].load

    :param model: Any model with routers that :func:`find_routers` finds and that return a tuple with the logits and
        the chosen indices, as those of transformers do.
    :param this_thread_only: Count only calls made by the thread that entered the block: so one request of several that
        share the model is measured.
    :raises ValueError: If the model has no router.
    """

    def __init__(self, model: nn.Module, *, this_thread_only: bool = False) -> None:
        self._routers = dict(find_routers(model))
        if not self._routers:
            raise ValueError(f"{type(model).__name__} has no mixture-of-experts layer to record.")
        self._this_thread_only = this_thread_only
        self._thread: int | None = None
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        self._sums: dict[str, _Sums] = {}

    def __enter__(self) -> RoutingRecorder:
        self._thread = threading.get_ident()
        for name, router in self._routers.items():
            self._handles.append(router.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def stats(self) -> RoutingStats:
        """Return what was recorded so far."""
        with self._lock:
            return RoutingStats(
                layers=tuple(_summarise(name, self._sums[name]) for name in self._routers if name in self._sums)
            )

    def _hook(self, name: str) -> Any:
        def record(router: nn.Module, inputs: object, output: object) -> None:
            if self._this_thread_only and threading.get_ident() != self._thread:
                return
            sums = _measure(name, output)
            with self._lock:
                self._sums[name] = self._sums[name] + sums if name in self._sums else sums

        return record


@dataclass(frozen=True, slots=True)
class _Sums:
    counts: Tensor
    entropy: Tensor
    n_tokens: int
    n_slots: int

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.counts + other.counts,
            self.entropy + other.entropy,
            self.n_tokens + other.n_tokens,
            self.n_slots + other.n_slots,
        )


@torch.no_grad()
def _measure(name: str, output: object) -> _Sums:
    logits_TE, index_TK = _logits_and_index(name, output)
    n_experts = logits_TE.shape[-1]
    flat = index_TK.reshape(-1)
    flat = torch.where((flat >= 0) & (flat < n_experts), flat, n_experts)
    log_p_TE = logits_TE.reshape(-1, n_experts).float().log_softmax(dim=-1)
    return _Sums(
        torch.bincount(flat, minlength=n_experts + 1)[:n_experts],
        -(log_p_TE.exp() * log_p_TE).sum(),
        log_p_TE.shape[0],
        flat.numel(),
    )


def _logits_and_index(name: str, output: object) -> tuple[Tensor, Tensor]:
    """Tell the logits (floating, widest) and the chosen ids (whole numbers) in a router's output apart."""
    tensors = [item for item in output if isinstance(item, Tensor)] if isinstance(output, Sequence) else []
    whole = [item for item in tensors if not item.is_floating_point()]
    floating = [item for item in tensors if item.is_floating_point()]
    if not whole or not floating:
        raise ValueError(f"the router {name!r} returned {type(output).__name__}, not a tuple with logits and indices.")
    return max(floating, key=lambda item: item.shape[-1]), whole[0]


def _summarise(name: str, sums: _Sums) -> LayerRouting:
    counts = sums.counts.double().cpu()
    used = float(counts.sum())
    load = (counts / used).tolist() if used else [0.0] * len(counts)
    largest = math.log(len(load)) or 1.0
    return LayerRouting(
        name=name,
        n_tokens=sums.n_tokens,
        load=tuple(load),
        skipped=1.0 - used / sums.n_slots if sums.n_slots else 0.0,
        load_entropy=max(0.0, -sum(p * math.log(p) for p in load if p > 0) / largest),
        router_entropy=float(sums.entropy) / sums.n_tokens / largest if sums.n_tokens else 0.0,
    )
