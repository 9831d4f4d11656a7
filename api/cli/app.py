"""The command line's tree: which command is called what. The work is done by :mod:`api.service`.

Layer: ``api.cli``.
"""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Annotated

import typer

from api.cli import completing, completion, documents, entities, evaluation, graph, jobs, models, operations, questions
from api.cli.moe import app as moe
from api.cli.options import ConfigOption, GlobalOptions, HomeOption

__all__ = ["app"]

app = typer.Typer(
    name="mmkg",
    help="Documents and pictures in, a knowledge graph with provenance out; answers with citations that were checked.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmkg {importlib.metadata.version('mmkgrag')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: HomeOption = None,
    config: ConfigOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Hold what is common to all commands."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO if verbose else logging.ERROR)  # on the handler: some libraries set their own loggers
    logging.basicConfig(handlers=[handler], level=handler.level, format="%(levelname)s %(name)s: %(message)s")
    context.obj = GlobalOptions(home=home, config=config, verbose=verbose)


app.command("ingest")(documents.ingest)
app.command("ask")(questions.ask)
app.command("search")(questions.search)
app.command("complete")(completing.complete)
app.command("info")(documents.info)
app.command("rm")(documents.rm)
app.command("reindex")(documents.reindex)
app.command("contradictions")(entities.contradictions)
app.command("serve")(operations.serve)
app.command("demo")(operations.demo)
app.command("doctor")(operations.doctor)
app.add_typer(entities.app, name="entities")
app.add_typer(completing.app, name="predictions")
app.add_typer(jobs.app, name="jobs")
app.add_typer(graph.app, name="graph")
app.add_typer(models.app, name="models")
app.add_typer(completion.app, name="kgc")
app.add_typer(evaluation.app, name="eval")
app.add_typer(moe.app, name="moe")
