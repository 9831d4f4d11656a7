"""Read citation marks out of a model's text, and number the quotes of an answer.

Layer: ``generation``. Marks read: ``[1]``, ``[1, 2]``, ``[1][3]``, ``[1-3]``, ``[source 2]``; before or after the full
stop. A mark that no evidence carries is dropped and noted, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.types import Citation
from generation.words import collapse
from kg.sentences import sentence_spans
from kg.types import Span
from retrieval.types import Evidence

__all__ = ["CitationBook", "CitedSentence", "SentenceStream", "marks", "split_cited"]

_ITEM = r"\d{1,3}(?:\s?[-–]\s?\d{1,3})?"
_MARK = re.compile(
    rf"\[\s*(?:(?:source|sources|evidence|passage|doc|document|ref|"
    rf"citation)s?[\s.:#]*)?(?P<items>{_ITEM}(?:\s*[,;&]\s*{_ITEM})*)\s*\]",
    re.IGNORECASE,
)
_AFTER_STOP = re.compile(
    rf"(?P<stop>[.!?][\"”’)]?)\s*(?P<marks>(?:{_MARK.pattern.replace('(?P<items>', '(?:')}\s*)+)", re.IGNORECASE
)
_SPACE_BEFORE_STOP = re.compile(r"\s+(?=[.,;:!?])")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_PREAMBLE = re.compile(r"^(?:the )?(?:short )?answer(?: to the question)?(?: is)?\s*:\s*", re.IGNORECASE)
_LONGEST_RANGE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSentence:
    """A sentence of a model's text without its marks, and the numbers that the marks held, each once, in order."""

    text: str
    numbers: tuple[int, ...]


def split_cited(text: str) -> list[CitedSentence]:
    """Split a model's text into sentences with the numbers that each cites.

    :param text: What the model wrote; thoughts between ``<think>`` and ``</think>`` are left out.
    :returns: Sentences in order; a mark alone belongs to the sentence before it, and to none where there is none.
    """
    flat = _before_stops(_THOUGHT.sub(" ", text))
    found: list[CitedSentence] = []
    for span in sentence_spans(flat):
        raw = flat[span.start : span.end]
        bare = _bare(raw)
        numbers = _numbers(raw)
        if any(char.isalnum() for char in bare):
            found.append(CitedSentence(text=bare, numbers=numbers))
        elif found and numbers:
            merged = tuple(dict.fromkeys((*found[-1].numbers, *numbers)))
            found[-1] = CitedSentence(text=found[-1].text, numbers=merged)
    return found


def _before_stops(text: str) -> str:
    return _AFTER_STOP.sub(lambda match: f" {match['marks'].strip()}{match['stop']} ", text)


def _bare(text: str) -> str:
    return _PREAMBLE.sub("", collapse(_SPACE_BEFORE_STOP.sub("", _MARK.sub("", text))).strip(" -*•"))


def _numbers(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for match in _MARK.finditer(text):
        for item in re.split(r"[,;&]", match["items"]):
            ends = [int(part) for part in re.split(r"[-–]", item)]
            first, last = ends[0], ends[-1]
            found += range(first, min(last, first + _LONGEST_RANGE) + 1) if first <= last else [first, last]
    return tuple(dict.fromkeys(found))


def marks(numbers: Sequence[int]) -> str:
    """Return the marks of these numbers as they stand in an answer: ``[1][3]``."""
    return "".join(f"[{number}]" for number in numbers)


class SentenceStream:
    """Gives the finished sentences of a text that arrives in pieces.

    A sentence is finished when the next one has begun with a letter or digit: until then a mark may still follow.
    """

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, piece: str) -> list[CitedSentence]:
        """Take the next piece; return the sentences that it finishes."""
        self._pending += piece
        lowered = self._pending.lower()
        if "<think>" in lowered and "</think>" not in lowered:
            return []
        flat = _before_stops(_THOUGHT.sub(" ", self._pending))
        spans = sentence_spans(flat)
        if len(spans) < 2 or not flat[spans[-1].start].isalnum() or len(spans[-1]) < 2:
            return []
        cut = spans[-1].start
        self._pending = flat[cut:]
        return split_cited(flat[:cut])

    def close(self) -> list[CitedSentence]:
        """Return what is left when the text has ended."""
        pending, self._pending = self._pending, ""
        return split_cited(pending)


class CitationBook:
    """Numbers the quotes of one answer from 1, in the order in which they are first used."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int, int], int] = {}
        self._citations: list[Citation] = []

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Return the citations so far, by number."""
        return tuple(self._citations)

    def cite(self, evidence: Evidence, span: Span) -> int:
        """Return the number of a quote, giving it one if it has none.

        :param evidence: The evidence that is quoted.
        :param span: The quote's place, in the coordinates of ``Chunk.span`` and within it.
        :returns: The number, from 1.
        """
        chunk, document = evidence.chunk, evidence.document
        key = (chunk.chunk_id, span.start, span.end)
        if key in self._numbers:
            return self._numbers[key]
        number = len(self._citations) + 1
        start = span.start - chunk.span.start
        self._citations.append(
            Citation(
                number=number,
                chunk_id=chunk.chunk_id,
                document_id=chunk.document_id,
                source=document.source,
                name=document.name,
                page=chunk.page_first,
                is_paged=document.is_paged,
                modality=chunk.modality,
                quote=chunk.text[start : start + len(span)],
                span=span,
                asset_id=chunk.asset_id,
                box=chunk.box,
                row=next((row.number for row in evidence.rows if row.span.end > span.start), 0),
            )
        )
        self._numbers[key] = number
        return number
