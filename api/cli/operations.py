"""``mmkg serve``, ``mmkg doctor`` and ``mmkg demo``.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import HomeOption, JsonOption, service_of, settings_of
from api.cli.output import console, failures_explained, print_json, print_table

__all__ = ["demo", "doctor", "serve"]


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.", show_default="8321")] = None,
    home: HomeOption = None,
) -> None:
    """Serve the REST interface; its documentation is at /docs."""
    with failures_explained():
        import uvicorn

        from api.app import create_app

        service, settings = service_of(context, home=home, host=host, port=port)
        service.warm()
        console(stderr=True).print(
            f"mmkg serves {settings.home} at http://{settings.host}:{settings.port} (docs: /docs)"
        )
        uvicorn.run(create_app(service), host=settings.host, port=settings.port, log_level="warning")


def doctor(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check the installation: packages, models, folders, names. Exit status 1 if something is broken."""
    with failures_explained(as_json=as_json):
        from api.doctor import examine

        checks = examine(settings_of(context, home=home))
    if as_json:
        print_json([{"check": c.name, "state": c.state, "detail": c.detail} for c in checks])
    else:
        print_table("", ("check", "state", "detail"), [(c.name, c.state, c.detail) for c in checks])
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


def demo(
    context: typer.Context,
    home: HomeOption = None,
    keep: Annotated[
        Path | None, typer.Option("--corpus", help="Copy the sample files here first, and keep them.")
    ] = None,
    generator: Annotated[str | None, typer.Option("--generator", "-g", help="Who writes the answers.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest the packaged samples and answer questions about them, pictures included."""
    with failures_explained(as_json=as_json):
        from api.demo import run_demo

        service, _ = service_of(context, home=home)
        results = run_demo(service, corpus=keep, generator=generator, on_line=None if as_json else _say)
        service.close()
    if as_json:
        print_json(results)
    if results["failed"]:
        raise typer.Exit(1)


def _say(line: str) -> None:
    console().print(line, markup=False, soft_wrap=True)
