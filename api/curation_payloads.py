"""How entities, links, decisions and contradictions are written as JSON, for the command line and REST alike.

Layer: ``api``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from api.curation import ContradictionView, EntityView, LinkView, SideView
from kg.ports import Decision, EntityLink
from kg.types import Entity

__all__ = [
    "contradiction_payload",
    "decision_payload",
    "entity_payload",
    "link_payload",
    "link_view_payload",
    "view_payload",
]


def entity_payload(entity: Entity) -> dict[str, Any]:
    """Write an entity."""
    return {**asdict(entity), "aliases": list(entity.aliases)}


def link_payload(link: EntityLink) -> dict[str, Any]:
    """Write a link."""
    return {**asdict(link), "reasons": list(link.reasons), "status": str(link.status), "is_joined": link.is_joined}


def _side(side: SideView) -> dict[str, Any]:
    return {**asdict(side), "names": list(side.names), "quotes": [asdict(quote) for quote in side.quotes]}


def link_view_payload(view: LinkView) -> dict[str, Any]:
    """Write a link with its sides."""
    return {**link_payload(view.link), "left": _side(view.left), "right": _side(view.right)}


def decision_payload(decision: Decision) -> dict[str, Any]:
    """Write a decision."""
    sources = {key: list(getattr(decision, key)) for key in ("left_sources", "right_sources")}
    return {**asdict(decision), **sources, "kind": str(decision.kind), "is_active": decision.is_active}


def view_payload(view: EntityView) -> dict[str, Any]:
    """Write an entity with its senses, each source's contribution, and its links."""
    return {
        **entity_payload(view.entity),
        "senses": [{**asdict(sense), "names": list(sense.names)} for sense in view.senses],
        "sources": [
            {
                "document_id": source.document.document_id,
                "document": source.document.name,
                "n_mentions": source.contribution.n_mentions,
                "uses": [
                    {"name": name, "label": label, "n_mentions": count}
                    for (name, label), count in source.contribution.uses.items()
                    if name
                ],
                "statements": list(source.statements),
            }
            for source in view.sources
        ],
        "links": [link_payload(link) for link in view.links],
    }


def contradiction_payload(view: ContradictionView) -> dict[str, Any]:
    """Write a contradiction with both sides."""
    return {**asdict(view), "sides": [_side(side) for side in view.sides]}
