"""The tree of ``mmkg moe``: which command is called what.

Layer: ``api.cli``. Each module of this package holds the functions of one family; here they get their names.
"""

from __future__ import annotations

import typer

from api.cli.moe import doctoring, inspecting

__all__ = ["app"]

app = typer.Typer(help="Inspect, make, shrink and train mixtures of experts.", no_args_is_help=True)

app.command("doctor")(doctoring.doctor)
app.command("inspect")(inspecting.inspect)
