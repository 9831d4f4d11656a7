"""``mmkg ingest``, ``mmkg rm`` and ``mmkg info``: what is in a workspace.

Layer: ``api.cli``.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.ingesting import Interruptible, report_ingest, shown_progress
from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, human_bytes, print_json, print_table, progress

__all__ = ["info", "ingest", "reindex", "rm"]


def ingest(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, folders, glob patterns, archives, or http(s) addresses.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=0, max=64, help="Threads that parse files [setting ingest.workers]."),
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="One file after the other, without overlapping stages.")
    ] = False,
    captioner: Annotated[
        str | None,
        typer.Option(
            "--captioner",
            help="What describes pictures: ocr, openai, cascade, hf:ORG/NAME@REVISION or a folder "
            "[env MMKG_VISION__CAPTIONER; default: ocr].",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read documents and pictures into a workspace.

    Each file is one transaction: a file that fails is reported and leaves no trace, the others are in. Reading the same
    bytes again changes nothing; changed bytes replace the older document. Exit status 1 if any file failed.

    An ingest is a job: Ctrl-C ends it after the file at hand (exit status 130), and `mmkg jobs resume` goes on with it,
    also after the process was killed.
    """
    config = {} if jobs is None else {"workers": jobs}
    if sequential:
        config = {"workers": 0}
    with failures_explained(as_json=as_json):
        vision = {"captioner": captioner} if captioner else None
        service, settings = service_of(context, home=home, workspace=workspace, vision=vision)
        stoppable = Interruptible(workspace=settings.workspace)
        with stoppable as wish, shown_progress(is_quiet=quiet or as_json) as shown:
            made: list[str] = []
            report = service.ingest(
                settings.workspace,
                paths,
                on_job=lambda job: made.append(job.job_id),
                on_progress=shown,
                cancellation=wish,
                config=config,
            )
        service.close()
    report_ingest(report, made[0], workspace=settings.workspace, quiet=quiet, as_json=as_json)


def rm(
    context: typer.Context,
    documents: Annotated[list[str], typer.Argument(help="Ids, names or paths of documents.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete documents and every trace of them from a workspace; if one of them is not there, none is deleted."""
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        found = [service.find_document(settings.workspace, document) for document in documents]
        ids = dict.fromkeys(info.document_id for info in found)
        removed = [service.remove(settings.workspace, document_id) for document_id in ids]
        service.close()
    if as_json:
        print_json({"removed": [{"document_id": info.document_id, "name": info.name} for info in removed]})
        return
    for info in removed:
        console().print(f"removed {info.name} ({info.document_id})", markup=False)


def info(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    documents: Annotated[bool, typer.Option("--documents", "-d", help="List the documents as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is in a workspace, or which workspaces there are."""
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        names = service.workspaces.names()
        if workspace is None and settings.workspace not in names:
            described: dict[str, Any] = {"home": str(settings.home), "workspaces": names}
            listed = []
        else:
            described = {**service.information(settings.workspace), "workspaces": names}
            listed = service.documents(settings.workspace) if documents else []
        service.close()
    if as_json:
        from api.payloads import document_payload

        shown = [document_payload(row) for row in listed]
        print_json({**described, **({"documents_list": shown} if documents else {})})
        return
    if "size_bytes" in described:
        described["size_bytes"] = human_bytes(described["size_bytes"])
    described["workspaces"] = ", ".join(names) or "none yet"
    print_table("", ("what", "value"), list(described.items()))
    if listed:
        rows = [(i.document_id, i.name, i.media_type, i.n_pages, i.n_chunks, i.n_assets, i.added_at) for i in listed]
        print_table("", ("id", "name", "type", "pages", "chunks", "pictures", "added"), rows)


def reindex(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Make every vector anew: the model behind a server was changed.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Then delete the vectors of all other encoders.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the vectors that the encoder in use lacks, as after a change of encoder; run again, it goes on."""
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        done = 0
        with progress("encode", quiet=as_json) as bar:

            def shown(n_done: int, total: int) -> None:
                nonlocal done
                bar.set_total(total)
                bar.advance(steps=n_done - done)
                done = n_done

            result = service.reindex(settings.workspace, everything=everything, prune=prune, on_progress=shown)
        service.close()
    if as_json:
        from dataclasses import asdict

        print_json({"workspace": settings.workspace, **asdict(result)})
        return
    console().print(
        f"{result.n_encoded} chunks of workspace {settings.workspace!r} were encoded; {result.n_vectors} vectors are "
        f"of this encoder, {result.n_others} of others, {result.n_pruned} were deleted. "
        f"{result.n_pictures_encoded} vectors of pictures were made; there are {result.n_picture_vectors}.",
        markup=False,
    )
