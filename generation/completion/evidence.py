"""Say why: what each expert makes of a predicted link, and the rules with the known links that ground them.

Layer: ``generation``. Paths are made of train triples only and never hold the predicted link or its inverse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from generation.completion.experts.rules import Grounding, RuleExpert
from generation.completion.mixture import ExpertMixture, Heard
from generation.completion.paths import PathRule
from generation.completion.triples import TripleSet
from generation.types import ExpertContribution, PathStep, RuleEvidence

__all__ = ["Evidence"]


class Evidence:
    """Explains links of one graph.

    :param mixture: The experts and the gate.
    :param graph: The graph.
    """

    def __init__(self, mixture: ExpertMixture, graph: TripleSet) -> None:
        self.mixture, self._graph = mixture, graph
        rules = mixture.experts.get("rules")
        self._rules = rules if isinstance(rules, RuleExpert) else None

    def of(
        self, anchor: int, relation: int, ends: NDArray[np.int64], *, heard: Heard | None = None
    ) -> list[tuple[tuple[ExpertContribution, ...], tuple[RuleEvidence, ...]]]:
        """Explain the links of a question.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param ends: The predicted entities. *Shape:* ``(C,)``.
        :param heard: What the mixture heard, if it was asked already.
        :returns: For each, what the experts contribute and the rules that lead to it.
        """
        if not len(ends):
            return []
        found = self.mixture.contributions(anchor, relation, ends, heard=heard)
        return [
            (
                tuple(
                    ExpertContribution(
                        expert=name,
                        weight=float(found.weights[number, place]),
                        log_probability=float(found.log_probabilities[number, place]),
                    )
                    for number, name in enumerate(found.experts)
                ),
                self._grounded(anchor, relation, end),
            )
            for place, end in enumerate(ends.tolist())
        ]

    def _grounded(self, anchor: int, relation: int, end: int) -> tuple[RuleEvidence, ...]:
        if self._rules is None:
            return ()
        return tuple(self._told(grounding) for grounding in self._rules.groundings(anchor, relation, end))

    def _told(self, grounding: Grounding) -> RuleEvidence:
        rule, entities = grounding.rule, grounding.entities
        steps = zip(rule.body, entities[:-1], entities[1:], strict=True)
        return RuleEvidence(
            text=self._written(rule),
            support=rule.support,
            n_body=rule.n_body,
            confidence=rule.confidence,
            path=tuple(self._step(*step) for step in steps),
        )

    def _step(self, relation: int, start: int, end: int) -> PathStep:
        graph = self._graph
        head, tail = (start, end) if relation < graph.n_relations else (end, start)
        return PathStep(
            head_id=graph.entity_ids[head],
            head=graph.entity_names[head],
            relation=graph.relation_names[relation % graph.n_relations],
            tail_id=graph.entity_ids[tail],
            tail=graph.entity_names[tail],
        )

    def _written(self, rule: PathRule) -> str:
        between = ("x", "y") if len(rule.body) == 1 else ("x", "z", "y")
        steps = zip(rule.body, between[:-1], between[1:], strict=True)
        return f"{', '.join(self._atom(*step) for step in steps)} → {self._atom(rule.head, 'x', 'y')}"

    def _atom(self, relation: int, start: str, end: str) -> str:
        n_relations = self._graph.n_relations
        ends = (start, end) if relation < n_relations else (end, start)
        return f"{self._graph.relation_names[relation % n_relations]}({ends[0]}, {ends[1]})"
