"""``mmkg moe inspect``: what a model is made of.

Layer: ``api.cli``.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import typer

from api.cli.moe.common import ModelArgument, model_failures_explained, model_folder
from api.cli.options import JsonOption
from api.cli.output import console, human_bytes, print_json, print_table

if TYPE_CHECKING:
    from moe_backbone.inspection import LayerReport, ModelReport

__all__ = ["inspect"]


def inspect(context: typer.Context, model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show experts, routers, parameters and dispatches of a model; its weights are not loaded.

    Exit status 1 if the model has no experts, or if a forward pass would fail or be wrong.
    """
    with model_failures_explained(as_json=as_json):
        from moe_backbone.inspection import inspect_opened
        from moe_backbone.loading import has_weights, open_structure, stored_tensors

        folder = model_folder(context, model)
        opened = open_structure(folder)
        report = inspect_opened(opened, stored=stored_tensors(folder) if has_weights(folder) else ())
    if as_json:
        print_json({"has_experts": report.has_experts, **asdict(report)})
    else:
        _show(report)
    if report.problems or not report.has_experts:
        raise typer.Exit(1)


def _show(report: ModelReport) -> None:
    out = console()
    if not report.has_experts:
        out.print(
            f"{report.architecture} has no experts: it is dense ({report.n_parameters:,} parameters).", markup=False
        )
        return
    n_with = len(report.layers) + len(report.foreign)
    rows = [
        ("model", f"{report.architecture} ({report.model_type})"),
        ("layers", f"{n_with} with experts" + (f" of {report.n_layers}" if report.n_layers else "")),
        ("parameters", f"{report.n_parameters:,}"),
        ("active per token", f"{report.n_active:,} ({100 * report.n_active / report.n_parameters:.1f} %)"),
        ("in routed experts", f"{100 * report.expert_share:.1f} %"),
        ("stored", ", ".join(f"{human_bytes(size)} {dtype}" for dtype, size in report.size_bytes.items())),
        ("quantised", report.quantised or "no"),
    ]
    print_table("", ("what", "value"), rows)
    if report.layers:
        runs = _runs(report)
        print_table("", _COLUMNS, [_row(span, layer) for span, layer in runs], right=_COLUMNS[1:6])
        print_table("", ("block", "router"), [(span, layer.router.summary) for span, layer in runs])
    for name, found in report.foreign:
        out.print(f"{name}: {found}. Routing cannot be edited here.", markup=False, soft_wrap=True)
    print_table("", ("dispatch", "runs it"), [(name, why or "yes") for name, why in report.dispatches.items()])
    for situation, choice in report.automatic.items():
        out.print(f"automatic choice, {situation}: {choice}", markup=False, soft_wrap=True)
    for problem in report.problems:
        console(stderr=True).print(f"[bold red]problem[/]: {problem}", soft_wrap=True)


_COLUMNS = ("block", "experts", "per token", "width", "expert width", "shared", "layout")


def _runs(report: ModelReport) -> list[tuple[str, LayerReport]]:
    """Put blocks that follow each other and are equal into one row."""
    runs: list[list[LayerReport]] = []
    for layer in report.layers:
        if runs and replace(runs[-1][0], name=layer.name) == layer:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [(_span([layer.name for layer in run]), run[0]) for run in runs]


def _span(names: list[str]) -> str:
    """Write ``model.layers.0.mlp`` to ``model.layers.29.mlp`` as ``model.layers.0–29.mlp``."""
    first, last = names[0].split("."), names[-1].split(".")
    differing = [place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]]
    if len(first) != len(last) or len(differing) != 1:
        return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    first[differing[0]] += f"–{last[differing[0]]}"
    return ".".join(first)


def _row(span: str, layer: LayerReport) -> tuple[Any, ...]:
    shared = f"{layer.shared_width}{' gated' if layer.shared_gate else ''}" if layer.shared_width else "–"
    top_k = "?" if layer.router.top_k is None else layer.router.top_k
    return (
        span, layer.n_experts, top_k, layer.width, layer.expert_width, shared, layer.layout.summary,
    )  # fmt: skip
