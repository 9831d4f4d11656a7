"""Whether two answers to one question can both hold.

Layer: ``kg``; the standard library only. Pure functions.

- Dates are compared at the coarser precision: ``2021`` and ``2021-03`` agree, ``2021-03`` and ``2021-04`` do not. A
  span ``A/B`` agrees with what it overlaps, ``199X`` with each of its years, ``--03-05`` (no year) with that day of any
  year.
- Quantities are compared if their unit is the same, and then after rounding to the fewer decimals: ``8849 metre`` and
  ``8848.86 metre`` agree. Of other units nothing is said.
- Things are compared by what they are resolved to. A thing does not contradict a date, nor a date a quantity ("born in
  Ulm", "born in 1879"), and a mere concept contradicts nothing ("born in poverty").

Limit: places are not known to contain each other, so "born in Ulm" and "born in Germany" count as a contradiction.
Dates and quantities are as ``kg.types.Mention.value`` has them: ISO 8601 with EDTF, and ``NUMBER UNIT``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

__all__ = ["Answer", "disagree"]

_DATE = "DATE"
_QUANTITIES = frozenset({"QUANTITY", "MONEY", "PERCENT", "CARDINAL"})
_NEITHER = frozenset({"CONCEPT", "TIME", "ORDINAL"})
_CALENDAR = re.compile(r"(?P<year>-?\d{4}|\d{1,3}X{1,3}|-)(?:-(?P<rest>[0-9QH]\d?(?:-\d\d)?))?")
_AMOUNT = re.compile(r"(?P<low>-?\d+(?:\.\d+)?)(?:/(?P<high>-?\d+(?:\.\d+)?))?(?: (?P<unit>.+))?")


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands at the open end of a statement: the entity, and the label and normalised value of its mention."""

    entity_id: str
    label: str
    value: str


def disagree(left: Answer, right: Answer) -> bool:
    """Say whether two answers to a question that has one answer cannot both hold."""
    labels = {left.label, right.label}
    if labels == {_DATE}:
        return _dates_disagree(left.value, right.value)
    if labels <= _QUANTITIES:
        return _amounts_disagree(left.value, right.value)
    if labels & {_DATE, *_QUANTITIES, *_NEITHER}:
        return False
    return left.entity_id != right.entity_id


def _dates_disagree(left: str, right: str) -> bool:
    spans = [[_parts(end) for end in value.split("/")] for value in (left, right)]
    if any(part is None for span in spans for part in span) or max(map(len, spans)) > 2:
        return False
    (low, *high), (other_low, *other_high) = spans
    first, last = low or (), (high[0] if high else low) or ()
    other_first, other_last = other_low or (), (other_high[0] if other_high else other_low) or ()
    return _is_before(last, other_first) or _is_before(other_last, first)


def _parts(value: str) -> tuple[str, str, str] | None:
    """Return year, month (or quarter, half, season) and day; what is not said is empty."""
    found = _CALENDAR.fullmatch(value.strip("~?%"))
    if found is None:
        return None
    year = found["year"].rstrip("X")
    month, _, day = (found["rest"] or "").partition("-")
    return ("" if year == "-" else year), month, day


def _is_before(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Compare part by part, and each only as far as both say it; kinds of part that differ say nothing."""
    for one, other in zip(left, right, strict=False):
        n = min(len(one), len(other))
        if one[:n] == other[:n]:
            continue
        return one[:n].isdigit() and other[:n].isdigit() and one[:n] < other[:n]
    return False


def _amounts_disagree(left: str, right: str) -> bool:
    one, other = _AMOUNT.fullmatch(left), _AMOUNT.fullmatch(right)
    if one is None or other is None or one["unit"] != other["unit"]:
        return False
    ends = [(Decimal(found["low"]), Decimal(found["high"] or found["low"])) for found in (one, other)]
    decimals = min(_decimals(end) for pair in ends for end in pair)
    (low, high), (other_low, other_high) = (tuple(_rounded(end, decimals) for end in pair) for pair in ends)
    return high < other_low or other_high < low


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def _rounded(number: Decimal, decimals: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
