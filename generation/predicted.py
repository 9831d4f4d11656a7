"""Answer with predicted links among the evidence, and say of every sentence that rests on one that it does.

Layer: ``generation``. A predicted link enters as a piece of evidence of its own, whose name and heading say that no
document states it. The road of an answer is the usual one; afterwards its sentences and citations are marked here, so
that nothing predicted counts as verified by a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from generation.citations import marks
from generation.events import AnswerEvent
from generation.types import Answer, AnswerSentence, AnswerStatus, Citation, PredictionCited
from kg.accepted import link_sentence
from kg.types import Chunk, DocumentInfo, Modality, Span
from retrieval.types import Evidence

__all__ = ["Predicted", "mark_answer", "mark_event", "predicted_evidence"]

_MEDIA_TYPE = "text/x-mmkg-prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A predicted link to answer with; ``likelihood`` lies in ``[0, 1]``, ``passages`` name what it leans on."""

    prediction_id: str
    head: str
    relation: str
    tail: str
    likelihood: float
    chunk_ids: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The source that its evidence and citations bear."""
        return f"predicted:{self.prediction_id}"


def predicted_evidence(links: Sequence[Predicted], *, after: int) -> list[Evidence]:
    """Make pieces of evidence of predicted links, in order.

    :param links: The links.
    :param after: How many pieces of evidence stand before them; ranks go on from there.
    :returns: Evidence whose document is the prediction itself.
    """
    return [_as_evidence(link, rank=after + place) for place, link in enumerate(links, start=1)]


def _as_evidence(link: Predicted, *, rank: int) -> Evidence:
    text = link_sentence(link.head, link.relation, link.tail)
    said = f"predicted, not stated by any document (probability {link.likelihood:.2f})"
    chunk = Chunk(
        chunk_id=link.source,
        document_id=link.source,
        ordinal=0,
        text=text,
        span=Span(start=0, end=len(text)),
        page_first=1,
        page_last=1,
        modality=Modality.TEXT,
        n_tokens=len(text.split()),
    )
    info = DocumentInfo(
        document_id=link.source,
        source=link.source,
        name=f"prediction {link.prediction_id}, {said}",
        media_type=_MEDIA_TYPE,
        sha256="",
        n_bytes=0,
        title="",
        n_pages=1,
        is_paged=False,
        n_chunks=1,
        n_assets=0,
        added_at="",
    )
    return Evidence(rank=rank, score=link.likelihood, chunk=chunk, document=info)


def mark_answer(answer: Answer, links: Sequence[Predicted]) -> Answer:
    """Mark what rests on predicted links.

    A sentence that cites one says so in its words and counts as not supported; a citation of one names the prediction
    and what it leans on. An answer of such sentences alone has the status ``predicted`` and no short answer.

    :param answer: The answer, of evidence that predicted links were among.
    :param links: These links.
    :returns: The answer as it was where it rests on none of them.
    """
    by_source = {link.source: link for link in links}
    numbers = {one.number: by_source[one.source] for one in answer.citations if one.source in by_source}
    sentences = tuple(_mark_sentence(one, numbers) for one in answer.sentences)
    n_marked = sum(one is not other for one, other in zip(sentences, answer.sentences, strict=True))
    if not n_marked:
        return answer
    stated = [one for one, other in zip(sentences, answer.sentences, strict=True) if one is other]
    is_short_stated = any(answer.short_answer in one.text for one in stated)
    note = f"{n_marked} of {len(sentences)} sentences rest on predicted links, which no document states."
    return replace(
        answer,
        status=answer.status if stated else AnswerStatus.PREDICTED,
        text=" ".join(f"{one.text} {marks(one.citations)}" for one in sentences),
        short_answer=answer.short_answer if is_short_stated else "",
        sentences=sentences,
        citations=tuple(_mark_citation(one, by_source) for one in answer.citations),
        notes=(*answer.notes, note),
    )


def mark_event(event: AnswerEvent, links: Sequence[Predicted]) -> AnswerEvent:
    """Mark an event on the way to an answer as :func:`mark_answer` marks the answer."""
    if event.answer is not None:
        return replace(event, answer=mark_answer(event.answer, links))
    if event.sentence is None:
        return event
    by_source = {link.source: link for link in links}
    numbers = {one.number: by_source[one.source] for one in event.citations if one.source in by_source}
    citations = tuple(_mark_citation(one, by_source) for one in event.citations)
    return replace(event, sentence=_mark_sentence(event.sentence, numbers), citations=citations)


def _mark_sentence(sentence: AnswerSentence, numbers: Mapping[int, Predicted]) -> AnswerSentence:
    used = [numbers[number] for number in sentence.citations if number in numbers]
    if not used:
        return sentence
    least = min(link.likelihood for link in used)
    text = f"Predicted, not stated by any document (probability {least:.2f}): {sentence.text}"
    return replace(sentence, text=text, support=0.0, is_supported=False)


def _mark_citation(citation: Citation, by_source: Mapping[str, Predicted]) -> Citation:
    link = by_source.get(citation.source)
    if link is None:
        return citation
    cited = PredictionCited(
        prediction_id=link.prediction_id,
        likelihood=link.likelihood,
        chunk_ids=link.chunk_ids,
        passages=link.passages,
    )
    return replace(citation, prediction=cited)
