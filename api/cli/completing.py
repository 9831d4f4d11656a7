"""``mmkg complete`` and ``mmkg predictions``: the links that a workspace expects, and a person's word on them.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from api.cli.ingesting import Interruptible
from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, print_json, print_table, progress, training_progress
from api.cli.predicted import print_prediction, print_result, print_views
from kg.jobs.model import ItemState

if TYPE_CHECKING:
    from api.completing import PredictionView
    from api.completion_jobs import CompletionReport
    from api.service import Service
    from kg.jobs.model import Job

__all__ = ["app", "complete", "finish_job"]

app = typer.Typer(help="List, show, accept, reject and reopen what was predicted; retrain.", no_args_is_help=True)

IdsArgument = Annotated[list[str], typer.Argument(help="Ids of predictions; `mmkg predictions list` shows them.")]
ByOption = Annotated[str, typer.Option("--by", help="Who says so; kept with the prediction.", show_default=False)]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept with the prediction.", show_default=False)]
_T = TypeVar("_T")
_STATUSES = "open, accepted, rejected or all"


def complete(
    context: typer.Context,
    entity: Annotated[
        str | None, typer.Argument(help="The entity on the left of the link (on the right with --tail).")
    ] = None,
    relation: Annotated[str | None, typer.Argument(help="The relation's name.")] = None,
    tail: Annotated[bool, typer.Option("--tail", help="ENTITY is the right end; predict the left one.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Predict over the whole graph, as a job, and keep what is likely enough.")
    ] = False,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0, max=1, help="With --all: the least likelihood of what is kept.")
    ] = 0.5,
    relations: Annotated[
        str | None,
        typer.Option("--relations", help="With --all: only these relations, parted by commas.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="With --all: the most to keep, the likeliest.", show_default=False),
    ] = None,
    per_entity: Annotated[
        int, typer.Option("--per-entity", min=1, help="With --all: the most tails of one head and relation.")
    ] = 3,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    k: Annotated[int, typer.Option("--k", help="How many predictions to list.", min=1)] = 10,
    why: Annotated[
        bool, typer.Option("--why", help="Say of each what the experts made of it, and by which rules.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep what is listed, as open predictions.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict the missing end of a link of the workspace's graph, or with --all all that is likely.

    A prediction is never stored or shown as a fact. What is kept is listed, accepted and rejected by
    `mmkg predictions`; what was rejected is not offered again.
    """
    if all_:
        chosen = [] if relations is None else [one.strip() for one in relations.split(",") if one.strip()]
        options = {"min_score": min_score, "relations": chosen, "limit": limit, "per_entity": per_entity}
        _complete_all(context, entity, options, home=home, workspace=workspace, as_json=as_json)
        return
    with failures_explained(as_json=as_json):
        if entity is None or relation is None:
            from kg.errors import InputError

            raise InputError("Name an entity and a relation, or predict over the whole graph with --all.")
        service, settings = service_of(context, home=home, workspace=workspace)
        head_name, tail_name = (None, entity) if tail else (entity, None)
        with training_progress(quiet=as_json) as tell:  # where the graph has changed
            result = service.completion.complete(
                settings.workspace,
                head=head_name,
                relation=relation,
                tail=tail_name,
                k=k,
                save=save,
                on_progress=tell,
            )
        service.close()
    if as_json:
        from api.completion_payloads import completion_payload

        print_json(completion_payload(result))
        return
    print_result(result, is_explained=why)


def _complete_all(
    context: typer.Context,
    entity: str | None,
    options: dict[str, Any],
    *,
    home: HomeOption,
    workspace: str | None,
    as_json: bool,
) -> None:
    with failures_explained(as_json=as_json):
        if entity is not None:
            from kg.errors import InputError

            raise InputError("--all predicts over the whole graph; leave out the entity, or leave out --all.")
        service, settings = service_of(context, home=home, workspace=workspace)
        name = settings.workspace
        with training_progress(quiet=as_json) as tell:  # where the graph has changed
            job = service.completion_jobs.create(name, **options, by="cli", on_progress=tell)
        finish_job(service, job, workspace=name, as_json=as_json)


def finish_job(service: Service, job: Job, *, workspace: str, as_json: bool) -> None:
    """Run a job that predicts over a whole graph to its end, show how it goes, and say what it did.

    :param service: What does the work; it is closed.
    :param job: The job.
    :param workspace: Its workspace.
    :param as_json: Print JSON.
    :raises typer.Exit: With status 130 if it was cancelled, else 1 if a relation failed.
    """
    with (
        Interruptible(job.job_id, workspace=workspace) as wish,
        progress("predicting", total=job.n_items - job.counts.get(ItemState.DONE, 0), quiet=as_json) as bar,
    ):
        report = service.completion_jobs.run(
            workspace, job.job_id, on_item=lambda item: bar.advance(item.name), cancellation=wish
        )
    service.close()
    _report(report, workspace=workspace, as_json=as_json)
    if report.is_cancelled:
        raise typer.Exit(130)
    if report.n_failed:
        raise typer.Exit(1)


def _report(report: CompletionReport, *, workspace: str, as_json: bool) -> None:
    if as_json:
        from api.completion_payloads import completion_report_payload

        print_json(completion_report_payload(report))
        return
    out = console()
    kept = f"{report.n_new} predictions are new, {report.n_refreshed} were refreshed"
    beyond = f", {report.n_beyond_limit} beyond the limit were dropped" if report.n_beyond_limit else ""
    out.print(f"{kept}{beyond} ({report.n_relations} relations, {report.seconds:.1f} s).", markup=False)
    if report.is_cancelled:
        out.print(f"cancelled: resume with `mmkg jobs resume {report.job_id} -w {workspace}`", markup=False)
    elif report.n_failed:
        out.print(
            f"{report.n_failed} relations failed; `mmkg jobs show {report.job_id} -w {workspace}` says why",
            markup=False,
        )
    else:
        out.print(f"look at them with `mmkg predictions list -w {workspace}`", markup=False)


def _with(context: typer.Context, options: dict[str, Any], as_json: bool, work: Callable[[Service, str], _T]) -> _T:
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, **options)
        try:
            return work(service, settings.workspace)
        finally:
            service.close()


@app.command("list")
def list_predictions(
    context: typer.Context,
    status: Annotated[str, typer.Option("--status", help=f"Which: {_STATUSES}.")] = "open",
    relation: Annotated[
        str | None, typer.Option("--relation", help="Only those of this relation.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most to show.")] = 50,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List kept predictions, the likeliest first."""
    from api.completion_payloads import prediction_payload
    from kg.errors import InputError
    from kg.ports import PredictionStatus

    def work(service: Service, name: str) -> list[PredictionView]:
        if status != "all" and status not in set(PredictionStatus):
            raise InputError(f"There is no status {status!r}; known are {_STATUSES}.")
        wanted = None if status == "all" else PredictionStatus(status)
        return service.completion.predictions(name, status=wanted, relation=relation)

    found = _with(context, {"home": home, "workspace": workspace}, as_json, work)
    if as_json:
        print_json({"predictions": [prediction_payload(one) for one in found[:limit]], "n": len(found)})
        return
    print_views(found[:limit], n_all=len(found))


@app.command("show")
def show(
    context: typer.Context,
    prediction: Annotated[str, typer.Argument(help="Its id.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a prediction with what speaks for it: experts, rules, paths, texts and pictures, as far as there are any."""
    from api.completion_payloads import prediction_payload

    options = {"home": home, "workspace": workspace}
    view = _with(context, options, as_json, lambda service, name: service.completion.show(name, prediction))
    body = prediction_payload(view, with_passages=True)
    if as_json:
        print_json(body)
        return
    print_prediction(f"{view.head} | {view.prediction.relation} | {view.tail}", body)


@app.command("accept")
def accept(
    context: typer.Context,
    predictions: IdsArgument,
    by: ByOption = "",
    note: NoteOption = "",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Assert predictions: each becomes a fact of a note of its own, which says by whom and when."""
    options = {"home": home, "workspace": workspace}
    _decide(context, "accept", predictions, options, as_json, by=by, note=note)


@app.command("reject")
def reject(
    context: typer.Context,
    predictions: IdsArgument,
    by: ByOption = "",
    note: NoteOption = "",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Never offer these links again, whatever is trained later."""
    options = {"home": home, "workspace": workspace}
    _decide(context, "reject", predictions, options, as_json, by=by, note=note)


@app.command("reopen")
def reopen(
    context: typer.Context,
    predictions: IdsArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a word back: rejected links may be offered again, accepted ones are asserted no more."""
    _decide(context, "reopen", predictions, {"home": home, "workspace": workspace}, as_json)


def _decide(
    context: typer.Context,
    word: Literal["accept", "reject", "reopen"],
    predictions: Sequence[str],
    options: dict[str, Any],
    as_json: bool,
    **said: str,
) -> None:
    """Say a person's word on predictions, and print what they are now."""
    from api.completion_payloads import prediction_payload

    def work(service: Service, name: str) -> list[PredictionView]:
        decide: Callable[..., list[PredictionView]] = getattr(service.completion, word)
        return decide(name, predictions, **said)

    found = _with(context, options, as_json, work)
    if as_json:
        print_json({"predictions": [prediction_payload(one) for one in found]})
    else:
        print_views(found)


@app.command("retrain")
def retrain(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Train even where the graph has not changed.")] = False,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on the graph as it is now, refresh open predictions, and say how far old facts moved."""
    options = {"home": home, "workspace": workspace}
    with training_progress(quiet=as_json) as tell:
        done = _with(
            context, options, as_json, lambda s, name: s.completion.retrain(name, is_forced=force, on_progress=tell)
        )
    if as_json:
        print_json(done.to_mapping())
        return
    out = console()
    out.print("trained" if done.was_trained else "the model is up to the graph; the last training:", markup=False)
    kept = f"{done.warm_start['n_entities_kept']} rows of the last model kept, " if done.warm_start else ""
    out.print(f"{kept}{done.n_refreshed} predictions refreshed, {done.n_dropped} dropped, {done.seconds:.1f} s")
    rows = [
        (
            kind,
            moved["n"],
            f"{moved['mrr_before']:.3f} → {moved['mrr_after']:.3f}",
            f"{moved['probability_before']:.3f} → {moved['probability_after']:.3f}",
            moved["n_better"],
            moved["n_worse"],
        )
        for kind, moved in done.drift.items()
        if moved["n"]
    ]
    if rows:
        columns = ("links", "n", "MRR", "mean probability", "better", "worse")
        print_table("how links moved", columns, rows, right=("n", "better", "worse"))
    elif done.was_trained:
        out.print("there was no model before that could be read, so nothing says how links moved", markup=False)
