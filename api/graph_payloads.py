"""The graph as plain values: the one shape that ``mmkg graph … --json`` prints and REST returns.

Layer: ``api``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kg.ports import Statement
from kg.types import Entity

if TYPE_CHECKING:
    from api.graph_results import CommunityList, CopyStatus, Found, Neighbourhood, PathList
    from kg.graph.communities import CommunitySummary
    from kg.graph.exchange.registry import ExportReport
    from kg.graph.mirror import SyncReport
    from kg.graph.plot import PlotReport
    from kg.graph.views import GraphFigures, Hop, Ranked, RelationCount

__all__ = [
    "communities_payload",
    "export_payload",
    "figures_payload",
    "neighbours_payload",
    "path_payload",
    "plot_payload",
    "status_payload",
    "sync_payload",
]


def _entity(entity: Entity) -> dict[str, Any]:
    return {"id": entity.entity_id, "name": entity.name, "type": entity.type}


def _found(found: Found) -> dict[str, Any]:
    return {
        **_entity(found.entity),
        "aliases": list(found.entity.aliases),
        "n_mentions": found.entity.n_mentions,
        "n_documents": found.entity.n_documents,
        "others": [_entity(one) for one in found.others],
    }


def _statement(one: Statement | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "quote": " ".join(one.quote.split()),
        "document": one.document_name,
        "document_id": one.document_id,
        "page": one.page or None,
        "span": [one.start, one.end],
        "chunk_id": one.chunk_id,
        "asset": one.asset_id or None,
        "score": one.score,
        "level": str(one.level),
        "origin": str(one.origin),
    }


def _hop(hop: Hop) -> dict[str, Any]:
    relation = hop.relation
    return {
        "from": _entity(hop.start),
        "relation": relation.name,
        "direction": "out" if hop.is_forward else "in",
        "to": _entity(hop.end),
        "n_statements": relation.n_statements,
        "score": relation.score,
        "origin": str(relation.origin),
        "evidence": _statement(hop.evidence),
    }


def _ranked(values: tuple[Ranked, ...]) -> list[dict[str, Any]]:
    return [{**_entity(one.entity), "value": round(one.value, 6)} for one in values]


def _relations(values: tuple[RelationCount, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(one) for one in values]


def figures_payload(figures: GraphFigures) -> dict[str, Any]:
    """Return the figures of a graph as plain values.

    :param figures: What was measured.
    :returns: ``{"n_entities", "n_relations", …, "degrees": {"0": n, …}, "top_by_degree": […], …}``.
    """
    return {
        **dataclasses.asdict(figures.counts),
        "mean_degree": round(figures.mean_degree, 4),
        "degrees": {str(degree): count for degree, count in figures.degrees.items()},
        "n_components": figures.n_components,
        "n_largest_component": figures.n_largest_component,
        "n_isolated": figures.n_isolated,
        "share_isolated": round(figures.share_isolated, 4),
        "types": dict(figures.types),
        "relations": _relations(figures.relations),
        "top_by_degree": _ranked(figures.top_by_degree),
        "top_by_pagerank": _ranked(figures.top_by_pagerank),
    }


def neighbours_payload(near: Neighbourhood) -> dict[str, Any]:
    """Return the neighbours of an entity: ``{"entity": {…}, "neighbours": [{"relation", "direction", "to", …}]}``."""
    rows = [{**_hop(hop), "direction": str(one.direction)} for one, hop in zip(near.neighbours, near.hops, strict=True)]
    return {"entity": _found(near.found), "neighbours": rows}


def path_payload(paths: PathList) -> dict[str, Any]:
    """Return ways between two entities: ``{"start", "end", "n_hops", "paths": [[{"from", "relation", "to", …}]]}``."""
    return {
        "start": _found(paths.start),
        "end": _found(paths.end),
        "n_hops": len(paths.paths[0]) if paths.paths else None,
        "paths": [[_hop(hop) for hop in way] for way in paths.paths],
    }


def communities_payload(found: CommunityList) -> dict[str, Any]:
    """Return communities with what each is about.

    :param found: What was found.
    :returns: ``{"n_found", "n_entities", "n_outside", "communities": [{"number", "name", "size", "entities", …}]}``.
    """
    return {
        "n_found": found.n_found,
        "n_entities": found.n_entities,
        "n_outside": found.n_outside,
        "communities": [_community(one) for one in found.communities],
    }


def _community(summary: CommunitySummary) -> dict[str, Any]:
    community = summary.community
    return {
        "number": community.number,
        "level": community.level,
        "parent": community.parent,
        "name": summary.name,
        "size": len(community.entity_ids),
        "n_relations": community.n_relations,
        "n_relations_outside": community.n_relations_outside,
        "entities": _ranked(summary.entities),
        "relations": _relations(summary.relations),
        "sentences": [_statement(one) for one in summary.sentences],
        "entity_ids": list(community.entity_ids),
    }


def plot_payload(report: PlotReport) -> dict[str, Any]:
    """Return what was drawn."""
    return {**dataclasses.asdict(report), "path": str(report.path)}


def export_payload(report: ExportReport) -> dict[str, Any]:
    """Return what was written."""
    return {**dataclasses.asdict(report), "path": str(report.path)}


def sync_payload(report: SyncReport) -> dict[str, Any]:
    """Return what a sync did."""
    return {**dataclasses.asdict(report), "seconds": round(report.seconds, 3)}


def status_payload(status: CopyStatus) -> dict[str, Any]:
    """Return how the copy stands."""
    return {**dataclasses.asdict(status), "is_current": status.is_current}
