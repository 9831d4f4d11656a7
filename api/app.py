"""The REST application.

Layer: ``api``.
"""

from __future__ import annotations

import hmac
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

from api.background import BackgroundJobs
from api.problems import install_problem_handlers, problem
from api.retraining import RetrainClock
from api.routes.entities import entity_router
from api.routes.graph import graph_router
from api.routes.jobs import job_router
from api.routes.predictions import prediction_router
from api.routes.workspaces import workspace_router
from api.schemas import HealthOut
from api.service import Service

__all__ = ["create_app"]

_OPEN_PATHS = frozenset({"/health"})


def create_app(service: Service) -> FastAPI:
    """Build the application over a service.

    :param service: What does the work; it is closed with the application.
    :returns: The application, with its documentation at ``/docs`` and ``/openapi.json``.
    """
    background = BackgroundJobs(service.jobs)
    completion = service.settings.completion
    clock = None
    if completion.retrain == "interval":
        clock = RetrainClock(service.workspaces, service.completion.retrainer, interval_s=completion.interval_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        background.start()
        if clock is not None:
            clock.start()
        yield
        if clock is not None:
            clock.stop()
        background.stop()
        service.close()

    app = FastAPI(
        title="mmkgrag",
        version=importlib.metadata.version("mmkgrag"),
        summary="Documents and pictures in, a knowledge graph with provenance and cited answers out.",
        lifespan=lifespan,
    )
    install_problem_handlers(app)
    _require_token(app, service.settings.api_token.get_secret_value())

    @app.get("/health", response_model=HealthOut, tags=["service"], summary="Is the service up?")
    def health() -> dict[str, Any]:
        """Say that the service is up, with its version and its workspaces."""
        return service.health()

    app.include_router(workspace_router(service))
    app.include_router(entity_router(service.curation))
    app.include_router(job_router(service, background))
    app.include_router(graph_router(service))
    app.include_router(prediction_router(service, background))
    return app


def _require_token(app: FastAPI, token: str) -> None:
    if not token:
        return
    expected = f"Bearer {token}".encode()

    @app.middleware("http")
    async def check(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").encode()
        if request.url.path in _OPEN_PATHS or hmac.compare_digest(given, expected):
            return await call_next(request)
        detail = "This service needs its token: send `Authorization: Bearer TOKEN` (setting api_token)."
        response = problem(401, code="unauthorised", detail=detail, instance=request.url.path)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
