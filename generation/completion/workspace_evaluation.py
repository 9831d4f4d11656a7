"""Say how well links of a workspace's own graph are predicted: hold some out, train without them, rank them.

Layer: ``generation``; imports torch. Each fold is held out as in :mod:`generation.completion.cross_fitting`: stated
links whose ends and relation keep another one, and with them all mentions of both ends together. The rest is trained on
as the workspace itself would be, gate and calibration included, so a fold costs one training of the workspace.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from generation.completion.calibration import Calibration
from generation.completion.config import CompletionConfig
from generation.completion.cross_fitting import folds_of
from generation.completion.evaluator import RankMetrics, Scorer, evaluate
from generation.completion.experts.features import FeatureMatrix, PassageEncoder
from generation.completion.mixture import ExpertMixture
from generation.completion.rules import FrequencyScorer
from generation.completion.training import train_experts
from generation.completion.triples import TripleSet, empty_triples
from generation.completion.workspace_graph import asked_relations, graph_from_store
from generation.completion.workspace_recipe import suited, workspace_features
from kg.errors import CompletionError
from kg.ports import RecordStore

__all__ = ["LinkQuality", "evaluate_store"]

_ALL, _FREQUENCY = "all", "relation frequency"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkQuality:
    """How held-out links of a workspace were ranked.

    ``arms`` are the mixture (``all``), each expert alone, and the most frequent ends of the relation. ``expected`` is
    the mean of the calibrated probabilities of each question's best candidate and ``right`` the share of these that
    were held-out links; both ``None`` where nothing was calibrated. What no document states counts as wrong, so
    ``right`` is a lower bound.
    """

    name: str
    n_links: int
    n_stated: int
    n_entities: int
    n_folds: int
    n_rounds: int
    arms: dict[str, RankMetrics]
    gates: tuple[str, ...]
    expected: float | None
    right: float | None
    seconds: float

    def to_mapping(self) -> dict[str, object]:
        """Return all of it as plain values."""
        return {
            "workspace": self.name,
            "links": self.n_links,
            "stated_links": self.n_stated,
            "entities": self.n_entities,
            "folds": self.n_folds,
            "rounds": self.n_rounds,
            "arms": {name: metrics.to_mapping() for name, metrics in self.arms.items()},
            "gates": list(self.gates),
            "best_candidate": {"mean_probability": self.expected, "share_right": self.right},
            "seconds": round(self.seconds, 1),
        }


def evaluate_store(
    store: RecordStore,
    *,
    config: CompletionConfig | None = None,
    make_encoder: Callable[[], PassageEncoder] | None = None,
    name: str = "workspace",
    n_folds: int = 5,
    n_rounds: int = 2,
    seed: int = 0,
    on_fold: Callable[[], None] | None = None,
) -> LinkQuality:
    """Hold out folds of a workspace's stated links in turn, and rank them with what the rest teaches.

    :param store: The record; nothing is written.
    :param config: Settings of the trainings; ``None`` suits the size.
    :param make_encoder: Makes the encoder of the text expert; without it there is none.
    :param name: What the graph is called.
    :param n_folds: Parts that the stated links are dealt into, at least 2.
    :param n_rounds: How many of them are held out, each with a training of its own.
    :param seed: Seed of the folds and of everything random in the trainings.
    :param on_fold: Called after each fold.
    :returns: The figures, of all questions of all folds together.
    :raises CompletionError: If the workspace holds too little to learn from, or no link can be held out.
    """
    start = time.perf_counter()
    graph, n_folds = graph_from_store(store, name=name), max(2, n_folds)
    asked = asked_relations(graph)
    n_stated = int(asked[graph.train[:, 1]].sum())
    folds = folds_of(graph, n_folds=n_folds, asked_R=asked, seed=seed)[: max(1, n_rounds)]
    folds = [(rest, out) for rest, out in folds if len(out)]
    if not folds:
        raise CompletionError(
            f"{name}: none of its {n_stated} stated links can be held out, as each is the only one of an entity or a "
            "relation. Ingest more documents."
        )
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    best: list[tuple[float, bool]] = []
    gates: list[str] = []
    features: dict[str, FeatureMatrix] = {}
    for rest, out in folds:
        learnt, chosen = suited(replace(rest, filter_only=empty_triples()), config, seed=seed)
        # Names are the same in all folds, so they are encoded once.
        features = features or workspace_features(learnt, chosen, make_encoder, cache=None)
        trained = train_experts(learnt, config=chosen, seed=seed, features=features, asked_R=asked)
        judged = replace(trained.graph, valid=empty_triples(), test=out, allow_overlap=True)
        arms: dict[str, Scorer] = {_ALL: trained.mixture}
        arms |= {expert: trained.mixture.alone(expert) for expert in trained.mixture.experts}
        for arm, scorer in (arms | {_FREQUENCY: FrequencyScorer(trained.graph)}).items():
            found = evaluate(scorer, judged, triples=out)
            ranks.setdefault(arm, []).append(np.concatenate([found.head_ranks, found.tail_ranks]))
        gates.append(trained.parts.gate.kind)
        if trained.parts.calibration is not None:
            best += _best_candidates(trained.mixture, trained.parts.calibration, judged, out)
        if on_fold is not None:
            on_fold()
    return LinkQuality(
        name=name,
        n_links=len(graph.train),
        n_stated=n_stated,
        n_entities=graph.n_entities,
        n_folds=n_folds,
        n_rounds=len(folds),
        arms={arm: RankMetrics.of(np.concatenate(found)) for arm, found in ranks.items()},
        gates=tuple(gates),
        expected=float(np.mean([chance for chance, _ in best])) if best else None,
        right=float(np.mean([is_right for _, is_right in best])) if best else None,
        seconds=time.perf_counter() - start,
    )


def _best_candidates(
    mixture: ExpertMixture, calibration: Calibration, graph: TripleSet, out: NDArray[np.int64]
) -> list[tuple[float, bool]]:
    """Return the chance of each question's best candidate that train does not know, and whether it was held out."""
    found = []
    learnt = replace(graph, test=empty_triples(), filter_only=empty_triples()).known_ends
    for anchors, relations in ((out[:, 0], out[:, 1]), (out[:, 2], out[:, 1] + graph.n_relations)):
        scores_BN = torch.from_numpy(mixture.score_all(anchors, relations))
        rows, ends = learnt.of(anchors, relations)
        scores_BN[rows, ends] = -torch.inf
        scores_BN[np.arange(len(anchors)), anchors] = -torch.inf
        shares, places = scores_BN.softmax(dim=1).max(dim=1)
        held_rows, held_ends = graph.known_ends.of(anchors, relations)
        held = set(zip(held_rows.tolist(), held_ends.tolist(), strict=True))
        right = [pair in held for pair in enumerate(places.tolist())]
        found += list(zip(calibration(shares.double().numpy()).tolist(), right, strict=True))
    return found
