"""Values that can be compared exactly: numbers with their units, and dates as stretches of time.

Layer: ``retrieval``; imports ``kg.extraction.values``, which needs no model.

A value is the interval ``[low, high]`` of what it can mean: a number is a point, "2021" is the whole year. One value is
less than another only if its interval ends before the other's begins, so "2021" and "March 2021" have no order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from kg.extraction.numbers import parse_number
from kg.extraction.values import guess_value
from kg.wordlists import word_set

__all__ = ["DATE", "Value", "is_blank", "read_cell", "value_of_text"]

DATE = "date"
_BLANK = word_set("- – — n/a na none null unknown nan nil ? . .. ... * x tbd")
_INEXACT = re.compile(
    r"^\s*(?:[<>≤≥~≈±]|(?:about|around|approx\w*\.?|roughly|nearly|almost|some|over|under|more than|less than|at least|"
    r"at most|up to|circa|ca?\.)\s)|\+\s*$",
    re.I,
)
_BARE = re.compile(r"[-−+]?(?:\d{1,3}(?:[,\u2009\u202f\u00a0' ]\d{3})+|\d+)(?:[.,]\d+)?")
_MOMENT = re.compile(r"(-?\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d))?)?)?")
_STEP = Decimal(10) ** 8


@dataclass(frozen=True, slots=True)
class Value:
    """What a cell amounts to: a number in ``unit`` (empty for a bare one), or, with the unit :data:`DATE`, a time.

    Times are written ``YYYYMMDDhhmm`` as a number, with 0 to 99 for what is not said.
    """

    unit: str
    low: Decimal
    high: Decimal

    def is_less(self, other: Value) -> bool:
        """Tell whether this lies wholly before the other; both have one unit."""
        return self.high < other.low

    def holds(self, other: Value) -> bool:
        """Tell whether the other lies wholly within this."""
        return self.unit == other.unit and self.low <= other.low and other.high <= self.high


def is_blank(text: str) -> bool:
    """Tell whether a cell says nothing."""
    return not text.strip() or text.strip().lower() in _BLANK


def read_cell(text: str, *, unit: str = "", as_date: bool = False) -> Value | None:
    """Return the value of a cell; ``None`` where it is words, a range, or only about so much.

    :param text: The cell.
    :param unit: What the name of its column gives in parentheses.
    :param as_date: Whether four digits are a year.
    :returns: The value.
    """
    text = " ".join(text.split())
    if not any(char.isdigit() for char in text) or _INEXACT.search(text):
        return None
    if _BARE.fullmatch(text) and not as_date:
        label, written = guess_value(text, unit=unit) if unit else ("", "")
        if label not in ("", "DATE", "CARDINAL", "TIME"):
            return value_of_text(label, written)
        number = parse_number(text.lstrip("+"))
        return None if number is None else Value(unit.strip().lower(), number, number)
    return value_of_text(*guess_value(text, unit=unit))


def value_of_text(label: str, written: str) -> Value | None:
    """Return the value of a normalised form of :mod:`kg.extraction.values`.

    :param label: ``DATE``, ``QUANTITY``, ``MONEY``, …
    :param written: ``2021-03``, ``64000 metre``, ``20 EUR``.
    :returns: The value; ``None`` for ranges, decades and what has no number.
    """
    if label in ("DATE", "TIME"):
        return _moment(written)
    number, _, unit = written.partition(" ")
    if not re.fullmatch(r"-?\d+(?:\.\d+)?", number):
        return None
    amount = Decimal(number)
    return Value(unit, amount, amount)


def _moment(written: str) -> Value | None:
    match = _MOMENT.fullmatch(written)
    if match is None:
        return None
    low, high = Decimal(int(match[1])) * _STEP, Decimal(int(match[1])) * _STEP
    for part, weight in zip(match.groups()[1:], (10**6, 10**4, 10**2, 1), strict=True):
        low += weight * (int(part) if part else 0)
        high += weight * (int(part) if part else 99)
    return Value(DATE, low, high)
