"""Answer as a gate has it: a plain reply where no document is needed, and no answer where nothing is relevant.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Sequence

from generation.types import Answer, AnswerStatus
from retrieval.types import Evidence, Trace
from retrieval.verdicts import GateDecision

__all__ = ["GATE", "write_gated"]

GATE = "gate"
"""The generator's name in such an answer."""
_NOTHING = "The documents of this workspace do not seem to speak of this."


def write_gated(question: str, evidence: Sequence[Evidence], trace: Trace) -> Answer | None:
    """Return the answer that follows from a gate's verdict alone, if it decided the request.

    :param question: What was asked.
    :param evidence: What was found.
    :param trace: The trace of the search, with the verdict.
    :returns: The answer; ``None`` where there was no gate, or it let the evidence through.
    """
    verdict = trace.gate
    if verdict is None or verdict.decision is GateDecision.PASSED:
        return None
    is_needed = verdict.decision is not GateDecision.NOT_NEEDED
    return Answer(
        question=question,
        status=AnswerStatus.INSUFFICIENT if is_needed else AnswerStatus.NOT_NEEDED,
        text=_NOTHING if is_needed else verdict.reply,
        short_answer="",
        sentences=(),
        citations=(),
        evidence=tuple(evidence),
        generator=GATE,
        notes=(f"The gate {verdict.gate} decided: {verdict.reason}.",),
        trace=trace,
    )
