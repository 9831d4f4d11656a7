"""The default answer: the best supported sentences of the evidence, word for word, each with its citation.

Layer: ``generation``. It invents nothing, so it needs no verification; its judgement lies in which sentences it takes,
and in saying so when none of them answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.citations import CitationBook
from generation.question import Question, read_question
from generation.scoring import MentionLookup, Scored, Scores, says_nothing_new, score_units
from generation.short_answer import ShortAnswer, find_in_tables, find_short_answer
from generation.types import AnswerSentence
from generation.units import Unit, is_picture, is_table, picture_noun, units_of
from generation.words import collapse, content_stems, stem
from kg.types import Modality, Span
from retrieval.types import Evidence, TextEncoder

__all__ = ["ANSWERABLE", "Extract", "extract", "insufficient_text", "place_of", "write_sentence"]

ANSWERABLE = 0.4
"""Answerability from which an answer is given; calibrated by ``tests/benchmarks/fit_answerability.py``."""
_MAX_SENTENCES = 3
_NEXT_SHARE = 0.72
"""A further sentence must reach this share of the best one's score …"""
_NEW_SHARE = 0.2
"""… and bring this share of the question's weight that is not covered yet, unless it is nearly as good as the best."""
_NEARLY = 0.93
_REDUNDANT = 0.6
_COVERED_BY_TABLE = 0.5
"""Share of the question's weight that a table must speak of to answer where the evidence as a whole seems not to."""
_PRONOUN = re.compile(r"^(?:it|he|she|they|this|these|that|those|its|his|her|their|such|both)\b", re.I)
_BAR = " | "
_LEAD_CHARS = 220
_SHOWN_CHARS = 240


_SAID = {"caption": "caption", "alt": "description", "model": "machine-written description"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """What was taken from the evidence: units to quote, best first, the short answer, and whether it answers at all."""

    question: Question
    scores: Scores
    picks: tuple[Unit, ...]
    short: ShortAnswer | None
    is_sufficient: bool


def extract(
    question: str,
    evidence: Sequence[Evidence],
    *,
    encoder: TextEncoder,
    mentions: MentionLookup | None = None,
    max_sentences: int = _MAX_SENTENCES,
    threshold: float = ANSWERABLE,
) -> Extract:
    """Choose the sentences that answer.

    :param question: The question as asked.
    :param evidence: What retrieval found, best first.
    :param encoder: Gives unit vectors; called once.
    :param mentions: The record's mentions of a chunk, where there is a record.
    :param max_sentences: The most sentences to take, >= 1.
    :param threshold: Answerability, in ``[0, 1]``, under which the evidence is called insufficient.
    :returns: The choice; ``picks`` are empty where there is no evidence at all.
    """
    read = read_question(question)
    scores = score_units(read, evidence, encoder=encoder, mentions=mentions)
    sufficient = bool(scores.ranked) and scores.answerable >= threshold
    if sufficient:
        short = find_short_answer(read, scores, evidence, mentions=mentions)
    else:
        short = _sure_in_table(read, scores, evidence)
        sufficient = short is not None
    picked = _pick(read, scores, short, max_sentences=max_sentences)
    units = units_of(evidence)
    quoted = [_trimmed(_with_lead(item.unit, units), scores, short) for item in picked]
    beside = (short.beside,) if short is not None and short.beside is not None else ()
    return Extract(
        question=read,
        scores=scores,
        picks=_without_contained([*quoted, *beside]),
        short=short,
        is_sufficient=sufficient,
    )


def _sure_in_table(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> ShortAnswer | None:
    """Return what a table answers whose names hold nearly all of the question: a row is poorer in words than prose."""
    found = find_in_tables(question, scores, evidence) if scores.ranked else None
    return found if found is not None and found.covered >= _COVERED_BY_TABLE else None


def _pick(question: Question, scores: Scores, short: ShortAnswer | None, *, max_sentences: int) -> list[Scored]:
    if not scores.ranked:
        return []
    best = scores.ranked[0]
    picked = [short.source if short is not None and short.source is not None else best]
    total = sum(scores.idf.values()) or 1.0
    names = {stem(name) for name in question.names}
    for item in scores.ranked:
        if len(picked) >= max_sentences or item.score < _NEXT_SHARE * best.score:
            break
        if any(_overlap(item.unit, other.unit) >= _REDUNDANT for other in picked):
            continue
        covered = frozenset().union(*(other.covered for other in picked))
        if any(other.unit.index == item.unit.index for other in picked):
            covered |= names  # who speaks is clear within one piece of evidence
        new = sum(scores.idf[found] for found in item.covered - covered) / total
        if says_nothing_new(question, frozenset(content_stems(item.unit.text)), item.unit):
            continue
        if item is best or new >= _NEW_SHARE or (item.score >= _NEARLY * best.score and new > 0.0):
            picked.append(item)
    return picked


def _overlap(one: Unit, other: Unit) -> float:
    """Return the share of the shorter unit's words that the other holds too; 1 where their places overlap."""
    if one.index == other.index and one.span.start < other.span.end and other.span.start < one.span.end:
        return 1.0
    a, b = set(content_stems(one.text)), set(content_stems(other.text))
    return len(a & b) / max(min(len(a), len(b)), 1)


def _with_lead(unit: Unit, units: Sequence[Unit]) -> Unit:
    """Put the sentence before it in front of one that opens with a pronoun, so that a reader knows who is meant."""
    if unit.picture or not _PRONOUN.match(unit.text):
        return unit
    before = [other for other in units if other.index == unit.index and other.span.end <= unit.span.start]
    if not before or len(before[-1].span) > _LEAD_CHARS or unit.span.start - before[-1].span.end > 1:
        return unit
    lead = before[-1]
    gap = " " * (unit.span.start - lead.span.end)
    span = Span(start=lead.span.start, end=unit.span.end)
    return Unit(index=unit.index, text=lead.text + gap + unit.text, span=span, picture=False, said=unit.said)


def _trimmed(unit: Unit, scores: Scores, short: ShortAnswer | None) -> Unit:
    """Cut the rows of a table or chart before the first and after the last that matter, where an answer stands in it.

    A row of two cells that holds a word of the question and the answer says all; otherwise rows matter that hold the
    answer or a word of the question. What is left is one stretch, so the quote stays exact.
    """
    lines = unit.text.splitlines(keepends=True)
    if not unit.picture or short is None or short.source is None or not any(_BAR in line for line in lines):
        return unit
    if short.source.unit.span != unit.span or short.source.unit.index != unit.index:
        return unit
    matter = [n for n, line in enumerate(lines) if short.text in line or scores.idf.keys() & set(content_stems(line))]
    answering = [n for n in matter if short.text in lines[n]]
    if not answering:
        return unit
    labelled = [n for n in answering if scores.idf.keys() & set(content_stems(lines[n]))]
    if len(labelled) == 1 and lines[labelled[0]].count(_BAR.strip()) == 1:
        matter = labelled
    start = sum(len(line) for line in lines[: matter[0]])
    text = "".join(lines[matter[0] : matter[-1] + 1]).rstrip()
    first = unit.span.start + start
    return Unit(index=unit.index, text=text, span=Span(start=first, end=first + len(text)), picture=True)


def _without_contained(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Leave out units that another one holds already, since a lead was put in front of it."""
    kept: list[Unit] = []
    for unit in units:
        inside = [
            other
            for other in units
            if other is not unit
            and other.index == unit.index
            and other.span.start <= unit.span.start
            and unit.span.end <= other.span.end
        ]
        if not inside:
            kept.append(unit)
    return tuple(kept)


def write_sentence(unit: Unit, evidence: Sequence[Evidence], book: CitationBook) -> AnswerSentence:
    """Make a unit a sentence of the answer: its own words, and where they were read off a picture, that fact.

    :param unit: The unit to quote.
    :param evidence: The evidence that it was cut from.
    :param book: Numbers the quote.
    :returns: The sentence, fully supported, because it is the evidence.
    """
    item = evidence[unit.index]
    number = book.cite(item, unit.span)
    noun = picture_noun(item.chunk.modality)
    text = unit.flat
    if unit.said:
        text = f"The {_SAID[unit.said]} of the {noun} says: “{text}”"
    elif is_picture(item):
        text = f"The {noun} reads: “{text}”"
    elif is_table(item):
        text = f"The table reads: “{text}”"
    return AnswerSentence(text=text, citations=(number,), support=1.0, is_supported=True)


def place_of(evidence: Evidence) -> str:
    """Return where a piece of evidence stands, for people: ``report.pdf, p. 3 (chart)``."""
    page = f", p. {evidence.chunk.page_first}" if evidence.document.is_paged else ""
    kind = evidence.chunk.modality
    picture = f" ({picture_noun(kind)})" if kind is not Modality.TEXT else ""
    return f"{evidence.document.name}{page}{picture}"


def insufficient_text(found: Extract, evidence: Sequence[Evidence]) -> str:
    """Say that the evidence does not answer, and what came nearest.

    :param found: The choice that was not good enough.
    :param evidence: The evidence.
    :returns: One or two sentences for people.
    """
    if not found.scores.ranked:
        return "Nothing was found that speaks of this. Add documents that do, or ask in other words."
    nearest = found.scores.ranked[0].unit
    flat = collapse(nearest.flat)
    shown = flat if len(flat) <= _SHOWN_CHARS else flat[:_SHOWN_CHARS].rsplit(" ", 1)[0] + " …"
    return (
        "The documents do not seem to answer this. "
        f"The nearest they come is in {place_of(evidence[nearest.index])}: “{shown}”"
    )
