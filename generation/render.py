"""Show an answer: as Markdown (which reads well in a terminal too) and as JSON.

Layer: ``generation``; the standard library only.

JSON of an answer (version 1; fields are added, never renamed or dropped)::

    question, status ("answered" | "insufficient" | "predicted" | "retrieval_not_needed"), answer (text with [n] marks),
    short_answer ("" = none), generator,
    citations: [{number, source, name, page, is_paged, row (of a table) or null, quote, asset (asset id or null),
                 modality, span: [start, end], box: [x0, y0, x1, y1] or null, chunk_id, document_id,
                 and of a predicted link prediction: {prediction_id, likelihood, chunk_ids, passages}}],
    sentences: [{text, citations: [n], support, is_supported}], dropped: the same, notes: [text],
    trace: {stages: [{stage, seconds}], notes: [text]},
    exact: null, or for an answer that was worked out {kind, short, source, notes: [text],
            rows: [{label, value, row (of a table) or null, span: [start, end], chunk_id, document_id}]}
"""

from __future__ import annotations

from collections.abc import Sequence

from generation.types import Answer, AnswerSentence, AnswerStatus, Citation
from generation.units import picture_noun
from generation.words import collapse
from kg.types import Modality
from retrieval.exact_questions.types import ExactAnswer

__all__ = ["answer_to_json", "citation_line", "citation_to_json", "render_answer", "render_references"]

_QUOTE_CHARS = 300


def render_answer(answer: Answer, *, with_notes: bool = True) -> str:
    """Return the answer with its references as Markdown, without a trailing line break.

    :param answer: The answer.
    :param with_notes: Whether to add what the service has to say about the answer (dropped sentences, a fallback).
    :returns: The short answer in bold where there is one, the text, the references, the notes.
    """
    parts = [answer.text]
    if answer.short_answer and answer.status is AnswerStatus.ANSWERED:
        parts.insert(0, f"**{answer.short_answer}**")
    if answer.citations:
        parts.append(render_references(answer.citations))
    if with_notes and answer.notes:
        parts.append("\n".join(f"> {note}" for note in answer.notes))
    return "\n\n".join(parts)


def render_references(citations: Sequence[Citation]) -> str:
    """Return one line per citation, in order."""
    return "\n".join(citation_line(citation) for citation in citations)


def citation_line(citation: Citation) -> str:
    """Return ``[1] report.pdf, p. 3: “…”``; for a picture ``…, p. 14, chart: “…”``, a table ``…, table, row 2: “…”``.

    :param citation: The citation.
    :returns: One line; white space in the quote is collapsed, and a long quote is cut at a word with an ellipsis.
    """
    page = f", p. {citation.page}" if citation.is_paged else ""
    picture = f", {picture_noun(citation.modality)}" if citation.modality is not Modality.TEXT else ""
    quote = collapse(citation.quote)
    if len(quote) > _QUOTE_CHARS:
        quote = quote[:_QUOTE_CHARS].rsplit(" ", 1)[0] + " …"
    row = f", row {citation.row}" if citation.row else ""
    leans = citation.prediction.passages if citation.prediction is not None else ()
    row += f", leaning on {'; '.join(leans)}" if leans else ""
    return f"[{citation.number}] {citation.name}{page}{picture}{row}: “{quote}”"


def answer_to_json(answer: Answer) -> dict[str, object]:
    """Return the answer as plain values; the schema is in the module's header.

    :param answer: The answer.
    :returns: Only strings, numbers, booleans, ``None``, lists and dicts; floats are finite.
    """
    return {
        "question": answer.question,
        "status": answer.status.value,
        "answer": answer.text,
        "short_answer": answer.short_answer,
        "generator": answer.generator,
        "citations": [citation_to_json(citation) for citation in answer.citations],
        "sentences": [_sentence(sentence) for sentence in answer.sentences],
        "dropped": [_sentence(sentence) for sentence in answer.dropped],
        "notes": list(answer.notes),
        "trace": {
            "stages": [{"stage": stage, "seconds": round(seconds, 6)} for stage, seconds in answer.trace.stages],
            "notes": list(answer.trace.notes),
        },
        "exact": None if answer.exact is None else _exact(answer.exact),
    }


def citation_to_json(citation: Citation) -> dict[str, object]:
    """Return a citation as plain values, as in :func:`answer_to_json`."""
    box, predicted = citation.box, citation.prediction
    values: dict[str, object] = {
        "number": citation.number,
        "source": citation.source,
        "name": citation.name,
        "page": citation.page,
        "is_paged": citation.is_paged,
        "row": citation.row or None,
        "quote": citation.quote,
        "asset": citation.asset_id,
        "modality": citation.modality.value,
        "span": [citation.span.start, citation.span.end],
        "box": None if box is None else [box.x0, box.y0, box.x1, box.y1],
        "chunk_id": citation.chunk_id,
        "document_id": citation.document_id,
    }
    if predicted is not None:
        values["prediction"] = {
            "prediction_id": predicted.prediction_id,
            "likelihood": predicted.likelihood,
            "chunk_ids": list(predicted.chunk_ids),
            "passages": list(predicted.passages),
        }
    return values


def _exact(found: ExactAnswer) -> dict[str, object]:
    rows = [
        {
            "label": row.label,
            "value": row.value,
            "row": row.row or None,
            "span": [row.span.start, row.span.end],
            "chunk_id": row.chunk_id,
            "document_id": row.document_id,
        }
        for row in found.rows
    ]
    return {
        "kind": found.kind.value,
        "short": found.short,
        "source": found.source,
        "rows": rows,
        "notes": list(found.notes),
    }


def _sentence(sentence: AnswerSentence) -> dict[str, object]:
    return {
        "text": sentence.text,
        "citations": list(sentence.citations),
        "support": round(sentence.support, 4),
        "is_supported": sentence.is_supported,
    }
