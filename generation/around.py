"""Answers that a sentence does not hold but stands under: who says it, when it was sent, what its passage is about.

Layer: ``generation``. In a chat the speaker stands at the line's start and the date at the message's head; in an
article the subject stands in the title while its sentences say "it". Each is taken only where the text shows the form.
"""

from __future__ import annotations

import re

from generation.patterns import PATTERNS
from generation.question import Question, QuestionKind
from generation.units import Unit
from generation.words import content_stems, stem
from kg.types import Span
from retrieval.types import Evidence

__all__ = ["around", "defining_sentence", "header_of", "subject_of"]

_HEADER = re.compile(r"^[ \t]*(?:time|date|sent|posted|timestamp|created)\s*:\s*(?P<x>[^\n]{4,40})", re.I | re.M)
_SPEAKER = re.compile(r"(?m)^[ \t]*(?P<x>[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,3}):\s")
_NO_SPEAKER = frozenset({"time", "date", "sent", "posted", "subject", "from", "to", "note", "re"})
_SAYS = frozenset(
    content_stems(
        "ask suggest propose recommend mention offer say tell inform remind invite announce share express introduce "
        "think believe thank explain warn complain report describe plan confirm request send message agree disagree "
        "enjoy love like prefer wish hope bring volunteer compliment praise discuss post"
    )
)
"""What people do by speaking: only to these the speaker of a sentence is an answer."""
_WHEN_DID = re.compile(r"\bwhen (?:did|was|were|has|have|had)\b|\b(?:which|what) (?:day|date) (?:did|was|were)\b", re.I)
"""A message's date dates what it tells as done, not what it plans."""
_COPULA = re.compile(r"\b(?:is|are|was|were)\s+(?:an?|the|one of)\b", re.I)
_BRACKETS = re.compile(r"\s*\([^)]*\)")
_SUBJECT_KINDS = frozenset({QuestionKind.THING, QuestionKind.PERSON, QuestionKind.PLACE})
_FIRST_CHARS = 400


def around(question: Question, unit: Unit, item: Evidence) -> tuple[str, Unit | None]:
    """Return what a unit stands under that has the type asked for, and the unit to quote beside it, if any.

    :param question: The question, read.
    :param unit: A unit that speaks of what is asked.
    :param item: The evidence that the unit was cut from.
    :returns: The answer, empty where there is none, and the other unit that shows it.
    """
    if unit.picture:
        return "", None
    if (
        question.kind is QuestionKind.DATE
        and _WHEN_DID.search(question.text)
        and not PATTERNS[QuestionKind.DATE].search(unit.text)
    ):
        header = header_of(unit, item)
        return (header[0], header[1]) if header is not None else ("", None)
    if question.kind is QuestionKind.PERSON and set(question.stems) & _SAYS:
        speaker = _speaker(unit, item)
        if speaker and not set(content_stems(speaker)) & set(question.stems):
            return speaker, None
    if question.kind in _SUBJECT_KINDS:
        return subject_of(question, item), None
    return "", None


def header_of(unit: Unit, item: Evidence) -> tuple[str, Unit] | None:
    """Return the date at the head of the message that ``unit`` stands in, with the line that holds it."""
    text = item.chunk.text
    match = _HEADER.search(text[:_FIRST_CHARS])
    found = PATTERNS[QuestionKind.DATE].search(match["x"]) if match is not None else None
    if match is None or found is None:
        return None
    lead = match.start() + len(match[0]) - len(match[0].lstrip())
    start, end = item.chunk.span.start + lead, item.chunk.span.start + match.end()
    line = Unit(index=unit.index, text=text[lead : match.end()], span=Span(start=start, end=end), picture=False)
    return found[0], line


def _speaker(unit: Unit, item: Evidence) -> str:
    text = item.chunk.text[: unit.span.end - item.chunk.span.start]
    spoken = [match for match in _SPEAKER.finditer(text) if match["x"].lower() not in _NO_SPEAKER]
    return spoken[-1]["x"] if spoken else ""


def subject_of(question: Question, item: Evidence) -> str:
    """Return the subject of a passage whose first sentence says that it is what the question asks for.

    "Which Danish band …?" is answered by the title of a passage that opens "X are a … Danish band".
    """
    head = stem(question.head.split()[-1]) if question.head else ""
    title = _BRACKETS.sub("", item.document.title).strip()
    sentence = defining_sentence(title, item)
    if not head or not sentence or set(content_stems(title)) <= set(question.stems):
        return ""
    return title if head in content_stems(sentence) else ""


def defining_sentence(title: str, item: Evidence) -> str:
    """Return what the passage's opening says that ``title`` is ("a city in France, …"), empty where it does not."""
    opening = item.chunk.text[:_FIRST_CHARS]
    match = _COPULA.search(opening)
    named = set(content_stems(title))
    if match is None or not named or not named <= set(content_stems(opening[: match.start()])):
        return ""
    rest = opening[match.end() :]
    stop = re.search(r"[.!?](?:\s|$)|\n", rest)
    return (rest[: stop.start()] if stop else rest).strip()
