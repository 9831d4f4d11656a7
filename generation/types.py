"""The typed values and protocols of generation: answers whose every sentence can be checked.

Layer: ``generation``; imports ``kg`` and ``retrieval``.
``Evidence → Context → Prompt → LanguageModel → AnswerSentence → Citation → Answer``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from kg.types import Box, Modality, Origin, Span
from retrieval.exact_questions.types import ExactAnswer
from retrieval.types import Evidence, Trace

__all__ = [
    "Answer",
    "AnswerSentence",
    "AnswerStatus",
    "Citation",
    "JsonModel",
    "LanguageModel",
    "Message",
    "PredictedLink",
    "PredictionCited",
    "ReplyCache",
]


class AnswerStatus(StrEnum):
    """Whether the evidence carried an answer."""

    ANSWERED = "answered"
    INSUFFICIENT = "insufficient"
    PREDICTED = "predicted"
    """It rests on predicted links alone, which no document states; only where they were asked for."""
    NOT_NEEDED = "retrieval_not_needed"
    """A gate said that the request asks nothing of the documents; the text is a plain reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@runtime_checkable
class LanguageModel(Protocol):
    """Completes a chat. Holds no request state, so one instance serves concurrent requests."""

    name: str
    context_tokens: int

    def count_tokens(self, text: str) -> int:
        """Count ``text`` in the model's own tokens."""
        ...

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """Yield the reply piece by piece, greedily decoded, so the same prompt gives the same text."""
        ...


@runtime_checkable
class JsonModel(Protocol):
    """A language model that answers in JSON of a given schema. Holds no request state."""

    name: str

    def write_json(self, messages: Sequence[Message], *, schema: Mapping[str, Any], max_new_tokens: int) -> str:
        """Answer the chat with JSON that fits ``schema``, greedily; it breaks off after ``max_new_tokens``."""
        ...


@runtime_checkable
class ReplyCache(Protocol):
    """Keeps what a model said of a text, so that the same text is not paid for twice."""

    def get(self, key: str) -> str | None:
        """Return what was kept under ``key``, if anything was."""
        ...

    def put(self, key: str, reply: str, *, text_sha256: str) -> None:
        """Keep a reply; ``text_sha256`` names the text it was said of, for :meth:`keep_only`."""
        ...

    def keep_only(self, text_sha256s: Collection[str]) -> int:
        """Drop what was said of any other text, and return how many replies that were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionCited:
    """A predicted link as a citation names it: how likely it is, and the passages that it leans on (none states it)."""

    prediction_id: str
    likelihood: float
    chunk_ids: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where a sentence's support stands: a verified quote in a file, or the picture it was read off.

    ``quote`` is exactly the characters at ``span`` of the document's text or, for a picture (``asset_id`` set), of its
    caption or, for a table, of its words. ``page`` counts from 1 and is 1 in a format without pages; ``row`` is the
    first row of a table that is quoted, counted from 1 below the header, and 0 for everything else. ``prediction`` is
    set where no document says this, but a predicted link.
    """

    number: int
    chunk_id: str
    document_id: str
    source: str
    name: str
    page: int
    is_paged: bool
    modality: Modality
    quote: str
    span: Span
    asset_id: str | None = None
    box: Box | None = None
    row: int = 0
    prediction: PredictionCited | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSentence:
    """One sentence of an answer, the numbers of the citations that carry it, and how well they do, in ``[0, 1]``."""

    text: str
    citations: tuple[int, ...]
    support: float
    is_supported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service says to a question.

    ``text`` holds the supported sentences with their ``[n]`` marks; ``short_answer`` is the span that answers, empty
    where none was found. ``dropped`` keeps what a model wrote and the evidence did not support.
    ``exact`` is set where the answer was worked out from the graph or a table.
    """

    question: str
    status: AnswerStatus
    text: str
    short_answer: str
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    evidence: tuple[Evidence, ...]
    generator: str
    dropped: tuple[AnswerSentence, ...] = ()
    notes: tuple[str, ...] = ()
    trace: Trace = Trace()
    exact: ExactAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertContribution:
    """What one expert says of a predicted link.

    ``log_probability`` is in nats, over all entities; ``weight`` is the gate's for this question and candidate. The
    expert adds their product to the score. What the ``reranker`` corrects, in nats, stands beside a weight of 1. The
    expert ``generator`` scores a shortlist only: its ``log_probability`` is standardised within that list (mean 0,
    standard deviation 1), and the list keeps its share of the softmax.
    """

    expert: str
    weight: float
    log_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStep:
    """A known link that is a step of a path."""

    head_id: str
    head: str
    relation: str
    tail_id: str
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvidence:
    """A rule that leads to a predicted link, and one path of known links that grounds it.

    ``support`` counts the pairs of entities for which the rule was right, ``n_body`` those that it speaks of, and
    ``confidence`` is ``support / (n_body + 5)``.
    """

    text: str
    support: int
    n_body: int
    confidence: float
    path: tuple[PathStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLink:
    """A link the model expects and the graph does not hold. Never stored or shown as an extracted one.

    ``score`` is the model's raw score (higher is better). ``probability`` is the chance that the link is right, where
    ``calibrated``; else the softmax of the scores over all candidates of the query. ``rank`` counts from 1 among the
    candidates that are not known already. ``support`` lists chunk ids of the known statements that the prediction leans
    on, ``contributions`` what each expert says, ``rules`` the rules that lead to it, the most confident first.
    """

    head_id: str
    head: str
    relation: str
    tail_id: str
    tail: str
    score: float
    probability: float
    rank: int
    origin: Origin = Origin.PREDICTED
    support: tuple[str, ...] = ()
    calibrated: bool = False
    contributions: tuple[ExpertContribution, ...] = ()
    rules: tuple[RuleEvidence, ...] = ()
