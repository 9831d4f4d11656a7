"""Begin a training where the last one ended: rows of entities and relations that are still there are kept, by id.

Layer: ``generation``; imports torch. What is new starts as in a fresh model. Only the tables are kept, not the sums of
Adagrad: steps start large again, so that what the graph no longer says is unlearnt.

Shape suffixes: N entities, R relations and their inverses, W row width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.model_io import load_model
from generation.completion.saved import SavedModel
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["WarmStart", "begin_with", "warm_start"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """The tables to begin with, and how many of their rows come from the last training."""

    model: ComplExModel
    n_entities_kept: int
    n_relations_kept: int

    def to_mapping(self) -> dict[str, int]:
        """Return the counts as plain values."""
        return {"n_entities_kept": self.n_entities_kept, "n_relations_kept": self.n_relations_kept}


def begin_with(folder: Path, graph: TripleSet, *, config: CompletionConfig, seed: int) -> WarmStart | None:
    """Return the tables to begin with, from the model in a folder.

    :param folder: A model folder; it need not hold one.
    :param graph: The graph to train on.
    :param config: The settings of the training.
    :param seed: Seed of the rows that are new.
    :returns: As :func:`warm_start`; ``None`` also where there is no model, or one that cannot be read.
    """
    try:
        return warm_start(load_model(folder), graph, config=config, seed=seed)
    except CompletionError as error:
        _LOG.info("the link predictor is trained from the start: %s", error)
        return None


def warm_start(saved: SavedModel, graph: TripleSet, *, config: CompletionConfig, seed: int) -> WarmStart | None:
    """Make the tables that training on ``graph`` begins with.

    :param saved: The last model; it is not changed.
    :param graph: The graph to train on.
    :param config: The settings of the training.
    :param seed: Seed of the rows that are new.
    :returns: The tables; ``None`` where none of the last model's can be used: another rank, or nothing in common.
    """
    config = config.resolve(n_entities=graph.n_entities, n_train=len(graph.train))
    old = saved.model
    rank = config.rank or 1
    if not isinstance(old, ComplExModel) or old.entities_NW.shape[-1] != 2 * rank:
        return None
    fresh = ComplExModel.fresh(
        n_entities=graph.n_entities,
        n_relations=graph.n_relations,
        rank=rank,
        init_scale=config.init_scale,
        seed=seed,
    )
    n_entities = _copy(fresh.entities_NW, old.entities_NW, graph.entity_ids, saved.entity_ids)
    if not n_entities:
        return None
    ids, old_ids = graph.relation_ids, saved.relation_ids
    n_relations = _copy(fresh.relations_RW, old.relations_RW, ids, old_ids)
    _copy(fresh.relations_RW[len(ids) :], old.relations_RW[len(old_ids) :], ids, old_ids)
    return WarmStart(model=fresh, n_entities_kept=n_entities, n_relations_kept=n_relations)


def _copy(into: Tensor, out_of: Tensor, ids: Sequence[str], old_ids: Sequence[str]) -> int:
    """Copy the rows of the ids that both have, and count them."""
    place = {one: row for row, one in enumerate(old_ids)}
    pairs = [(row, place[one]) for row, one in enumerate(ids) if one in place]
    if pairs:
        ours, theirs = (torch.tensor(rows, dtype=torch.int64) for rows in zip(*pairs, strict=True))
        into[ours] = out_of.detach().to(into.device, into.dtype)[theirs.to(out_of.device)].to(into.device)
    return len(pairs)
