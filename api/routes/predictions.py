"""The routes of predicted links: ask for them, list them, and say which hold.

Layer: ``api.routes``. Handlers are plain functions: FastAPI runs them in its thread pool; the service is thread-safe.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.background import BackgroundJobs
from api.completion_payloads import completion_payload, prediction_payload
from api.payloads import job_payload
from api.prediction_schemas import (
    CompleteAllRequest,
    CompleteRequest,
    CompleteResponse,
    DecisionRequest,
    KeptPredictionOut,
    PredictionsOut,
    RejectLinkRequest,
    RetrainedOut,
    RetrainRequest,
)
from api.schemas import JobOut
from api.service import Service
from kg.ports import PredictionStatus

__all__ = ["prediction_router"]


def prediction_router(service: Service, background: BackgroundJobs) -> APIRouter:
    """Return the routes under ``/workspaces/{workspace}/complete`` and ``…/predictions``.

    :param service: What does the work.
    :param background: What runs jobs behind the requests.
    :returns: A router to be included in the application.
    """
    router = APIRouter(prefix="/workspaces/{workspace}", tags=["predictions"])
    _add_predicting(router, service, background)
    _add_looking(router, service)
    _add_deciding(router, service)
    return router


def _add_predicting(router: APIRouter, service: Service, background: BackgroundJobs) -> None:
    @router.post("/complete", response_model=CompleteResponse, summary="Predict links")
    def complete(workspace: str, request: CompleteRequest) -> dict[str, Any]:
        """Predict the missing end of a link. Nothing predicted is ever stored as a fact."""
        result = service.complete(
            workspace, head=request.head, relation=request.relation, tail=request.tail, k=request.k, save=request.save
        )
        return completion_payload(result)

    @router.post("/complete/all", response_model=JobOut, status_code=202, summary="Predict over the whole graph")
    def complete_all(workspace: str, request: CompleteAllRequest, response: Response) -> dict[str, Any]:
        """Queue a job and return at once; ``Location`` says where to look how it stands."""
        background.require_room(workspace)
        job = service.completion_jobs.create(
            workspace,
            min_score=request.min_score,
            relations=request.relations,
            limit=request.limit,
            per_entity=request.per_entity,
            by="server",
        )
        background.submit(workspace, job.job_id)
        response.headers["Location"] = f"/workspaces/{workspace}/jobs/{job.job_id}"
        return job_payload(job, can_be_resumed=service.jobs.can_be_resumed(job))

    @router.post("/predictions/retrain", response_model=RetrainedOut, summary="Train the link predictor")
    def retrain(workspace: str, request: RetrainRequest) -> dict[str, Any]:
        """Train on the graph as it is now, bring open predictions up to it, and say how far old facts moved."""
        return service.completion.retrain(workspace, is_forced=request.force).to_mapping()


def _add_looking(router: APIRouter, service: Service) -> None:
    @router.get("/predictions", response_model=PredictionsOut, summary="List predictions")
    def predictions(
        workspace: str,
        status: PredictionStatus | None = None,
        relation: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> dict[str, Any]:
        """List kept predictions, the likeliest first."""
        found = service.completion.predictions(workspace, status=status, relation=relation, limit=limit)
        return {"predictions": [prediction_payload(one) for one in found]}

    @router.get("/predictions/{prediction_id}", response_model=KeptPredictionOut, summary="Show a prediction")
    def show(workspace: str, prediction_id: str) -> dict[str, Any]:
        """Show a prediction with what speaks for it; ``passages`` are what it leans on, pictures by their asset."""
        return prediction_payload(service.completion.show(workspace, prediction_id), with_passages=True)


def _add_deciding(router: APIRouter, service: Service) -> None:
    @router.post("/predictions/reject", response_model=KeptPredictionOut, summary="Reject a link that was not kept")
    def reject_link(workspace: str, request: RejectLinkRequest) -> dict[str, Any]:
        """Never offer a link, whether it was kept or not."""
        view = service.completion.reject_link(
            workspace,
            head=request.head,
            relation=request.relation,
            tail=request.tail,
            by=request.by,
            note=request.note,
        )
        return prediction_payload(view)

    @router.post("/predictions/{prediction_id}/accept", response_model=KeptPredictionOut, summary="Accept a prediction")
    def accept(workspace: str, prediction_id: str, request: DecisionRequest) -> dict[str, Any]:
        """Assert it: it becomes a fact of its own note, which says by whom and when. Reopening takes that back."""
        (view,) = service.completion.accept(workspace, [prediction_id], by=request.by, note=request.note)
        return prediction_payload(view)

    @router.post("/predictions/{prediction_id}/reject", response_model=KeptPredictionOut, summary="Reject a prediction")
    def reject(workspace: str, prediction_id: str, request: DecisionRequest) -> dict[str, Any]:
        """Never offer it again, whatever is trained later. Reopening takes that back."""
        (view,) = service.completion.reject(workspace, [prediction_id], by=request.by, note=request.note)
        return prediction_payload(view)

    @router.post("/predictions/{prediction_id}/reopen", response_model=KeptPredictionOut, summary="Take a word back")
    def reopen(workspace: str, prediction_id: str) -> dict[str, Any]:
        """Open a prediction that was accepted or rejected; an accepted one is asserted no more."""
        (view,) = service.completion.reopen(workspace, [prediction_id])
        return prediction_payload(view)
