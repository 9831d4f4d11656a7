"""Give each mention of a date or quantity its normalised value, and find those that no model names.

Layer: ``kg``; the standard library only. The forms stand in ``kg.extraction.dates`` and ``kg.extraction.quantities``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import lru_cache

from kg.extraction.dates import MONTHS, Tense, parse_date, parse_duration, parse_time
from kg.extraction.numbers import NUMBER
from kg.extraction.quantities import (
    CODES,
    CURRENCY,
    MONEY_WORDS,
    UNIT,
    parse_count,
    parse_money,
    parse_percent,
    parse_quantity,
)

__all__ = ["VALUE_LABELS", "find_values", "guess_value", "value_of"]

VALUE_LABELS = frozenset({"DATE", "TIME", "MONEY", "QUANTITY", "PERCENT", "CARDINAL"})
"""The labels of mentions that have a value."""

_FIGURE = r"\d[\d.,]*(?<![.,])"
_SCALES = r"(?:[\s-]?(?:thousand|million|billion|trillion|mn|bn|m|k)\b)?"
_RANGE = rf"(?:\s?(?:–|-|to)\s?{_FIGURE})?"
_PATTERNS: list[tuple[str, re.Pattern[str]]] = [
    (label, re.compile(pattern))
    for label, pattern in (
        (
            "DATE",
            r"(?<![\w/.-])(?:\d{4}-\d\d-\d\d"
            rf"|\d{{1,2}}(?:st|nd|rd|th)?\s(?:of )?(?i:{MONTHS})\b(?:\.?,?\s[12]\d{{3}}\b)?"
            rf"|(?i:{MONTHS})\b\.?\s(?:\d{{1,2}}(?:st|nd|rd|th)?\b(?:,? [12]\d{{3}}\b)?|[12]\d{{3}}\b)"
            r"|\d{1,2}\.\d{1,2}\.[12]\d{3})(?![\w/]|-\d)",
        ),
        ("TIME", r"(?<![\w:.,])(?:\d{1,2}:\d\d(?: ?[ap]\.?m\b\.?)?|\d{1,2} ?[ap]m\b)(?![\w:])"),
        (
            "MONEY",
            rf"(?<![\w])(?:{CURRENCY}|{CODES}(?=\s?\d))\s?{_FIGURE}{_SCALES}(?![\w%])"
            rf"|(?<![\w.,]){_FIGURE}{_SCALES}\s?(?:{CURRENCY}|(?i:{MONEY_WORDS})\b)",
        ),
        ("PERCENT", rf"(?<![\w.,]){_FIGURE}{_RANGE}\s?(?:%|per ?cent\b|percentage points?\b)"),
        (
            "QUANTITY",
            rf"(?<![\w.,$€£-]){_FIGURE}{_RANGE}{_SCALES}[\s-]?{UNIT}"
            r"(?:\sper\s(?:second|minute|hour|day|week|month|year)\b)?",
        ),
    )
]  # fmt: skip


def find_values(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield ``(start, end, label)`` of what is written as a date, time or amount beyond doubt, label by label."""
    if not any(c.isdigit() for c in text):
        return
    for label, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield match.start(), match.end(), label


@lru_cache(maxsize=8192)
def value_of(text: str, label: str, *, reference: datetime.date | None = None, tense: Tense = Tense.UNKNOWN) -> str:
    """Return the normalised form of a mention, empty where it has none.

    :param text: The words of the mention.
    :param label: Its label; those outside :data:`VALUE_LABELS` have no value.
    :param reference: The day on which it was written, for relative dates.
    :param tense: Of the verb it goes with, for bare names of weekdays.
    :returns: The value, the same for all ways of writing it.
    """
    if len(text) > 80:
        return ""
    if label in ("DATE", "TIME"):
        if label == "TIME":
            return parse_time(text) or parse_duration(text) or parse_date(text, reference=reference, tense=tense)
        return parse_date(text, reference=reference, tense=tense)
    if label == "MONEY":
        return parse_money(text)
    if label == "PERCENT":
        return parse_percent(text)
    if label == "QUANTITY":
        return parse_quantity(text) or parse_duration(text) or parse_count(text)
    return parse_count(text) if label == "CARDINAL" else ""


def guess_value(text: str, *, unit: str = "") -> tuple[str, str]:
    """Return label and value of a cell that is one amount or date as a whole; two empty strings for words.

    :param text: The cell.
    :param unit: What the head of the column gives in parentheses: ``km``, ``€ million``, ``%``.
    :returns: ``("QUANTITY", "64000 metre")`` for ``64`` in km.
    """
    text = " ".join(text.split())
    if not any(c.isdigit() for c in text) or len(text) > 60:
        return "", ""
    bare = re.fullmatch(rf"[-−+]?{NUMBER}", text, re.IGNORECASE) is not None
    if bare and unit:
        for label, parse in (("PERCENT", parse_percent), ("MONEY", parse_money), ("QUANTITY", parse_quantity)):
            for written in (f"{text} {unit}", f"{unit[:1]}{text} {unit[1:].strip()}"):
                value = parse(written)
                if value:
                    return label, value
    for label, parse in (
        ("PERCENT", parse_percent), ("MONEY", parse_money), ("TIME", parse_time), ("QUANTITY", parse_quantity),
        ("DATE", parse_date),
    ):  # fmt: skip
        value = parse(text)
        if value:
            return label, value
    return ("CARDINAL", parse_count(text)) if bare else ("", "")
