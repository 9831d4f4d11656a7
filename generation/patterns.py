"""Find the typed stretches of a sentence that could answer a question: dates, numbers, money, places, people, names.

Layer: ``generation``. Patterns first; where the record knows the mentions of a chunk, their labels (OntoNotes types,
as spaCy names them) add what patterns cannot tell apart, a person from a place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.lexicon import STOP_WORDS, word_set
from generation.question import QuestionKind
from generation.units import Unit
from kg.types import Mention

__all__ = ["Candidate", "candidates"]

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_YEAR = r"(?:1[0-9]{3}|20[0-9]{2})"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_SMALL = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|dozen"
_NUM = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_SCALE = r"(?:\s?(?:million|billion|trillion|thousand))?"
_UNIT = (
    r"(?:km|m|cm|mm|kg|g|t|kW|MW|GW|kWh|MWh|GWh|V|A|Hz|MHz|GHz|ml|l|ha|bar|(?:square |cubic )?(?:kilo)?met(?:re|er)s?|"
    r"tonnes?|tons?|lit(?:re|er)s?|degrees|miles?|feet|inches|years old|people)\b"
)
_CAP = r"[A-Z][\w'’.&/-]*[\w]|[A-Z]"
_LINK = r"(?:of|the|de|la|le|van|von|der|den|and|&|for|du|di|da|al|bin|in|on)"
PATTERNS: dict[QuestionKind, re.Pattern[str]] = {
    QuestionKind.DATE: re.compile(
        rf"\b{_DAY}(?: of)? {_MONTH},? {_YEAR}\b|\b{_MONTH} {_DAY},? {_YEAR}\b|\b{_MONTH},? {_YEAR}\b"
        r"|\b\d{4}-\d{2}-\d{2}\b|\b20\d{6}(?:_\d{2}:\d{2})?\b|\b\d{1,2}[./]\d{1,2}[./](?:19|20)\d{2}\b"
        rf"|\b(?:early |mid |late )?(?:{_DAY}|[a-z]+th) century\b|\b{_YEAR}s?\b|\b{_DAY} {_MONTH}\b|\b{_MONTH} {_DAY}\b"
        r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b|\b\d{1,2}(?::\d{2})? ?[ap]\.?m\b\.?|\b\d{1,2}:\d{2}\b"
    ),
    QuestionKind.PERCENT: re.compile(
        rf"{_NUM}\s?(?:%|percent\b|per cent\b|percentage points?\b)|\b(?:{_SMALL}) per ?cent\b"
        r"|\b(?:half|two thirds|a third|a quarter)\b",
        re.IGNORECASE,
    ),
    QuestionKind.MONEY: re.compile(
        rf"(?:[$€£¥]|\b(?:US\$|USD|EUR|GBP|CHF|Rs\.?))\s?{_NUM}{_SCALE}"
        rf"|\b{_NUM}{_SCALE}\s?(?:dollars|euros|pounds|francs|crowns|yen|USD|EUR|GBP|€|cents)(?!\w)",
        re.IGNORECASE,
    ),
    QuestionKind.DURATION: re.compile(
        rf"\b(?:{_NUM}|{_SMALL}|half an?|an?)(?:\s?(?:to|-|–)\s?{_NUM})?[\s-](?:more |full )?"
        r"(?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|ms|h|min)\b",
        re.IGNORECASE,
    ),
    QuestionKind.NUMBER: re.compile(
        rf"(?<![\w.,])[-−]?{_NUM}{_SCALE}(?:\s?(?:%|°\s?[CF]|{_UNIT}))?(?![\w])"
        rf"|\b(?:{_SMALL}|once|twice|thrice)(?:[ -](?:hundred|thousand|million|billion|two|three|four|five|six|seven|"
        rf"eight|nine))?\b(?:\s{_UNIT})?",
        re.IGNORECASE,
    ),
}
_NAME = re.compile(rf"(?:{_CAP})(?:,? (?:Jr|Sr|III|IV)\b\.?|(?: {_LINK}){{0,2}} (?:{_CAP}|\d{{1,4}}(?![\w%])))*")
_QUOTED = re.compile(r"[\"“«](?P<inside>[^\"”»\n]{2,80})[\"”»]")
_NOT_A_PERSON = re.compile(
    r"\b(?:River|Bridge|Street|Road|Avenue|Lake|Mount|Valley|Island|City|County|University|College|School|Institute|"
    r"Gallery|Company|Inc|Ltd|Corporation|Museum|Library|Hall|Park|Church|Castle|Station|Airport|Prize|Award|League|"
    r"Club|"
    r"Association|Committee|Department|Ministry|Group|Bank|War|Act|Festival)\b"
)
_PLACE_AFTER = re.compile(
    r"\b(?:in|at|near|from|to|outside|off|around|across)\s+(?:the\s+)?"
    rf"(?P<x>(?:(?:{_CAP})(?:(?:,| of| de| upon)? (?:{_CAP}))*))"
)
_OTHER_LABELS = frozenset({"ORG", "GPE", "LOC", "FAC", "NORP", "WORK_OF_ART", "PRODUCT", "EVENT", "LANGUAGE", "LAW"})
NATIONALITY = re.compile(
    r"\b(American|British|English|Scottish|Welsh|Irish|French|German|Italian|Spanish|Portuguese|Dutch|Belgian|Swiss|"
    r"Austrian|Danish|Swedish|Norwegian|Finnish|Icelandic|Polish|Czech|Slovak|Hungarian|Romanian|Bulgarian|Greek|"
    r"Turkish|Russian|Ukrainian|Indian|Pakistani|Chinese|Japanese|Korean|South Korean|Taiwanese|Thai|Vietnamese|"
    r"Indonesian|Filipino|Australian|Canadian|Mexican|Brazilian|Argentine|Chilean|Colombian|Egyptian|Nigerian|"
    r"South African|Israeli|Iranian|New Zealand)\b"
)
_LABELS: dict[QuestionKind, frozenset[str]] = {
    QuestionKind.PERSON: frozenset({"PERSON"}),
    QuestionKind.PLACE: frozenset({"GPE", "LOC", "FAC"}),
    QuestionKind.DATE: frozenset({"DATE", "TIME"}),
    QuestionKind.PERCENT: frozenset({"PERCENT"}),
    QuestionKind.MONEY: frozenset({"MONEY"}),
    QuestionKind.NUMBER: frozenset({"CARDINAL", "QUANTITY", "ORDINAL"}),
    QuestionKind.THING: frozenset(
        {"ORG", "PRODUCT", "WORK_OF_ART", "EVENT", "NORP", "LANGUAGE", "LAW", "PERSON", "GPE", "LOC", "FAC"}
    ),
}
_SUBJECT_OF = re.compile(r"[:,]|\s*\(|$|\s+(?:[a-z]+s|[a-z]+ed|are|were|had|will|can|would|and|or|of)\b")
NOT_NAMES = STOP_WORDS | word_set(
    "however although since despite during thanks hey hi hello yeah yes no ok okay great awesome time sounds i'm "
    "i'll i've let let's wow"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stretch of a unit's text that has the type asked for. ``trust`` in ``[0, 1]``: how sure the type is."""

    text: str
    start: int
    end: int
    trust: float


def candidates(unit: Unit, kind: QuestionKind, *, mentions: Sequence[Mention] = ()) -> list[Candidate]:
    """Return the stretches of ``unit`` of the type that ``kind`` asks for, in order.

    :param unit: The unit to search; places count from the start of its text.
    :param kind: What is asked for; kinds that no stretch can answer (yes or no, explanations) give none.
    :param mentions: Mentions of the unit's chunk, in the chunk's coordinates.
    :returns: Candidates by place; where two share a place the more trusted one stays.
    """
    found = _from_mentions(unit, kind, mentions)
    if kind in PATTERNS:
        found += [_candidate(match, 0, 0.9) for match in PATTERNS[kind].finditer(unit.text)]
        if kind is QuestionKind.NUMBER:
            found = _outside_dates(found, unit.text)
    elif kind is QuestionKind.PLACE:
        found += [_candidate(match, "x", 0.6) for match in _PLACE_AFTER.finditer(unit.text)]
    elif kind in (QuestionKind.PERSON, QuestionKind.THING):
        names = _names(unit.text, person=kind is QuestionKind.PERSON)
        found += _people(names, unit, mentions) if kind is QuestionKind.PERSON else names
        if kind is QuestionKind.THING:
            found += [_candidate(match, "inside", 0.7) for match in _QUOTED.finditer(unit.text)]
    if kind is QuestionKind.PERSON:
        found = [one for one in found if not any(char.isdigit() for char in one.text)]
    best: dict[tuple[int, int], Candidate] = {}
    for candidate in found:
        key = (candidate.start, candidate.end)
        if key not in best or best[key].trust < candidate.trust:
            best[key] = candidate
    return sorted(best.values(), key=lambda candidate: (candidate.start, candidate.end))


def _candidate(match: re.Match[str], group: int | str, trust: float) -> Candidate:
    return Candidate(text=match[group], start=match.start(group), end=match.end(group), trust=trust)


def _outside_dates(found: Sequence[Candidate], text: str) -> list[Candidate]:
    """Leave out the numbers that are a part of a date."""
    dates = [match.span() for match in PATTERNS[QuestionKind.DATE].finditer(text)]
    return [one for one in found if not any(start <= one.start and one.end <= end for start, end in dates)]


def _from_mentions(unit: Unit, kind: QuestionKind, mentions: Sequence[Mention]) -> list[Candidate]:
    labels = _LABELS.get(kind, frozenset())
    return [
        Candidate(
            text=mention.text,
            start=mention.span.start - unit.span.start,
            end=mention.span.end - unit.span.start,
            trust=1.0 if kind is not QuestionKind.THING else 0.8,
        )
        for mention in mentions
        if mention.label in labels
        and not mention.refers_to  # "she" and "the company" are no answers
        and mention.text.lower() not in NOT_NAMES
        and unit.span.start <= mention.span.start
        and mention.span.end <= unit.span.end
    ]


def _people(names: Sequence[Candidate], unit: Unit, mentions: Sequence[Mention]) -> list[Candidate]:
    """Leave out the names that are known to be of something else, stand in quotation marks, or are shouted."""
    base = unit.span.start
    others = [(m.span.start - base, m.span.end - base) for m in mentions if m.label in _OTHER_LABELS]
    others += [match.span("inside") for match in _QUOTED.finditer(unit.text)]
    return [
        name
        for name in names
        if not name.text.isupper()
        and not NATIONALITY.fullmatch(name.text)
        and not any(start < name.end and name.start < end for start, end in others)
    ]


def _opens_a_sentence(text: str, start: int, end: int) -> bool:
    """Tell whether one capital word owes its capital to standing first ("Enjoy …"), no verb of a subject after it."""
    before = text[:start].rstrip(" \"“'*•-")
    return (not before or before.endswith((".", "!", "?", ":", "\n"))) and _SUBJECT_OF.match(text, end) is None


def _names(text: str, *, person: bool) -> list[Candidate]:
    found: list[Candidate] = []
    for match in _NAME.finditer(text):
        name, start = match[0], match.start()
        first = name.split(" ", 1)[0]
        if first.lower().replace("’", "'").strip(".,'") in NOT_NAMES:  # a sentence's first word, not a part of the name
            if " " not in name:
                continue
            start += len(first) + 1
            name = name.split(" ", 1)[1]
        if not name[:1].isupper() or (" " not in name and _opens_a_sentence(text, start, start + len(name))):
            continue
        n_words = name.count(" ") + 1
        likely = 0.6 if not person or 2 <= n_words <= 4 else 0.4
        if person and _NOT_A_PERSON.search(name):
            continue
        found.append(Candidate(text=name, start=start, end=start + len(name), trust=likely))
    return found
