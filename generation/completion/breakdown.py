"""Break an evaluation down: by relation, degree, modality and kind of relation, beside baselines.

Layer: ``generation``; NumPy only. It works with any :class:`generation.completion.evaluator.Scorer`.

Each triple is two questions, ``(head, relation, ?)`` and ``(?, relation, tail)``. The *anchor* is the entity that is
given, the *answer* the one that is ranked. Groups are made of questions, so a triple may stand in two of them. They
come from train alone; nothing here is used to choose a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.evaluator import Evaluation, RankMetrics, Scorer, evaluate
from generation.completion.modalities import modality_masks
from generation.completion.relation_kinds import KINDS, RelationKinds
from generation.completion.triples import TripleSet

__all__ = ["DEGREE_BUCKETS", "Breakdown", "Group", "break_down"]

DEGREE_BUCKETS = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 63), (64, 127), (128, None))
"""First and last train degree of each bucket; the last has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some questions of an evaluation: the model's figures, and each baseline's MRR on the same questions."""

    name: str
    metrics: RankMetrics
    head: RankMetrics
    tail: RankMetrics
    baselines: Mapping[str, float]

    def to_mapping(self) -> dict[str, object]:
        """Return the group as plain values."""
        return {
            "name": self.name,
            **self.metrics.to_mapping(),
            "head": self.head.to_mapping(),
            "tail": self.tail.to_mapping(),
            "baselines": dict(self.baselines),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """An evaluation in parts; groups without questions are left out.

    ``relations`` is sorted by falling number of questions. ``answer_degree`` and ``anchor_degree`` group by the train
    degree of either entity, ``modalities`` by which of the two has each modality, ``kinds`` by kind of relation.
    """

    evaluation: Evaluation
    baselines: Mapping[str, Evaluation]
    relations: tuple[Group, ...]
    answer_degree: tuple[Group, ...]
    anchor_degree: tuple[Group, ...]
    modalities: Mapping[str, tuple[Group, ...]]
    kinds: tuple[Group, ...]

    def to_mapping(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            **self.evaluation.to_mapping(),
            "baselines": {name: result.to_mapping() for name, result in self.baselines.items()},
            "relations": [group.to_mapping() for group in self.relations],
            "by_answer_degree": [group.to_mapping() for group in self.answer_degree],
            "by_anchor_degree": [group.to_mapping() for group in self.anchor_degree],
            "by_modality": {name: [group.to_mapping() for group in groups] for name, groups in self.modalities.items()},
            "by_kind": [group.to_mapping() for group in self.kinds],
        }


def break_down(
    scorer: Scorer,
    graph: TripleSet,
    *,
    triples: NDArray[np.int64],
    baselines: Mapping[str, Scorer],
    modalities: Mapping[str, NDArray[np.bool_]] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Breakdown:
    """Rank triples with a model and its baselines and group the ranks.

    :param scorer: The model.
    :param graph: The graph.
    :param triples: The triples to rank. *Shape:* ``(M, 3)``.
    :param baselines: Scorers to stand beside it, by name.
    :param modalities: For each modality, which entities have it, *shape* ``(n_entities,)``; ``None`` takes ``text``
        from the graph.
    :param on_progress: Called with the number of triples after each chunk; ``M`` triples for each scorer in all.
    :returns: The groups.
    """
    result = evaluate(scorer, graph, triples=triples, on_progress=on_progress)
    others = {
        name: evaluate(other, graph, triples=triples, on_progress=on_progress) for name, other in baselines.items()
    }
    grouper = _Grouper(result, others)
    heads, relations, tails = triples.T
    degree = np.bincount(graph.train[:, [0, 2]].ravel(), minlength=graph.n_entities)
    if modalities is None:
        modalities = modality_masks(graph)
    by_relation = grouper.groups(graph.relation_names, relations, relations)
    names = tuple(_bucket_name(first, last) for first, last in DEGREE_BUCKETS)
    buckets = np.searchsorted([first for first, _ in DEGREE_BUCKETS], degree, side="right") - 1
    return Breakdown(
        evaluation=result,
        baselines=others,
        relations=tuple(sorted(by_relation, key=lambda group: (-group.metrics.n, group.name))),
        answer_degree=grouper.groups(names, buckets[heads], buckets[tails]),
        anchor_degree=grouper.groups(names, buckets[tails], buckets[heads]),
        modalities={name: _by_modality(grouper, has_it, heads, tails) for name, has_it in modalities.items()},
        kinds=_by_kind(grouper, graph, relations),
    )


def _by_modality(
    grouper: _Grouper, has_it: NDArray[np.bool_], heads: NDArray[np.int64], tails: NDArray[np.int64]
) -> tuple[Group, ...]:
    names = ("neither", "only the answer", "only the anchor", "both")
    heads_have, tails_have = has_it[heads].astype(np.int64), has_it[tails].astype(np.int64)
    return grouper.groups(names, 2 * tails_have + heads_have, 2 * heads_have + tails_have)


def _by_kind(grouper: _Grouper, graph: TripleSet, relations: NDArray[np.int64]) -> tuple[Group, ...]:
    kinds = RelationKinds.of(graph).of_relation[relations]
    return grouper.groups(KINDS, kinds, kinds)


def _bucket_name(first: int, last: int | None) -> str:
    if last is None:
        return f"{first} and more"
    return str(first) if first == last else f"{first}-{last}"


class _Grouper:
    """Summarises the ranks of one evaluation and of its baselines over groups of questions."""

    def __init__(self, result: Evaluation, others: Mapping[str, Evaluation]) -> None:
        self._result, self._others = result, others

    def groups(
        self, names: tuple[str, ...], of_heads: NDArray[np.int64], of_tails: NDArray[np.int64]
    ) -> tuple[Group, ...]:
        """Group questions that ask for heads, and those for tails, by a number each; empty groups are left out."""
        found = []
        head_order, tail_order = np.argsort(of_heads, kind="stable"), np.argsort(of_tails, kind="stable")
        sorted_heads, sorted_tails = of_heads[head_order], of_tails[tail_order]
        for place, name in enumerate(names):
            at_head = head_order[slice(*np.searchsorted(sorted_heads, (place, place + 1)))]
            at_tail = tail_order[slice(*np.searchsorted(sorted_tails, (place, place + 1)))]
            if len(at_head) or len(at_tail):
                found.append(self._group(name, at_head, at_tail))
        return tuple(found)

    def _group(self, name: str, at_head: NDArray[np.int64], at_tail: NDArray[np.int64]) -> Group:
        def ranks(result: Evaluation) -> NDArray[np.float64]:
            return np.concatenate([result.head_ranks[at_head], result.tail_ranks[at_tail]])

        return Group(
            name=name,
            metrics=RankMetrics.of(ranks(self._result)),
            head=RankMetrics.of(self._result.head_ranks[at_head]),
            tail=RankMetrics.of(self._result.tail_ranks[at_tail]),
            baselines={other: RankMetrics.of(ranks(result)).mrr for other, result in self._others.items()},
        )
