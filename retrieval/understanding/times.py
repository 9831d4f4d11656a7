"""Periods of days: of a normalised date, of a document, and of what a question says of time.

Layer: ``retrieval``; imports ``kg``, whose rules (:mod:`kg.extraction.dates`) read the dates themselves.
"""

from __future__ import annotations

import calendar
import datetime
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache

from kg.errors import InputError
from kg.extraction.dates import MONTHS, parse_date
from kg.types import DocumentInfo

__all__ = [
    "DATE_KEYS",
    "Period",
    "TimeAsked",
    "asked_time",
    "document_period",
    "period_from_user",
    "period_of",
    "read_day",
]

DATE_KEYS = ("date", "published", "issued", "created", "modified", "updated")
"""Metadata that say when a document is from, the best first."""
_DIGITS = re.compile(r"(?<!\d)((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?:(?!\d)|(?=\d{4}(?:\d\d)?(?!\d)))")
_ISO = re.compile(r"(?<!\d)((?:1\d|20)\d\d)[-_./](0?[1-9]|1[0-2])(?:[-_./](0?[1-9]|[12]\d|3[01]))?(?!\d)")
_YEAR_IN_NAME = re.compile(r"(?<![\d.])((?:19|20)\d\d)(?!\d|\.\d)")
_FORM = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:T.*)?")
_QUARTER = re.compile(r"(\d{4})-Q([1-4])")
_WEEK = re.compile(r"(\d{4})-W(0[1-9]|[1-4]\d|5[0-2])")
_MONTH = rf"(?:{MONTHS})\.?"
_POINT = (
    rf"(?:\d{{4}}-\d\d-\d\d|(?:19|20)\d{{6}}|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH},? \d{{4}}"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|{_MONTH},? \d{{4}}|Q[1-4] \d{{4}}"
    r"|the (?:1[5-9]|20)\d0s|(?:1[5-9]|20)\d0s|(?:1\d|20)\d\d)"
)
_RELATIVE = (
    r"(?:yesterday|today|(?:last|this|the past|the last|the previous|previous) (?:day|week|month|quarter|year)"
    r"|\d+ (?:days|weeks|months|years) ago)"
)
_ASKED = re.compile(
    rf"\b(?:(?P<between>between|from) (?P<low>{_POINT}) (?:and|to|until|till) (?P<high>{_POINT})"
    r"|(?P<word>in|on|during|of|for|as of|by|since|after|before|until|till|from)\s+(?:the year |the )?"
    rf"(?P<point>{_POINT})"
    rf"|(?P<relative>{_RELATIVE}))\b(?!\s*(?:%|percent|km|people|dollars))",
    re.I,
)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from ``first`` to ``last``, both included."""

    first: datetime.date
    last: datetime.date

    def meets(self, other: Period) -> bool:
        """Tell whether the two have a day in common."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAsked:
    """What a question says of time: its words, and the days that they mean."""

    phrase: str
    period: Period


def period_of(written: str) -> Period | None:
    """Return the days of a normalised date.

    :param written: A form of :mod:`kg.extraction.dates`: ``2021``, ``2021-03``, ``2021-Q2``, ``199X``, ``2010/2012``.
    :returns: The days; ``None`` for what has no year.
    """
    if "/" in written:
        low, high = (period_of(part) for part in written.split("/", 1))
        return Period(low.first, high.last) if low and high and low.first <= high.last else None
    if re.fullmatch(r"\d{2}XX|\d{3}X", written):
        return _years(int(written.replace("X", "0")), int(written.replace("X", "9")))
    quarter = _QUARTER.fullmatch(written)
    if quarter:
        month = 3 * int(quarter[2])
        return Period(_day(int(quarter[1]), month - 2, 1), _month_end(int(quarter[1]), month))
    week = _WEEK.fullmatch(written)
    if week:
        monday = datetime.date.fromisocalendar(int(week[1]), int(week[2]), 1)
        return Period(monday, monday + datetime.timedelta(days=6))
    match = _FORM.fullmatch(written)
    if match is None or not 1 <= int(match[1]) <= 9999:
        return None
    year, month_text, day_text = match.groups()
    try:
        if day_text:
            day = datetime.date(int(year), int(month_text), int(day_text))
            return Period(day, day)
        if month_text:
            return Period(_day(int(year), int(month_text), 1), _month_end(int(year), int(month_text)))
    except ValueError:
        return None
    return _years(int(year), int(year))


@lru_cache(maxsize=65536)
def read_day(text: str, *, today: datetime.date | None = None) -> Period | None:
    """Return the days that a date in any common form means; ``None`` where it is none.

    :param text: ``2021-03-05``, ``5 March 2021``, ``20210305``, ``D:20210305…`` (PDF), a mail's date, ``2021``.
    :param today: What "last year" is relative to; ``None`` refuses such words.
    :returns: The days.
    """
    text = text.strip().removeprefix("D:")
    for pattern in (_DIGITS, _ISO):
        match = pattern.match(text)
        if match:
            found = period_of("-".join(part.zfill(2) for part in match.groups() if part))
            if found is not None:
                return found
    written = parse_date(text, reference=today)
    found = period_of(written) if written else None
    if found is not None:
        return found
    try:
        day = parsedate_to_datetime(text).date()
    except (ValueError, TypeError, IndexError):
        return None
    return Period(day, day)


def period_from_user(text: str, *, what: str, today: datetime.date | None = None) -> Period:
    """Read a date that a user gave.

    :param text: The date.
    :param what: The option's name, for the error.
    :param today: What relative words are relative to.
    :returns: The days.
    :raises InputError: If it is no date.
    """
    found = read_day(text, today=today) if text.strip() and len(text) <= 100 else None
    if found is None:
        raise InputError(f"{what}: {text[:100]!r} is no date. Write 2021, 2021-03, 2021-03-05 or 5 March 2021.")
    return found


def document_period(info: DocumentInfo) -> Period | None:
    """Return when a document is from: by its metadata, else by a date in its name or title.

    :param info: The document.
    :returns: The days; ``None`` where nothing says. When it was added says nothing of when it was written.
    """
    for key in DATE_KEYS:
        if key in info.metadata:
            found = read_day(info.metadata[key])
            if found is not None:
                return found
    for text in (info.name, info.title):
        for pattern in (_DIGITS, _ISO):
            match = pattern.search(text)
            found = period_of("-".join(part.zfill(2) for part in match.groups() if part)) if match else None
            if found is not None:
                return found
    # A year in a title is what it is about ("1998 season"); in a file's name, beside words, it is when it was written.
    match = _YEAR_IN_NAME.search(info.name) if re.search(r"[^\W\d]{2,}.*\.", info.name) else None
    return period_of(match[1]) if match else None


def asked_time(question: str, *, today: datetime.date) -> TimeAsked | None:
    """Find what a question says of time, by rules: "in 2019", "before May 2020", "between … and …", "last year".

    :param question: The question.
    :param today: What relative words are relative to.
    :returns: The first such phrase; ``None`` where there is none.
    """
    match = _ASKED.search(question)
    if match is None:
        return None
    if match["between"]:
        low, high = read_day(match["low"]), read_day(match["high"])
        period = Period(low.first, high.last) if low and high and low.first <= high.last else None
    elif match["relative"]:
        period = _relative(match["relative"], today)
    else:
        period = _bounded(match["word"].lower(), read_day(match["point"]))
    return None if period is None else TimeAsked(phrase=match.group(), period=period)


def _bounded(word: str, point: Period | None) -> Period | None:
    if point is None:
        return None
    if word in ("since", "from"):
        return Period(point.first, datetime.date.max)
    if word == "after":
        return Period(min(point.last, _LAST_DAY) + datetime.timedelta(days=1), datetime.date.max)
    if word == "before":
        return Period(datetime.date.min, max(point.first, _FIRST_DAY) - datetime.timedelta(days=1))
    if word in ("until", "till", "by", "as of"):
        return Period(datetime.date.min, point.last)
    return point


def _relative(words: str, today: datetime.date) -> Period | None:
    lower = " ".join(words.lower().split())
    if lower in ("today", "yesterday"):
        day = today - datetime.timedelta(days=int(lower == "yesterday"))
        return Period(day, day)
    written = parse_date(lower.replace("previous", "last").replace("the ", ""), reference=today)
    return period_of(written) if written else None


_FIRST_DAY = datetime.date.min + datetime.timedelta(days=1)
_LAST_DAY = datetime.date.max - datetime.timedelta(days=1)


def _day(year: int, month: int, day: int) -> datetime.date:
    return datetime.date(year, month, day)


def _years(first: int, last: int) -> Period:
    return Period(_day(max(first, 1), 1, 1), _day(max(last, 1), 12, 31))


def _month_end(year: int, month: int) -> datetime.date:
    return _day(year, month, calendar.monthrange(year, month)[1])
