"""The routes of a workspace's entities: list, show, links, decisions, contradictions.

Layer: ``api.routes``. Handlers are plain functions: FastAPI runs them in its thread pool; the service is thread-safe.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.curation import Curation
from api.curation_payloads import (
    contradiction_payload,
    decision_payload,
    entity_payload,
    link_view_payload,
    view_payload,
)
from kg.ports import LinkStatus

__all__ = ["entity_router"]

Limit = Annotated[int, Query(ge=1, le=1000, description="The most to return.")]


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="", max_length=200, description="Who says so.")
    note: str = Field(default="", max_length=2000, description="Why.")


class MergeRequest(_Word):
    """Two entities that are one thing."""

    left: str = Field(min_length=1, description="An entity's id or name.")
    right: str = Field(min_length=1, description="Another's.")
    force: bool = Field(default=False, description="End the decisions that contradict it.")


class SplitRequest(_Word):
    """An entity to part, by names or by documents."""

    entity: str = Field(min_length=1, description="Its id or name.")
    names: list[str] = Field(default_factory=list, description="Names of it that mean something else.")
    documents: list[str] = Field(default_factory=list, description="Documents in which it is something else.")
    force: bool = Field(default=False, description="End the decisions that contradict it.")


class PairRequest(_Word):
    """Both sides of a link."""

    left_id: str = Field(min_length=1)
    right_id: str = Field(min_length=1)


def entity_router(curation: Curation) -> APIRouter:
    """Return the routes under ``/workspaces/{workspace}/entities`` and ``…/contradictions``.

    :param curation: What does the work.
    :returns: A router to be included in the application.
    """
    router = APIRouter(prefix="/workspaces/{workspace}", tags=["entities"])
    _add_decisions(router, curation)
    _add_reads(router, curation)
    return router


def _add_reads(router: APIRouter, curation: Curation) -> None:
    @router.get("/entities", summary="List entities")
    def entities(workspace: str, name: str | None = None, limit: Limit = 50) -> list[dict[str, Any]]:
        """List the entities called ``name`` or nearly so, or else the most mentioned."""
        return [entity_payload(one) for one in curation.entities(workspace, name=name, limit=limit)]

    @router.get("/entities/{entity}", summary="Show an entity")
    def show(workspace: str, entity: str) -> dict[str, Any]:
        """Show an entity (id or name) with each source's contribution apart."""
        return view_payload(curation.show(workspace, entity))

    @router.get("/contradictions", summary="List contradictions")
    def contradictions(workspace: str, entity: str | None = None) -> list[dict[str, Any]]:
        """List what sources contradict each other about (an entity), with both sides."""
        return [contradiction_payload(one) for one in curation.contradictions(workspace, reference=entity)]


def _add_decisions(router: APIRouter, curation: Curation) -> None:
    @router.get("/entities/links", summary="List links")
    def links(workspace: str, status: LinkStatus = LinkStatus.REVIEW, limit: Limit = 50) -> list[dict[str, Any]]:
        """List links of one status; by default those that wait for a person's word."""
        return [link_view_payload(one) for one in curation.links(workspace, status=status, limit=limit)]

    @router.get("/entities/decisions", summary="List decisions")
    def history(workspace: str) -> list[dict[str, Any]]:
        """List every decision ever taken, in order."""
        return [decision_payload(one) for one in curation.history(workspace)]

    @router.post("/entities/merge", summary="Merge two entities")
    def merge(workspace: str, request: MergeRequest) -> dict[str, Any]:
        """Say that two entities are one thing."""
        return decision_payload(curation.merge(workspace, **request.model_dump()))

    @router.post("/entities/split", summary="Split an entity")
    def split(workspace: str, request: SplitRequest) -> list[dict[str, Any]]:
        """Part an entity, by names or by documents."""
        wanted = request.model_dump()
        return [decision_payload(one) for one in curation.split(workspace, wanted.pop("entity"), **wanted)]

    @router.post("/entities/confirm", summary="Confirm a link")
    def confirm(workspace: str, request: PairRequest) -> dict[str, Any]:
        """Say that both sides of a link are one thing."""
        return decision_payload(curation.confirm(workspace, **request.model_dump()))

    @router.post("/entities/reject", summary="Reject a link")
    def reject(workspace: str, request: PairRequest) -> dict[str, Any]:
        """Say that the sides of a link are different things."""
        return decision_payload(curation.reject(workspace, **request.model_dump()))

    @router.post("/entities/decisions/{decision_id}/undo", summary="Undo a decision")
    def undo(workspace: str, decision_id: int) -> dict[str, Any]:
        """Take a decision back."""
        return decision_payload(curation.undo(workspace, decision_id))
