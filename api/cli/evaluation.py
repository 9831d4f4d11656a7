"""``mmkg eval``: measure retrieval and answers on a folder of questions, and link prediction on a workspace.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of, settings_of
from api.cli.output import console, failures_explained, print_json, print_table, progress

if TYPE_CHECKING:
    from api.evaluation.dataset import EvaluationFolder
    from api.evaluation.recipe import Recipe
    from api.service import Service
    from api.settings import Settings
    from kg.types import IngestReport

__all__ = ["app"]

app = typer.Typer(
    help="Measure retrieval and answers on a folder of questions, and link prediction on a workspace.",
    no_args_is_help=True,
)

FolderArgument = Annotated[
    Path, typer.Argument(help="Holds questions.jsonl and passages.jsonl, images/ or documents/.", show_default=False)
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Read the corpus again, though it was read before.")]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="YAML recipe; default: the packaged one.", show_default=False)
]


@app.command("retrieval")
def retrieval(
    context: typer.Context,
    folder: FolderArgument,
    recipe: RecipeOption = None,
    fresh: FreshOption = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Where the plot goes [default: retrieval-FOLDER.png here].", show_default=False),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score rankings: recall, MRR, nDCG, share of wrong kinds, latency, memory, beside plain BM25 and dense search."""
    with failures_explained(as_json=as_json):
        from api.evaluation.modality import unit_modalities
        from api.evaluation.retrieval import evaluate_retrieval, plot_report

        corpus, loaded, service, workspace, ingest = _prepare(
            settings_of(context, home=home), folder, recipe, fresh=fresh, quiet=as_json
        )
        n_steps = len(loaded.with_baselines()) * sum(bool(question.gold) for question in corpus.questions)
        with progress("evaluating", total=n_steps, quiet=as_json) as bar:
            kinds_of = unit_modalities(corpus, service.workspaces.get(workspace, create=False).store)
            report = evaluate_retrieval(
                corpus, service.retriever(workspace), loaded, kinds_of=kinds_of, on_question=bar.advance
            )
        service.close()
        picture = plot or Path(f"retrieval-{folder.name}.png")
        plot_report(report, picture, title=folder.name)
    if as_json:
        print_json({**report.as_json(), "ingest": _ingest_summary(ingest), "plot": str(picture)})
        return
    measures = list(next(iter(report.pipelines.values())))
    columns = [f"n = {report.n}", *report.pipelines]
    rows = [(key, *(_number(key, scores[key]) for scores in report.pipelines.values())) for key in measures]
    print_table(folder.name, columns, rows, right=columns[1:])
    _print_ingest(ingest)
    console().print(f"peak memory {report.peak_memory_mib:.0f} MiB; plot: {picture}", markup=False)


@app.command("answers")
def answers(
    context: typer.Context,
    folder: FolderArgument,
    recipe: RecipeOption = None,
    fresh: FreshOption = False,
    generator: Annotated[str, typer.Option("--generator", "-g", help="Who writes.")] = "extractive",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score answers: exact match, F1, share answered, share refused where there is no answer, share citing gold."""
    with failures_explained(as_json=as_json):
        from api.evaluation.answers import evaluate_answers

        corpus, loaded, service, workspace, _ = _prepare(
            settings_of(context, home=home), folder, recipe, fresh=fresh, quiet=as_json
        )
        with progress("answering", total=len(corpus.questions), quiet=as_json) as bar:
            report = evaluate_answers(
                corpus, service, workspace, k=loaded.k_answer, generator=generator, on_question=bar.advance
            )
        service.close()
    if as_json:
        print_json(report.as_json())
    else:
        print_table(folder.name, ("measure", "value"), list(report.as_json().items()), right=("value",))


@app.command("links")
def links(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts that the stated links are dealt into.")] = 5,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="How many of them are held out, each with a training of its own.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the parts and of the trainings.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score link prediction on a workspace's own graph: held-out links are ranked by a model trained without them.

    With a link all mentions of its ends together are held out. The model in use is not touched.
    """
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        with progress("training and ranking", total=min(folds, rounds), quiet=as_json) as bar:
            found = service.completion.evaluate(
                settings.workspace, n_folds=folds, n_rounds=rounds, seed=seed, on_fold=bar.advance
            )
        service.close()
    if as_json:
        print_json(found.to_mapping())
        return
    columns = ("ranked by", "MRR", "Hits@1", "Hits@3", "Hits@10")
    rows = [
        (arm, *(f"{100 * value:.1f}" for value in (one.mrr, one.hits_1, one.hits_3, one.hits_10)))
        for arm, one in found.arms.items()
    ]
    print_table(found.name, columns, rows, right=columns[1:])
    n_questions = next(iter(found.arms.values())).n
    said = (
        f"{n_questions} questions about {n_questions // 2} of {found.n_stated} stated links, held out in "
        f"{found.n_rounds} of {found.n_folds} folds; {found.n_entities} entities; {found.seconds:.1f} s"
    )
    console().print(said, markup=False)
    if found.expected is not None and found.right is not None:
        chance = f"best candidates: right in {found.right:.0%}, expected by their probabilities in {found.expected:.0%}"
        console().print(chance, markup=False)


def _prepare(
    settings: Settings, folder: Path, recipe_file: Path | None, *, fresh: bool, quiet: bool
) -> tuple[EvaluationFolder, Recipe, Service, str, IngestReport]:
    from api.evaluation.corpus import evaluation_service, ingest_corpus
    from api.evaluation.dataset import read_folder
    from api.evaluation.recipe import load_recipe

    recipe = load_recipe(recipe_file)
    corpus = read_folder(folder)
    service, workspace = evaluation_service(
        settings, folder, retrieval=recipe.retrieval, rerank=recipe.rerank, fresh=fresh
    )
    with progress("ingesting", quiet=quiet) as bar:
        report = ingest_corpus(
            service,
            workspace,
            corpus,
            on_total=bar.set_total,
            on_outcome=lambda outcome: bar.advance(outcome.name),
        )
    return corpus, recipe, service, workspace, report


def _ingest_summary(report: IngestReport) -> dict[str, object]:
    from kg.types import IngestStatus

    counts = {str(status): sum(o.status is status for o in report.outcomes) for status in IngestStatus}
    failures = [{"name": o.name, "message": o.message} for o in report.outcomes if o.status is IngestStatus.FAILED]
    return {"seconds": round(report.seconds, 2), **counts, "failures": failures}


def _print_ingest(report: IngestReport) -> None:
    summary = _ingest_summary(report)
    counts = ", ".join(f"{summary[key]} {key}" for key in ("added", "replaced", "unchanged", "failed"))
    console().print(f"corpus: {counts} in {report.seconds:.1f} s", markup=False)


def _number(key: str, value: float) -> str:
    return f"{value:.1f}" if key.endswith("_ms") else f"{value:.3f}"
