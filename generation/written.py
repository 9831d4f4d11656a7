"""Judge what a language model writes, sentence by sentence, as it writes it.

Layer: ``generation``. Each finished sentence is checked against what it cites. A wrong citation is put right where
other evidence carries the sentence strongly; what nothing carries is dropped and kept for the record. A text that only
retells the evidence beside the point, or declines, is not an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.citations import CitationBook, CitedSentence
from generation.context import Context
from generation.extractive import Extract
from generation.types import AnswerSentence
from generation.units import Unit
from generation.verify import ACCEPT, Support, Verifier
from generation.words import content_stems, stems
from kg.types import Span
from retrieval.types import Evidence, TextEncoder

__all__ = ["Draft", "is_refusal"]

STRONG = 0.7
"""Support from which evidence may be attached to a sentence that did not cite it."""
_COPIED_SHARE = 0.9
_COPY_LENGTH = 4
_TO_THE_POINT = 0.5
_REFUSAL = re.compile(
    r"\b(?:i|we) (?:can(?:no|')t|can not|could not|couldn't|am (?:not able|unable)|do(?: not|n't) (?:know|have))\b"
    r"|\b(?:evidence|context|passages?|documents?|text|information|sources?)\b.{0,30}\b(?:do(?:es)? not|doesn't|"
    r"don't|did not|lacks?) "
    r"?(?:contain|mention|hold|provide|say|include|specify|state|answer|have|give)?"
    r"|\bnot (?:mentioned|stated|specified|provided|given|possible to (?:answer|say|determine))\b|\bno "
    r"(?:information|mention|evidence)\b"
    r"|\bas an ai\b|\bi'm sorry\b|\bi apologi[sz]e\b|\bunanswerable\b|\bnot answerable\b",
    re.IGNORECASE | re.DOTALL,
)

_ENDED = re.compile(r"""[.!?…:;]["'”’)\]]*\s*$""")
"""How a finished sentence closes. The first one may lack it: a model may answer with a bare name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A sentence after its check."""

    sentence: AnswerSentence
    units: tuple[Unit, ...]


class Draft:
    """The answer that a model is writing: what was accepted, what was dropped, what there is to note.

    One draft belongs to one answer.

    :param context: The evidence as the model saw it; its numbers are those that the model's marks mean.
    :param evidence: The evidence that the context was packed from.
    :param encoder: Gives unit vectors.
    """

    def __init__(self, *, context: Context, evidence: Sequence[Evidence], encoder: TextEncoder) -> None:
        self._index_of = {item.number: i for i, item in enumerate(context.items)}
        self._seen = [evidence[item.index] for item in context.items]
        self._verifier = Verifier(self._seen, encoder=encoder)
        self._accepted: list[Judged] = []
        self._refused = False
        self.book = CitationBook()
        self.dropped: list[AnswerSentence] = []
        self.notes: list[str] = []

    @property
    def sentences(self) -> tuple[AnswerSentence, ...]:
        """Return the accepted sentences so far."""
        return tuple(judged.sentence for judged in self._accepted)

    def add(self, written: CitedSentence) -> AnswerSentence | None:
        """Judge the next sentence.

        :param written: The sentence and the numbers that it cites.
        :returns: The sentence as it may be shown, or ``None`` where it was dropped.
        """
        if is_refusal(written.text):
            self._refused = True
            self._drop(written.text, 0.0)
            return None
        if any(set(stems(written.text)) == set(stems(other.text)) for other in (*self.sentences, *self.dropped)):
            self._note("The model repeated itself; repeats were left out.")
            return None
        if self._accepted and not _ENDED.search(written.text):
            self._drop(written.text, 0.0, "it breaks off")
            return None
        known = [self._index_of[number] for number in written.numbers if number in self._index_of]
        for number in written.numbers:
            if number not in self._index_of:
                self._note(f"The model cited [{number}], which does not exist; the mark was dropped.")
        carrying, support = self._carry(written.text, known)
        if not carrying:
            self._drop(written.text, support.score, *support.problems)
            return None
        numbers = tuple(dict.fromkeys(self._cite(index, support) for index in carrying))
        sentence = AnswerSentence(text=written.text, citations=numbers, support=support.score, is_supported=True)
        self._accepted.append(Judged(sentence=sentence, units=support.units))
        return sentence

    def _carry(self, text: str, cited: Sequence[int]) -> tuple[list[int], Support]:
        """Return which evidence carries ``text`` (empty: none does) and how well."""
        supports = {index: self._verifier.check(text, [index]) for index in cited}
        alone = [index for index, support in supports.items() if support.is_supported]
        if alone:
            units = tuple(dict.fromkeys(unit for index in alone for unit in supports[index].units))
            return alone, Support(score=max(supports[index].score for index in alone), units=units)
        if len(cited) > 1:
            together = self._verifier.check(text, cited)
            if together.is_supported:
                return list(cited), together
        index, best = self._verifier.best(text)
        if best.score >= STRONG and not best.problems:
            if cited:
                self._note(f"The model cited the wrong evidence for “{text[:60]}”; the citation was put right.")
            return [index], best
        worst = max(supports.values(), key=lambda support: support.score, default=best)
        return [], worst

    def _cite(self, index: int, support: Support) -> int:
        item = self._seen[index]
        own = [unit for unit in support.units if self._belongs(unit, item)]
        start = min(unit.span.start for unit in own) if own else item.chunk.span.start
        end = max(unit.span.end for unit in own) if own else item.chunk.span.end
        return self.book.cite(item, Span(start=start, end=end))

    @staticmethod
    def _belongs(unit: Unit, item: Evidence) -> bool:
        start = unit.span.start - item.chunk.span.start
        return start >= 0 and item.chunk.text[start : start + len(unit.span)] == unit.text

    def _drop(self, text: str, score: float, *problems: str) -> None:
        self.dropped.append(AnswerSentence(text=text, citations=(), support=min(score, ACCEPT), is_supported=False))
        for problem in problems:
            self._note(f"Dropped “{text[:60]}”: {problem}.")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def objection(self, found: Extract, *, max_sentences: int) -> str:
        """Say why this draft is not to be shown as an answer, or nothing where it is.

        :param found: What extraction took from the same evidence.
        :param max_sentences: The most sentences of an answer that copies.
        :returns: The reason, one sentence for people; empty where the draft stands.
        """
        if not self._accepted:
            return (
                "The model declined to answer."
                if self._refused
                else "Nothing that the model wrote was supported by the evidence."
            )
        copied = [judged for judged in self._accepted if _is_copied(judged)]
        beside = not any(_shares_words(judged, found) for judged in self._accepted)
        if len(copied) == len(self._accepted) and (beside or len(copied) > max_sentences):
            return "The model only retold the evidence."
        if len(self.dropped) > 2 * len(self._accepted):
            return "Most of what the model wrote was not supported by the evidence."
        if found.short is not None and not self._says(found.short.text):
            return "The model's text does not hold the answer that the evidence gives."
        return ""

    def _says(self, short: str) -> bool:
        if short in ("yes", "no"):
            return True
        said = {found for judged in self._accepted for found in stems(judged.sentence.text)}
        return set(content_stems(short)) <= said


def _is_copied(judged: Judged) -> bool:
    """Tell whether nearly all runs of four words of the sentence stand in what it cites."""
    own = stems(judged.sentence.text)
    runs = {tuple(own[i : i + _COPY_LENGTH]) for i in range(max(len(own) - _COPY_LENGTH + 1, 1))}
    text = [found for unit in judged.units for found in stems(unit.text)]
    held = {tuple(text[i : i + len(next(iter(runs), ()))]) for i in range(len(text))}
    return len(runs & held) >= _COPIED_SHARE * len(runs)


def _shares_words(judged: Judged, found: Extract) -> bool:
    """Tell whether the sentence speaks of what the best extract speaks of."""
    wanted = {word for unit in found.picks[:2] for word in content_stems(unit.text)} - set(found.question.stems)
    own = set(content_stems(judged.sentence.text)) - set(found.question.stems)
    return not wanted or len(own & wanted) >= _TO_THE_POINT * min(len(own), len(wanted))


def is_refusal(text: str) -> bool:
    """Tell whether a sentence declines to answer ("The context does not say …") rather than stating anything."""
    return _REFUSAL.search(text.replace("’", "'")) is not None
