"""``mmkg moe upcycle``: a dense model becomes a mixture of experts.

Layer: ``api.cli``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from moe_backbone.upcycle.recipe import UpcycleRecipe

__all__ = ["upcycle"]


def upcycle(
    context: typer.Context,
    source: ModelArgument,
    out: OutOption,
    target: Annotated[
        str,
        typer.Option("--target", help="mixtral, or glm4_moe (a shared expert; keeps qkv biases and q/k norms)."),
    ] = "mixtral",
    slices: Annotated[
        int | None,
        typer.Option(
            "--slices",
            help="Parts of each feed-forward network; in glm4_moe one of them is the shared expert. Default: 4, or "
            "whole copies with --drop, --noise or --from.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option(
            "--groups",
            help="Times they are laid out. Default: 2; 8 with --drop or --noise; one per checkpoint with --from.",
            show_default=False,
        ),
    ] = None,
    per_token: Annotated[
        int | None,
        typer.Option(
            "--per-token", help="Groups that a token visits. Default: 1, with whole copies 2.", show_default=False
        ),
    ] = None,
    permute: Annotated[
        bool, typer.Option("--permute", help="Cut each group along another order of the neurons: same function.")
    ] = False,
    drop: Annotated[
        float, typer.Option("--drop", help="Share of each expert's neurons to draw anew; changes the function.")
    ] = 0.0,
    noise: Annotated[
        float, typer.Option("--noise", help="Noise on the experts, relative to the weights; changes the function.")
    ] = 0.0,
    others: Annotated[
        list[str] | None,
        typer.Option("--from", help="A further fine-tuned checkpoint whose networks become experts; repeatable."),
    ] = None,
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="With --from: take the other weights from SOURCE instead of averaging.")
    ] = False,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", help="With --from: a text file per checkpoint, to start its router from; in order."),
    ] = None,
    router_std: Annotated[
        float, typer.Option("--router-std", help="Deviation between the router rows of the groups.")
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Compare the logits with the source's in float32 and float64, and 64 greedy tokens. Default: only "
            "where the function changes.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a dense Llama-family model into a stock mixture of experts that computes the same function.

    SOURCE is a Llama, Mistral, Qwen2 or Qwen3 checkpoint. The result is an ordinary Mixtral or GLM4-MoE folder.
    Exit status 1 if --check finds that a recipe which keeps the function writes other words than SOURCE.
    """
    with model_failures_explained(as_json=as_json):
        folders = [model_folder(context, name) for name in (source, *(others or ()))]
        recipe = _recipe(
            target, slices=slices, groups=groups, per_token=per_token, n_sources=len(folders),
            permute=permute, drop=drop, noise=noise, router_std=router_std, seed=seed,
        )  # fmt: skip
        read = [[read_text(path)] for path in texts or ()] or None
        if (read or keep_first) and len(folders) == 1:
            raise InputError("--texts and --keep-first are for several checkpoints; add them with --from.")
        started = time.perf_counter()
        with progress("writing", total=100, quiet=as_json) as bar:
            _make(folders, out, recipe, average=not keep_first, texts=read, on_progress=percent_of_bytes(bar))
        report = _report(folders, out, recipe, seconds=time.perf_counter() - started)
        if check or (check is None and not report["preserves_function"]):
            from moe_backbone.upcycle.checking import check_against_source

            report["check"] = asdict(check_against_source(folders[0], out))
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["preserves_function"] and report["check"] and not report["check"]["greedy_identical"]:
        raise typer.Exit(1)


def _recipe(
    target: str, *, slices: int | None, groups: int | None, per_token: int | None, n_sources: int, **rest: Any
) -> UpcycleRecipe:
    from moe_backbone.upcycle.recipe import Target, UpcycleRecipe

    known = [str(one) for one in Target]
    if target not in known:
        raise InputError(f"--target must be one of {', '.join(known)}, got {target!r}.")
    whole = rest["drop"] > 0 or rest["noise"] > 0 or n_sources > 1
    one_copy = 2 if target == Target.GLM4_MOE else 1
    slices = slices if slices is not None else one_copy if whole else 4
    if groups is None:
        groups = n_sources if n_sources > 1 else 8 if whole else 2
    if per_token is None:
        per_token = 2 if slices == one_copy else 1
    return UpcycleRecipe(target=Target(target), slices=slices, groups=groups, groups_per_token=per_token, **rest)


def _make(
    folders: list[Path],
    out: Path,
    recipe: UpcycleRecipe,
    *,
    average: bool,
    texts: list[list[str]] | None,
    on_progress: Callable[[int, int], None],
) -> None:
    from moe_backbone.upcycle.dense import upcycle as upcycle_one
    from moe_backbone.upcycle.mixing import mix

    if len(folders) == 1:
        upcycle_one(folders[0], out, recipe, on_progress=on_progress)
    else:
        mix(folders, out, recipe, average=average, texts=texts, on_progress=on_progress)


def _report(folders: list[Path], out: Path, recipe: UpcycleRecipe, *, seconds: float) -> dict[str, Any]:
    return {
        "sources": [str(folder) for folder in folders],
        "out": str(out),
        "target": str(recipe.target),
        "experts": recipe.n_experts,
        "experts_per_token": recipe.top_k,
        "shared_experts": recipe.n_shared,
        "preserves_function": recipe.preserves_function and len(folders) == 1,
        "router_learns_from_step_0": recipe.router_learns or len(folders) > 1,
        "source_bytes": folder_bytes(folders[0]),
        "bytes": folder_bytes(out),
        "seconds": round(seconds, 3),
        "check": None,
    }


def _show(report: dict[str, Any]) -> None:
    experts = f"{report['experts']}, {report['experts_per_token']} a token"
    rows: list[tuple[str, Any]] = [
        ("checkpoint", report["out"]),
        ("target", report["target"]),
        ("experts of a layer", experts + (" and a shared one" if report["shared_experts"] else "")),
        ("computes what the source computes", yes_or_no(report["preserves_function"])),
        ("router learns from the first step", yes_or_no(report["router_learns_from_step_0"])),
        ("size", f"{human_bytes(report['source_bytes'])} -> {human_bytes(report['bytes'])}"),
        ("written in", f"{report['seconds']:.1f} s"),
    ]
    check = report["check"]
    if check:
        rows += check_rows(check)
    print_table("", ("what", "value"), rows)
    if not report["preserves_function"]:
        console().print("note: this recipe does not keep the function of its source; train the result.", markup=False)
    if not report["router_learns_from_step_0"]:
        console().print("note: all experts are equal, so the router has no gradient. Use slices, --drop or --noise.")
