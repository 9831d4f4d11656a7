"""``mmkg jobs``: what became of ingests, and going on with those that did not end.

Layer: ``api.cli``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.completing import finish_job
from api.cli.ingesting import Interruptible, report_ingest, shown_progress
from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, print_json, print_table

if TYPE_CHECKING:
    from kg.jobs.model import Job

__all__ = ["app", "cancel", "dead", "forget", "list_jobs", "resume", "retry", "show"]

app = typer.Typer(help="Watch, cancel, resume and try again ingests, and predictions over a whole graph.")

COMPLETION = "complete"
"""The kind of the jobs of `mmkg complete --all` (``api.completion_jobs.KIND``, whose module loads more)."""
JobArgument = Annotated[str, typer.Argument(help="The job's id, or 'last'.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="The most rows.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first."""
    from api.payloads import job_payload

    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        rows = [
            job_payload(job, can_be_resumed=service.jobs.can_be_resumed(job))
            for job in service.jobs.recent(settings.workspace, limit=limit)
        ]
        service.close()
    if as_json:
        print_json({"jobs": rows})
        return
    columns = ("job", "state", "made", "files", "done", "failed", "dead", "left", "note")
    cells = [
        (
            row["job_id"],
            row["state"],
            row["created_at"],
            row["n_items"],
            row["counts"].get("done", 0),
            row["counts"].get("failed", 0),
            row["counts"].get("dead", 0),
            sum(row["counts"].get(state, 0) for state in ("pending", "running", "cancelled")),
            "can be resumed" if row["can_be_resumed"] else "",
        )
        for row in rows
    ]
    print_table("", columns, cells, right=columns[3:8])


@app.command("show")
def show(
    context: typer.Context,
    job: JobArgument = "last",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show a job: how it stands, and what became of its files."""
    from api.payloads import item_payload, job_payload

    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        found = service.jobs.get(settings.workspace, job)
        items = service.jobs.items(settings.workspace, found.job_id, limit=limit)
        described = job_payload(found, can_be_resumed=service.jobs.can_be_resumed(found))
        service.close()
    if as_json:
        print_json({**described, "items": [item_payload(item) for item in items]})
        return
    described["counts"] = ", ".join(f"{count} {state}" for state, count in described["counts"].items())
    print_table("", ("what", "value"), [(key, value) for key, value in described.items() if key != "request"])
    columns = ("file", "state", "attempts", "s", "message")
    rows = [(item.name, item.state, item.attempts, f"{item.seconds:.1f}", item.message) for item in items]
    print_table("", columns, rows, right=columns[2:4])


@app.command("dead")
def dead(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="The job's id, or 'last'; default: all jobs.")] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    limit: LimitOption = 200,
    as_json: JsonOption = False,
) -> None:
    """List the files that were given up, with the reason and what to do about it."""
    from api.payloads import item_payload
    from kg.jobs import ItemState

    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        jobs = service.jobs
        chosen = [jobs.get(settings.workspace, job)] if job else jobs.recent(settings.workspace, limit=1_000)
        letters = [
            {"job_id": one.job_id, **item_payload(item)}
            for one in chosen
            if one.counts.get(ItemState.DEAD)
            for item in jobs.items(settings.workspace, one.job_id, states=[ItemState.DEAD], limit=limit)
        ][:limit]
        service.close()
    if as_json:
        print_json({"dead": letters})
        return
    columns = ("job", "file", "code", "attempts", "message", "what to do")
    rows = [
        tuple(row[key] for key in ("job_id", "name", "error_code", "attempts", "message", "advice")) for row in letters
    ]
    if rows:
        print_table("", columns, rows, right=("attempts",))
    else:
        console().print("No file was given up.")


@app.command("resume")
def resume(
    context: typer.Context,
    job: JobArgument = "last",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a job where it stopped: killed, cancelled, or ended by a failure of the record."""
    _run(context, job, workspace=workspace, home=home, quiet=quiet, as_json=as_json, is_retry=False)


@app.command("retry")
def retry(
    context: typer.Context,
    job: JobArgument = "last",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try again what failed or was given up in a job."""
    _run(context, job, workspace=workspace, home=home, quiet=quiet, as_json=as_json, is_retry=True)


def _run(
    context: typer.Context,
    job: str,
    *,
    workspace: str | None,
    home: HomeOption,
    quiet: bool,
    as_json: bool,
    is_retry: bool,
) -> None:
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        name = settings.workspace
        found = service.jobs.retry(name, job) if is_retry else service.jobs.get(name, job)
        if found.kind == COMPLETION:
            finish_job(service, found, workspace=name, as_json=as_json)
            return
        n_left = found.n_items - found.counts.get("done", 0) - found.counts.get("dead", 0)  # type: ignore[call-overload]
        with (
            Interruptible(found.job_id, workspace=name) as wish,
            shown_progress(total=n_left, is_quiet=quiet or as_json) as shown,
        ):
            report = service.jobs.run(name, found.job_id, on_progress=shown, cancellation=wish)
        service.close()
    report_ingest(report, found.job_id, workspace=name, quiet=quiet, as_json=as_json)


@app.command("cancel")
def cancel(
    context: typer.Context,
    job: JobArgument = "last",
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a job to end after the file it is at, whatever process runs it; what is in the record stays."""
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        found = service.jobs.cancel(settings.workspace, job)
        service.close()
    _say(found, as_json=as_json, said="is asked to end" if found.is_cancel_asked else f"is {found.state}")


@app.command("forget")
def forget(
    context: typer.Context,
    job: JobArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the note of a job; documents that it brought in stay."""
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        found = service.jobs.forget(settings.workspace, job)
        service.close()
    _say(found, as_json=as_json, said="is forgotten")


def _say(job: Job, *, as_json: bool, said: str) -> None:
    if as_json:
        from api.payloads import job_payload

        print_json(job_payload(job, can_be_resumed=False))
    else:
        console().print(f"job {job.job_id} {said} ({time.strftime('%H:%M:%S')})", markup=False)
