"""The pieces of an answer that is streamed.

Layer: ``generation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from generation.types import Answer, AnswerSentence, Citation

__all__ = ["AnswerEvent", "EventKind"]


class EventKind(StrEnum):
    """What a piece of a streamed answer is."""

    TOKEN = "token"
    """``text`` is what the model just wrote, unchecked."""
    SENTENCE = "sentence"
    """``sentence`` was checked and ``citations`` are the ones that it uses; its numbers stay as they are."""
    RESTART = "restart"
    """All tokens and sentences so far are withdrawn, for the reason in ``text``; other sentences follow."""
    FINAL = "final"
    """``answer`` is the whole, verified answer: always the last event, and there is exactly one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """A piece of a streamed answer; :class:`EventKind` says which fields are set."""

    kind: EventKind
    text: str = ""
    sentence: AnswerSentence | None = None
    citations: tuple[Citation, ...] = ()
    answer: Answer | None = None
