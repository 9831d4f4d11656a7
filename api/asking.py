"""Complete a question by its conversation before anything is looked up for it.

Layer: ``api``. An answer shows the question that was asked, and in its trace the one that was answered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from api.workspaces import Workspace
from generation.types import Answer
from retrieval.options import Refinement
from retrieval.types import Trace

__all__ = ["Asked", "complete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as it is to be understood; ``refinement`` is what is left to do."""

    original: str
    text: str
    refinement: Refinement | None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def before(self, trace: Trace) -> Trace:
        """Put what was understood in front of a trace; nothing where the question stands alone."""
        if self.text == self.original:
            return trace
        stages = (("complete", self.seconds), *trace.stages)
        return replace(trace, stages=stages, notes=(*self.notes, *trace.notes), question=self.text)

    def shown(self, answer: Answer) -> Answer:
        """Return an answer under the question that was asked."""
        if self.text == self.original:
            return answer
        trace = answer.trace if answer.trace.question else self.before(answer.trace)
        return replace(answer, question=self.original, trace=trace)


def complete(opened: Workspace, question: str, refinement: Refinement | None) -> Asked:
    """Complete a question by the turns before it.

    :param opened: The workspace, whose entities tell a person from a place.
    :param question: The question.
    :param refinement: The switches; without a history nothing is done.
    :returns: The completed question, and the refinement without what was done here.
    """
    if refinement is None or not refinement.history:
        return Asked(original=question, text=question, refinement=refinement)
    started = time.perf_counter()
    text, notes = opened.retriever.complete(question, refinement)
    return Asked(
        original=question,
        text=text,
        refinement=replace(refinement, history=()),
        notes=notes,
        seconds=time.perf_counter() - started,
    )
