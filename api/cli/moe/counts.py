"""``mmkg moe experts``: give a mixture of experts more of them, or take some away.

Layer: ``api.cli``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.moe.common import (
    ModelArgument,
    OutOption,
    check_rows,
    folder_bytes,
    model_failures_explained,
    model_folder,
    percent_of_bytes,
    read_text,
    yes_or_no,
)
from api.cli.options import JsonOption
from api.cli.output import console, human_bytes, print_json, print_table, progress
from kg.errors import InputError

__all__ = ["add", "remove"]

CheckTextOption = Annotated[
    Path | None,
    typer.Option(
        "--check-text",
        help="A UTF-8 text to compare on, its first 512 tokens. Default: a short one of prose, numbers and code.",
        show_default=False,
    ),
]


def add(
    context: typer.Context,
    model: ModelArgument,
    out: OutOption,
    copies: Annotated[
        list[str],
        typer.Option("--copy", help="The expert that a new one is a copy of, from 0; repeat it, or 2,2,0, for more."),
    ],
    inexact: Annotated[
        bool,
        typer.Option(
            "--inexact",
            help="Where no router row would leave the model as it is (a trained Mixtral): give the copy its original's "
            "row with noise. Changes the function.",
        ),
    ] = False,
    router_std: Annotated[
        float, typer.Option("--router-std", help="Deviation of a GLM4-MoE's new router rows, and of that noise.")
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the new router rows.")] = 0,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Compare the logits with MODEL's in float32 and float64, and 64 greedy tokens. Default: only where "
            "the function changes.",
            show_default=False,
        ),
    ] = None,
    check_text: CheckTextOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add experts to every layer of a Mixtral or GLM4-MoE; the model computes what it did until it is trained.

    Each new expert is a copy of an old one, and its router row is one that is not chosen. Where no such row exists this
    is refused, unless --inexact. Exit status 1 if --check finds that an exact addition writes other words than MODEL.
    """
    with model_failures_explained(as_json=as_json):
        folder = model_folder(context, model)
        chosen = _numbers(copies, option="--copy")
        text = None if check_text is None else read_text(check_text)
        from moe_backbone.upcycle.growing import add_experts, describe_experts

        started = time.perf_counter()
        with progress("writing", total=100, quiet=as_json) as bar:
            add_experts(
                folder, out, copies=chosen, exact=not inexact, router_std=router_std, seed=seed,
                on_progress=percent_of_bytes(bar),
            )  # fmt: skip
        before = describe_experts(folder)
        exact = not inexact or before.always_grows_exactly
        report = {
            "source": str(folder), "out": str(out), "copies": chosen, "experts_before": before.n_experts,
            "experts": describe_experts(out).n_experts, "preserves_function": exact,
            **_measured(folder, out, check=check is True or (check is None and not exact), text=text, started=started),
        }  # fmt: skip
    _show(report, as_json=as_json)
    if exact and report["check"] and not report["check"]["greedy_identical"]:
        raise typer.Exit(1)


def remove(
    context: typer.Context,
    model: ModelArgument,
    out: OutOption,
    experts: Annotated[
        list[str], typer.Option("--expert", help="The expert to leave out, from 0; repeat it, or 1,4, for more.")
    ],
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Measure what their loss changes: logits, perplexity, greedy text."),
    ] = True,
    check_text: CheckTextOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take experts away from every layer of a Mixtral or GLM4-MoE; it equals the model with those experts masked.

    `mmkg moe doctor` names experts that no token chose; `mmkg moe shrink` chooses by calibration, and differently for
    each layer.
    """
    with model_failures_explained(as_json=as_json):
        folder = model_folder(context, model)
        lost = _numbers(experts, option="--expert")
        text = None if check_text is None else read_text(check_text)
        from moe_backbone.upcycle.growing import describe_experts, remove_experts

        started = time.perf_counter()
        with progress("writing", total=100, quiet=as_json) as bar:
            remove_experts(folder, out, experts=lost, on_progress=percent_of_bytes(bar))
        report = {
            "source": str(folder), "out": str(out), "removed": sorted(set(lost)),
            "experts_before": describe_experts(folder).n_experts, "experts": describe_experts(out).n_experts,
            **_measured(folder, out, check=check, text=text, started=started),
        }  # fmt: skip
    _show(report, as_json=as_json)


def _numbers(values: list[str], *, option: str) -> list[int]:
    words = [word for value in values for word in value.replace(",", " ").split()]
    if not words or not all(word.isdecimal() for word in words):
        raise InputError(f"{option} takes numbers of experts, as in 2 or 2,0; got {' '.join(values)!r}.")
    return [int(word) for word in words]


def _measured(folder: Path, out: Path, *, check: bool, text: str | None, started: float) -> dict[str, Any]:
    """Return what both reports hold alike; ``started`` is the clock when writing began."""
    measured: dict[str, Any] = {
        "source_bytes": folder_bytes(folder),
        "bytes": folder_bytes(out),
        "seconds": round(time.perf_counter() - started, 3),
        "check": None,
    }
    if check:
        from moe_backbone.upcycle.checking import CHECK_TEXT, check_against_source

        measured["check"] = asdict(check_against_source(folder, out, text=CHECK_TEXT if text is None else text))
    return measured


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows: list[tuple[str, Any]] = [
        ("checkpoint", report["out"]),
        ("experts of a layer", f"{report['experts_before']} -> {report['experts']}"),
    ]
    if "preserves_function" in report:
        rows.append(("computes what the source computes", yes_or_no(report["preserves_function"])))
    rows += [
        ("size", f"{human_bytes(report['source_bytes'])} -> {human_bytes(report['bytes'])}"),
        ("written in", f"{report['seconds']:.1f} s"),
    ]
    print_table("", ("what", "value"), rows + (check_rows(report["check"]) if report["check"] else []))
    if report.get("preserves_function") is False:
        console().print("note: the new experts share the tokens of their originals; train the result.", markup=False)
