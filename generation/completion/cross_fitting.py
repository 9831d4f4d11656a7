"""Judge the experts of a small graph by triples they have not seen, and spare none of them for it.

Layer: ``generation``; imports torch. A graph of hundreds of links cannot give up a twentieth of them for validation:
what is left over judges nothing, and what is given up is missed. So the links are dealt out into folds; the experts are
trained once without each fold and asked for its links; gate, calibration and the choice among kinds of gate
are fitted to all these answers together. The experts in use are then trained on everything.
Source: stacked generalization, Wolpert 1992 (Neural Networks 5), section 2, with log probabilities of the experts as
level-1 inputs.

Shape suffixes: M triples, Q questions, N entities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.experts.base import Expert
from generation.completion.mixture import log_probabilities
from generation.completion.triples import TripleSet, empty_triples, held_out

__all__ = ["CrossFit", "cross_fit", "folds_of"]

_MOST_BYTES = 256 * 2**20
_FEWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFit:
    """Triples of train, and what experts that have not seen them say to both questions of each.

    ``logs`` holds per expert the log probabilities of all entities, first as tails, then as heads.
    """

    triples: NDArray[np.int64]
    logs: tuple[Tensor, ...]

    def hear(self, part: slice) -> list[Tensor]:
        """Return the answers to some of the questions. *Shape:* per expert ``(B, N)``."""
        return [log_QN[part] for log_QN in self.logs]


def folds_of(
    graph: TripleSet,
    *,
    n_folds: int,
    asked_R: NDArray[np.bool_] | None,  # noqa: N803 (shape suffix)
    seed: int,
) -> list[tuple[TripleSet, NDArray[np.int64]]]:
    """Deal train out.

    :param graph: The graph.
    :param n_folds: The number of folds.
    :param asked_R: Whether a relation is asked for, see :func:`held_out`. *Shape:* ``(n_relations,)``.
    :param seed: Seed of the choice.
    :returns: For each fold the graph without it and what was held out, *shape* ``(M, 3)``; together the folds hold each
        triple at most once. What was held out serves the filter of its graph.
    """
    order = np.random.default_rng([seed, 0xF0]).permutation(len(graph.train))
    if asked_R is not None:
        order = order[asked_R[graph.train[order, 1]]]
    found = []
    for number in range(n_folds):
        train, out = held_out(graph, order[number::n_folds], asked_R=asked_R)
        rest = replace(graph, train=train, valid=empty_triples(), filter_only=np.concatenate([graph.filter_only, out]))
        found.append((rest, out))
    return found


def cross_fit(
    graph: TripleSet,
    train: Callable[[TripleSet], Mapping[str, Expert]],
    *,
    n_folds: int,
    asked_R: NDArray[np.bool_] | None = None,  # noqa: N803 (shape suffix)
    seed: int,
) -> CrossFit | None:
    """Train without each fold in turn, and ask for it.

    :param graph: The graph.
    :param train: Trains experts, the same ones for each graph.
    :param n_folds: The number of folds.
    :param asked_R: Whether a relation is asked for, see :func:`held_out`. *Shape:* ``(n_relations,)``.
    :param seed: Seed of the folds.
    :returns: The answers, to as many triples as fit into 256 MiB; ``None`` where fewer than 20 can be held out.
    """
    folds = [(rest, out) for rest, out in folds_of(graph, n_folds=n_folds, asked_R=asked_R, seed=seed) if len(out)]
    if sum(len(out) for _, out in folds) < _FEWEST:
        return None
    triples: list[NDArray[np.int64]] = []
    tails: list[Sequence[Tensor]] = []
    heads: list[Sequence[Tensor]] = []
    for rest, out in folds:
        experts = train(rest)
        most = _MOST_BYTES // (8 * graph.n_entities * len(experts) * len(folds))
        asked = out[: max(1, most)]
        first, relation, second = asked.T
        triples.append(asked)
        tails.append(log_probabilities(experts, first, relation))
        heads.append(log_probabilities(experts, second, relation + graph.n_relations))
    columns = zip(*tails, strict=True), zip(*heads, strict=True)
    logs = tuple(torch.cat([*one, *other]) for one, other in zip(*columns, strict=True))
    return CrossFit(triples=np.concatenate(triples), logs=logs)
