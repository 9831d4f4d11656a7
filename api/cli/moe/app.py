"""The tree of ``mmkg moe``: which command is called what.

Layer: ``api.cli``. Each module of this package holds the functions of one family; here they get their names.
"""

from __future__ import annotations

import typer

from api.cli.moe import counts, doctoring, inspecting, shrinking, training, upcycling

__all__ = ["app"]

app = typer.Typer(help="Inspect, make, shrink and train mixtures of experts.", no_args_is_help=True)

experts = typer.Typer(help="Add experts to a mixture of them, or take some away.", no_args_is_help=True)
experts.command("add")(counts.add)
experts.command("remove")(counts.remove)

app.add_typer(experts, name="experts")
app.command("distil")(training.distil)
app.command("doctor")(doctoring.doctor)
app.command("inspect")(inspecting.inspect)
app.command("shrink")(shrinking.shrink)
app.command("train")(training.train)
app.command("upcycle")(upcycling.upcycle)
