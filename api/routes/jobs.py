"""The routes of jobs: send files and come back later.

Layer: ``api.routes``. Handlers are plain functions, run in FastAPI's thread pool; only the reading of a request's body
is asynchronous.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from api.background import BackgroundJobs
from api.payloads import item_payload, job_payload
from api.reading import validation_text
from api.schemas import JobOut, JobsOut, PathsRequest
from api.service import Service
from kg.errors import InputError
from kg.jobs.model import ItemState, Job, JobState

__all__ = ["job_router"]

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/json": {"schema": PathsRequest.model_json_schema()},
        },
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """What a client sent: open files, or paths of the server."""

    files: tuple[tuple[str, BinaryIO], ...] = ()
    paths: tuple[str, ...] = ()


async def _sent(request: Request) -> AsyncIterator[_Sent]:
    """Yield what was sent; files are closed when the request has been answered."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form() as form:
            uploads = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
            yield _Sent(files=tuple((part.filename or "", part.file) for part in uploads))
        return
    yield _Sent(paths=_paths(await request.body()))


def _paths(body: bytes) -> tuple[str, ...]:
    try:
        return tuple(PathsRequest.model_validate_json(body).paths)
    except ValidationError as error:
        raise InputError(
            'Send files in the form field \'files\' (multipart/form-data), or JSON like {"paths": ["…"]}: '
            f"{validation_text(error.errors())}"
        ) from error


def job_router(service: Service, background: BackgroundJobs) -> APIRouter:
    """Return the routes under ``/workspaces/{workspace}/jobs``.

    :param service: What does the work.
    :param background: What runs jobs behind the requests.
    :returns: A router to be included in the application.
    """
    router = APIRouter(prefix="/workspaces/{workspace}/jobs", tags=["jobs"])
    _add_making(router, service, background)
    _add_asking(router, service)
    return router


def _add_making(router: APIRouter, service: Service, background: BackgroundJobs) -> None:
    @router.post("", response_model=JobOut, status_code=202, summary="Ingest in the background", openapi_extra=_BODY)
    def submit(workspace: str, sent: Annotated[_Sent, Depends(_sent)], response: Response) -> dict[str, Any]:
        """Take files and return at once; ``Location`` says where to look what became of them.

        Paths of the server are taken only where the setting ``ingest.server_paths`` allows it.
        """
        background.require_room(workspace)
        if sent.paths:
            if not service.settings.ingest.server_paths:
                raise InputError(
                    "This server takes no paths (setting ingest.server_paths). Send files, in the form field 'files'."
                )
            job = service.jobs.of_paths(workspace, sent.paths, by="server")
        else:
            job = service.jobs.of_uploads(workspace, sent.files)
        background.submit(workspace, job.job_id)
        response.headers["Location"] = f"/workspaces/{workspace}/jobs/{job.job_id}"
        return _payload(service, job)

    @router.post("/{job_id}/retry", response_model=JobOut, status_code=202, summary="Try again what failed")
    def retry(workspace: str, job_id: str) -> dict[str, Any]:
        """Queue what failed, was given up or was cancelled once more."""
        background.require_room(workspace)
        job = service.jobs.retry(workspace, job_id)
        background.submit(workspace, job.job_id)
        return _payload(service, job)


def _add_asking(router: APIRouter, service: Service) -> None:
    @router.get("", response_model=JobsOut, summary="List the jobs")
    def recent(workspace: str, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        """List the jobs, the newest first."""
        return {"jobs": [_payload(service, job) for job in service.jobs.recent(workspace, limit=limit)]}

    @router.get("/{job_id}", response_model=JobOut, summary="Show a job")
    def show(
        workspace: str,
        job_id: str,
        after: Annotated[int, Query(ge=-1, description="The last ordinal of the page before.")] = -1,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        state: Annotated[list[ItemState], Query(description="Only items in these states.")] = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Say how a job stands, how long it will take, and what became of its files, a page at a time."""
        job = service.jobs.get(workspace, job_id)
        items = service.jobs.items(workspace, job.job_id, states=state, after=after, limit=limit)
        steps = service.jobs.progress(workspace, job.job_id)
        return {
            **_payload(service, job),
            "progress": [asdict(step) for step in steps],
            "eta_s": next((step.eta_s for step in steps if step.stage == "store"), None),
            "items": [item_payload(item) for item in items],
            "next_after": items[-1].ordinal if len(items) == limit else None,
        }

    @router.post("/{job_id}/cancel", response_model=JobOut, summary="Cancel a job")
    def cancel(workspace: str, job_id: str) -> dict[str, Any]:
        """Ask a job to end after the file it is at. What is in the record stays."""
        return _payload(service, service.jobs.cancel(workspace, job_id))

    @router.delete("/{job_id}", response_model=JobOut, summary="Cancel or forget a job")
    def delete(workspace: str, job_id: str) -> dict[str, Any]:
        """Cancel a job that runs; forget one that does not. No document is touched."""
        job = service.jobs.get(workspace, job_id)
        if job.state is JobState.RUNNING and not service.jobs.can_be_resumed(job):
            return _payload(service, service.jobs.cancel(workspace, job_id))
        return _payload(service, service.jobs.forget(workspace, job_id))


def _payload(service: Service, job: Job) -> dict[str, Any]:
    return job_payload(job, can_be_resumed=service.jobs.can_be_resumed(job))
