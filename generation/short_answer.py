"""The few words that answer: a name, a date, a number, a phrase; empty where none can be given with confidence.

Layer: ``generation``. A candidate of the type asked for wins by the score of its sentence, its nearness to the
question's words, and how sure its type is. Yes and no are decided by :mod:`generation.verdict`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.around import around
from generation.grid import find_cell
from generation.patterns import Candidate, candidates
from generation.question import Question, QuestionKind
from generation.rows import cells_of
from generation.scoring import MentionLookup, Scored, Scores
from generation.table_extremes import find_extreme, is_extreme
from generation.table_lookup import TableAnswer, find_table_cell
from generation.table_match import NUMERIC
from generation.tables import read_tables
from generation.units import Unit
from generation.verdict import choose_option, decide_yes_no
from generation.words import Word, collapse, content_stems, stem, words
from kg.types import Span
from retrieval.types import Evidence

__all__ = ["ShortAnswer", "find_in_tables", "find_short_answer"]

_N_UNITS = 8
"""How many of the best units are searched: an answer that stands lower is more often wrong than right."""
_NEAR_WORDS = 6.0
"""Distance, in words, at which nearness to a word of the question has fallen to one half."""
_NEAR_WEIGHT = 0.45
_TRUST_WEIGHT = 0.15
_HEAD_WEIGHT = 0.15
_AGENT_BONUS = 1.5
_AGENT_WORDS = 4
_ORDER_WEIGHT = 0.04
_CELL_WEIGHT = 0.5
"""What a cell earns for standing under or beside the label that is asked about: more than nearness in a sentence."""
_FOCUS_WEIGHT = 0.2
"""What the words beside the question word earn or cost: "premiered" in "the series that premiered on which date"."""
_AROUND_WEIGHT = 0.45
_AROUND_BASE = 0.25
_MIN_SCORE = 0.72
_MIN_SCORE_OF_THINGS = 0.82
"""Any name could be a thing, so its type says little and its place must say more."""
_PHRASE_WORDS = 12
_CLAUSE_END = re.compile(r"[.;!?\n]|,(?=\s)|\s[–—-]\s|\s\(|\b(?:which|who|because|although|while)\b")
_BECAUSE = re.compile(
    r"\b(?:because of|because|due to|owing to|in order to|so that|so as to|thanks to)\s+(?P<x>[^.;!?\n]{3,120})", re.I
)
_NO_CELL = frozenset({QuestionKind.CHOICE, QuestionKind.YES_NO, QuestionKind.EXPLANATION})
_COUNTED = re.compile(r"\b(?:figures?|fig\.?|tables?|charts?|pages?|p\.|sections?|chapters?)\s*$", re.I)
"""Before a number, these make it the number of a part of the document."""
_PROSE_WORDS = 10
"""A cell of as many words is a remark, in which an answer may stand as it does in a sentence."""
_BARE_LINE = re.compile(r"(?m)^[ \t]*[^\w\n]*\d[\d.,%$€£ \t–−-]*[KMBkm]?[ \t]*$")
_BAR_LINE = re.compile(r"(?m)^.* \| .*$")
_VALUE_LIST = re.compile(
    r"(?m)^[^:|\n]{1,80}:[ \t]*(?P<values>[^\w\n]*\d[\d.]*%?(?:,[ \t]+[^\w\n,]*\d[\d.]*%?)+)[ \t]*$"
)
_COPULA = r"(?:\s*\([^)]*\))?,?\s+(?:is|are|was|were|means?|refers? to|denotes?|stands? for)\s+(?P<x>[^\n]{3,200})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortAnswer:
    """The words that answer, the unit they stand in (``None`` for a verdict drawn from several), and their score.

    ``beside`` is another unit that shows them, where their own does not: the head of the message, the row that comes
    next. ``covered`` is the share of the question, in ``[0, 1]``, that a table which answers speaks of; 0 for others.
    """

    text: str
    source: Scored | None
    score: float
    beside: Unit | None = None
    covered: float = 0.0


def find_short_answer(
    question: Question,
    scores: Scores,
    evidence: Sequence[Evidence],
    *,
    mentions: MentionLookup | None = None,
) -> ShortAnswer | None:
    """Find the span that answers.

    :param question: The question, read.
    :param scores: The evidence's units, scored for it.
    :param evidence: The evidence itself.
    :param mentions: The record's mentions of a chunk, where there is a record.
    :returns: The answer with the unit that it stands in, or ``None`` where nothing is sure enough.
    """
    if not scores.ranked:
        return None
    if question.kind is QuestionKind.YES_NO:
        return _verdict(decide_yes_no(question, scores, evidence))
    if question.kind is QuestionKind.CHOICE:
        return find_in_tables(question, scores, evidence) or _verdict(choose_option(question, scores, evidence))
    if question.kind is QuestionKind.DEFINITION:
        return _definition(question, scores) or find_in_tables(question, scores, evidence)
    if question.kind is QuestionKind.EXPLANATION:
        return _reason(question, scores)
    return _typed(question, scores, evidence, mentions)


def find_in_tables(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> ShortAnswer | None:
    """Find the answer in a table of which a chunk is among those of the best units.

    :param question: The question, read.
    :param scores: The evidence's units, scored for it; at least one.
    :param evidence: The evidence itself.
    :returns: The answer with the row that it stands in, or ``None``.
    """
    near = {item.unit.index for item in scores.ranked[:_N_UNITS]}
    shown = [
        table for table in read_tables(evidence) if near & {*table.pictures, *(row.unit.index for row in table.rows)}
    ]
    found = find_extreme(question, shown, scores.idf)
    if found is None and not is_extreme(question) and question.kind not in _NO_CELL:
        found = find_table_cell(question, shown, scores.idf)
    return None if found is None else _of_table(found, scores)


def _of_table(found: TableAnswer, scores: Scores) -> ShortAnswer:
    unit, top = found.units[0], scores.ranked[0].score or 1.0
    held = frozenset(content_stems(unit.text)) & scores.idf.keys()
    around = [item for item in scores.ranked if item.unit.index == unit.index]
    overlapping = [i for i in around if i.unit.span.start < unit.span.end and unit.span.start < i.unit.span.end]
    best = (overlapping or around or scores.ranked[-1:])[0]
    source = Scored(unit=unit, score=best.score, dense=best.dense, lexical=best.lexical, kind=best.kind, covered=held)
    score = best.score / top * 0.5 + _CELL_WEIGHT + _NEAR_WEIGHT * found.share
    beside = found.units[1] if len(found.units) > 1 else None
    return ShortAnswer(text=_clean(found.text), source=source, score=score, beside=beside, covered=found.covered)


def _verdict(found: tuple[str, Scored] | None) -> ShortAnswer | None:
    return None if found is None else ShortAnswer(text=found[0], source=found[1], score=found[1].score)


def _typed(
    question: Question,
    scores: Scores,
    evidence: Sequence[Evidence],
    mentions: MentionLookup | None,
) -> ShortAnswer | None:
    top = scores.ranked[0].score or 1.0
    best = find_in_tables(question, scores, evidence)
    tables = read_tables(evidence)
    rows = [row.unit for table in tables for row in table.rows]
    read = frozenset(index for table in tables for index in table.pictures)
    for item in scores.ranked[:_N_UNITS]:
        if item.unit.row and not _has_prose(item.unit):
            continue
        known = mentions(evidence[item.unit.index].chunk.chunk_id) if mentions is not None else ()
        is_read = item.unit.index in read or any(_overlap(item.unit, row) for row in rows)
        cell = find_cell(question, item.unit, scores.idf) if item.unit.picture and not is_read else None
        if cell is not None:
            score = item.score / top * 0.5 + _CELL_WEIGHT + _NEAR_WEIGHT * cell[1]
            best = _better(best, ShortAnswer(text=_clean(cell[0].text), source=item, score=score))
        found = _loose(question, item.unit, candidates(item.unit, question.kind, mentions=known), rows, is_read=is_read)
        for order, candidate in enumerate(_fresh(question, found)):
            near, head = _nearness(question, item, candidate, scores.idf)
            score = (
                item.score / top * 0.5
                + _NEAR_WEIGHT * near
                + _TRUST_WEIGHT * candidate.trust
                + _HEAD_WEIGHT * head
                + _FOCUS_WEIGHT * _focused(question, item, evidence[item.unit.index])
                - _ORDER_WEIGHT * min(order, 5) / 5
            )
            best = _better(best, ShortAnswer(text=_clean(candidate.text), source=item, score=score))
        best = _from_around(question, item, evidence[item.unit.index], best, scores)
    least = _MIN_SCORE_OF_THINGS if question.kind is QuestionKind.THING else _MIN_SCORE
    return best if best is not None and best.score >= least else None


def _overlap(one: Unit, other: Unit) -> bool:
    return one.index == other.index and one.span.start < other.span.end and other.span.start < one.span.end


def _has_prose(row: Unit) -> bool:
    """Tell whether a cell of a document's row is text in which nearness says something, as in a sentence."""
    return not row.picture and any(len(cell.value.split()) >= _PROSE_WORDS for cell in cells_of(row.text))


def _loose(
    question: Question, unit: Unit, found: Sequence[Candidate], rows: Sequence[Unit], *, is_read: bool
) -> list[Candidate]:
    """Leave out the number of a figure and, on a picture, what nearness says nothing of: rows, and lone numbers.

    Several lines that are nothing but numbers are ticks of an axis, or values whose labels stand elsewhere; where the
    table behind the picture was read (``is_read``), so are those of lines with bars.
    """
    found = [one for one in found if _COUNTED.search(unit.text[: one.start]) is None]
    if not unit.picture:
        return found
    taken = [row.span for row in rows if _overlap(unit, row)]
    if question.kind in NUMERIC | {QuestionKind.DATE}:
        bare = [match.span() for match in _BARE_LINE.finditer(unit.text)]
        loose = bare if len(bare) > 1 or is_read else []
        loose += [match.span("values") for match in _VALUE_LIST.finditer(unit.text)]
        loose += [match.span() for match in _BAR_LINE.finditer(unit.text)] if is_read else []
        taken += [Span(start=unit.span.start + start, end=unit.span.start + end) for start, end in loose]
    start = unit.span.start
    return [c for c in found if not any(s.start < start + c.end and start + c.start < s.end for s in taken)]


def _from_around(
    question: Question, item: Scored, held_by: Evidence, best: ShortAnswer | None, scores: Scores
) -> ShortAnswer | None:
    text, beside = around(question, item.unit, held_by)
    if not text:
        return best
    total = sum(scores.idf.values()) or 1.0
    covered = sum(scores.idf[found] for found in item.covered) / total
    relative = item.score / (scores.ranked[0].score or 1.0)
    score = relative * 0.5 + _AROUND_WEIGHT * covered + _AROUND_BASE + _FOCUS_WEIGHT * _focused(question, item, held_by)
    return _better(best, ShortAnswer(text=_clean(text), source=item, score=score, beside=beside))


def _focused(question: Question, item: Scored, held_by: Evidence) -> float:
    """Return the share of the asking clause's words that the unit or its title holds, less 0.5."""
    asked = set(question.focus) & set(question.stems)
    if not asked:
        return 0.0
    named = content_stems(f"{held_by.document.title} {held_by.chunk.heading}")
    return len(asked & (item.covered | set(named))) / len(asked) - 0.5


def _better(best: ShortAnswer | None, other: ShortAnswer) -> ShortAnswer:
    return other if best is None or other.score > best.score else best


def _fresh(question: Question, found: Sequence[Candidate]) -> list[Candidate]:
    """Leave out what the question itself says: it cannot be the answer."""
    asked = set(question.stems)
    kept = []
    for candidate in found:
        own = set(content_stems(candidate.text))
        if not own or not own <= asked:
            kept.append(candidate)
    return kept


def _nearness(question: Question, item: Scored, candidate: Candidate, idf: dict[str, float]) -> tuple[float, float]:
    """Return how near the question's words stand to the candidate, and whether the noun asked for stands beside it."""
    found = words(item.unit.text)
    inside = [i for i, word in enumerate(found) if candidate.start < word.end and word.start < candidate.end]
    if not inside:
        return 0.0, 0.0
    first, last = inside[0], inside[-1]
    head = stem(question.head.split()[-1]) if question.head else ""
    agent = question.kind is QuestionKind.PERSON and _is_agent(found, first, last, frozenset(question.stems))
    closest: dict[str, float] = {}
    for i, word in enumerate(found):
        own = stem(word.text)
        if own in idf and not first <= i <= last:
            distance = float(first - i if i < first else i - last)
            closest[own] = min(distance, closest.get(own, distance))
    total = sum(idf.values()) or 1.0
    near = sum(idf[own] / (1.0 + distance / _NEAR_WORDS) for own, distance in closest.items()) / total
    beside = head and closest.get(head, 99.0) <= 2.0
    return near, float(bool(beside)) + (_AGENT_BONUS if agent else 0.0)


def _is_agent(found: Sequence[Word], first: int, last: int, asked: frozenset[str]) -> bool:
    """Tell whether the candidate did what the question asks: "designed by X", "X designed"."""
    before = found[first - 1].text.lower() if first else ""
    acted = {stem(word.text) for word in found[max(0, first - _AGENT_WORDS) : first]}
    follower = {stem(word.text) for word in found[last + 1 : last + 3]}
    return (before == "by" and bool(acted & asked)) or bool(follower & asked)


def _definition(question: Question, scores: Scores) -> ShortAnswer | None:
    subject = re.sub(
        r"^(?:what|who)\s+(?:is|are|was|were)\s+(?:an?\s+|the\s+)?|^define\s+|\?$", "", question.text, flags=re.I
    ).strip()
    if not subject:
        return None
    pattern = re.compile(rf"\b{re.escape(subject)}\b{_COPULA}", re.I)
    for item in scores.ranked[:_N_UNITS]:
        match = pattern.search(collapse(item.unit.text))
        if match is not None:
            return ShortAnswer(text=_phrase(match["x"]), source=item, score=item.score)
    return None


def _reason(question: Question, scores: Scores) -> ShortAnswer | None:
    if not question.text.lower().startswith("why"):
        return None
    for item in scores.ranked[:2]:
        match = _BECAUSE.search(collapse(item.unit.text))
        if match is not None:
            return ShortAnswer(text=_phrase(match["x"]), source=item, score=item.score)
    return None


def _phrase(text: str) -> str:
    """Return the first clause of ``text``, at most twelve words."""
    stop = _CLAUSE_END.search(text)
    clause = text[: stop.start()] if stop and stop.start() > 2 else text
    return _clean(" ".join(clause.split()[:_PHRASE_WORDS]))


def _clean(text: str) -> str:
    bare = collapse(text).strip(' "“”«»,;:.')
    return re.sub(r"['’]s$", "", bare)
