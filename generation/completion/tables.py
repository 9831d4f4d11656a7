"""The tables of a structural expert by name, to write and to read them.

Layer: ``generation``; imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from generation.completion.complex_n3 import ComplExModel
from kg.errors import CompletionError

__all__ = ["TABLES", "check_tables", "model_of", "tables_of"]

TABLES = ("entities", "relations", "seen", "anchors")


def tables_of(model: ComplExModel) -> dict[str, Tensor]:
    """Return the tables by the names in :data:`TABLES`; they are not copied."""
    return {
        "entities": model.entities_NW,
        "relations": model.relations_RW,
        "seen": model.seen_N,
        "anchors": model.anchors_RW,
    }


def model_of(tables: Mapping[str, Tensor], *, where: Path | str) -> ComplExModel:
    """Make an expert of its tables.

    :param tables: Tables by the names in :data:`TABLES`.
    :param where: Where they come from, for the message.
    :returns: The expert.
    :raises CompletionError: If a table is missing.
    """
    if any(name not in tables for name in TABLES):
        raise CompletionError(f"{where}: the weights hold {sorted(tables)}, expected {sorted(TABLES)}.")
    return ComplExModel(
        entities_NW=tables["entities"],
        relations_RW=tables["relations"],
        seen_N=tables["seen"],
        anchors_RW=tables["anchors"],
    )


def check_tables(model: ComplExModel, *, where: Path | str, n_entities: int, n_relations: int) -> None:
    """Refuse tables that do not fit the vocabulary, or hold values that are not finite.

    :param model: The expert.
    :param where: Where it comes from, for the message.
    :param n_entities: Number of entities of the vocabulary.
    :param n_relations: Number of its relations, without inverses.
    :raises CompletionError: If they do not fit.
    """
    width = model.entities_NW.shape[-1]
    shapes = {
        "entities": (n_entities, width),
        "relations": (2 * n_relations, width),
        "seen": (n_entities,),
        "anchors": (2 * n_relations, width),
    }
    for name, table in tables_of(model).items():
        if tuple(table.shape) != shapes[name]:
            raise CompletionError(f"{where}: table {name} has shape {tuple(table.shape)}, expected {shapes[name]}.")
        if not bool(torch.isfinite(table).all()):
            raise CompletionError(f"{where}: table {name} holds values that are not finite. Train the model again.")
