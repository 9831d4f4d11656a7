"""``mmkg entities`` and ``mmkg contradictions``: which names are one thing, and what sources disagree about.

Layer: ``api.cli``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.curation import Curation, LinkView, SideView
    from kg.ports import Decision

__all__ = ["app", "contradictions"]

app = typer.Typer(help="Look at entities; merge, split, review, confirm, reject and undo.", no_args_is_help=True)

ByOption = Annotated[str, typer.Option("--by", help="Who says so; kept with the decision.", show_default=False)]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept with the decision.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ForceOption = Annotated[bool, typer.Option("--force", help="End earlier decisions that contradict this one.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="The most to show.")]
_T = TypeVar("_T")
_STATUSES = "automatic, review, confirmed, rejected or all"


def _with(context: typer.Context, options: dict[str, Any], as_json: bool, work: Callable[[Curation, str], _T]) -> _T:
    with failures_explained(as_json=as_json):
        service, settings = service_of(context, **options)
        try:
            return work(service.curation, settings.workspace)
        finally:
            service.close()


@app.command("list")
def list_entities(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only those called this, or nearly so.")] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List entities, the most mentioned first."""
    from api.curation_payloads import entity_payload

    options = {"home": home, "workspace": workspace}
    found = _with(context, options, as_json, lambda curation, w: curation.entities(w, name=name, limit=limit))
    if as_json:
        print_json([entity_payload(one) for one in found])
        return
    columns = ("id", "name", "type", "other names", "mentions", "documents")
    rows = [(o.entity_id, o.name, o.type, ", ".join(o.aliases[:5]), o.n_mentions, o.n_documents) for o in found]
    print_table("", columns, rows, right=columns[4:])


@app.command("show")
def show(
    context: typer.Context,
    entity: Annotated[str, typer.Argument(help="Its id or name.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an entity, with what each source says of it kept apart."""
    from api.curation_payloads import view_payload

    view = _with(context, {"home": home, "workspace": workspace}, as_json, lambda c, w: c.show(w, entity))
    if as_json:
        print_json(view_payload(view))
        return
    found, out = view.entity, console()
    out.print(f"{found.name} ({found.type}, {found.entity_id})", markup=False)
    out.print(f"{found.n_mentions} mentions in {found.n_documents} documents", markup=False)
    print_table(
        "Names", ("sense", "names", "documents"), [(s.sense_id, ", ".join(s.names), s.n_documents) for s in view.senses]
    )
    for source in view.sources:
        uses = ", ".join(f"{name} ({label}) ×{n}" for (name, label), n in source.contribution.uses.items() if name)
        out.print(f"{source.document.name}: {uses}", markup=False, soft_wrap=True)
        for statement in source.statements:
            out.print(f"    {statement}", markup=False, soft_wrap=True)
    if view.links:
        rows = [(o.left_id, o.right_id, f"{o.score:.2f}", o.status, "; ".join(o.reasons)) for o in view.links]
        print_table("Links", ("left", "right", "score", "status", "reasons"), rows)


@app.command("review")
def review(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    status: Annotated[str, typer.Option("--status", help=f"Which links: {_STATUSES}.")] = "review",
    limit: LimitOption = 50,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Walk through pairs of names that may be one thing; on a terminal, each pair is asked about."""
    from api.curation_payloads import link_view_payload
    from kg.errors import InputError
    from kg.ports import LinkStatus

    def work(curation: Curation, name: str) -> list[LinkView]:
        if status != "all" and status not in set(LinkStatus):
            raise InputError(f"There is no status {status!r}; known are {_STATUSES}.")
        wanted = None if status == "all" else LinkStatus(status)
        found = curation.links(name, status=wanted, limit=limit)
        if not as_json:
            _walk(curation, name, found, by=by, may_ask=status == "review" and sys.stdin.isatty())
        return found

    found = _with(context, {"home": home, "workspace": workspace}, as_json, work)
    if as_json:
        print_json([link_view_payload(one) for one in found])


def _walk(curation: Curation, workspace: str, found: list[LinkView], *, by: str, may_ask: bool) -> None:
    out = console()
    if not found:
        out.print("There is no such pair.")
    for view in found:
        out.print(f"{view.link.score:.2f} {view.link.status}: {'; '.join(view.link.reasons)}", markup=False)
        for side in (view.left, view.right):
            _print_side(side)
        if may_ask:
            answer = typer.prompt("Are they the same? [y]es, [n]o, [s]kip, [q]uit", default="s", show_default=False)
            if answer.lower().startswith("q"):
                return
            decide = {"y": curation.confirm, "n": curation.reject}.get(answer.lower()[:1])
            if decide is not None:
                _print_decisions([decide(workspace, view.link.left_id, view.link.right_id, by=by)])


def _print_side(side: SideView) -> None:
    out = console()
    answer = f" = {side.value}" if side.value else ""
    names = f" ({', '.join(side.names)})" if len(side.names) > 1 else ""
    out.print(f"  {side.name}{names}{answer}  {side.type}  {side.id}", markup=False, soft_wrap=True)
    for quote in side.quotes:
        out.print(f"      {quote.document}, page {quote.page}: {quote.sentence}", markup=False, soft_wrap=True)


@app.command("merge")
def merge(
    context: typer.Context,
    left: Annotated[str, typer.Argument(help="An entity's id or name.")],
    right: Annotated[str, typer.Argument(help="Another's.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    by: ByOption = "",
    note: NoteOption = "",
    force: ForceOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that two entities are one thing. The decision outlives documents, and can be undone."""

    def work(curation: Curation, name: str) -> list[Decision]:
        first, second = curation.find(name, left), curation.find(name, right)
        _ask(f"Merge {first.name} ({first.entity_id}) and {second.name} ({second.entity_id})?", yes or as_json)
        return [curation.merge(name, first.entity_id, second.entity_id, by=by, note=note, force=force)]

    _report(_with(context, {"home": home, "workspace": workspace}, as_json, work), as_json=as_json)


@app.command("split")
def split(
    context: typer.Context,
    entity: Annotated[str, typer.Argument(help="The entity's id or name.")],
    names: Annotated[list[str] | None, typer.Argument(help="Names of it that mean something else.")] = None,
    documents: Annotated[
        list[str] | None, typer.Option("--document", "-d", help="A document in which it is something else; may repeat.")
    ] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    by: ByOption = "",
    note: NoteOption = "",
    force: ForceOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Part an entity: some of its names, or what it is in some documents, is another thing."""

    def work(curation: Curation, name: str) -> list[Decision]:
        found = curation.find(name, entity)
        _ask(f"Split {found.name} ({found.entity_id})?", yes or as_json)
        return curation.split(
            name, found.entity_id, names=names or (), documents=documents or (), by=by, note=note, force=force
        )

    _report(_with(context, {"home": home, "workspace": workspace}, as_json, work), as_json=as_json)


@app.command("confirm")
def confirm(
    context: typer.Context,
    left: Annotated[str, typer.Argument(help="The id of one side, as `review` shows it.")],
    right: Annotated[str, typer.Argument(help="The id of the other.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    by: ByOption = "",
    note: NoteOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say that both sides of a link are one thing."""
    options = {"home": home, "workspace": workspace}
    taken = _with(context, options, as_json, lambda c, w: c.confirm(w, left, right, by=by, note=note))
    _report([taken], as_json=as_json)


@app.command("reject")
def reject(
    context: typer.Context,
    left: Annotated[str, typer.Argument(help="The id of one side, as `review` shows it.")],
    right: Annotated[str, typer.Argument(help="The id of the other.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    by: ByOption = "",
    note: NoteOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say that the sides of a link are different things."""
    options = {"home": home, "workspace": workspace}
    taken = _with(context, options, as_json, lambda c, w: c.reject(w, left, right, by=by, note=note))
    _report([taken], as_json=as_json)


@app.command("undo")
def undo(
    context: typer.Context,
    decision: Annotated[int, typer.Argument(help="Its number, as `history` shows it.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a decision back; the graph is then as if it had never been taken."""
    options = {"home": home, "workspace": workspace}
    _report([_with(context, options, as_json, lambda c, w: c.undo(w, decision))], as_json=as_json)


@app.command("history")
def history(
    context: typer.Context, workspace: WorkspaceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """List every decision ever taken, those that were undone included."""
    taken = _with(context, {"home": home, "workspace": workspace}, as_json, lambda c, w: c.history(w))
    _report(taken, as_json=as_json)


def contradictions(
    context: typer.Context,
    entity: Annotated[str | None, typer.Argument(help="Only about this entity (id or name).")] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what sources contradict each other about: both sides with document, page and sentence."""
    from api.curation_payloads import contradiction_payload

    options = {"home": home, "workspace": workspace}
    found = _with(context, options, as_json, lambda c, w: c.contradictions(w, reference=entity))
    if as_json:
        print_json([contradiction_payload(one) for one in found])
        return
    if not found:
        console().print("No contradiction was found.")
    for view in found:
        ends = (view.name, "?") if view.fixed == "head" else ("?", view.name)
        console().print(f"{ends[0]} | {view.relation} | {ends[1]}", markup=False)
        for side in view.sides:
            _print_side(side)


def _ask(question: str, is_agreed: bool) -> None:
    if not is_agreed and sys.stdin.isatty():
        typer.confirm(question, abort=True)


def _report(taken: list[Decision], *, as_json: bool) -> None:
    from api.curation_payloads import decision_payload

    if as_json:
        print_json([decision_payload(one) for one in taken])
    else:
        _print_decisions(taken)


def _print_decisions(taken: list[Decision]) -> None:
    columns = ("decision", "kind", "left", "right", "documents", "by", "at", "undone", "note")
    rows = [
        (o.decision_id, o.kind, o.left_id, o.right_id, len(o.left_sources), o.by, o.at, o.undone_at, o.note)
        for o in taken
    ]
    print_table("", columns, rows, right=("decision", "documents"))
