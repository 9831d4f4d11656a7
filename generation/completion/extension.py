"""Use a trained model on its graph after entities and links were added, with no retraining.

Layer: ``generation``; imports torch. A new entity is scored from its names, texts and pictures by the feature experts,
and by rules over the links it has got; the structural expert has no row for it and says what is usual for the relation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from generation.completion.complex_n3 import ComplExModel
from generation.completion.experts.features import FeatureMatrix
from generation.completion.saved import SavedModel
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["extend_model"]


def extend_model(
    saved: SavedModel, graph: TripleSet, *, features: Mapping[str, FeatureMatrix] | None = None
) -> SavedModel:
    """Return the model over a grown graph; nothing is trained and the given model is not changed.

    :param saved: The trained model.
    :param graph: The graph now: its relations are the trained ones in their order, its entities in any order.
    :param features: The vectors of its entities by expert, for each feature expert of the model.
    :returns: A model for the grown graph; its metadata says how many entities are new (``n_new_entities``).
    :raises CompletionError: If relations differ, or the vectors of a feature expert are missing or of other blocks.
    """
    if graph.relation_ids != saved.relation_ids:
        new = [name for name in graph.relation_ids if name not in set(saved.relation_ids)]
        raise CompletionError(
            f"{graph.name!r} has other relations than the model was trained on (new: {new[:5]}). Train again."
        )
    place = {ident: row for row, ident in enumerate(saved.entity_ids)}
    rows = torch.tensor([place.get(ident, -1) for ident in graph.entity_ids])
    model = None if saved.model is None else _spread(saved.model, rows)
    parts = saved.parts
    if parts is not None:
        twin = None if parts.twin is None else _spread(parts.twin, rows)
        parts = replace(
            parts, twin=twin, features=_checked(parts.features, features or {}, n_entities=graph.n_entities)
        )
    return replace(
        saved,
        model=model,
        parts=parts,
        entity_ids=graph.entity_ids,
        entity_names=graph.entity_names,
        metadata={
            **saved.metadata,
            "vocabulary_fingerprint": graph.vocabulary_fingerprint,
            "train_fingerprint": graph.train_fingerprint,
            "n_new_entities": int((rows < 0).sum()),
        },
    )


def _spread(model: ComplExModel, rows_N: torch.Tensor) -> ComplExModel:
    """Put the rows where the grown graph has their entities; a new one gets the mean row of those like it: unseen."""
    rows_N = rows_N.to(model.entities_NW.device)
    like = model.entities_NW[~model.seen_N] if bool((~model.seen_N).any()) else model.entities_NW
    known_N1 = (rows_N >= 0)[:, None]
    return ComplExModel(
        entities_NW=torch.where(known_N1, model.entities_NW[rows_N.clamp(min=0)], like.mean(dim=0)),
        relations_RW=model.relations_RW,
        seen_N=model.seen_N[rows_N.clamp(min=0)] & known_N1[:, 0],
        anchors_RW=model.anchors_RW,
    )


def _checked(
    trained: Mapping[str, FeatureMatrix], given: Mapping[str, FeatureMatrix], *, n_entities: int
) -> dict[str, FeatureMatrix]:
    for name, matrix in trained.items():
        if name not in given:
            raise CompletionError(f"The expert {name!r} needs vectors of the new entities. Give features[{name!r}].")
        if given[name].blocks != matrix.blocks or len(given[name].values_ND) != n_entities:
            raise CompletionError(
                f"features[{name!r}]: blocks {given[name].blocks} of {len(given[name].values_ND)} entities, expected "
                f"{matrix.blocks} of {n_entities}. Make them with its encoder and its own vectors as like."
            )
    return {name: given[name] for name in trained}
