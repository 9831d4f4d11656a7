"""Run text through a model, and say what is wrong with its experts and routers, with numbers and what to do.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, E experts, K experts per token, B sequences, S positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks
from moe_backbone.inspection import ModelReport, inspect_model
from moe_backbone.observe.alarms import Alarm, Severity, equal_experts, virtual_groups
from moe_backbone.observe.recorder import RoutingRecorder
from moe_backbone.observe.routing_alarms import Thresholds, routing_alarms
from moe_backbone.observe.stats import RoutingStats
from moe_backbone.observe.weight_alarms import configuration_alarms, weight_alarms
from moe_backbone.router_probe import split_outputs

__all__ = ["Diagnosis", "examine"]

_ORDER = tuple(Severity)
_JUDGED_TOKENS = 1024  # tokens of a layer whose choice is repeated in bfloat16
_FLIPPED = 0.05
"""Share of choices that rounding may change; one or two in a hundred are usual of a model in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found.

    :param report: What the model is made of.
    :param stats: How it routed the text; ``None`` if it could not be run.
    :param alarms: The findings, the worst first.
    """

    report: ModelReport
    stats: RoutingStats | None
    alarms: tuple[Alarm, ...]

    @property
    def worst(self) -> Severity | None:
        """The severity of the first alarm; ``None`` if all is well."""
        return self.alarms[0].severity if self.alarms else None


def examine(
    model: nn.Module,
    batches: Iterable[tuple[str, Tensor]],
    *,
    labels: Sequence[str],
    config: Any = None,
    thresholds: Thresholds | None = None,
    on_batch: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Examine a model on token sequences.

    :param model: A model with real weights; it is not changed.
    :param batches: Pairs of a label and tokens ``(B, S)``; read once.
    :param labels: The labels that occur.
    :param config: Configuration; ``None`` takes the model's own.
    :param thresholds: When to raise alarms; ``None`` takes the defaults.
    :param on_batch: Called with the label after each batch.
    :returns: The diagnosis. A forward pass that fails is one of its alarms.
    :raises ValueError: If the model has no experts that can be watched.
    """
    recorder = RoutingRecorder(model, labels=labels)
    config = config if config is not None else getattr(model, "config", None)
    blocks = find_blocks(model)
    report = inspect_model(model, config=config)
    copies = {block.name: equal_experts(block) for block in blocks}
    groups = {block.name: found for block in blocks if (found := virtual_groups(block, copies[block.name]))}
    alarms = [*_report_alarms(report), *weight_alarms(blocks, copies, groups)]
    alarms += configuration_alarms(model, config, blocks)
    stats: RoutingStats | None = None
    try:
        with torch.inference_mode(), recorder, _logits_kept(blocks) as logits:
            for label, tokens_BS in batches:
                with recorder.tag(label):
                    model(tokens_BS)
                on_batch(label)
        stats = recorder.stats()
    except (RuntimeError, ValueError, IndexError) as error:
        alarms.append(_failed(error))
    if stats is not None:
        by_design = [layer.name for layer in stats.layers if layer.name.rpartition(".")[0] in groups]
        alarms += routing_alarms(stats, copies=by_design, thresholds=thresholds)
        alarms += _ambiguous(report, logits)
    alarms.sort(key=lambda alarm: _ORDER.index(alarm.severity))
    return Diagnosis(report=report, stats=stats, alarms=tuple(alarms))


def _report_alarms(report: ModelReport) -> list[Alarm]:
    found = []
    if report.problems:
        found.append(
            Alarm(
                code="cannot_run",
                severity=Severity.ERROR,
                where=(),
                evidence=report.problems[0] + (f" (and {n} more)" if (n := len(report.problems) - 1) else ""),
                advice="Correct config.json, or fetch the checkpoint again.",
            )
        )
    if report.foreign:
        name, what = report.foreign[0]
        found.append(
            Alarm(
                code="foreign_experts",
                severity=Severity.NOTE,
                where=tuple(name for name, _ in report.foreign),
                evidence=f"{name}: {what}",
                advice="Their weights were not looked at. A newer transformers may hold them in the usual interface.",
            )
        )
    return found


def _failed(error: Exception) -> Alarm:
    return Alarm(
        code="forward_failed",
        severity=Severity.ERROR,
        where=(),
        evidence=f"the model stopped with {type(error).__name__}: {str(error).strip().splitlines()[0]}",
        advice="Look at the alarms above, or try another experts_implementation.",
    )


@contextmanager
def _logits_kept(blocks: Sequence[MoEBlock]) -> Iterator[Mapping[str, list[Tensor]]]:
    """Keep the router logits of the first tokens of every block."""
    kept: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    handles = []
    for block in blocks:
        if block.router is None:
            continue

        def keep(router: nn.Module, inputs: Any, output: Any, *, block: MoEBlock = block) -> None:
            room = _JUDGED_TOKENS - sum(part.shape[0] for part in kept[block.name])
            logits, _, _ = split_outputs(output, n_experts=block.n_experts) if room > 0 else (None, None, None)
            if logits is not None:
                kept[block.name].append(logits.reshape(-1, block.n_experts)[:room].float())

        handles.append(block.router.register_forward_hook(keep))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _ambiguous(report: ModelReport, logits: Mapping[str, Sequence[Tensor]]) -> list[Alarm]:
    """Repeat the choice with logits rounded to bfloat16, where it is the top k of the logits alone."""
    tied: dict[str, float] = {}
    flipped: dict[str, float] = {}
    for layer in report.layers:
        router, parts = layer.router, logits.get(layer.name)
        if not parts or router.top_k is None or router.top_k >= layer.n_experts:
            continue
        logits_TE = torch.cat(list(parts))
        logits_TE = logits_TE[logits_TE.logsumexp(dim=-1).isfinite()]  # -inf forbids an expert
        if not len(logits_TE):
            continue
        top = logits_TE.topk(router.top_k + 1, dim=-1).values
        tied[layer.name] = float(((top[:, -1] == top[:, -2]) & top[:, -1].isfinite()).float().mean())
        if router.groups > 1 or router.selection_bias:
            continue  # the choice is not that of the logits alone
        rounded_TE = logits_TE.bfloat16().float()
        cut_T = top[:, -2, None]
        clear = (rounded_TE < rounded_TE.topk(router.top_k, dim=-1).values[:, -1:]) | (logits_TE >= cut_T)
        flipped[layer.name] = 1.0 - float(clear.all(dim=-1).float().mean())
    found = []
    if ties := {name: share for name, share in tied.items() if share >= _FLIPPED}:
        found.append(
            _shares(
                ties, "tied_choices", "of the tokens, the last expert chosen and the next have the same logit",
                "Which one a token visits is decided by their order. Initialise the router, train it, or route in "
                "float32.",
            )
        )  # fmt: skip
    doubtful = {name: share for name, share in flipped.items() if share >= _FLIPPED and name not in ties}
    if doubtful:
        found.append(
            _shares(
                doubtful, "ambiguous_in_bfloat16",
                "of the tokens would be free to visit another expert if the logits were bfloat16",
                "Route in float32 (moe_backbone.adapters.route_in_float32).",
            )
        )  # fmt: skip
    return found


def _shares(shares: Mapping[str, float], code: str, what: str, advice: str) -> Alarm:
    worst = max(shares, key=lambda name: shares[name])
    return Alarm(
        code=code,
        severity=Severity.WARNING,
        where=tuple(shares),
        evidence=f"{worst}: {100 * shares[worst]:.1f} % {what}",
        advice=advice,
        numbers={"share": shares[worst], "n_layers": len(shares)},
    )
