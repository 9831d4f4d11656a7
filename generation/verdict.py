"""Decide yes or no, and between two options, from evidence; say nothing where the evidence does not decide.

Layer: ``generation``. Rules, not a model: a verdict needs the question's own words in the evidence. "Yes" needs nearly
all of them in one place and no negation that the question does not share; "no" needs a stated negation, an opposite,
or two stated values that differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from generation.around import defining_sentence, header_of
from generation.patterns import NATIONALITY, PATTERNS
from generation.question import Question, QuestionKind
from generation.scoring import Scored, Scores
from generation.verify import opposed_words
from generation.words import content_stems, negated_stems, stem
from retrieval.types import Evidence

__all__ = ["choose_option", "decide_yes_no"]

_YES_COVERAGE = 0.8
"""Share of the question's weight that one unit (with its heading) must hold before it can mean "yes"."""
_EARLIER = re.compile(r"\b(?:first|earlier|earliest|older|oldest|before|elder|eldest)\b", re.I)
_LATER = re.compile(r"\b(?:last|later|latest|younger|youngest|newer|newest|more recent(?:ly)?|after)\b", re.I)
_COMPARED = re.compile(
    r"\b(?:more|most|less|least|fewer|larger|largest|bigger|smaller|taller|longer|shorter|higher|lower|better|"
    r"worse)\b",
    re.I,
)
"""Words that compare by something that no year tells: nothing is concluded from them."""
_YEAR = re.compile(r"\b(1[0-9]{3}|20[0-9]{2})\b")
_SAME = re.compile(r"\bsame (?P<noun>[a-z]+)\b", re.I)
_ORDER = re.compile(r"\b(?P<word>before|after)\b", re.I)
_STAMP = re.compile(r"\d{4}-?\d{2}-?\d{2}(?:_\d{2}:\d{2})?")
"""Dates that sort as they are written."""
_EVENT_COVERAGE = 0.6
_BINARY = 2


def decide_yes_no(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> tuple[str, Scored] | None:
    """Decide a question that asks for yes or no.

    :param question: The question, read.
    :param scores: The evidence's units, scored for it.
    :param evidence: The evidence itself.
    :returns: ``"yes"`` or ``"no"`` with the unit that decides, or ``None``.
    """
    if len(question.options) == _BINARY:
        return _both(question, scores, evidence)
    ordered = _in_order(question, scores, evidence)
    if ordered is not None:
        return ordered
    best = scores.ranked[0]
    reach = best.covered | _title_stems(evidence[best.unit.index])
    total = sum(scores.idf.values()) or 1.0
    held = sum(weight for found, weight in scores.idf.items() if found in reach) / total
    if held < _YES_COVERAGE:
        return None
    asked = set(question.stems)
    denied = (negated_stems(best.unit.text) & asked) != (negated_stems(question.text) & asked)
    return ("no" if denied or opposed_words(question.text, best.unit.text) else "yes"), best


def _in_order(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> tuple[str, Scored] | None:
    """Decide "Did … before …?" by the dates at the heads of the messages that tell of the one and of the other."""
    match = _ORDER.search(question.text)
    if match is None:
        return None
    first, second = (
        _event(part, scores, evidence) for part in (question.text[: match.start()], question.text[match.end() :])
    )
    if first is None or second is None or first[0] == second[0] or len(first[0]) != len(second[0]):
        return None
    is_before = first[0] < second[0]
    return ("yes" if is_before == (match["word"].lower() == "before") else "no"), first[1]


def _event(text: str, scores: Scores, evidence: Sequence[Evidence]) -> tuple[str, Scored] | None:
    """Return the stamp and the unit of the message that tells of ``text``: it holds most of its words, and enough."""
    wanted = set(content_stems(text)) & scores.idf.keys()
    total = sum(scores.idf[found] for found in wanted)
    if not total:
        return None
    told = []
    for item in scores.ranked:
        held = wanted & (item.covered | set(content_stems(evidence[item.unit.index].chunk.text)))
        share = (sum(scores.idf[s] for s in held) + sum(scores.idf[s] for s in wanted & item.covered)) / (2 * total)
        told.append((share, item))
    share, best = max(told, key=lambda pair: pair[0])
    header = header_of(best.unit, evidence[best.unit.index])
    if share < _EVENT_COVERAGE or header is None or _STAMP.fullmatch(header[0]) is None:
        return None
    return header[0], best


def _both(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> tuple[str, Scored] | None:
    """Decide "Are both A and B …?" by what is said of each: the same values, or the wanted words of both."""
    per_option = [_about(option, scores, evidence) for option in question.options]
    if not all(per_option):
        return None
    named = {found for option in question.options for found in content_stems(option)}
    wanted = set(question.stems) - named - {stem("both"), stem("same"), stem("situated"), stem("located")}
    if re.search(r"\bsame (?:nationality|country)\b", question.text, re.I):
        return _same_nation(per_option)
    same = _SAME.search(question.text)
    if same is not None:
        return _same_value(same["noun"].lower(), per_option)
    if not wanted:
        return None
    if all(any(wanted <= item.covered for item in items) for items in per_option):
        return "yes", per_option[0][0]
    asked_nation = NATIONALITY.search(question.text)
    if asked_nation is not None:
        for items in per_option:
            stated = {match for item in items for match in NATIONALITY.findall(item.unit.text)}
            if stated and asked_nation[1] not in stated:
                return "no", items[0]
    return _defined_otherwise(question, wanted, per_option, evidence)


def _defined_otherwise(
    question: Question, wanted: set[str], per_option: Sequence[Sequence[Scored]], evidence: Sequence[Evidence]
) -> tuple[str, Scored] | None:
    """Decide "no" where one of the two is defined in its own passage as something that lacks all that is asked."""
    for option, items in zip(question.options, per_option, strict=True):
        for item in items:
            definition = set(content_stems(defining_sentence(option, evidence[item.unit.index])))
            if definition and wanted & definition != wanted and definition & set(content_stems(item.unit.text)):
                others = [one for one in per_option if one is not items]
                if all(any(wanted <= one.covered for one in other) for other in others):
                    return "no", item
                break
    return None


def _same_value(noun: str, per_option: Sequence[Sequence[Scored]]) -> tuple[str, Scored] | None:
    """Compare what is said of each: "Jiangxi province" and "Jiangsu province", "the State of Ohio"."""
    name = r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)?"
    pattern = re.compile(rf"\b(?P<a>{name}) (?i:{re.escape(noun)})\b|\b(?i:{re.escape(noun)}) of (?P<b>{name})")
    stated = [
        next((((m["a"] or m["b"]), item) for item in items if (m := pattern.search(item.unit.text))), None)
        for items in per_option
    ]
    if stated[0] is None or stated[1] is None:
        return None
    return ("yes" if stated[0][0] == stated[1][0] else "no"), stated[0][1]


def _same_nation(per_option: Sequence[Sequence[Scored]]) -> tuple[str, Scored] | None:
    stated = [next((m for item in items for m in NATIONALITY.findall(item.unit.text)), "") for items in per_option]
    if not all(stated):
        return None
    return ("yes" if stated[0] == stated[1] else "no"), per_option[0][0]


def choose_option(question: Question, scores: Scores, evidence: Sequence[Evidence]) -> tuple[str, Scored] | None:
    """Choose between two options: by the earlier or later year said of each, or by who alone is what is asked.

    :param question: The question, read; it has two options.
    :param scores: The evidence's units, scored for it.
    :param evidence: The evidence itself.
    :returns: The option as the question names it, with the unit that decides, or ``None``.
    """
    per_option = [_about(option, scores, evidence) for option in question.options]
    if not all(per_option):
        return None
    asked = question.text[: question.text.lower().rfind(question.options[0].lower())] or question.text
    for pattern, pick in ((_EARLIER, min), (_LATER, max)):
        if pattern.search(asked):
            years = [_first_year(items) for items in per_option]
            if None in years or years[0] == years[1]:
                return None
            index = years.index(pick(year for year in years if year is not None))
            return question.options[index], per_option[index][0]
    return None if _COMPARED.search(asked) else _only_one(question, per_option)


def _only_one(question: Question, per_option: Sequence[Sequence[Scored]]) -> tuple[str, Scored] | None:
    named = {found for option in question.options for found in content_stems(option)}
    wanted = set(question.stems) - named
    if not wanted or question.kind is not QuestionKind.CHOICE:
        return None
    fits = [next((item for item in items if wanted <= item.covered), None) for items in per_option]
    if sum(fit is not None for fit in fits) != 1:
        return None
    index = 0 if fits[0] is not None else 1
    decided = fits[index]
    return None if decided is None else (question.options[index], decided)


def _about(option: str, scores: Scores, evidence: Sequence[Evidence]) -> list[Scored]:
    """Return the units that speak of ``option``, in reading order: it stands in them, or in what they stand under."""
    wanted = set(content_stems(option))
    found = [
        item
        for item in scores.ranked
        if wanted and wanted <= set(content_stems(item.unit.text)) | _title_stems(evidence[item.unit.index])
    ]
    return sorted(found, key=lambda item: (item.unit.index, item.unit.span.start))


def _title_stems(item: Evidence) -> frozenset[str]:
    return frozenset(content_stems(f"{item.chunk.heading} {item.document.title}"))


def _first_year(items: Sequence[Scored]) -> int | None:
    for item in items:
        if PATTERNS[QuestionKind.DATE].search(item.unit.text) and (match := _YEAR.search(item.unit.text)):
            return int(match[1])
    return None
