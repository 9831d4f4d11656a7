"""The graph of a workspace over REST.

Layer: ``api``.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.graph_payloads import communities_payload, figures_payload, neighbours_payload, path_payload
from api.service import Service

__all__ = ["graph_router"]

Limit = Annotated[int, Query(ge=1, le=1000)]


def graph_router(service: Service) -> APIRouter:
    """Return the routes under ``/workspaces/{workspace}/graph``.

    :param service: What does the work.
    :returns: A router to be included in the application.
    """
    router = APIRouter(prefix="/workspaces/{workspace}/graph", tags=["graph"])

    @router.get("/stats", summary="Measure the graph")
    def stats(workspace: str, top: Limit = 10) -> dict[str, Any]:
        """Return sizes, degrees, components, and what matters most."""
        return figures_payload(service.graph.figures(workspace, top=top))

    @router.get("/communities", summary="Find communities")
    def communities(workspace: str, min_size: Limit = 3, limit: Limit = 20) -> dict[str, Any]:
        """Find groups of entities that belong together, each with the sentences that say what it is about."""
        return communities_payload(service.graph.communities(workspace, min_size=min_size, limit=limit))

    @router.get("/path", summary="Connect two entities")
    def path(
        workspace: str,
        start: str,
        end: str,
        max_hops: Annotated[int, Query(ge=1, le=8)] = 4,
        limit: Annotated[int, Query(ge=1, le=100)] = 3,
    ) -> dict[str, Any]:
        """Find the shortest ways between two entities, with the sentence behind each step."""
        return path_payload(service.graph.path(workspace, start, end, max_hops=max_hops, limit=limit))

    @router.get("/entities/{entity}/neighbours", summary="List an entity's relations")
    def neighbours(
        workspace: str,
        entity: str,
        relation: Annotated[list[str] | None, Query()] = None,
        direction: str = "both",
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """List what an entity (by name or id) is related to, the best supported first, each with its best sentence."""
        return neighbours_payload(
            service.graph.neighbours(workspace, entity, names=relation or (), direction=direction, limit=limit)
        )

    return router
