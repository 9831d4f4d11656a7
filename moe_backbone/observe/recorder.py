"""Record the routing of any mixture-of-experts model while it runs, by hooks on its routers and experts.

Layer: ``moe_backbone``; imports torch only.
transformers returns router logits from a training step but not from ``generate``. A hook behind the experts sees what
they were really called with, edits and skips included, in every family and release; one behind the router sees its
logits. The hooks only keep references, since each of their lines costs cold caches at every layer of every token;
counting is done for many calls at once, on the model's device.

Shape suffixes: T tokens, E experts, K experts per token, B sequences, S positions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.observe.counting import Calls, Totals, count_calls, summarise
from moe_backbone.observe.stats import UNLABELLED, RoutingStats
from moe_backbone.observe.tags import Tag, make_tag
from moe_backbone.router_probe import split_outputs
from moe_backbone.sites import find_sites, self_router

__all__ = ["RoutingRecorder"]

_CALLS_KEPT = 256
"""How many calls of a layer are kept before they are counted."""
_TOKENS_KEPT = 512
"""A call of more tokens is counted at once, so that a long prompt is not kept in every layer."""


@dataclass(slots=True)
class _Log:
    """What a thread keeps: per call the layer, the experts' index, the router's output, tag and mask."""

    outputs: list[Any]
    kept: list[tuple[int, Tensor, Any, Tag | None, Tensor | None]] = field(default_factory=list)
    tag: Tag | None = None
    mask: Tensor | None = None


class RoutingRecorder:
    """Record the routing of a model inside a ``with`` block: of ``generate`` as of any forward call.

    .. code-block:: python

        with RoutingRecorder(model, labels=("text", "image")) as recorder:
            with recorder.tag(modality_of_token, rest="text"):
                model.generate(**inputs)
        recorder.stats().layers[0].load

    Padding is left out by itself where the model is called with an ``attention_mask`` of shape ``(B, …)``. What a
    sequence writes after its end, while others of its batch go on, is counted.

    :param model: Any model with experts that :func:`~moe_backbone.sites.find_sites` finds.
    :param labels: Names that tokens may be given by :meth:`tag`: modalities, tasks, skills.
    :param this_thread_only: Count only calls made by the thread that entered the block: so one request of several that
        share the model is measured.
    :raises ValueError: If the model has no place to watch, or a label is named twice or ``unlabelled``.
    """

    def __init__(self, model: nn.Module, *, labels: Sequence[str] = (), this_thread_only: bool = False) -> None:
        self._sites = find_sites(model)
        if not self._sites:
            raise ValueError(f"{type(model).__name__} has no mixture-of-experts layer to record.")
        self.labels = tuple(labels)
        if len(set(self.labels)) < len(self.labels) or UNLABELLED in self.labels:
            raise ValueError(f"labels must differ from each other and from {UNLABELLED!r}, got {self.labels}.")
        self._model = model
        self._totals: list[Totals | None] = [None] * len(self._sites)
        self._logits_at: list[int | None] = [None] * len(self._sites)
        self._this_thread_only = this_thread_only
        self._thread: int | None = None
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        self._logs: list[_Log] = []
        self._local = threading.local()

    def __enter__(self) -> RoutingRecorder:
        self._thread = threading.get_ident()
        self._handles.append(self._model.register_forward_pre_hook(self._see_mask, with_kwargs=True))
        for place, site in enumerate(self._sites):
            if site.router is not None:
                self._handles.append(site.router.register_forward_hook(self._router_hook(place)))
            self._handles.append(site.experts.register_forward_hook(self._experts_hook(place), with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextmanager
    def tag(
        self,
        labels: str | Sequence[Sequence[str]] | Tensor | None = None,
        *,
        rest: str | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[None]:
        """Say whose tokens the calls of this thread are inside the ``with`` block.

        :param labels: One label for all tokens; or one for each position of the prompt, as names or as places in the
            recorder's ``labels`` (-1 is none). *Shape:* ``(B, S)``. The calls are followed by position, so a prompt may
            be read in parts and be followed by what the model writes.
        :param rest: The label of what comes after the prompt; ``None`` is none.
        :param mask: True for real tokens of the prompt; it goes before the attention mask. *Shape:* ``(B, S)``.
        :yields: Nothing.
        :raises ValueError: If a label is unknown, or the shapes differ.
        """
        log = self._new_log() if (found := getattr(self._local, "log", None)) is None else found
        before, log.tag = log.tag, make_tag(self.labels, labels, rest=rest, mask=mask)
        try:
            yield
        finally:
            log.tag = before

    def stats(self) -> RoutingStats:
        """Return what was recorded so far."""
        with self._lock:
            for log in self._logs:
                self._count(log)
            return RoutingStats(
                layers=tuple(
                    summarise(site.name, totals, self.labels)
                    for site, totals in zip(self._sites, self._totals, strict=True)
                    if totals is not None
                )
            )

    def _new_log(self) -> _Log:
        log = _Log([None] * len(self._sites))
        with self._lock:
            self._logs.append(log)
        self._local.log = log
        return log

    def _log(self) -> _Log | None:
        """Return the log of this thread, or ``None`` for a thread that is not listened to."""
        if self._this_thread_only and threading.get_ident() != self._thread:
            return None
        return getattr(self._local, "log", None) or self._new_log()

    def _see_mask(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the part of the attention mask that belongs to the tokens of this call."""
        log = self._log()
        if log is None:
            return
        log.mask = None
        mask = kwargs.get("attention_mask")
        tokens = next(
            (one for one in (kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args) if isinstance(one, Tensor)),
            None,
        )
        if not isinstance(mask, Tensor) or mask.ndim != 2 or tokens is None or tokens.ndim < 2:
            return
        part_BS = mask[:, -tokens.shape[1] :].bool()
        if part_BS.shape == tokens.shape[:2] and (part_BS.device.type != "cpu" or not bool(part_BS.all())):
            log.mask = part_BS.reshape(-1)

    def _router_hook(self, place: int) -> Any:
        local, new = self._local, self._log

        def keep(router: nn.Module, inputs: Any, output: Any) -> None:
            try:
                local.log.outputs[place] = output
            except AttributeError:
                if (log := new()) is not None:
                    log.outputs[place] = output

        return keep

    def _experts_hook(self, place: int) -> Any:
        local, new = self._local, self._log
        most = _CALLS_KEPT * len(self._sites)

        def keep(experts: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            log: _Log | None = getattr(local, "log", None) or new()
            if log is None:
                return
            index = args[1] if len(args) > 1 and not kwargs else _index(args, kwargs)
            routed, log.outputs[place] = log.outputs[place], None
            if torch.is_grad_enabled():
                routed = _detached(routed)
            n_tokens = index.shape[0]
            if log.tag is not None:
                log.tag.check(n_tokens)
            log.kept.append((place, index, routed, log.tag, log.mask))
            if n_tokens > _TOKENS_KEPT or len(log.kept) >= most:
                with self._lock:
                    self._count(log)

        return keep

    def _count(self, log: _Log) -> None:
        """Count what a thread has kept: by layer, and by stretches of one tag and one number of experts per token."""
        kept, log.kept = log.kept, []
        by_place: list[list[Any]] = [[] for _ in self._sites]
        for place, index, routed, tag, mask in kept:
            by_place[place].append((*self._read(place, index, routed), tag, mask))
        for place, calls in enumerate(by_place):
            for _, stretch in groupby(calls, key=lambda call: (id(call[2]), call[0].shape[1])):
                self._add(place, list(stretch))

    def _add(self, place: int, calls: list[tuple[Tensor, Tensor | None, Tag | None, Tensor | None]]) -> None:
        index, logits, tags, masks = (list(column) for column in zip(*calls, strict=True))
        lengths = [one.shape[0] for one in index]
        tag = tags[0] or Tag(len(self.labels))
        rows, mask = tag.follow(place, lengths)
        if mask is None and any(one is not None and len(one) == n for one, n in zip(masks, lengths, strict=True)):
            # A mask of another length belongs to a model that reads other tokens than its caller gave.
            real = [
                torch.ones(n, dtype=torch.bool) if one is None or len(one) != n else one.cpu()
                for one, n in zip(masks, lengths, strict=True)
            ]
            mask = torch.cat(real)
        whole = Calls(torch.cat(index), None if any(one is None for one in logits) else torch.cat(logits), rows, mask)
        totals = count_calls(whole, n_experts=self._sites[place].n_experts, n_rows=len(self.labels) + 1)
        before = self._totals[place]
        self._totals[place] = totals if before is None else before + totals

    def _read(self, place: int, index: Any, routed: Any) -> tuple[Tensor, Tensor | None]:
        """Find the logits in a router's output, and the index where the experts were given logits instead."""
        site, at = self._sites[place], self._logits_at[place]
        items = (routed,) if isinstance(routed, Tensor) else routed
        if at is None and items is not None:
            logits, _, _ = split_outputs(items, n_experts=site.n_experts)
            at = next((number for number, item in enumerate(items) if item is logits), -1)
            self._logits_at[place] = at
        logits = None if items is None or at is None or at < 0 else items[at].reshape(-1, site.n_experts)
        if index.is_floating_point():
            choose = self_router(site.block, site.experts)
            if choose is None:
                raise ValueError(f"the experts of {site.name!r} were called without an index of experts.")
            _, _, index = split_outputs(choose(index), n_experts=-1)
        return index, logits


def _index(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the index of experts among arguments that were given by name: the whole numbers, or else the second."""
    values = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)]
    return next((item for item in values if not item.is_floating_point()), values[1])


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    return None if output is None else tuple(item.detach() if isinstance(item, Tensor) else item for item in output)
