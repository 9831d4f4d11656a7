"""``mmkg moe inspect``: what a model is made of.

Layer: ``api.cli``.
"""

from __future__ import annotations

from dataclasses import asdict

import typer

from api.cli.moe.common import ModelArgument, model_failures_explained, model_folder
from api.cli.options import JsonOption
from api.cli.output import print_json, print_table

__all__ = ["inspect"]


def inspect(context: typer.Context, model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show the experts, routers and parameters of a model without loading its weights."""
    with model_failures_explained(as_json=as_json):
        from moe_backbone.inspection import inspect_model
        from moe_backbone.loading import open_structure

        report = inspect_model(open_structure(model_folder(context, model)).model)
    if as_json:
        print_json(asdict(report))
        return
    rows = [(layer.name, layer.n_experts, layer.width, layer.expert_width) for layer in report.layers]
    print_table(report.architecture, ("block", "experts", "width", "expert width"), rows)
