"""``mmkg ask`` and ``mmkg search``: what a workspace knows.

Layer: ``api.cli``.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.asking import (
    DecomposeOption,
    DocumentOption,
    HistoryFileOption,
    HistoryOption,
    ModalityOption,
    RewriteOption,
    SinceOption,
    TimesOption,
    UntilOption,
    WhereOption,
    understanding_of,
)
from api.cli.explained import print_explanation
from api.cli.options import HomeOption, JsonOption, WorkspaceOption, service_of
from api.cli.output import console, failures_explained, print_json
from api.cli.refining import CandidatesOption, DiversityOption, GateOption, RerankOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.service import SearchResult
    from generation.events import AnswerEvent
    from generation.types import Answer

__all__ = ["ask", "search"]

SNIPPET_CHARACTERS = 240

KOption = Annotated[int | None, typer.Option("--k", help="How many pieces of evidence to find.", show_default=False)]
ModeOption = Annotated[
    str, typer.Option("--mode", help="How to search: auto, naive, local, global, hybrid, mix or bm25.")
]


ImageOption = Annotated[
    Path | None, typer.Option("--image", help="A picture to search by, beside the words.", show_default=False)
]
RouteOption = Annotated[
    str,
    typer.Option("--route", help="Who chooses the kinds that are searched first: off, rules, lm, moe or openai."),
]


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: ImageOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    k: KOption = None,
    mode: ModeOption = "auto",
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator", "-g", help="Who writes: extractive (default), lm, moe or openai.", show_default=False
        ),
    ] = None,
    document: DocumentOption = None,
    modality: ModalityOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    history: HistoryOption = None,
    history_file: HistoryFileOption = None,
    decompose: DecomposeOption = "auto",
    rewrite: RewriteOption = "rules",
    times: TimesOption = "auto",
    route: RouteOption = "off",
    rerank: RerankOption = None,
    candidates: CandidatesOption = None,
    diversity: DiversityOption = None,
    gate: GateOption = None,
    show_evidence: Annotated[bool, typer.Option("--show-evidence", "-e", help="Show the evidence first.")] = False,
    no_generate: Annotated[
        bool, typer.Option("--no-generate", help="Show the evidence only, write no answer.")
    ] = False,
    with_predictions: Annotated[
        bool,
        typer.Option("--with-predictions", help="Use open predictions too; what rests on one is marked as predicted."),
    ] = False,
    min_probability: Annotated[
        float,
        typer.Option("--min-probability", min=0, max=1, help="The least likelihood of a prediction that is used."),
    ] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Answer a question, with numbered citations that were checked against their source."""
    if no_generate:
        search(
            context,
            question,
            image,
            workspace=workspace,
            home=home,
            k=k,
            mode=mode,
            document=document,
            modality=modality,
            where=where,
            since=since,
            until=until,
            history=history,
            history_file=history_file,
            decompose=decompose,
            rewrite=rewrite,
            times=times,
            route=route,
            rerank=rerank,
            candidates=candidates,
            diversity=diversity,
            gate=gate,
            as_json=as_json,
        )
        return
    with failures_explained(as_json=as_json):
        from api.after_search import with_steps
        from api.pictures import picture_from_file
        from api.scope import scope_of

        service, settings = service_of(context, home=home, workspace=workspace)
        scope = scope_of(document or (), modality or (), where=where or (), since=since, until=until)
        understood = understanding_of(
            history=history, history_file=history_file, decompose=decompose, rewrite=rewrite, times=times, route=route
        )
        refinement = with_steps(
            understood, settings, rerank=rerank, candidates=candidates, diversity=diversity, gate=gate
        )
        events = service.ask_events(
            settings.workspace,
            question,
            image=picture_from_file(image, limit=settings.max_picture_bytes),
            k=k,
            mode=mode,
            generator=generator,
            scope=scope,
            refinement=refinement,
            min_probability=min_probability if with_predictions else None,
        )
        answer = _show_events(events, show_evidence=show_evidence, as_json=as_json)
        service.close()
    if as_json:
        from api.payloads import answer_payload

        print_json({**answer_payload(answer), "workspace": settings.workspace})


def _show_events(events: Iterator[SearchResult | AnswerEvent], *, show_evidence: bool, as_json: bool) -> Answer:
    """Show each stage as it comes; what a model writes is a draft, in grey, until its sentences were checked."""
    from api.service import SearchResult
    from generation.events import EventKind

    out = console()
    answer: Answer | None = None
    drafting = False
    for event in events:
        if isinstance(event, SearchResult):
            if show_evidence and not as_json:
                print_evidence(event, explain=False)
            continue
        answer = event.answer or answer
        if event.kind is EventKind.TOKEN and out.is_terminal and not as_json:
            drafting = True
            out.print(event.text, end="", style="dim", markup=False)
    if answer is None:  # pragma: no cover - the stream's contract
        raise RuntimeError("the stream of an answer ended without the answer")
    if not as_json:
        if drafting:
            out.print("\n")
        _print_answer(answer)
    return answer


def _print_answer(answer: Answer) -> None:
    from generation.render import render_references

    out = console()
    if answer.trace.question:
        out.print(f"read as: {answer.trace.question}", markup=False, style="dim", soft_wrap=True)
    if answer.short_answer:
        out.print(answer.short_answer + "\n", style="bold", markup=False)
    out.print(answer.text, markup=False, soft_wrap=True)
    if answer.citations:
        out.print("\n" + render_references(answer.citations), markup=False, soft_wrap=True)
    for note in answer.notes:
        out.print(f"\nnote: {note}", markup=False, style="dim", soft_wrap=True)


def search(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What to look for; may be empty with --image.")] = "",
    image: ImageOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    k: KOption = None,
    mode: ModeOption = "auto",
    document: DocumentOption = None,
    modality: ModalityOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    history: HistoryOption = None,
    history_file: HistoryFileOption = None,
    decompose: DecomposeOption = "auto",
    rewrite: RewriteOption = "rules",
    times: TimesOption = "auto",
    route: RouteOption = "off",
    rerank: RerankOption = None,
    candidates: CandidatesOption = None,
    diversity: DiversityOption = None,
    gate: GateOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show who found what, the ways through the graph to it, and the times.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the ways to the hits: .png, .svg, .pdf or .html.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the evidence for a question: rank, score, kind, source, page and snippet. Nothing is generated."""
    with failures_explained(as_json=as_json):
        from api.after_search import with_steps
        from api.explain import draw_explanation, explain_search, explanation_payload
        from api.pictures import picture_from_file
        from api.scope import scope_of
        from retrieval.types import Query

        service, settings = service_of(context, home=home, workspace=workspace)
        query = Query(text=question, image=picture_from_file(image, limit=settings.max_picture_bytes))
        scope = scope_of(document or (), modality or (), where=where or (), since=since, until=until)
        understood = understanding_of(
            history=history, history_file=history_file, decompose=decompose, rewrite=rewrite, times=times, route=route
        )
        refinement = with_steps(
            understood, settings, rerank=rerank, candidates=candidates, diversity=diversity, gate=gate
        )
        found = service.search(settings.workspace, query, k=k, mode=mode, scope=scope, refinement=refinement)
        wanted = explain or plot
        explanation = explain_search(service, settings.workspace, question, found, scope=scope) if wanted else None
        drawn = draw_explanation(explanation, plot, question=question) if explanation and plot else None
        service.close()
    if as_json:
        from api.payloads import search_payload

        body = search_payload(found, question=question)
        print_json(body if explanation is None else {**body, "explanation": explanation_payload(explanation)})
        return
    print_evidence(found, explain=explain)
    if explain and explanation is not None:
        print_explanation(found, explanation)
    if drawn is not None:
        console().print(f"drawn: {drawn.path} ({drawn.n_entities} nodes, {drawn.n_relations} edges)", markup=False)


def print_evidence(found: SearchResult, *, explain: bool) -> None:
    """Print evidence, one entry a paragraph; with ``explain`` also who found it and how long each stage took."""
    out = console()
    if found.trace.question:
        out.print(f"read as: {found.trace.question}", markup=False, style="dim", soft_wrap=True)
    verdict = found.trace.gate
    if verdict is not None:
        out.print(f"gate {verdict.gate}: {verdict.decision} ({verdict.reason})", markup=False, soft_wrap=True)
    if not found.evidence:
        out.print(verdict.reply if verdict is not None and verdict.reply else "Nothing was found.", markup=False)
        if explain:
            _print_notes(found)
        return
    for item in found.evidence:
        place = f"{item.document.name}, p. {item.chunk.page_first}" if item.document.is_paged else item.document.name
        out.print(f"{item.rank:>3}  {item.score:.3f}  {item.chunk.modality:<6} {place}", markup=False, style="bold")
        out.print(_indented(_snippet(item.chunk.text)), markup=False, soft_wrap=True)
    out.print("")
    if explain:
        stages = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in found.trace.stages)
        out.print(f"time: {stages}", markup=False, style="dim")
        _print_notes(found)


def _print_notes(found: SearchResult) -> None:
    for note in found.trace.notes:
        console().print(f"  {note}", markup=False, style="dim", soft_wrap=True)


def _snippet(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SNIPPET_CHARACTERS else words[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + " …"


def _indented(text: str) -> str:
    return textwrap.indent(textwrap.fill(text, max(40, console().width - 6), break_on_hyphens=False), " " * 5)
