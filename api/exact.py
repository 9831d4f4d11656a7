"""Answer a database-like question from the record before anything is searched for.

Layer: ``api``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from api.workspaces import Workspace
from generation.types import Answer
from kg.errors import NotFoundError
from kg.types import Modality
from retrieval.types import Trace
from retrieval.understanding.filters import Filter

__all__ = ["Answered", "try_exact"]

_SPOKEN = frozenset({Modality.TEXT, Modality.TABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The exact answer, or how long it took to find that there is none, and why."""

    answer: Answer | None = None
    reason: str = ""
    seconds: float = 0.0

    def before(self, trace: Trace) -> Trace:
        """Put what was tried in front of the trace of a search; nothing where the question was of another kind."""
        if not self.reason:
            return trace
        return replace(trace, stages=(("exact", self.seconds), *trace.stages), notes=(self.reason, *trace.notes))


def try_exact(opened: Workspace, question: str, *, within: Filter) -> Answered:
    """Answer a question exactly if it is database-like.

    :param opened: The workspace.
    :param question: What is asked.
    :param within: What may be seen. A filter that lets parts of documents through is for searches: what is counted
        would be a part, too. One of kinds that text and tables are among counts as none.
    :returns: The answer with its evidence, or the reason why there is none.
    :raises InputError: If a condition of the filter cannot be used.
    """
    if within.modalities is not None and within.modalities >= _SPOKEN:
        within = replace(within, modalities=None)
    if not within.is_of_documents:
        return Answered()
    started = time.perf_counter()
    selection = opened.retriever.select(within)
    ids = None if selection is None else sorted(selection.document_ids)
    try:
        outcome = opened.exact.ask(question, document_ids=ids)
        if outcome.answer is None:
            return Answered(reason=outcome.reason, seconds=time.perf_counter() - started)
        from generation.exact import write_exact
        from retrieval.exact_questions.evidence import evidence_of

        evidence = evidence_of(opened.store, outcome.answer)
    except NotFoundError:  # a document went meanwhile: the search that follows sees the record as it is now
        return Answered(reason="not answered exactly: the record changed", seconds=time.perf_counter() - started)
    seconds = time.perf_counter() - started
    trace = Trace(stages=(("exact", seconds),), notes=(f"answered from {outcome.answer.source}",))
    return Answered(answer=write_exact(question, outcome.answer, evidence, trace=trace), seconds=seconds)
