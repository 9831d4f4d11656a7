"""``mmkg graph export``, ``import``, ``sync`` and ``status``: the graph as files, and its copy in a graph database.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, human_bytes, print_json, print_table, progress

__all__ = ["add_to", "export", "import_", "status", "sync"]

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="graphml, jsonld, ntriples, neo4j-csv or parquet; otherwise the name decides.",
        show_default=False,
    ),
]


def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, or the folder for neo4j-csv and parquet.")],
    format_name: FormatOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the graph for other programs, every statement with its document, page, span and quote."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import export_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        report = service.graph.export(settings.workspace, out, format_name=format_name)
        service.close()
        if as_json:
            print_json(export_payload(report))
            return
        counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
        text = f"Wrote {report.path} ({report.format}, {human_bytes(report.size_bytes)}): {counts}."
        console().print(text, markup=False, soft_wrap=True)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A graph: GraphML, JSON-LD, N-Triples, CSV or Parquet; or a folder.")],
    format_name: FormatOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read another program's graph, or an exported one, as a document `import:NAME` that `mmkg rm` takes out again."""
    with failures_explained(as_json=as_json):
        from dataclasses import asdict

        service, settings = service_of(context, home=home, workspace=workspace)
        outcome = service.graph.import_file(settings.workspace, file, format_name=format_name)
        service.close()
        if as_json:
            print_json({**asdict(outcome), "status": str(outcome.status), "seconds": round(outcome.seconds, 3)})
            return
        text = (
            f"{outcome.status} {outcome.source}: {outcome.n_triples} statements in {outcome.n_chunks} chunks "
            f"({outcome.seconds:.1f} s). `mmkg rm {outcome.source}` takes it out again."
        )
        console().print(text, markup=False, soft_wrap=True)
        if outcome.message:
            console(stderr=True).print(f"warning: {outcome.message}", markup=False, soft_wrap=True, style="yellow")


def sync(
    context: typer.Context,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the copy and make it anew.")] = False,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the copy in the graph database (settings neo4j) up to the record; a broken one is taken up again."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import sync_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        with progress("sending", quiet=as_json) as bar:
            report = service.graph.sync(
                settings.workspace, fresh=fresh, on_part=lambda _, rows: bar.advance(f"{rows} rows")
            )
        service.close()
        if as_json:
            print_json(sync_payload(report))
            return
        way = "made anew" if report.is_fresh else f"from version {report.from_version}"
        text = (
            f"The copy of {settings.workspace!r} is at version {report.version} ({way}): {report.n_rows} rows in "
            f"{report.n_parts} parts, {report.seconds:.1f} s."
        )
        console().print(text, markup=False, soft_wrap=True)


def status(
    context: typer.Context, workspace: WorkspaceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show how the copy in the graph database stands. Exit status 1 if it cannot be asked."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import status_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        found = service.graph.status(settings.workspace)
        service.close()
        if as_json:
            print_json(status_payload(found))
        else:
            rows = [
                ("database", found.uri),
                ("record's version", found.record_version),
                ("copy's version", "none" if found.copy_version is None else found.copy_version),
            ]
            if found.counts is not None:
                rows += [
                    ("entities", found.counts.n_entities),
                    ("relations", found.counts.n_relations),
                    ("statements", found.counts.n_statements),
                ]
            print_table("", ("what", "value"), rows)
            if found.error:
                console(stderr=True).print(found.error, markup=False, soft_wrap=True, style="red")
            elif not found.is_current:
                console().print("`mmkg graph sync` brings it up to the record.")
        if found.error:
            raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the group ``mmkg graph``."""
    app.command("export")(export)
    app.command("import")(import_)
    app.command("sync")(sync)
    app.command("status")(status)
