"""A trained model with its vocabulary, and whether it fits a graph.

Layer: ``generation``; the standard library only: what predicts must be importable without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generation.completion.config import CompletionConfig
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

if TYPE_CHECKING:
    from generation.completion.complex_n3 import ComplExModel
    from generation.completion.parts import ExpertParts

__all__ = ["SavedModel", "check_same_graph", "learnt_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A model with the vocabulary that its rows stand for. ``metadata`` is what ``config.json`` holds besides.

    ``model`` is the structural expert, ``None`` where it was not trained; ``parts`` are the other experts and the gate,
    ``None`` in a folder of the structural expert alone, as older versions wrote it. ``learnt_validation`` says that
    they have learnt what had been carved for validation too, so :func:`learnt_graph` is their graph.
    """

    model: ComplExModel | None
    config: CompletionConfig
    entity_ids: tuple[str, ...]
    entity_names: tuple[str, ...]
    relation_ids: tuple[str, ...]
    relation_names: tuple[str, ...]
    metadata: Mapping[str, object] = field(default_factory=dict)
    parts: ExpertParts | None = None
    learnt_validation: bool = False


def check_same_graph(saved: SavedModel, graph: TripleSet) -> None:
    """Refuse a graph that the model was not trained on.

    :param saved: The model.
    :param graph: The graph to use it with.
    :raises CompletionError: If entities, relations or train triples differ. Other train triples would mean that the
        model may have seen what it is now asked for.
    """
    if saved.metadata.get("vocabulary_fingerprint") != graph.vocabulary_fingerprint:
        raise CompletionError(
            f"The model knows {len(saved.entity_ids)} entities and {len(saved.relation_ids)} relations of graph "
            f"{saved.metadata.get('graph')!r}; {graph.name!r} has {graph.n_entities} and {graph.n_relations}, and "
            "not the same ones in the same order. Use the graph it was trained on, or train again."
        )
    if saved.metadata.get("train_fingerprint") != graph.train_fingerprint:
        raise CompletionError(
            f"The train triples of {graph.name!r} ({len(graph.train)}) are not those the model was trained on "
            f"({saved.metadata.get('n_train')}), so it may have seen what it would be tested on. Train again."
        )


def learnt_graph(saved: SavedModel, graph: TripleSet) -> TripleSet:
    """Return the graph that holds as train what a model has learnt.

    :param saved: The model.
    :param graph: The graph with its validation part.
    :returns: The same graph, or the one with validation in train where the model has learnt it too.
    """
    return graph.with_validation_in_train() if saved.learnt_validation else graph
