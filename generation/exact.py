"""Write an answer that was worked out from the graph or a table, with a citation for each thing in it.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Sequence

from generation.citations import CitationBook, marks
from generation.types import Answer, AnswerSentence, AnswerStatus
from retrieval.exact_questions.types import ExactAnswer
from retrieval.types import Evidence, Trace

__all__ = ["EXACT", "write_exact"]

EXACT = "exact"
"""The generator's name in such an answer."""


def write_exact(question: str, found: ExactAnswer, evidence: Sequence[Evidence], *, trace: Trace) -> Answer:
    """Write the answer.

    :param question: The question.
    :param found: What was worked out.
    :param evidence: The chunks that hold its rows; a row whose chunk is not among them is counted and not cited.
    :param trace: How it was found.
    :returns: The answer, with a line for each cited thing under its sentence.
    """
    by_chunk = {item.chunk.chunk_id: item for item in evidence}
    book = CitationBook()
    lines: list[str] = []
    for row in found.rows:
        item = by_chunk.get(row.chunk_id)
        if item is not None:
            number = book.cite(item, row.span)
            value = f" ({row.value})" if row.value and row.value != row.label else ""
            lines.append(f"- {row.label}{value} {marks((number,))}")
    numbers = tuple(citation.number for citation in book.citations)
    n_uncited = len(found.rows) - len(lines)
    more = (f"{n_uncited} more of {len(found.rows)} are counted and not cited here.",) if n_uncited else ()
    return Answer(
        question=question,
        status=AnswerStatus.ANSWERED,
        text="\n".join((found.text, *dict.fromkeys(lines))),
        short_answer=found.short,
        sentences=(AnswerSentence(text=found.text, citations=numbers, support=1.0, is_supported=True),),
        citations=book.citations,
        evidence=tuple(evidence),
        generator=EXACT,
        notes=(f"Answered from {found.source}.", *found.notes, *more),
        trace=trace,
        exact=found,
    )
