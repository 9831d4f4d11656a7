"""The gate ``rules``: small talk by patterns, relevance by what search knows, consistency by the record.

Layer: ``retrieval``. It loads no model and costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.gate.consistency import RecordConsistency
from retrieval.gate.needed import small_talk
from retrieval.gate.relevance import RelevanceModel
from retrieval.types import Evidence, Query
from retrieval.verdicts import GateDecision, GateVerdict, PassageVerdict

__all__ = ["LEAST_PASSAGE", "RulesGate", "judged_passages", "not_needed"]

LEAST_PASSAGE = 0.25
"""Below it one passage is called irrelevant: of a chain of facts it holds a part only."""


class RulesGate:
    """Satisfies :class:`retrieval.rerank.refiner.Gate`. Safe between threads.

    :param consistency: Looks passages up among the record's contradictions.
    :param relevance: Judges relevance; ``None`` makes one with the analyser of lexical search.
    """

    name = "rules"

    def __init__(self, *, consistency: RecordConsistency, relevance: RelevanceModel | None = None) -> None:
        self._consistency = consistency
        self._relevance = relevance or RelevanceModel()

    def before(self, query: Query) -> GateVerdict | None:
        """Return the verdict that retrieval is not needed, or ``None`` to search."""
        return not_needed(self.name, query)

    def after(self, query: Query, evidence: Sequence[Evidence]) -> GateVerdict:
        """Judge what was found.

        :param query: The query; a picture alone is judged by nothing and passes.
        :param evidence: What was found, best first.
        :returns: The verdict.
        """
        if not query.text.strip():
            return GateVerdict(gate=self.name, decision=GateDecision.PASSED, reason="a picture was asked with")
        judged = self._relevance.judge(query.text, evidence)
        passages = judged_passages(evidence, judged.passages, self._consistency, least=LEAST_PASSAGE)
        if not evidence:
            reason = "nothing was found"
        else:
            reason = ", ".join(f"{name} {value:.2f}" for name, value in judged.features.items())
        return GateVerdict(
            gate=self.name,
            decision=GateDecision.PASSED if judged.is_any else GateDecision.NOTHING_RELEVANT,
            reason=f"relevance {judged.together:.2f}: {reason}",
            relevance=judged.together,
            passages=passages,
        )


def not_needed(gate: str, query: Query) -> GateVerdict | None:
    """Return the verdict that a query asks nothing of any document, by rules; ``None`` where it may.

    :param gate: Who asks.
    :param query: The query.
    :returns: The verdict, with a reply.
    """
    talk = None if query.image is not None else small_talk(query.text)
    if talk is None:
        return None
    return GateVerdict(gate=gate, decision=GateDecision.NOT_NEEDED, reason=talk.reason, reply=talk.reply)


def judged_passages(
    evidence: Sequence[Evidence], relevance: Sequence[float], consistency: RecordConsistency, *, least: float
) -> tuple[PassageVerdict, ...]:
    """Put together what is known of each passage.

    :param evidence: The passages.
    :param relevance: How relevant each is, in ``[0, 1]``.
    :param consistency: Knows what contradicts them.
    :param least: The relevance below which one is called irrelevant.
    :returns: One verdict a passage.
    """
    return tuple(
        PassageVerdict(
            chunk_id=item.chunk.chunk_id,
            relevance=value,
            is_relevant=value >= least,
            is_consistent=is_consistent,
            conflicts=conflicts,
        )
        for item, value, (is_consistent, conflicts) in zip(
            evidence, relevance, consistency.conflicts(evidence), strict=True
        )
    )
