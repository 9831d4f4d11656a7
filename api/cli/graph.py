"""``mmkg graph``: look at the graph, walk it and draw it. Its files and its copy are in :mod:`api.cli.graph_copies`.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import graph_copies
from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, print_json, print_table

if TYPE_CHECKING:
    from api.graph_results import CommunityList, Found
    from kg.graph.views import GraphFigures, Hop
    from kg.ports import Statement

__all__ = ["app"]

app = typer.Typer(
    help="The graph of a workspace: look, walk, draw, export, import, and copy to Neo4j.", no_args_is_help=True
)

StoreOption = Annotated[str, typer.Option("--store", help="Read the record, or its copy in the graph database: neo4j.")]


@app.command("stats")
def stats(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    top: Annotated[int, typer.Option("--top", min=1, max=1000, help="How many entities and relations to list.")] = 10,
    store: StoreOption = "record",
    as_json: JsonOption = False,
) -> None:
    """Show the shape of the graph: sizes, degrees, components, and what matters most in it."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import figures_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        figures = service.graph.figures(settings.workspace, top=top, store=store)
        service.close()
        if as_json:
            print_json(figures_payload(figures))
        else:
            _print_figures(figures)


def _print_figures(figures: GraphFigures) -> None:
    counts = figures.counts
    rows = [
        ("documents", counts.n_documents),
        ("entities", counts.n_entities),
        ("relations", counts.n_relations),
        ("statements", counts.n_statements),
        ("relations an entity (mean)", f"{figures.mean_degree:.2f}"),
        ("entities without relations", f"{figures.n_isolated} ({figures.share_isolated:.0%})"),
        ("components", figures.n_components),
        ("entities in the largest", figures.n_largest_component),
    ]
    print_table("", ("what", "value"), rows, right=("value",))
    ranks = zip(figures.top_by_degree, figures.top_by_pagerank, strict=False)
    top = [
        (by_degree.entity.name, int(by_degree.value), by_rank.entity.name, f"{by_rank.value:.4f}")
        for by_degree, by_rank in ranks
    ]
    if top:
        headings = ("most relations", "relations", "highest PageRank", "PageRank")
        print_table("", headings, top, right=("relations", "PageRank"))
    relations = [(one.name, one.n_relations, one.n_statements) for one in figures.relations]
    if relations:
        columns = ("relation", "pairs", "statements")
        print_table("", columns, relations, right=columns[1:])
    degrees = ", ".join(f"{degree}: {count}" for degree, count in figures.degrees.items())
    console().print(f"Entities by number of relations: {degrees or 'none'}", markup=False, soft_wrap=True)


@app.command("neighbours")
def neighbours(
    context: typer.Context,
    entity: Annotated[str, typer.Argument(help="An entity's name or id.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    relation: Annotated[
        list[str] | None, typer.Option("--relation", "-r", help="Only this relation (may be repeated).")
    ] = None,
    direction: Annotated[str, typer.Option("--direction", help="out, in or both.")] = "both",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The most relations to show.")] = 20,
    store: StoreOption = "record",
    as_json: JsonOption = False,
) -> None:
    """Show what an entity is related to, the best supported first, each with the sentence that says so."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import neighbours_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        near = service.graph.neighbours(
            settings.workspace, entity, names=relation or (), direction=direction, limit=limit, store=store
        )
        service.close()
        if as_json:
            print_json(neighbours_payload(near))
            return
        _print_found(near.found)
        for hop in near.hops:
            _print_hop(hop)
        if not near.hops:
            console().print("It has no such relations.")


@app.command("path")
def path(
    context: typer.Context,
    start: Annotated[str, typer.Argument(help="An entity's name or id.")],
    end: Annotated[str, typer.Argument(help="Another's.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    max_hops: Annotated[int, typer.Option("--max-hops", min=1, max=8, help="The most relations of a way.")] = 4,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The most ways to show.")] = 3,
    store: StoreOption = "record",
    as_json: JsonOption = False,
) -> None:
    """Show how two entities are connected: the shortest ways, with the sentence behind each step."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import path_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        paths = service.graph.path(settings.workspace, start, end, max_hops=max_hops, limit=limit, store=store)
        service.close()
        if as_json:
            print_json(path_payload(paths))
            return
        _print_found(paths.start)
        _print_found(paths.end)
        for number, way in enumerate(paths.paths, start=1):
            console().print(f"\n{number}. {len(way)} step{'s' if len(way) > 1 else ''}")
            for hop in way:
                _print_hop(hop)
        if not paths.paths:
            console().print(f"No way of at most {max_hops} relations leads from one to the other.")


@app.command("communities")
def communities(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    number: Annotated[int | None, typer.Option("--community", "-n", help="Only this one.", show_default=False)] = None,
    min_size: Annotated[int, typer.Option("--min-size", min=1, help="The fewest entities of one that is shown.")] = 3,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most communities to show.")] = 10,
    resolution: Annotated[float, typer.Option("--resolution", help="Above 1: more and smaller communities.")] = 1.0,
    max_size: Annotated[int, typer.Option("--max-size", min=2, help="Larger ones are split into a next level.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random numbers.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show groups of entities that belong together, and what each is about, in sentences of the documents."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import communities_payload
        from kg.graph.communities import CommunitySettings

        service, settings = service_of(context, home=home, workspace=workspace)
        found = service.graph.communities(
            settings.workspace,
            settings=CommunitySettings(resolution=resolution, max_size=max_size, seed=seed),
            min_size=min_size,
            limit=limit,
            number=number,
        )
        service.close()
        if as_json:
            print_json(communities_payload(found))
        else:
            _print_communities(found)


def _print_communities(found: CommunityList) -> None:
    out = console()
    for summary in found.communities:
        community = summary.community
        of = "" if community.parent is None else f", part of {community.parent}"
        head = f"\n{community.number}. {summary.name}"
        out.print(head, style="bold", markup=False, soft_wrap=True)
        sizes = f"   {len(community.entity_ids)} entities, {community.n_relations} relations{of}"
        relations = ", ".join(f"{one.name} ({one.n_statements})" for one in summary.relations)
        out.print(f"{sizes}: {relations}", markup=False, soft_wrap=True, style="dim")
        for sentence in summary.sentences:
            _print_quote(sentence)
    shown = len(found.communities)
    out.print(
        f"\n{shown} of {found.n_found} communities; {found.n_outside} of {found.n_entities} entities are related to no "
        "other and belong to none.",
        soft_wrap=True,
    )


@app.command("plot")
def plot(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to: .png, .svg, .pdf, or .html to move around in.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    entity: Annotated[str | None, typer.Option("--entity", "-e", help="Draw around it.", show_default=False)] = None,
    hops: Annotated[int, typer.Option("--hops", min=1, max=8, help="How far around it.")] = 2,
    community: Annotated[
        int | None, typer.Option("--community", "-n", help="Draw this community.", show_default=False)
    ] = None,
    max_nodes: Annotated[int, typer.Option("--max-nodes", min=1, max=2000, help="The most entities to draw.")] = 80,
    as_json: JsonOption = False,
) -> None:
    """Draw the surroundings of an entity, a community, or the best related part of the whole graph."""
    with failures_explained(as_json=as_json):
        from api.graph_payloads import plot_payload

        service, settings = service_of(context, home=home, workspace=workspace)
        report = service.graph.plot(
            settings.workspace, out, entity=entity, hops=hops, community=community, max_nodes=max_nodes
        )
        service.close()
        if as_json:
            print_json(plot_payload(report))
            return
        left = f"; {report.n_left_out} more were left out (--max-nodes)" if report.n_left_out else ""
        text = f"Drew {report.n_entities} entities and {report.n_relations} relations to {report.path}{left}."
        console().print(text, markup=False, soft_wrap=True)


def _print_found(found: Found) -> None:
    entity, out = found.entity, console()
    out.print(f"{entity.name} ({entity.type})", style="bold", markup=False, end="")
    also = f", also {', '.join(entity.aliases)}" if entity.aliases else ""
    out.print(f"  {entity.n_mentions} mentions in {entity.n_documents} documents{also}", markup=False, soft_wrap=True)
    if found.others:
        names = ", ".join(one.name for one in found.others)
        out.print(f"  (not: {names})", markup=False, style="dim", soft_wrap=True)


def _print_hop(hop: Hop) -> None:
    head, tail = (hop.start, hop.end) if hop.is_forward else (hop.end, hop.start)
    times = f" ({hop.relation.n_statements}×)" if hop.relation.n_statements > 1 else ""
    origin = "" if hop.relation.origin == "extracted" else f" [{hop.relation.origin}]"
    line = f"  {head.name} — {hop.relation.name} → {tail.name}{times}{origin}"
    console().print(line, markup=False, soft_wrap=True)
    if hop.evidence is not None:
        _print_quote(hop.evidence)


def _print_quote(statement: Statement) -> None:
    quote = " ".join(statement.quote.split())
    where = statement.document_name + (f", page {statement.page}" if statement.page else "")
    console().print(f"     “{quote}” ({where})", markup=False, soft_wrap=True, style="dim")


graph_copies.add_to(app)
