"""The routes of one workspace: documents, query, retrieve, pictures.

Layer: ``api.routes``. Handlers are plain functions: FastAPI runs them in its thread pool; the service is thread-safe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Response, UploadFile
from fastapi.responses import StreamingResponse

from api.after_search import with_steps
from api.explain import explain_search, explanation_payload
from api.payloads import answer_payload, document_payload, report_payload, search_payload
from api.pictures import picture_from_base64
from api.refinement import refinement_of
from api.schemas import (
    AnswerOut,
    DocumentOut,
    IngestResponse,
    QueryRequest,
    RetrieveRequest,
    RetrieveResponse,
)
from api.scope import Scope, scope_of
from api.service import SearchResult, Service
from kg.errors import LimitExceededError, MmkgError
from retrieval.options import Refinement
from retrieval.types import Query

__all__ = ["workspace_router"]


def workspace_router(service: Service) -> APIRouter:
    """Return the routes under ``/workspaces/{workspace}``.

    :param service: What does the work.
    :returns: A router to be included in the application.
    """
    router = APIRouter(prefix="/workspaces/{workspace}", tags=["workspace"])
    _add_documents(router, service)
    _add_questions(router, service)
    return router


def _add_documents(router: APIRouter, service: Service) -> None:
    @router.post("/documents", response_model=IngestResponse, summary="Ingest uploaded files")
    def upload(workspace: str, files: Annotated[list[UploadFile], File()]) -> dict[str, Any]:
        """Ingest files. Each has its own outcome; status 200 as long as the request itself was well-formed."""
        return report_payload(service.ingest_bytes(workspace, [_read(file, service) for file in files]))

    @router.get("/documents", response_model=list[DocumentOut], summary="List the documents")
    def documents(workspace: str) -> list[dict[str, Any]]:
        """List the documents by name."""
        return [document_payload(info) for info in service.documents(workspace)]

    @router.delete("/documents/{document_id}", response_model=DocumentOut, summary="Delete a document")
    def remove(workspace: str, document_id: str) -> dict[str, Any]:
        """Delete a document and every trace of it; returns what was deleted."""
        return document_payload(service.remove(workspace, document_id))

    @router.get("/assets/{asset_id}", summary="Get a picture", response_class=Response)
    def asset(workspace: str, asset_id: str) -> Response:
        """Return a picture that a citation names, as it stands in its document."""
        found = service.asset(workspace, asset_id)
        return Response(found.data, media_type=found.media_type, headers={"X-Content-Type-Options": "nosniff"})

    @router.get("", summary="Describe the workspace")
    def information(workspace: str) -> dict[str, Any]:
        """Count what is in the workspace."""
        return service.information(workspace)


def _add_questions(router: APIRouter, service: Service) -> None:
    @router.post("/query", response_model=AnswerOut, summary="Answer a question")
    def query(workspace: str, request: QueryRequest) -> dict[str, Any]:
        """Answer with citations that were checked against their source."""
        answer = service.ask(
            workspace,
            request.question,
            image=_image(request, service),
            k=request.k,
            mode=request.mode,
            generator=request.generator,
            scope=_scope(request),
            refinement=_refinement(request, service),
            min_probability=_min_probability(request),
        )
        return answer_payload(answer)

    @router.post("/query/stream", summary="Answer a question, streamed")
    def query_stream(workspace: str, request: QueryRequest) -> StreamingResponse:
        """Server-sent events: ``evidence``, then ``text`` pieces, then ``answer``; ``error`` if something fails."""
        return StreamingResponse(_events(service, workspace, request), media_type="text/event-stream")

    @router.post("/retrieve", response_model=RetrieveResponse, summary="Find evidence")
    def retrieve(workspace: str, request: RetrieveRequest) -> dict[str, Any]:
        """Return ranked evidence and no answer."""
        scope, refinement = _scope(request), _refinement(request, service)
        query = Query(text=request.question, image=_image(request, service))
        found = service.search(workspace, query, k=request.k, mode=request.mode, scope=scope, refinement=refinement)
        body = search_payload(found, question=request.question)
        if request.explain:
            explanation = explain_search(service, workspace, request.question, found, scope=scope)
            body["explanation"] = explanation_payload(explanation)
        return body


def _scope(request: RetrieveRequest | QueryRequest) -> Scope:
    return scope_of(
        request.documents, request.modalities, where=request.where, since=request.since, until=request.until
    )


def _refinement(request: RetrieveRequest | QueryRequest, service: Service) -> Refinement:
    understood = refinement_of(
        history=request.history,
        decompose=request.decompose,
        rewrite=request.rewrite,
        times=request.times,
        route=request.route,
    )
    return with_steps(
        understood,
        service.settings,
        rerank=request.rerank,
        candidates=request.candidates,
        diversity=request.diversity,
        gate=request.gate,
    )


def _min_probability(request: QueryRequest) -> float | None:
    return request.min_probability if request.with_predictions else None


def _image(request: RetrieveRequest | QueryRequest, service: Service) -> bytes | None:
    return picture_from_base64(request.image, limit=service.settings.max_picture_bytes)


def _read(file: UploadFile, service: Service) -> tuple[str, bytes]:
    limit = service.settings.max_upload_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise LimitExceededError(
            f"{file.filename}: larger than max_upload_bytes = {limit}. Split it, or raise MMKG_MAX_UPLOAD_BYTES."
        )
    return file.filename or "unnamed", data


def _events(service: Service, workspace: str, request: QueryRequest) -> Iterator[str]:
    try:
        for event in service.ask_events(
            workspace,
            request.question,
            image=_image(request, service),
            k=request.k,
            mode=request.mode,
            generator=request.generator,
            scope=_scope(request),
            refinement=_refinement(request, service),
            min_probability=_min_probability(request),
        ):
            if isinstance(event, SearchResult):
                yield _sse("evidence", search_payload(event, question=request.question))
            elif event.answer is not None:
                yield _sse("answer", answer_payload(event.answer))
            else:
                yield _sse("text", {"text": event.text})
    except MmkgError as error:
        yield _sse("error", {"code": error.code, "message": str(error)})


def _sse(event: str, data: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
