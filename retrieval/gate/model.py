"""The gate ``model``: a language model says whether documents are needed, and whether each passage is relevant.

Layer: ``retrieval``; the model comes through the port :class:`retrieval.rerank.types.YesNoModel`.
Source: the three tags of MMKB-RAG (Ling et al. 2025, arXiv:2504.10074): retrieval needed, passage relevant, passages
consistent. There a trained model writes them; here any model's probability of "yes" is read, and consistency is the
record's.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.gate.consistency import RecordConsistency
from retrieval.gate.rules import judged_passages, not_needed
from retrieval.rerank.types import YesNoModel, YesNoQuestion
from retrieval.rerank.yes_no import YesNoReranker
from retrieval.types import Evidence, Query
from retrieval.verdicts import GateDecision, GateVerdict

__all__ = ["ModelGate"]

_LEAST_NEED = 0.2
"""Below this probability nothing is searched: a wrong "no" costs the answer, a wrong "yes" some milliseconds."""
_LEAST_RELEVANCE = 0.5
_REPLY = "This does not ask for anything that documents could tell. Ask about what the documents of this workspace say."


class ModelGate:
    """Satisfies :class:`retrieval.rerank.refiner.Gate`. Safe between threads if its model is.

    :param model: Says yes or no.
    :param relevance: Asks it of each passage.
    :param consistency: Looks passages up among the record's contradictions.
    """

    name = "model"

    def __init__(self, model: YesNoModel, *, relevance: YesNoReranker, consistency: RecordConsistency) -> None:
        self._model = model
        self._relevance = relevance
        self._consistency = consistency

    def before(self, query: Query) -> GateVerdict | None:
        """Return the verdict that retrieval is not needed, by rules or by the model; ``None`` to search.

        :param query: The query; one with a picture is always searched.
        :returns: The verdict, or ``None``.
        :raises GenerationError: If the model fails.
        """
        by_rules = not_needed(self.name, query)
        if by_rules is not None or query.image is not None:
            return by_rules
        asked = YesNoQuestion(
            text=f"Request: {query.text}\n\nMust documents be looked up to answer this request? Answer yes or no."
        )
        (needed,) = self._model.yes_probabilities([asked])
        if needed >= _LEAST_NEED:
            return None
        reason = f"{self._model.name} says so with {1.0 - needed:.2f}"
        return GateVerdict(gate=self.name, decision=GateDecision.NOT_NEEDED, reason=reason, reply=_REPLY)

    def after(self, query: Query, evidence: Sequence[Evidence]) -> GateVerdict:
        """Judge what was found: relevant is what its most relevant passage is.

        :param query: The query.
        :param evidence: What was found, best first.
        :returns: The verdict.
        :raises GenerationError: If the model fails.
        """
        relevance = self._relevance.scores(query, evidence)
        best = max(relevance, default=0.0)
        is_passed = best >= _LEAST_RELEVANCE
        return GateVerdict(
            gate=self.name,
            decision=GateDecision.PASSED if is_passed else GateDecision.NOTHING_RELEVANT,
            reason=f"relevance {best:.2f} of the best passage, by {self._model.name}"
            if evidence
            else "nothing was found",
            relevance=best,
            passages=judged_passages(evidence, relevance, self._consistency, least=_LEAST_RELEVANCE),
        )
