"""Explain what a search found: the ways through the graph from what the question names, as values and as a picture.

Layer: ``api``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.scope import Scope, filter_of
from api.service import SearchResult, Service
from kg.errors import InputError
from retrieval.paths import Explanation, explain_hits

if TYPE_CHECKING:
    from kg.graph.plot import PlotReport

__all__ = ["draw_explanation", "explain_search", "explanation_payload"]

_NODES_DRAWN = 60


def explain_search(
    service: Service, workspace: str, question: str, found: SearchResult, *, scope: Scope | None = None, limit: int = 3
) -> Explanation:
    """Find the ways from the question's entities to each hit.

    :param service: The service.
    :param workspace: The workspace that was searched.
    :param question: What was asked in words; a picture's words name nothing here.
    :param found: What was found.
    :param scope: What the search could see: nothing else is shown.
    :param limit: The most ways to each hit.
    :returns: The ways.
    """
    opened = service.workspaces.get(workspace, create=False)
    asked = found.trace.question or question
    named = opened.engine.entities_of(asked) if asked.strip() else []
    within = filter_of(scope, opened.store.documents(), workspace=workspace)
    selection = opened.retriever.select(within)
    if selection is None:
        return explain_hits(opened.store, named, found.evidence, limit=limit)
    return explain_hits(
        opened.store,
        named,
        found.evidence,
        limit=limit,
        allowed=selection.chunk_ids,
        document_ids=sorted(selection.document_ids),
    )


def draw_explanation(explanation: Explanation, out: Path, *, question: str) -> PlotReport:
    """Draw the ways to the hits.

    :param explanation: The ways.
    :param out: Where to: ``.png``, ``.svg``, ``.pdf`` or ``.html``.
    :param question: The line over the picture.
    :returns: What was drawn.
    :raises InputError: If no way leads to any hit.
    """
    from kg.graph.picture import choose
    from kg.graph.plot import plot

    nodes, edges = explanation.drawn()
    if not edges:
        raise InputError("--plot: no way leads from what the question names to a hit, so there is nothing to draw.")
    focus = frozenset(entity.entity_id for entity in explanation.entities)
    return plot(choose(nodes, edges, title=question, max_nodes=_NODES_DRAWN, focus=focus), out)


def explanation_payload(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as plain values.

    :param explanation: The ways.
    :returns: ``{"entities": [{"entity_id", "name", "type"}], "paths": [{"chunk_id", "ways": [[{"start", "start_id",
        "relation", "end", "end_id", "is_forward"}]]}]}``.
    """
    names = explanation.names
    return {
        "entities": [{"entity_id": one.entity_id, "name": one.name, "type": one.type} for one in explanation.entities],
        "paths": [
            {
                "chunk_id": chunk_id,
                "ways": [
                    [
                        {
                            "start": names[step.start],
                            "start_id": step.start,
                            "relation": step.name,
                            "end": names[step.end],
                            "end_id": step.end,
                            "is_forward": step.is_forward,
                        }
                        for step in way
                    ]
                    for way in ways
                ],
            }
            for chunk_id, ways in explanation.ways.items()
        ],
    }
