"""``mmkg kgc``: train and evaluate link prediction on a folder of triples.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import completion_comparison, completion_data, completion_generator, completion_tuning
from api.cli.completion_data import (
    FolderArgument,
    OverlapOption,
    PermutationSeedOption,
    PermuteOption,
    permutation_line,
    score_row,
    show_ladder,
)
from api.cli.completion_generator import GENERATOR_HELP, TextsOption
from api.cli.options import JsonOption, settings_of
from api.cli.output import console, failures_explained, print_json, print_table, progress, training_progress

if TYPE_CHECKING:
    from generation.completion.config import CompletionConfig
    from retrieval.types import TextEncoder

__all__ = ["app"]

app = typer.Typer(help="Train and evaluate link prediction on a folder of triples.", no_args_is_help=True)
app.command("check")(completion_data.check)
app.command("split")(completion_data.split)
app.command("import")(completion_data.import_graph)
app.command("report")(completion_data.report)
app.command("compare")(completion_comparison.compare)
app.command("generator")(completion_generator.generator)
app.command("tune")(completion_tuning.tune)


@app.command("train")
def train(
    context: typer.Context,
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder of the model.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="YAML with training settings.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from an interrupted training.")] = False,
    generator: Annotated[str, typer.Option("--generator", help=GENERATOR_HELP, show_default="none")] = "",
    texts: TextsOption = "both",
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the experts on a folder of triples, and the gate that weighs them.

    The experts are ComplEx-N3 (structure; on large graphs a second one, the twin, beside it), rules of length 1 and 2,
    and where the folder has what they need: names and texts, image vectors, numbers. Epochs and weights are chosen on a
    clean validation part, never on test. Where there is no valid.tsv, a part of train is spared for it, and learnt when
    it has done its work. With --generator a language model scores the best answers again, as `mmkg kgc generator` adds
    it to a trained model.
    """
    with failures_explained(as_json=as_json):
        from generation.completion.runs import train_folder

        config = _read_recipe(recipe)
        arms = completion_generator.arms_of(texts)
        if generator:
            completion_generator.scorers_of(context)(generator)  # a name that means nothing is refused before training
        with training_progress(quiet=as_json) as tell:
            report = train_folder(
                folder,
                out,
                config=config,
                seed=seed,
                resume=resume,
                allow_overlap=allow_overlap,
                on_progress=tell,
                make_encoder=lambda: _encoder(context),
            )
        fitted = None
        if generator:
            fitted = completion_generator.fit_to_model(
                context, out, folder, generator, arms=arms, allow_overlap=allow_overlap, quiet=as_json
            )
    if as_json:
        print_json(report.to_mapping() | ({} if fitted is None else {"generator": fitted.to_mapping()}))
        return
    shown = {name: value for name, value in report.to_mapping().items() if name not in {"config", "notes"}}
    print_table("", ("what", "value"), list(shown.items()))
    for note in report.notes:
        console().print(f"note: {note}", markup=False, soft_wrap=True)
    if fitted is not None:
        completion_generator.show_fitted(fitted)


@app.command("eval")
def evaluate(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="A model folder that `mmkg kgc train` wrote.")],
    folder: FolderArgument,
    split: Annotated[str, typer.Option("--split", help="Which triples to rank: test, valid or train.")] = "test",
    baselines: Annotated[
        bool,
        typer.Option("--baselines/--no-baselines", help="Rank with rules of length 1 and with frequencies as well."),
    ] = True,
    ablation: Annotated[
        bool,
        typer.Option("--ablation/--no-ablation", help="Rank with each expert alone and with all but each as well."),
    ] = True,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Rank with the parts added one after the other as well.")
    ] = False,
    generator: Annotated[
        bool,
        typer.Option("--generator", help="Rank a sample with and without the model's generator as well (slow)."),
    ] = False,
    limit: Annotated[
        int,
        typer.Option("--limit", min=1, help="With --generator: the most triples of the sample; each is asked twice."),
    ] = 100,
    arms: Annotated[
        str,
        typer.Option(
            "--arms",
            help="With --generator: contexts to compare, parted by commas: none, own, neighbours, both; or all.",
            show_default=False,
        ),
    ] = "",
    unseen_only: Annotated[
        bool, typer.Option("--unseen-only", help="With --generator: draw only triples with an entity not in train.")
    ] = False,
    permute: PermuteOption = None,
    seed: PermutationSeedOption = 0,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank the true entity of each triple among all others: filtered, both directions, realistic ties.

    The figures are of the experts and their gate. A generator is too slow for every question of a large graph, so
    --generator measures what it adds on a sample, beside the experts alone on the same triples.
    --permute asks whether a kind of vectors is read at all: dealt out among the wrong entities, it must lose its gain.
    Every evaluation, and what was ranked beside it, is kept in the log of the model folder.
    """
    with failures_explained(as_json=as_json):
        from generation.completion.evaluation_run import evaluate_folder

        chosen = completion_generator.arms_of(arms) if arms else []
        with progress("ranking", quiet=as_json) as bar:
            result = evaluate_folder(
                model,
                folder,
                split,
                allow_overlap=allow_overlap,
                baselines=baselines,
                ablation=ablation,
                ladder=ladder,
                permute=permute or (),
                permutation_seed=seed,
                on_progress=bar.move_to,
            )
        if generator:
            result["generator"] = completion_generator.evaluate_with_generator(
                context,
                model,
                folder,
                split,
                limit=limit,
                arms=chosen,
                unseen_only=unseen_only,
                allow_overlap=allow_overlap,
                quiet=as_json,
            )
    if as_json:
        print_json(result)
        return
    rows: list[tuple[Any, ...]] = [score_row("both", result)]
    rows += [score_row(part, result[part]) for part in ("head", "tail", "unseen") if result.get(part)]
    for kind in ("ablation", "baselines"):
        others = result.get(kind)
        if isinstance(others, dict):
            rows += [score_row(name, scores) for name, scores in others.items()]
    permuted = result.get("permuted")
    for kind, one in permuted.items() if isinstance(permuted, dict) else ():
        rows += [score_row(f"{kind} {name}", scores) for name, scores in one["arms"].items()]
    columns = ("", "MRR", "Hits@1", "Hits@3", "Hits@10")
    print_table(f"{result['graph']}, {split}: {result['n']} triples", columns, rows, right=columns[1:])
    console().print(str(result["protocol"]), markup=False)
    for kind, one in permuted.items() if isinstance(permuted, dict) else ():
        console().print(permutation_line(kind, one), markup=False, soft_wrap=True)
    climbed = result.get("ladder")
    if isinstance(climbed, dict):
        show_ladder(climbed)
    params = result["params"]
    if isinstance(params, dict):
        console().print(f"parameters: {params['constant']} constant, {params['per_entity']} per entity", markup=False)
    measured = result.get("generator")
    if isinstance(measured, dict):
        completion_generator.show_measured(measured)


def _encoder(context: typer.Context) -> TextEncoder:
    from api.encoders import make_encoder
    from api.models.cache import ModelCache

    settings = settings_of(context)
    return make_encoder(settings.encoder, ModelCache(settings.cache))


def _read_recipe(file: Path | None) -> CompletionConfig:
    from api.reading import read_mapping
    from generation.completion.config import CompletionConfig

    return CompletionConfig.from_mapping({} if file is None else read_mapping(file, what="recipe"))
