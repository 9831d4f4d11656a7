"""``mmkg ingest``, ``mmkg rm`` and ``mmkg info``: what is in a workspace.

Layer: ``api.cli``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, human_bytes, print_json, print_table, progress

if TYPE_CHECKING:
    from kg.types import IngestReport

__all__ = ["info", "ingest", "rm"]


def ingest(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, folders, glob patterns, archives, or http(s) addresses.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read documents and pictures into a workspace.

    Each file is one transaction: a file that fails is reported and leaves no trace, the others are in. Reading the same
    bytes again changes nothing; changed bytes replace the older document. Exit status 1 if any file failed.
    """
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, home=home, workspace=workspace)
        with progress("ingesting", quiet=quiet or as_json) as bar:
            report = service.ingest(
                settings.workspace,
                paths,
                on_total=bar.set_total,
                on_outcome=lambda outcome: bar.advance(outcome.name),
            )
        service.close()
    if as_json:
        from api.payloads import report_payload

        print_json(report_payload(report))
    else:
        _print_report(report, workspace=settings.workspace, quiet=quiet)
    if report.n_failed:
        raise typer.Exit(1)


def _print_report(report: IngestReport, *, workspace: str, quiet: bool) -> None:
    out = console()
    if not quiet:
        rows = [
            (o.name, o.status, o.n_pages, o.n_assets, o.n_chunks, o.n_mentions, o.n_triples, f"{o.seconds:.1f}")
            for o in report.outcomes
            if not o.message
        ]
        columns = ("file", "outcome", "pages", "pictures", "chunks", "mentions", "statements", "s")
        if rows:
            print_table("", columns, rows, right=columns[2:])
    for line in _messages(report, failures_only=quiet):
        out.print(line, markup=False, soft_wrap=True)
    if not quiet:
        kept = len(report.outcomes) - report.n_failed
        out.print(f"{kept} of {len(report.outcomes)} files are in workspace {workspace!r} ({report.seconds:.1f} s).")


def _messages(report: IngestReport, *, failures_only: bool) -> list[str]:
    """One line a file that has something to say; files with the same message, such as a full disk, share a line."""
    outcomes_of: dict[tuple[str, str], list[str]] = {}
    for outcome in report.outcomes:
        if outcome.message and (outcome.status == "failed" or not failures_only):
            outcomes_of.setdefault((outcome.status, outcome.message), []).append(outcome.name)
    lines = []
    for (status, message), names in outcomes_of.items():
        if len(names) > 1:
            lines.append(f"{status} {len(names)} files, {names[0]} to {names[-1]}: {message}")
        else:
            lines.append(f"{status} {message if message.startswith(names[0]) else f'{names[0]}: {message}'}")
    return lines


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
