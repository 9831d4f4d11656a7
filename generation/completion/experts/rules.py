"""The rule expert: scores an entity by the rules that lead to it, and names them with the paths that ground them.

Layer: ``generation``; NumPy only. Frequency of the relation's ends breaks ties and covers what no rule reaches.
Strengths (:mod:`generation.completion.experts.rule_fitting`) say how much each rule counts beside the others.

Shape suffixes: B questions, N entities, P paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.experts.rule_strengths import FLOOR, TIE_WEIGHT, RuleStrengths
from generation.completion.paths import PESSIMISM, Adjacency, PathRule, mine_path_rules, rules_by_head
from generation.completion.rules import FrequencyScorer
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Grounding", "RuleExpert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """A rule that leads from a question's anchor to an entity, with the entities of one path, both ends included."""

    rule: PathRule
    entities: tuple[int, ...]


class RuleExpert:
    """Scores by rules of length 1 and 2.

    :param graph: The graph; only train is read.
    :param rules: Rules to use; ``None`` mines them.
    :param strengths: What was learnt for these rules; ``None`` takes the plain confidences.
    :param combine: ``noisy_or`` of the confidences of the rules that lead to an entity, each rule once, or ``max``.
    :raises CompletionError: If ``combine`` is neither, or the strengths are of other rules.
    """

    name = "rules"

    def __init__(
        self,
        graph: TripleSet,
        *,
        rules: Sequence[PathRule] | None = None,
        strengths: RuleStrengths | None = None,
        combine: str = "noisy_or",
    ) -> None:
        if combine not in ("noisy_or", "max"):
            raise CompletionError(f"combine: got {combine!r}. Use noisy_or or max.")
        self.n_entities, self.n_relations, self.combine = graph.n_entities, graph.n_relations, combine
        self.adjacency = Adjacency(graph)
        self._frequency = FrequencyScorer(graph)
        self.rules = tuple(mine_path_rules(graph, adjacency=self.adjacency) if rules is None else rules)
        self._by_head = rules_by_head(self.rules)
        self._heads_Q = np.array([rule.head for rule in self.rules], dtype=np.int64)
        self.use(strengths)

    def use(self, strengths: RuleStrengths | None) -> None:
        """Weigh the rules by other strengths.

        :param strengths: What was learnt for these rules; ``None`` takes the plain confidences.
        :raises CompletionError: If they are of other rules.
        """
        plain = RuleStrengths.unlearnt(n_rules=len(self.rules), n_relations=self.n_relations)
        self.strengths = plain if strengths is None else strengths
        if (len(self.strengths.rules_Q), len(self.strengths.ties_R)) != (len(self.rules), 2 * self.n_relations):
            raise CompletionError(
                f"Strengths of {len(self.strengths.rules_Q)} rules and {len(self.strengths.ties_R)} relations do not "
                f"fit {len(self.rules)} rules and {2 * self.n_relations} relations. Train the model again."
            )
        self._tables = {
            head: _RuleTable(rules, self.strengths.rules_Q[self.numbers_of(head)], wide=2 * self.n_relations)
            for head, rules in self._by_head.items()
        }

    def numbers_of(self, relation: int) -> NDArray[np.int64]:
        """Return the places, among all rules, of those that conclude a relation. *Shape:* ``(K,)``."""
        return np.flatnonzero(self._heads_Q == relation)

    def frequency_of(self, relation: int) -> NDArray[np.float32]:
        """Return each entity's share of the relation's ends in train. *Shape:* ``(N,)``."""
        shares: NDArray[np.float32] = self._frequency.score_all(np.array([0]), np.array([relation]))[0]
        return shares

    def witnesses(
        self, anchor: int, relation: int, *, left_out: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Follow the rules of a question.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``; rules must conclude it.
        :param left_out: See :meth:`confidences`.
        :returns: The number of a rule among those of the relation, the entity that it leads to, each such pair once,
            and the rule's confidence for it. *Shape:* each ``(W,)``.
        """
        table = self._tables[relation]
        numbers, ends = self._reached(table, anchor, relation, left_out)
        values = table.confidences[numbers]
        return numbers, ends, values if left_out is None else np.where(ends == left_out, table.without[numbers], values)

    @property
    def n_constant_parameters(self) -> int:
        """Count the numbers that do not grow with the entities: a confidence and a strength a rule, and the ties."""
        return 2 * len(self.rules) + 2 * self.n_relations

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers kept per entity: 0."""
        return 0

    @property
    def n_parameters(self) -> int:
        """Count the learnt numbers."""
        return self.n_constant_parameters

    def confidences(
        self, anchors: NDArray[np.int64], relations: NDArray[np.int64], *, left_out: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Combine the confidences of the rules that lead to each entity.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :param left_out: The answer of each question where the question is itself a train triple: no path uses that
            edge or its inverse, and the rules that lead to the answer lose the pair that it gave them.
        :returns: Values in ``[0, 1)``, 0 where no rule leads. *Shape:* ``(B, N)``.
        """
        scores_BN = np.zeros((len(anchors), self.n_entities), dtype=np.float32)
        for row, (anchor, relation) in enumerate(zip(anchors.tolist(), relations.tolist(), strict=True)):
            if relation in self._tables:
                answer = None if left_out is None else int(left_out[row])
                numbers, ends, values = self.witnesses(anchor, relation, left_out=answer)
                logs = np.log1p(-values) * self._tables[relation].strengths[numbers]
                distinct, combined = self._combined(ends, logs)
                scores_BN[row, distinct] = combined
        return scores_BN

    def _combined(
        self, ends: NDArray[np.int64], logs: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the distinct ends, and what is combined of the logarithms of what each rule leaves open."""
        distinct, places = np.unique(ends, return_inverse=True)
        if self.combine == "max":
            missed = np.zeros(len(distinct))
            np.minimum.at(missed, places, logs)
        else:
            missed = np.bincount(places, weights=logs, minlength=len(distinct)).astype(np.float64)
        result: NDArray[np.float64] = -np.expm1(missed)
        return distinct, result

    def score_all(
        self, anchors: NDArray[np.int64], relations: NDArray[np.int64], *, left_out: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)`` by the logarithm of confidence and frequency.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :param left_out: See :meth:`confidences`.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``, float32.
        """
        shares_BN = self._frequency.score_all(anchors, relations)
        found_BN = self.confidences(anchors, relations, left_out=left_out)
        ties_B1 = np.float32(TIE_WEIGHT) * self.strengths.ties_R[relations, None]
        scores: NDArray[np.float32] = np.log(found_BN + ties_B1 * shares_BN + np.float32(FLOOR))
        return scores

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)

    def groundings(self, anchor: int, relation: int, end: int, *, limit: int = 3) -> list[Grounding]:
        """Name the rules that lead from the anchor to an entity, the most confident first, each with one path.

        Rules that differ only in the direction of a relation, and go through the same entities, are one reason: a
        relation that holds both ways would otherwise be told again and again.

        :param anchor: The entity that is given.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param end: The entity that the rules shall lead to.
        :param limit: The most rules.
        :returns: Rules with paths; empty where no rule leads there.
        """
        found: dict[tuple[int, ...], Grounding] = {}
        for rule in self._by_head.get(relation, ()):
            path = self._path(anchor, rule.body, end)
            if path is not None:
                reason = (*path, *(step % self.n_relations for step in rule.body))
                found.setdefault(reason, Grounding(rule=rule, entities=path))
            if len(found) == limit:
                break
        return list(found.values())

    def _path(self, anchor: int, body: tuple[int, ...], end: int) -> tuple[int, ...] | None:
        kinds, ends = self.adjacency.first_steps(anchor)
        reached = ends[kinds == body[0]]
        if len(body) == 1:
            return (anchor, end) if bool((reached == end).any()) else None
        origin, second, last = self.adjacency.second_steps(reached)
        right = origin[(second == body[1]) & (last == end)]
        return None if anchor == end or not len(right) else (anchor, int(reached[right.min()]), end)

    def _reached(
        self, table: _RuleTable, anchor: int, relation: int, answer: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct pairs of rule number and entity that the rules lead to."""
        kinds, ends = self.adjacency.first_steps(anchor)
        if answer is not None:
            stays = (kinds != relation) | (ends != answer)
            kinds, ends = kinds[stays], ends[stays]
        short = table.ones[kinds]
        rows = table.rows[kinds]
        goes_on = rows >= 0
        origin, second, last = self.adjacency.second_steps(ends[goes_on])
        long = table.twos[rows[goes_on][origin], second]
        numbers = np.concatenate([short[short >= 0], long[(long >= 0) & (last != anchor)]])
        reached = np.concatenate([ends[short >= 0], last[(long >= 0) & (last != anchor)]])
        pairs = np.unique(numbers * self.n_entities + reached)
        return pairs // self.n_entities, pairs % self.n_entities


class _RuleTable:
    """The rules of one head by their steps (number of the rule, or -1), and how much each counts."""

    def __init__(self, rules: Sequence[PathRule], strengths: NDArray[np.float32], *, wide: int) -> None:
        self.strengths = strengths.astype(np.float64)
        self.confidences = np.array([rule.confidence for rule in rules])
        self.without = np.array([max(0, r.support - 1) / (max(0, r.n_body - 1) + PESSIMISM) for r in rules])
        self.ones = np.full(wide, -1, dtype=np.int64)
        self.rows = np.full(wide, -1, dtype=np.int64)
        firsts = sorted({rule.body[0] for rule in rules if len(rule.body) == 2})
        self.rows[firsts] = np.arange(len(firsts))
        self.twos = np.full((len(firsts), wide), -1, dtype=np.int64)
        for number, rule in enumerate(rules):
            if len(rule.body) == 1:
                self.ones[rule.body[0]] = number
            else:
                self.twos[self.rows[rule.body[0]], rule.body[1]] = number
