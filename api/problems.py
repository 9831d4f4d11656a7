"""Errors over HTTP: RFC 9457 problem details, from the one exception tree.

Layer: ``api``.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from api.reading import validation_text
from kg.errors import (
    CompletionError,
    ConfigError,
    EncoderBusyError,
    FetchError,
    GraphUnreachableError,
    InputError,
    LimitExceededError,
    LoadError,
    MissingExtraError,
    MmkgError,
    ModelMissingError,
    NotFoundError,
    StoreBusyError,
    StoreFullError,
    VectorsMissingError,
)

__all__ = ["install_problem_handlers", "status_of"]

_STATUS: tuple[tuple[type[MmkgError], int], ...] = (
    (NotFoundError, 404),
    (LimitExceededError, 413),
    (FetchError, 502),
    (LoadError, 422),
    (InputError, 422),
    (ConfigError, 422),
    (CompletionError, 422),
    (StoreBusyError, 503),
    (GraphUnreachableError, 503),
    (EncoderBusyError, 503),
    (VectorsMissingError, 503),
    (ModelMissingError, 503),
    (MissingExtraError, 503),
    (StoreFullError, 507),
)


def status_of(error: MmkgError) -> int:
    """Return the HTTP status of an error: the caller's fault is 4xx, ours or the machine's 5xx."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, *, code: str, detail: str, instance: str) -> JSONResponse:
    """Return a problem document.

    :param status: The HTTP status.
    :param code: The stable name of the error.
    :param detail: The message for people.
    :param instance: The path that was asked for.
    :returns: A response of media type ``application/problem+json``.
    """
    body = {
        "type": f"urn:mmkgrag:error:{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def install_problem_handlers(app: FastAPI) -> None:
    """Make every explainable error of ``app`` a problem document."""

    async def explain(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, MmkgError):  # pragma: no cover - only registered for MmkgError
            raise error
        return problem(status_of(error), code=error.code, detail=str(error), instance=request.url.path)

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):  # pragma: no cover - only registered for it
            raise error
        return problem(422, code="input", detail=validation_text(error.errors()), instance=request.url.path)

    app.add_exception_handler(MmkgError, explain)
    app.add_exception_handler(RequestValidationError, malformed)
