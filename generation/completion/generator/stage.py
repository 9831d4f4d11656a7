"""The generator as the second stage of the mixture: it scores again what the gate's blend ranks first.

Layer: ``generation``; NumPy. A sequence model cannot score every entity, so it scores a shortlist S, the best of the
blend that train does not hold already, and ``score(e) = blend(e) + w z(e)``, where z is the model's score standardised
within S. The result is shifted so that S keeps its share of the softmax: the generator says which of the likely answers
is right and not how likely they are together, and entities outside S keep their probability.

``w`` is fitted on validation (``fitting``) and may differ for anchors that train has never seen and for questions with
many right answers; where it is 0 the model is not asked at all.

Shape suffixes: B questions, N entities, C candidates on a shortlist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from generation.completion.generator.scoring import CandidateScorer, standardised
from generation.completion.known import KnownEnds
from generation.completion.relation_kinds import RelationKinds
from generation.completion.triples import TripleSet

__all__ = ["FirstStage", "GeneratorStage", "Rescored", "StageWeights", "question_groups", "rescored"]


class FirstStage(Protocol):
    """What ranks all entities first: the mixture."""

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities."""
        ...

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity, over all entities."""
        ...

    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWeights:
    """The weight of the generator for each group of questions.

    ``kind`` is what it tells apart: ``none`` (all are 0), ``one``, ``anchor`` (seen in train or not), ``answers``
    (that, and whether questions of the relation have many answers). ``table[u][m]`` is the weight where ``u`` says that
    the anchor is unseen and ``m`` that there are many answers.
    """

    kind: str
    table: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def equal(cls, weight: float) -> StageWeights:
        """Make one weight for all questions."""
        return cls(kind="one" if weight else "none", table=((weight, weight), (weight, weight)))

    @property
    def is_silent(self) -> bool:
        """Whether the generator is never asked."""
        return not any(weight for row in self.table for weight in row)

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        return {"none": 0, "one": 1, "anchor": 2}.get(self.kind, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """One question's shortlist with what the generator made of it. *Shape:* both arrays ``(C,)``."""

    entities: NDArray[np.int64]
    standing: NDArray[np.float64]
    weight: float


def question_groups(
    graph: TripleSet, anchors: NDArray[np.int64], relations: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say of questions what a weight may depend on; train alone is read.

    :param graph: The graph.
    :param anchors: Entities. *Shape:* ``(B,)``.
    :param relations: Relations, inverses from ``n_relations``. *Shape:* ``(B,)``.
    :returns: Whether the anchor is unseen, and whether the relation has 1.5 answers or more on average, as 0 or 1.
        *Shape:* both ``(B,)``.
    """
    kinds = RelationKinds.of(graph).of_relation[relations % max(1, graph.n_relations)]
    # KINDS counts 1-1, 1-N, N-1, N-N: the lowest bit says "many tails", the next "many heads".
    many = np.where(relations < graph.n_relations, kinds & 1, (kinds >> 1) & 1)
    return (~graph.seen[anchors]).astype(np.int64), np.where(kinds > 3, 0, many).astype(np.int64)


def rescored(blend_C: NDArray[np.float64], standing_C: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Add the generator to a shortlist and keep the shortlist's share of the softmax.

    :param blend_C: Scores of the blend. *Shape:* ``(C,)``.
    :param standing_C: Standardised scores of the generator. *Shape:* ``(C,)``.
    :param weight: The weight.
    :returns: Scores. *Shape:* ``(C,)``.
    """
    if not len(blend_C):
        return blend_C
    moved = blend_C + weight * standing_C
    kept: NDArray[np.float64] = moved + np.logaddexp.reduce(blend_C) - np.logaddexp.reduce(moved)
    return kept


class GeneratorStage:
    """Ranks with a first stage and lets a generator score its shortlist again.

    :param first: What ranks all entities.
    :param graph: The graph it was trained on.
    :param candidates: The generator.
    :param weights: How much it counts.
    :param shortlist: How many entities it scores, >= 2.
    :param written: Gives further entities that the generator itself would answer ``(anchor, relation)`` with; ``None``
        adds none.
    :param on_question: Called after each question that was scored.
    """

    def __init__(
        self,
        first: FirstStage,
        graph: TripleSet,
        candidates: CandidateScorer,
        weights: StageWeights,
        *,
        shortlist: int = 50,
        written: Callable[[int, int], NDArray[np.int64]] | None = None,
        on_question: Callable[[], None] | None = None,
    ) -> None:
        self.first, self.graph, self.candidates, self.weights = first, graph, candidates, weights
        self.n_shortlist, self.on_question = shortlist, on_question
        self._written = written
        self._train = KnownEnds.build(graph.train, n_relations=graph.n_relations)
        self._last: tuple[tuple[int, int], Rescored] | None = None

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities; the sequence model's own are not among them."""
        return self.first.n_constant_parameters + self.weights.n_parameters

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity, over all entities."""
        return self.first.n_entity_parameters

    @property
    def n_parameters(self) -> int:
        """Count all learnt numbers, without the sequence model's own."""
        return self.n_constant_parameters + self.n_entity_parameters

    def shortlist(self, scores_N: NDArray[np.float32], anchor: int, relation: int) -> NDArray[np.int64]:
        """Choose what the generator shall score.

        Answers that train holds are left out: a ranking leaves them out too, and they would fill the list.

        :param scores_N: Scores of the first stage. *Shape:* ``(N,)``.
        :param anchor: The given entity.
        :param relation: The asked relation.
        :returns: Entities, best first, ties by number. *Shape:* ``(C,)``.
        """
        open_N = np.ones(len(scores_N), dtype=np.bool_)
        open_N[self._train.answers(anchor, relation)] = False
        candidates = np.flatnonzero(open_N)
        if len(candidates) > self.n_shortlist:
            scores = scores_N[candidates]
            bound = np.partition(scores, len(scores) - self.n_shortlist)[len(scores) - self.n_shortlist]
            candidates = candidates[scores >= bound]
        order = np.lexsort((candidates, -scores_N[candidates].astype(np.float64)))
        chosen = candidates[order][: self.n_shortlist]
        if self._written is None:
            return chosen
        further = [int(entity) for entity in self._written(anchor, relation) if open_N[entity]]
        return np.array(list(dict.fromkeys([*chosen.tolist(), *further])), dtype=np.int64)

    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        scores_BN = self.first.score_all(anchors, relations).copy()
        for row, (anchor, relation) in enumerate(zip(anchors.tolist(), relations.tolist(), strict=True)):
            self.rescore(scores_BN[row], anchor, relation)
            if self.on_question is not None:
                self.on_question()
        return scores_BN

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.graph.n_relations)

    def rescore(self, scores_N: NDArray[np.float32], anchor: int, relation: int) -> Rescored | None:
        """Change the scores of one question where they are.

        :param scores_N: Scores of the first stage. *Shape:* ``(N,)``.
        :param anchor: The given entity.
        :param relation: The asked relation.
        :returns: What the generator made of the shortlist; ``None`` where it has no weight and was not asked.
        """
        found = self._asked(scores_N, anchor, relation)
        if found is not None:
            blend_C = scores_N[found.entities].astype(np.float64)
            scores_N[found.entities] = rescored(blend_C, found.standing, found.weight)
        return found

    def last_answer(self, anchor: int, relation: int) -> Rescored | None:
        """Return what the generator made of the question that was scored last; ``None`` if it was not asked.

        :param anchor: The given entity.
        :param relation: The asked relation.
        :returns: Its shortlist, standings and weight.
        """
        return self._last[1] if self._last is not None and self._last[0] == (anchor, relation) else None

    def _asked(self, scores_N: NDArray[np.float32], anchor: int, relation: int) -> Rescored | None:
        unseen, many = question_groups(self.graph, np.array([anchor]), np.array([relation]))
        weight = self.weights.table[int(unseen[0])][int(many[0])]
        if not weight:
            self._last = None
            return None
        entities = self.shortlist(scores_N, anchor, relation)
        standing = standardised(self.candidates.of(anchor, relation, entities))
        found = Rescored(entities=entities, standing=standing, weight=weight)
        self._last = ((anchor, relation), found)
        return found
