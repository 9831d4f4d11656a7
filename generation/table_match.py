"""How well names of rows and columns fit a question, and whether a table speaks of all that the question names.

Layer: ``generation``; word lists only. Words are compared by stem, numbers exactly. Words without meaning of their own
("under", "not", "for") never make a fit but tell near-duplicates apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from generation.lexicon import IRREGULAR, word_set
from generation.question import Question, QuestionKind
from generation.rows import are_opposed_bounds
from generation.tables import SaidTable
from generation.verify import opposed_words
from generation.words import content_stems, names_in, negated_stems, numbers_in, stem, words

__all__ = ["Asked", "Fit", "unit_of", "with_unit"]

_PLAIN_BONUS = 0.01
_SURPLUS_COST = 0.02
"""What a name costs that holds nothing but words the question lacks; of two that fit alike the exact one wins."""
_GENERIC = frozenset(
    content_stems(
        "people person persons respondents number share percentage percent proportion fraction value total amount "
        "times cases units rate level figure count one ones group category item entry row column year month quarter "
        "date day"
    )
)
"""Heads ("how many *people*") that a table need not repeat to be about them."""
_DERIVED = re.compile(
    r"\b(?:difference|differ|gap|sum|average|mean|median|ratio|altogether|combined|together|times (?:more|as)|"
    r"(?:how (?:many|much)|percent|%) (?:more|fewer|less|higher|lower|larger|smaller)|increase|decrease|decline|rise|"
    r"rose|fell|growth|grow|grew|change|changed|drop|dropped|total|overall)\b",
    re.I,
)
"""What is worked out of several cells, unless a row or a column has that name."""
_IN_BRACKETS = re.compile(r"[(\[](?P<x>[^()\[\]]{1,16})[)\]]\s*$")
_AFTER_IN = re.compile(r"(?:,\s*|\bin\s+)(?P<x>[^\W\d_][\w%°³²/ ]{0,14})$")
_CURRENCY = re.compile(r"^(?P<sign>US\$|[$€£¥])\s*(?P<rest>.*)$")
_PERCENT = re.compile(r"%|\bper ?cent(?:age)?\b", re.I)
_UNITS = word_set(
    "km m cm mm kg g t kW MW GW kWh MWh GWh TWh V A Hz MHz GHz ml l ha bar metres meters kilometres kilometers tonnes "
    "tons litres liters degrees miles feet inches days weeks months years hours minutes seconds million billion "
    "thousand millions billions thousands °C °F dollars euros pounds"
)
_SHORT_SCALE = 2
"""Scales of up to so many letters stand right behind their number: ``$14.1m``, ``£3bn``."""
_BARE_NUMBER = re.compile(r"[~≈<>≤≥+−-]?\s?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a name fits: the stems it shares with the question, their share of the name, and the tie-breaker."""

    stems: frozenset[str]
    share: float
    tie: float

    @property
    def is_said(self) -> bool:
        """Tell whether the question says any of it."""
        return bool(self.stems) or self.tie > 0.0


class Asked:
    """A question, made ready to be compared with many names.

    :param question: The question, read.
    :param idf: The weight of each of its stems.
    """

    def __init__(self, question: Question, idf: Mapping[str, float]) -> None:
        self.question = question
        self.idf = idf
        self.total = sum(idf.values()) or 1.0
        self.words = frozenset(word.text.lower() for word in words(question.text))
        self.stems = frozenset(content_stems(question.text))
        self.negated = negated_stems(question.text) & self.stems
        self.head = frozenset(content_stems(question.head)) - _GENERIC

    def without_head(self) -> Asked:
        """Return the question without the noun that it asks for, for a table that does not say what its labels are."""
        heads = set(content_stems(self.question.head))
        bare = Asked(self.question, {s: w for s, w in self.idf.items() if s not in heads})
        bare.head = frozenset()
        return bare

    def weight(self, found: Iterable[str]) -> float:
        """Return the share of the question's weight that these stems hold."""
        return sum(self.idf.get(s, 0.0) for s in set(found)) / self.total

    def fit(self, name: str) -> Fit:
        """Compare a name with the question."""
        every = [word.text.lower() for word in words(name)]
        own = frozenset(content_stems(name))
        shared = own & self.stems
        plain = {w for w in every if stem(IRREGULAR.get(w, w)) not in own}
        held = sum(w in self.words for w in plain)
        surplus = (len(own - shared) + len(plain) - held) / max(len(own) + len(plain), 1)
        if self._is_opposed(name, shared):
            return Fit(stems=frozenset(), share=0.0, tie=-1.0)
        tie = _PLAIN_BONUS * held - (_SURPLUS_COST * surplus if shared or held else 0.0)
        return Fit(stems=shared, share=len(shared) / len(own) if own else float(held > 0), tie=tie)

    def _is_opposed(self, name: str, shared: frozenset[str]) -> bool:
        """Tell whether a name that shares words says the opposite: "did not vote" of "voted", "under 30" of "over"."""
        if not shared:
            return False
        if are_opposed_bounds(name, self.question.text):
            return True
        return bool((negated_stems(name) ^ self.negated) & shared) or opposed_words(name, self.question.text)

    def is_about(self, table: SaidTable, held: Iterable[str], numbers: Iterable[str]) -> bool:
        """Tell whether a cell's names, or what its table stands under, hold all that the question names.

        Every number, every name and, unless it could stand for anything, the thing that is counted must be there.

        :param table: The table.
        :param held: The stems of the row and of the column's name.
        :param numbers: The numbers in them.
        :returns: ``False`` where one is missing: the table then speaks of something else.
        """
        wide = frozenset(held) | table.about
        if not set(self.question.numbers) <= set(numbers) | table.numbers:
            return False
        if any(not set(content_stems(name)) <= wide for name in names_in(self.question.text)):
            return False
        return not self.head or bool(self.head & wide)

    def is_derived(self, held: Iterable[str]) -> bool:
        """Tell whether the question asks for what must be worked out, and no name in ``held`` is that."""
        known = set(held)
        return any(
            not set(map(stem, match[0].lower().split())) & known for match in _DERIVED.finditer(self.question.text)
        )


def unit_of(name: str) -> str:
    """Return the unit that a column's name ends in: ``Yield (t/ha)``, ``Length in km``, ``Share, %``, ``% of men``.

    :param name: The name.
    :returns: The unit; empty where the name says none that is sure to be one.
    """
    bracketed = _IN_BRACKETS.search(name)
    if bracketed is not None:
        inside = bracketed["x"].strip()
        if _PERCENT.fullmatch(inside):
            return "%"
        is_unit = inside.split()[0] in _UNITS or "/" in inside or _CURRENCY.match(inside) is not None
        return inside if is_unit and not any(char.isdigit() for char in inside) else ""
    if _PERCENT.search(name):
        return "%"
    after = _AFTER_IN.search(name)
    return after["x"] if after is not None and after["x"].split()[0] in _UNITS else ""


def with_unit(value: str, unit: str) -> str:
    """Return a value with its column's unit, if it is a number that has none; any other value as it is."""
    if not unit or _BARE_NUMBER.fullmatch(value) is None:
        return value
    money = _CURRENCY.match(unit)
    if money is not None:
        gap = " " if len(money["rest"]) > _SHORT_SCALE else ""
        return f"{money['sign']}{value}{gap}{money['rest']}"
    return f"{value}%" if unit == "%" else f"{value} {unit}"


def is_percent(text: str) -> bool:
    """Tell whether a text says that its values are shares of a hundred."""
    return _PERCENT.search(text) is not None


NUMERIC = frozenset({QuestionKind.NUMBER, QuestionKind.PERCENT, QuestionKind.MONEY, QuestionKind.DURATION})
"""Kinds of which the answer is a number, with or without a unit."""


def numbers_of(texts: Iterable[str]) -> set[str]:
    """Return the numbers in any of ``texts``."""
    return {number for text in texts for number in numbers_in(text, spelled=False)}
