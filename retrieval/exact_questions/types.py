"""The typed values of database-like questions: what was asked, and the exact answer with a row for each thing in it.

Layer: ``retrieval``; imports ``kg``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kg.types import Span

__all__ = ["AskedExactly", "ExactAnswer", "ExactKind", "ExactOutcome", "ExactRow", "UnclearQuestionError"]


class ExactKind(StrEnum):
    """What is worked out of the things that fit."""

    COUNT = "count"
    LIST = "list"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    AVERAGE = "average"


class UnclearQuestionError(Exception):
    """A question has no unambiguous plan; the message says why. It never leaves this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedExactly:
    """A database-like question, read.

    ``words`` are all its words and ``stems`` their stems; ``noun`` are the places of the words that name what is
    counted, listed or chosen ("how many *ships*", "which *ship*", "the largest *ship*"), none for "who".
    ``superlative`` is the word of the extreme in lower case, empty for other kinds.
    """

    text: str
    kind: ExactKind
    words: tuple[str, ...]
    stems: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    noun: tuple[int, ...] = ()
    superlative: str = ""

    @property
    def noun_text(self) -> str:
        """The words of the noun, as they stand."""
        return " ".join(self.words[place] for place in self.noun)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRow:
    """One thing of an answer, and where it is said: ``span`` in the coordinates of the chunk ``chunk_id``.

    ``value`` is what was compared or summed, as it is written; ``row`` is the number of the table's row, from 1, and 0
    for a sentence.
    """

    label: str
    document_id: str
    chunk_id: str
    span: Span
    value: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactAnswer:
    """An answer that was worked out rather than found.

    ``short`` is the number, value or names; ``text`` the sentence that says it; ``source`` what it was worked out from.
    ``rows`` are all things that it rests on, in order. ``notes`` say what was left out and why.
    """

    kind: ExactKind
    short: str
    text: str
    source: str
    rows: tuple[ExactRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactOutcome:
    """The exact answer, or why there is none: ``reason`` is empty for a question that is not of this kind."""

    answer: ExactAnswer | None = None
    reason: str = ""
