"""Say how far a new model moved what an older one thought of links that both know.

Layer: ``generation``; NumPy, and the models that it is given. Ranks are filtered by all that the new graph knows, count
from 1, take ties at their mean, and go over the entities that both models have, so that a graph that grew does not
look like a model that forgot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet

__all__ = ["Drift", "Known", "LinkIds", "measure_drift"]

LinkIds = tuple[str, str, str]
"""Ids of head, relation and tail."""


class _Scores(Protocol):
    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of each question."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Something that scores, with the ids that its rows stand for."""

    model: _Scores
    entity_ids: Sequence[str]
    relation_ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How links moved from the older model to the newer one; the means are over the links that both can rank.

    ``n`` links were ranked by both, ``n_left_out`` are of entities or relations that one of them does not know.
    ``mrr_*`` are mean reciprocal ranks, ``probability_*`` mean shares among the candidates, and ``moved`` the mean of
    their absolute differences. ``n_worse`` ranks fell, ``n_better`` rose.
    """

    n: int
    n_left_out: int
    mrr_before: float = 0.0
    mrr_after: float = 0.0
    median_rank_before: float = 0.0
    median_rank_after: float = 0.0
    probability_before: float = 0.0
    probability_after: float = 0.0
    moved: float = 0.0
    n_better: int = 0
    n_worse: int = 0

    def to_mapping(self) -> dict[str, float | int]:
        """Return the numbers by name."""
        return asdict(self)


def measure_drift(
    before: Known, after: Known, graph: TripleSet, links: Iterable[LinkIds], *, limit: int = 500, seed: int = 0
) -> Drift:
    """Compare what two models think of links, each as ``(head, relation, ?)``.

    :param before: The older model.
    :param after: The newer one, trained on ``graph``.
    :param graph: What is known now; other known answers are left out of the candidates.
    :param links: Links by ids, for example known facts or predictions.
    :param limit: The most links to rank; of more, a sample by ``seed`` is taken.
    :param seed: Seed of the sample.
    :returns: The comparison.
    """
    given = list(links)
    old_of, old_relation = _rows(before.entity_ids), _rows(before.relation_ids)
    new_of, new_relation = _rows(after.entity_ids), _rows(after.relation_ids)
    entities, relations = old_of.keys() & new_of.keys(), old_relation.keys() & new_relation.keys()
    usable = [one for one in given if one[0] in entities and one[2] in entities and one[1] in relations]
    n_left_out = len(given) - len(usable)
    if len(usable) > limit:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(usable))[:limit])
        usable = [usable[place] for place in chosen]
    if not usable:
        return Drift(n=0, n_left_out=n_left_out)
    shared = sorted(entities)
    places = {one: place for place, one in enumerate(shared)}
    old_rows, new_rows = (np.array([of[one] for one in shared], dtype=np.int64) for of in (old_of, new_of))
    known = graph.known_ends
    own_of, own_relation = _rows(graph.entity_ids), _rows(graph.relation_ids)
    ranks: list[tuple[float, float]] = []
    shares: list[tuple[float, float]] = []
    for head, relation, tail in usable:
        is_known = head in own_of and relation in own_relation
        answers = known.answers(own_of[head], own_relation[relation]) if is_known else ()
        others = [places.get(graph.entity_ids[row], -1) for row in answers]
        hidden = [place for place in (*others, places[head]) if place >= 0 and place != places[tail]]
        old = _row(before.model, old_of[head], old_relation[relation])[old_rows]
        new = _row(after.model, new_of[head], new_relation[relation])[new_rows]
        pair = [_rank_and_share(scores, places[tail], hidden) for scores in (old, new)]
        ranks.append((pair[0][0], pair[1][0]))
        shares.append((pair[0][1], pair[1][1]))
    return _summed(np.array(ranks), np.array(shares), n_left_out=n_left_out)


def _rows(ids: Sequence[str]) -> dict[str, int]:
    return {one: row for row, one in enumerate(ids)}


def _row(model: _Scores, anchor: int, relation: int) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = model.score_all(np.array([anchor]), np.array([relation]))[0].astype(np.float64)
    return scores


def _rank_and_share(scores: NDArray[np.float64], place: int, hidden: Sequence[int]) -> tuple[float, float]:
    allowed = np.ones(len(scores), dtype=np.bool_)
    allowed[list(hidden)] = False
    own, others = scores[place], scores[allowed]
    rank = 1.0 + float((others > own).sum()) + (float((others == own).sum()) - 1.0) / 2.0
    weights = np.exp(others - others.max())
    return rank, float(np.exp(own - others.max()) / weights.sum())


def _summed(ranks_N2: NDArray[np.float64], shares_N2: NDArray[np.float64], *, n_left_out: int) -> Drift:
    return Drift(
        n=len(ranks_N2),
        n_left_out=n_left_out,
        mrr_before=float((1.0 / ranks_N2[:, 0]).mean()),
        mrr_after=float((1.0 / ranks_N2[:, 1]).mean()),
        median_rank_before=float(np.median(ranks_N2[:, 0])),
        median_rank_after=float(np.median(ranks_N2[:, 1])),
        probability_before=float(shares_N2[:, 0].mean()),
        probability_after=float(shares_N2[:, 1].mean()),
        moved=float(np.abs(shares_N2[:, 1] - shares_N2[:, 0]).mean()),
        n_better=int((ranks_N2[:, 1] < ranks_N2[:, 0]).sum()),
        n_worse=int((ranks_N2[:, 1] > ranks_N2[:, 0]).sum()),
    )
