"""Answer a question from evidence: by quoting it, or through a language model whose every sentence is checked.

Layer: ``generation``. ``Evidence → scores → sufficient? → (quote | context → prompt → model → judged sentences) →
Answer``. The extractive road is always walked: it decides whether the evidence answers at all, it gives the short
answer, and it is what the user sees where a model writes nothing that holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from generation.citations import CitationBook, CitedSentence, SentenceStream, marks
from generation.context import Context, build_context
from generation.events import AnswerEvent, EventKind
from generation.extractive import ANSWERABLE, Extract, extract, insufficient_text, write_sentence
from generation.prompting import answer_messages
from generation.scoring import MentionLookup
from generation.types import Answer, AnswerSentence, AnswerStatus, Citation, LanguageModel
from generation.written import Draft
from kg.errors import GenerationError, InputError, NotFoundError
from retrieval.types import Evidence, TextEncoder, Trace

__all__ = ["EXTRACTIVE", "AnswerSettings", "Answerer"]

EXTRACTIVE = "extractive"
"""The generator that needs no language model."""
_STOPS = ("\nQuestion:", "\nEvidence:")
"""A small model goes on with a question of its own: that is where its answer has ended."""
_TURN_TOKENS = 16
"""What a chat template puts around one message, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """How answers are made.

    ``threshold`` is the answerability, in ``[0, 1]``, under which the evidence is called insufficient;
    ``max_sentences`` bounds an extractive answer; ``context_tokens`` bounds the evidence that a model is shown (less
    where its window is smaller): small models lose the thread beyond a thousand tokens, and on a CPU each costs time.

    :raises InputError: If a value is out of its range.
    """

    threshold: float = ANSWERABLE
    max_sentences: int = 3
    context_tokens: int = 1024

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise InputError(f"threshold must lie in [0, 1], got {self.threshold}.")
        if self.max_sentences < 1 or self.context_tokens < 1:
            raise InputError(
                f"max_sentences and context_tokens must be at least 1, got {self.max_sentences} and "
                f"{self.context_tokens}."
            )


@dataclass(slots=True, kw_only=True)
class _Request:
    """One request on its way: what is given, and the time that its stages took."""

    question: str
    evidence: tuple[Evidence, ...]
    trace: Trace
    now: Callable[[], float]
    last: float
    stages: list[tuple[str, float]] = field(default_factory=list)

    def mark(self, stage: str) -> None:
        """Note that ``stage`` ends now."""
        now = self.now()
        self.stages.append((stage, now - self.last))
        self.last = now

    def final(
        self,
        *,
        generator: str,
        text: str = "",
        short_answer: str = "",
        sentences: tuple[AnswerSentence, ...] = (),
        citations: tuple[Citation, ...] = (),
        dropped: tuple[AnswerSentence, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> AnswerEvent:
        """Make the last event: answered where there are sentences, insufficient where there are none."""
        answer = Answer(
            question=self.question,
            status=AnswerStatus.ANSWERED if sentences else AnswerStatus.INSUFFICIENT,
            text=text or " ".join(f"{one.text} {marks(one.citations)}" for one in sentences),
            short_answer=short_answer,
            sentences=sentences,
            citations=citations,
            evidence=self.evidence,
            generator=generator,
            dropped=dropped,
            notes=notes,
            trace=replace(self.trace, stages=(*self.trace.stages, *self.stages)),
        )
        return AnswerEvent(kind=EventKind.FINAL, answer=answer)


class Answerer:
    """Answers questions. Holds no state of a request, so one instance serves concurrent ones.

    :param encoder: Gives unit vectors: the one that retrieval uses.
    :param models: Language models by the name that a request asks for; :data:`EXTRACTIVE` is not among them.
    :param settings: How answers are made; ``None`` takes the defaults.
    :param clock: Gives the time in seconds, for the trace.
    """

    def __init__(
        self,
        *,
        encoder: TextEncoder,
        models: Mapping[str, LanguageModel],
        settings: AnswerSettings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._encoder = encoder
        self._models = models
        self._settings = settings or AnswerSettings()
        self._clock = clock

    def answer(
        self,
        question: str,
        evidence: Sequence[Evidence],
        *,
        generator: str = EXTRACTIVE,
        max_new_tokens: int = 192,
        mentions: MentionLookup | None = None,
        trace: Trace | None = None,
    ) -> Answer:
        """Answer a question from evidence.

        :param question: What is asked.
        :param evidence: What retrieval found, best first; it may be empty.
        :param generator: :data:`EXTRACTIVE` or the name of a model.
        :param max_new_tokens: The most tokens that a model may write, >= 1.
        :param mentions: The record's mentions of a chunk (``RecordStore.mentions``): they sharpen the short answer.
        :param trace: The trace of retrieval, which the answer's trace goes on from.
        :returns: The verified answer.
        :raises InputError: If the question is empty or ``max_new_tokens`` is below 1.
        :raises NotFoundError: If there is no such generator.
        :raises GenerationError: If the model's window cannot hold the prompt.
        """
        events = self.stream(
            question,
            evidence,
            generator=generator,
            max_new_tokens=max_new_tokens,
            mentions=mentions,
            trace=trace,
        )
        final = [event.answer for event in events if event.answer is not None]
        return final[0]

    def stream(
        self,
        question: str,
        evidence: Sequence[Evidence],
        *,
        generator: str = EXTRACTIVE,
        max_new_tokens: int = 192,
        mentions: MentionLookup | None = None,
        trace: Trace | None = None,
    ) -> Iterator[AnswerEvent]:
        """Answer a question piece by piece; parameters and errors are those of :meth:`answer`.

        :param question: What is asked.
        :param evidence: What retrieval found, best first.
        :param generator: :data:`EXTRACTIVE` or the name of a model.
        :param max_new_tokens: The most tokens that a model may write, >= 1.
        :param mentions: The record's mentions of a chunk.
        :param trace: The trace of retrieval.
        :returns: Events; the last is ``FINAL``. Errors in the arguments are raised here, not at the first event.
        :raises InputError: If the question is empty or ``max_new_tokens`` is below 1.
        :raises NotFoundError: If there is no such generator.
        """
        if not question.strip():
            raise InputError("The question is empty. Ask something in words.")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        if generator != EXTRACTIVE and generator not in self._models:
            known = ", ".join([EXTRACTIVE, *sorted(self._models)])
            raise NotFoundError(f"There is no generator {generator!r}. Known ones: {known}.")
        return self._stream(question, tuple(evidence), generator, max_new_tokens, mentions, trace or Trace())

    def _stream(
        self,
        question: str,
        evidence: tuple[Evidence, ...],
        generator: str,
        max_new_tokens: int,
        mentions: MentionLookup | None,
        trace: Trace,
    ) -> Iterator[AnswerEvent]:
        request = _Request(question=question, evidence=evidence, trace=trace, now=self._clock, last=self._clock())
        found = extract(
            question,
            evidence,
            encoder=self._encoder,
            mentions=mentions,
            max_sentences=self._settings.max_sentences,
            threshold=self._settings.threshold,
        )
        request.mark("select")
        if not found.is_sufficient:
            asked = generator == EXTRACTIVE
            notes = () if asked else (f"The evidence does not answer, so {generator} was not asked.",)
            yield request.final(generator=EXTRACTIVE, text=insufficient_text(found, evidence), notes=notes)
        elif generator == EXTRACTIVE:
            yield from _quote(request, found, generator=EXTRACTIVE)
        else:
            yield from self._written(request, found, generator=generator, max_new_tokens=max_new_tokens)

    def _written(
        self, request: _Request, found: Extract, *, generator: str, max_new_tokens: int
    ) -> Iterator[AnswerEvent]:
        draft = yield from self._write(request, self._models[generator], max_new_tokens=max_new_tokens)
        objection = draft.objection(found, max_sentences=self._settings.max_sentences)
        if not objection:
            yield request.final(
                generator=generator,
                short_answer=found.short.text if found.short is not None else "",
                sentences=draft.sentences,
                citations=draft.book.citations,
                dropped=tuple(draft.dropped),
                notes=tuple(draft.notes),
            )
            return
        note = f"{objection} The sentences shown are quoted from the evidence instead."
        yield AnswerEvent(kind=EventKind.RESTART, text=note)
        withdrawn = tuple(replace(one, citations=()) for one in draft.sentences)
        yield from _quote(
            request,
            found,
            generator=f"{generator}→{EXTRACTIVE}",
            notes=(note, *draft.notes),
            dropped=(*draft.dropped, *withdrawn),
        )

    def _write(
        self, request: _Request, model: LanguageModel, *, max_new_tokens: int
    ) -> Generator[AnswerEvent, None, Draft]:
        """Let the model write; yield tokens as they come and sentences as they are accepted; return the draft."""
        context = build_context(
            request.evidence,
            budget_tokens=self._budget(request.question, model, max_new_tokens),
            count_tokens=model.count_tokens,
        )
        draft = Draft(context=context, evidence=request.evidence, encoder=self._encoder)
        request.mark("context")
        sentences = SentenceStream()
        messages = answer_messages(request.question, context)
        for piece in model.stream(messages, max_new_tokens=max_new_tokens, stop=_STOPS):
            yield AnswerEvent(kind=EventKind.TOKEN, text=piece)
            yield from _judge(draft, sentences.feed(piece))
        yield from _judge(draft, sentences.close())
        request.mark("generate")
        return draft

    def _budget(self, question: str, model: LanguageModel, max_new_tokens: int) -> int:
        """Return how many tokens of evidence fit beside the rules, the question and the reply."""
        empty = Context(items=(), n_tokens=0, n_left_out=0)
        frame = sum(model.count_tokens(message.content) + _TURN_TOKENS for message in answer_messages(question, empty))
        room = model.context_tokens - max_new_tokens - frame
        if room < 1:
            raise GenerationError(
                f"{model.name} reads {model.context_tokens} tokens; the question and the rules take {frame} and the "
                f"reply "
                f"{max_new_tokens}, so no evidence fits. Ask for fewer new tokens or use a model with a longer context."
            )
        return min(room, self._settings.context_tokens)


def _judge(draft: Draft, written: Sequence[CitedSentence]) -> Iterator[AnswerEvent]:
    for one in written:
        sentence = draft.add(one)
        if sentence is not None:
            used = tuple(citation for citation in draft.book.citations if citation.number in sentence.citations)
            yield AnswerEvent(kind=EventKind.SENTENCE, sentence=sentence, citations=used)


def _quote(
    request: _Request,
    found: Extract,
    *,
    generator: str,
    notes: tuple[str, ...] = (),
    dropped: tuple[AnswerSentence, ...] = (),
) -> Iterator[AnswerEvent]:
    """Answer in the evidence's own words, sentence by sentence."""
    book = CitationBook()
    sentences: list[AnswerSentence] = []
    for unit in found.picks:
        sentence = write_sentence(unit, request.evidence, book)
        sentences.append(sentence)
        used = tuple(citation for citation in book.citations if citation.number in sentence.citations)
        yield AnswerEvent(kind=EventKind.SENTENCE, sentence=sentence, citations=used)
    request.mark("quote")
    yield request.final(
        generator=generator,
        short_answer=found.short.text if found.short is not None else "",
        sentences=tuple(sentences),
        citations=book.citations,
        dropped=dropped,
        notes=notes,
    )
