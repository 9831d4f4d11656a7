"""``mmkg kgc tune``: fine-tune a generator on the questions of a graph.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.completion_data import FolderArgument, OverlapOption
from api.cli.moe.common import model_failures_explained, model_folder
from api.cli.options import JsonOption
from api.cli.output import console, print_json, print_table, progress

if TYPE_CHECKING:
    from generation.completion.generator.tuning_config import TuningConfig
    from generation.completion.generator.tuning_report import Look, TuningReport

__all__ = ["tune"]


def tune(
    context: typer.Context,
    folder: FolderArgument,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="The generator: a checkpoint folder, causal or encoder-decoder, or a name of `mmkg models`."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder of the adapters; it holds none of the model's weights.")
    ],
    arm: Annotated[
        str | None,
        typer.Option(
            "--context", help="Whose texts prompts hold: none, own, neighbours or both (default).", show_default=False
        ),
    ] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="YAML with settings; options win.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="The most optimiser steps.", show_default=False)
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples",
            min=1,
            help="The most questions to learn from; by default each is seen once.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(
            "--balance", help="How far rare relations are preferred: 0 (default) not, 1 all alike.", show_default=False
        ),
    ] = None,
    max_neighbours: Annotated[
        int | None,
        typer.Option("--max-neighbours", min=0, help="The most neighbours in a prompt.", show_default=False),
    ] = None,
    max_words: Annotated[
        int | None, typer.Option("--max-words", min=1, help="The most words of a text.", show_default=False)
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Rank of an adapter.", show_default=False)] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            help="Names of the linear layers to adapt, as q_proj,v_proj; by default all but the output head.",
            show_default=False,
        ),
    ] = None,
    lora_experts: Annotated[
        int | None,
        typer.Option(
            "--lora-experts",
            min=1,
            help="Adapters of each linear layer, routed per token; 1 by default.",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak learning rate.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda; by default cuda where there is one.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the newest whole checkpoint; the result is the same to the bit."),
    ] = False,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a language model to answer questions about a graph: low-rank experts over its frozen weights.

    Each train triple asks for its tail and for its head, in a prompt that shows what train holds around the given
    entity, never the triple itself; some prompts show less. Tuning stops when the loss on validation no longer falls,
    and keeps the best adapters. Where the folder has no valid.tsv a part is carved as `mmkg kgc train` carves it with
    the same seed.
    """
    given = {
        "context": arm,
        "steps": steps,
        "examples": examples,
        "balance": balance,
        "max_neighbours": max_neighbours,
        "max_words_per_text": max_words,
        "rank": rank,
        "targets": None if targets is None else [name.strip() for name in targets.split(",") if name.strip()],
        "lora_experts": lora_experts,
        "learning_rate": learning_rate,
    }
    with _explained(as_json=as_json):
        from generation.completion.generator.tuning import tune as tune_graph
        from generation.completion.tsv_folder import read_folder

        config = _config(recipe, {**given, "seed": seed})
        graph = read_folder(folder, allow_overlap=allow_overlap, seed=seed)
        with progress("tuning", total=config.steps, quiet=as_json) as bar:
            seen: list[Look] = []
            report = tune_graph(
                graph,
                model_folder(context, model),
                out,
                config=config,
                base_name=model,
                device=device,
                resume=resume,
                on_step=lambda line: bar.advance(_line(line, seen)),
                on_look=seen.append,
            )
    if as_json:
        print_json({"out": str(out), **report.to_mapping()})
        return
    _show(report, out)


def _config(recipe: Path | None, given: dict[str, Any]) -> TuningConfig:
    from api.reading import read_mapping
    from generation.completion.generator.tuning_config import TuningConfig

    settings = {} if recipe is None else read_mapping(recipe, what="recipe")
    return TuningConfig.from_mapping(settings | {name: value for name, value in given.items() if value is not None})


def _line(line: dict[str, Any], seen: list[Look]) -> str:
    looked = f", validation {seen[-1].loss:.3f}" if seen else ""
    return f"loss {line['objective']:.3f}{looked}, {line['tokens_per_s']:.0f} tokens/s"


def _show(report: TuningReport, out: Path) -> None:
    rows = [
        ("adapters", str(out)),
        ("steps", f"{report.steps} (from {report.resumed_from}), best at {report.best_step}"),
        ("questions", f"{report.n_questions:,} to learn from, {report.n_held_out:,} held out"),
        ("parameters", f"{report.n_parameters:,} tuned, {report.n_base_parameters:,} frozen"),
        ("computed in", f"{report.precision} on {report.device}"),
        ("seconds", f"{report.seconds:.0f} ({report.n_tokens:,} tokens)"),
    ]
    if report.loss is not None and report.loss_before is not None:
        rows.insert(
            2, ("validation loss", f"{report.loss_before:.4f} before, {report.loss:.4f} after (nats per token)")
        )
    print_table("", ("what", "value"), rows)
    for note in report.notes:
        console().print(f"note: {note}", markup=False, soft_wrap=True)


@contextmanager
def _explained(*, as_json: bool) -> Iterator[None]:
    """Explain what is refused, and how to go on after Ctrl-C."""
    with model_failures_explained(as_json=as_json):
        try:
            yield
        except KeyboardInterrupt as error:
            console(stderr=True).print("[yellow]interrupted[/]: run the command again with --resume to go on.")
            raise typer.Exit(130) from error
