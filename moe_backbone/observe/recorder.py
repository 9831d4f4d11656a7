"""Record the routing of any mixture-of-experts model while it runs, by hooks on its routers and experts.

Layer: ``moe_backbone``; imports torch only.
transformers returns router logits from a training step but not from ``generate``. A hook behind the experts sees what
they were really called with, edits and skips included, in every family and release; one behind the router sees its
logits. The hooks only note references, since each of their lines costs cold caches at every layer of every token;
counting is done for many calls at once, on the model's device.

Shape suffixes: T tokens, E experts, K experts per token, B sequences, S positions.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.observe.counting import Calls, Totals, count_calls, summarise
from moe_backbone.observe.stats import UNLABELLED, RoutingStats
from moe_backbone.observe.tags import Tag, make_tag
from moe_backbone.router_probe import split_choice, split_outputs
from moe_backbone.sites import find_sites, self_router

__all__ = ["RoutingRecorder"]

_CALLS_KEPT = 256
"""How many calls of every layer are kept before they are counted."""
_TOKENS_KEPT = 512
"""After a forward call of more tokens all is counted at once, so that long prompts do not pile up."""
_ROUTER, _EXPERTS, _TAG, _MASK = range(4)


@dataclass(slots=True)
class _Replay:
    """What is known of a thread while its events are gone through in order."""

    outputs: list[Any]
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
        self._events: deque[tuple[int, int, int, Any]] = deque()  # thread, kind, layer, what
        self._threads: dict[int, _Replay] = {}
        self._local = threading.local()

    def __enter__(self) -> RoutingRecorder:
        self._thread = threading.get_ident()
        self._handles.append(self._model.register_forward_pre_hook(self._see_mask, with_kwargs=True))
        for place, site in enumerate(self._sites):
            if site.router is not None:
                self._handles.append(site.router.register_forward_hook(self._router_hook(place)))
            self._handles.append(site.experts.register_forward_hook(self._experts_hook(place), with_kwargs=True))
        self._handles.append(self._model.register_forward_hook(self._after))
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
        made, before = make_tag(self.labels, labels, rest=rest, mask=mask), getattr(self._local, "tag", None)
        self._set_tag(made)
        try:
            yield
        finally:
            self._set_tag(before)

    def stats(self) -> RoutingStats:
        """Return what was recorded so far."""
        with self._lock:
            self._count()
            return RoutingStats(
                layers=tuple(
                    summarise(site.name, totals, self.labels)
                    for site, totals in zip(self._sites, self._totals, strict=True)
                    if totals is not None
                )
            )

    def _set_tag(self, tag: Tag | None) -> None:
        self._local.tag = tag
        self._events.append((threading.get_ident(), _TAG, 0, tag))

    def _see_mask(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Keep the part of the attention mask that belongs to the tokens of this call."""
        kwargs = kwargs or {}  # none come while another thread puts the hook in or takes it out: see blocks.py
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        tokens = next(
            (one for one in (kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args) if isinstance(one, Tensor)),
            None,
        )
        found, n_tokens = None, 0
        if tokens is not None:
            n_tokens = tokens.numel() // tokens.shape[-1] if tokens.is_floating_point() else tokens.numel()
            if isinstance(mask, Tensor) and mask.ndim == 2 and tokens.ndim >= 2:
                part_BS = mask[:, -tokens.shape[1] :].bool()
                fits = part_BS.shape == tokens.shape[:2]
                if fits and (part_BS.device.type != "cpu" or not bool(part_BS.all())):
                    found = part_BS.reshape(-1)
        self._local.n_tokens, self._local.masked = n_tokens, found is not None
        self._events.append((threading.get_ident(), _MASK, 0, found))

    def _after(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """Count after a call that would keep much: many tokens, or a graph of gradients."""
        if getattr(self._local, "masked", False):
            self._events.append((threading.get_ident(), _MASK, 0, None))  # it is of this call only
        long = getattr(self._local, "n_tokens", 0) > _TOKENS_KEPT or torch.is_grad_enabled()
        if long or len(self._events) >= 2 * _CALLS_KEPT * len(self._sites):
            with self._lock:
                self._count()

    def _router_hook(self, place: int) -> Any:
        add, thread = self._events.append, threading.get_ident
        return lambda router, inputs, output: add((thread(), _ROUTER, place, output))

    def _experts_hook(self, place: int) -> Any:
        events, add, thread = self._events, self._events.append, threading.get_ident
        most = 4 * _CALLS_KEPT * len(self._sites)

        def keep(experts: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
            # rest is (kwargs, output), or (output,) while another thread puts the hook in or out: see blocks.py
            add((thread(), _EXPERTS, place, args[1] if len(args) > 1 else _index(args, *rest[:-1])))
            if len(events) > most:  # whoever calls parts of the model never comes to its end
                with self._lock:
                    self._count()

        return keep

    def _count(self) -> None:
        """Go through what was kept in order, and count it by layer, tag and number of experts per token."""
        calls: list[list[Any]] = [[] for _ in self._sites]
        while self._events:  # other threads may go on adding
            thread, kind, place, what = self._events.popleft()
            if self._this_thread_only and thread != self._thread:
                continue
            state = self._threads.setdefault(thread, _Replay([None] * len(self._sites)))
            if kind == _ROUTER:
                state.outputs[place] = what
            elif kind == _TAG:
                state.tag = what
            elif kind == _MASK:
                state.mask = what
            else:
                read = self._read(place, what, state.outputs[place])
                state.outputs[place] = None
                calls[place].append((*read, state.tag, state.mask))
        for place, kept in enumerate(calls):
            for _, stretch in groupby(kept, key=lambda call: (id(call[2]), call[0].shape[1])):
                self._add(place, list(stretch))

    def _add(self, place: int, calls: list[tuple[Tensor, Tensor | None, Tag | None, Tensor | None]]) -> None:
        index, logits, tags, masks = (list(column) for column in zip(*calls, strict=True))
        lengths = [one.shape[0] for one in index]
        tag = tags[0] or Tag(len(self.labels))
        for n_tokens in lengths:
            tag.check(n_tokens)
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
        logits = None if items is None or at is None or at < 0 else items[at].reshape(-1, items[at].shape[-1])
        if index is not None and index.is_floating_point():
            choose = self_router(site.block, site.experts)
            index = None if choose is None else split_choice(choose(index))[1]
        if index is None:
            raise ValueError(f"the experts of {site.name!r} were called without an index of experts.")
        return index, logits


def _index(args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Tensor | None:
    """Return the index of experts among arguments that were given by name: the whole numbers, or else the second."""
    values = [item for item in (*args, *(kwargs or {}).values()) if isinstance(item, Tensor)]
    whole = [item for item in values if not item.is_floating_point()]
    return whole[0] if whole else values[1] if len(values) > 1 else None
