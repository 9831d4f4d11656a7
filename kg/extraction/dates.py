"""Normalise dates, times and durations to ISO 8601, and what that cannot say to its extension EDTF.

Layer: ``kg``; the standard library only.
Source: ISO 8601-1:2019; Extended Date/Time Format, Library of Congress 2019 (decades ``199X``, seasons ``2019-21`` to
``2019-24``).

=========================  ===========================  =========================================================
what                       value                        written, for example
=========================  ===========================  =========================================================
day, month, year           2021-03-05, 2021-03, 2021    5 March 2021; March 5th, 2021; 5.3.2021; March 2021
day or month, no year      --03-05, --03                5 March; March
decade, century            199X, 18XX                   the 1990s; the 19th century
season, quarter, half      2019-23, 2021-Q3, 2021-H1    autumn 2019; the third quarter of 2021; H1 2021
week                       2024-W05                     last week, of a document of 10 February 2024
before Christ              -0043                        44 BC (astronomical: 1 BC is year 0)
range                      2019/2021                    2019–2021; between 2019 and 2021; 3 to 9 May 2021
time, with a day           T09:45, 2024-05-02T09:45     9:45 am; 2 May 2024, 9:45
duration                   PT2H30M, P9D, P3W, P5Y       2 hours 30 minutes; 150 min; nine days
=========================  ===========================  =========================================================

Empty is the value of what is relative and has no reference day, of ``03/04/2021`` (April or March?), and of "early",
"mid" and "late". ``around`` and its like are not kept.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from kg.extraction.numbers import NUMBER, format_number, parse_number
from kg.wordlists import word_list

__all__ = ["MONTHS", "Tense", "parse_date", "parse_day", "parse_duration", "parse_time"]


class Tense(StrEnum):
    """Whether what is said of a day has been or will be; it decides which "Tuesday" is meant."""

    PAST = "past"
    FUTURE = "future"
    UNKNOWN = ""


_MONTH_NAMES = [name.lower() for name in calendar.month_name]
_MONTH_OF = {name: n for n, name in enumerate(_MONTH_NAMES) if n} | {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11,
    "dec": 12,
}  # fmt: skip
MONTHS = "|".join(sorted(_MONTH_OF, key=len, reverse=True))
"""The English names of months and what is short for them, as a pattern, case to be ignored."""

_DAY_OF = {name.lower(): n for n, name in enumerate(calendar.day_name)} | {
    name.lower(): n for n, name in enumerate(calendar.day_abbr)
}
_DAYS = "|".join(sorted((*_DAY_OF, "tues", "thur", "thurs"), key=len, reverse=True))
_SEASONS = {"spring": 21, "summer": 22, "autumn": 23, "fall": 23, "winter": 24}
_ORDINALS = {word: n for n, word in enumerate(("first", "second", "third", "fourth"), start=1)}
_CENTURIES = {
    word: n
    for n, word in enumerate(
        word_list(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
            "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first"
        ),
        start=1,
    )
}
_NOISE = re.compile(
    r"\A(?:(?:in|on|at|since|by|until|during|of|from|around|about|approximately|circa|ca?\.|roughly|the|a|an|"
    r"year|years|month of|summer of(?= the))\s+)+|\A(?:c|ca)\.\s*|[\s,.;:]+\Z|\s+(?:ce|ad|a\.d\.)\Z"
)
_Y, _D = r"(?P<y>[12]\d{3}|20\d\d)", r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_M = rf"(?P<m>{MONTHS})\.?"
_WEEKDAY = rf"(?:(?:{_DAYS})\.?,?\s+)?"
_RANGE_MARK = r"\s*(?:–|—|-|\bto\b|\buntil\b|\btill\b|\bthrough\b|/)\s*"
_AGO = {"day": 1, "week": 7}


def parse_date(text: str, *, reference: datetime.date | None = None, tense: Tense = Tense.UNKNOWN) -> str:
    """Return the normalised form of a date, a span of dates, or a duration named as one.

    :param text: The words, as they stand.
    :param reference: The day on which they were said or written, for "yesterday"; relative dates are empty without.
    :param tense: Which "Tuesday" is meant: the last one or the next; unknown leaves it empty.
    :returns: The value by the table in this module's header; empty where nothing certain can be said.
    """
    folded = " ".join(text.replace("\u2019", "'").lower().split())
    before = None
    while before != folded:
        before, folded = folded, _NOISE.sub("", folded)
    value = _absolute(folded) or parse_time(folded) or _range(folded) or parse_duration(folded)
    if value or reference is None:
        return value
    return _relative(folded, reference, tense)


def parse_day(text: str) -> datetime.date | None:
    """Return the day that begins ``text`` (``2023-07-14T09:02``, ``14 July 2023``), ``None`` where there is none."""
    value = parse_date(re.sub(r"[T ]\d{1,2}:\d\d.*\Z", "", text.strip(" []")))
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        return None


def parse_time(text: str) -> str:
    """Return the time of day, ``T09:45``; empty where ``text`` is none."""
    folded = " ".join(text.lower().split())
    if folded in ("noon", "midday", "midnight"):
        return "T00:00" if folded == "midnight" else "T12:00"
    match = re.fullmatch(
        r"(?P<h>\d{1,2})(?:[:.](?P<min>\d\d)(?::(?P<s>\d\d))?)?\s*(?P<half>[ap]\.?\s?m\.?)?(?:\s*(?:o'clock|hours|uhr))?"
        r"(?:\s*(?P<zone>utc|gmt|z))?",
        folded,
    )
    if match is None or not (match["half"] or (match["min"] and ":" in folded) or "o'clock" in folded):
        return ""
    hour, minute = int(match["h"]), int(match["min"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            return ""
        hour = hour % 12 + (12 if match["half"].startswith("p") else 0)
    if hour > 24 or minute > 59 or int(match["s"] or 0) > 59:
        return ""
    seconds = f":{match['s']}" if match["s"] else ""
    return f"T{hour:02}:{minute:02}{seconds}{'Z' if match['zone'] else ''}"


_DURATION_PART = re.compile(
    rf"({NUMBER})[\s-]*(seconds?|secs?|s|minutes?|mins?|min\.|hours?|hrs?|h|days?|weeks?|wks?|months?|years?|yrs?|"
    r"decades?|centur(?:y|ies))(?:[\s-]old)?\b\.?(?:,?\s*(?:and\s+)?)?"
)
_DURATION_UNITS = {"s": "S", "mi": "MIN", "h": "H", "d": "D", "w": "W", "mo": "M", "y": "Y"}


def parse_duration(text: str) -> str:
    """Return a duration; hours, minutes and seconds are brought to one form (``90 min`` is ``PT1H30M``)."""
    folded = " ".join(text.lower().split())
    parts: dict[str, Decimal] = {}
    position = 0
    while position < len(folded):
        match = _DURATION_PART.match(folded, position)
        number = parse_number(match.group(1)) if match else None
        if match is None or number is None or number < 0:
            return ""
        unit = match.group(2)
        if unit.startswith(("dec", "cent")):
            number, unit = number * (10 if unit.startswith("dec") else 100), "y"
        key = _DURATION_UNITS.get(unit[:2]) or _DURATION_UNITS[unit[:1]]
        if key in parts:
            return ""
        parts[key] = number
        position = match.end()
    return _format_duration(parts) if parts else ""


def _format_duration(parts: dict[str, Decimal]) -> str:
    if "W" in parts and len(parts) > 1:
        parts["D"] = parts.get("D", Decimal(0)) + 7 * parts.pop("W")
    days = "".join(f"{format_number(parts[unit])}{unit}" for unit in "YMWD" if unit in parts)
    seconds = 3600 * parts.get("H", Decimal(0)) + 60 * parts.get("MIN", Decimal(0)) + parts.get("S", Decimal(0))
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    clock = "".join(
        f"{format_number(value)}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if value
    )
    if not days and not clock:
        return "PT0S" if seconds == 0 and {"H", "MIN", "S"} & parts.keys() else ""
    return f"P{days}T{clock}" if clock else f"P{days}"


def _day(year: str, month: int, day: str) -> str:
    try:
        return datetime.date(int(year), month, int(day)).isoformat()
    except ValueError:
        return ""


def _slashes(match: re.Match[str]) -> str:
    first, second, year = match["a"], match["b"], match["y"]
    if match["sep"] == "." or int(first) > 12 or first == second:
        return _day(year, int(second), first) if int(second) <= 12 else ""
    return _day(year, int(first), second) if int(second) > 12 else ""


def _yearless(match: re.Match[str]) -> str:
    month, day = _MONTH_OF[match["m"]], int(match["d"])
    return f"--{month:02}-{day:02}" if 1 <= day <= calendar.monthrange(2000, month)[1] else ""


def _century(match: re.Match[str]) -> str:
    number = int(match["n"]) if match["n"] else _CENTURIES[match["word"]]
    return f"{number - 1:02}XX" if 1 <= number <= 21 else ""


def _before_christ(match: re.Match[str]) -> str:
    year = int(match["y"])
    return f"{1 - year:05}" if year > 1 else "0000"


def _with_time(match: re.Match[str]) -> str:
    day, time = _absolute(match["date"].rstrip(" ,")), parse_time(match["time"])
    return f"{day}{time}" if re.fullmatch(r"\d{4}-\d\d-\d\d", day) and time else ""


_QUARTER = r"(?:(?P<word>first|second|third|fourth)\s+(?P<kind>quarter|half)|(?P<short>[qh])(?P<n>[1-4]))"


def _quarter(match: re.Match[str]) -> str:
    number = int(match["n"]) if match["n"] else _ORDINALS[match["word"]]
    kind = (match["short"] or match["kind"][0]).upper()
    return f"{match['y']}-{kind}{number}" if kind == "Q" or number <= 2 else ""


_FORMS: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), function)
    for pattern, function in (
        (r"(?P<y>\d{4})[-/.](?P<m>\d\d?)[-/.](?P<d>\d\d?)", lambda m: _day(m["y"], int(m["m"]), m["d"])),
        (r"(?P<y>[12]\d{3})-(?P<m>0[1-9]|1[0-2])", lambda m: m.group()),
        (r"(?P<a>\d\d?)(?P<sep>[./-])\s?(?P<b>\d\d?)(?P=sep)\s?(?P<y>[12]\d{3})", _slashes),
        (rf"{_WEEKDAY}{_D}[.\s-]*(?:of\s+)?{_M}[,\s-]*{_Y}", lambda m: _day(m["y"], _MONTH_OF[m["m"]], m["d"])),
        (rf"{_WEEKDAY}{_M}\s+(?:the\s+)?{_D},?\s+{_Y}", lambda m: _day(m["y"], _MONTH_OF[m["m"]], m["d"])),
        (rf"{_M},?\s+(?:of\s+)?{_Y}", lambda m: f"{m['y']}-{_MONTH_OF[m['m']]:02}"),
        (rf"{_WEEKDAY}{_D}\.?\s+(?:of\s+)?{_M}", _yearless),
        (rf"{_WEEKDAY}{_M}\s+(?:the\s+)?{_D}", _yearless),
        (_M, lambda m: f"--{_MONTH_OF[m['m']]:02}"),
        (_Y, lambda m: m["y"]),
        (r"(?P<y>\d{1,4})\s*(?:bc|bce|b\.c\.(?:e\.)?)", _before_christ),
        (r"(?P<y>[12]\d{2})0'?s", lambda m: f"{m['y']}X"),
        (r"'(?P<y>[5-9])0s", lambda m: f"19{m['y']}X"),
        (
            rf"(?:(?P<n>\d{{1,2}})(?:st|nd|rd|th)|(?P<word>{'|'.join(sorted(_CENTURIES, key=len, reverse=True))}))"
            r"[\s-]century",
            _century,
        ),
        (rf"(?P<s>{'|'.join(_SEASONS)})\s+(?:of\s+)?(?P<y>[12]\d{{3}})", lambda m: f"{m['y']}-{_SEASONS[m['s']]}"),
        (rf"{_QUARTER}(?:\s+of|,)?\s+{_Y}", _quarter),
        (rf"{_Y}\s*-?{_QUARTER}", _quarter),
        (r"(?P<y>[12]\d{3})-?w(?P<w>[0-5]\d)", lambda m: f"{m['y']}-W{m['w']}"),
        (r"(?P<date>.*\d)(?:,?\s+(?:at\s+)?|t)(?P<time>\d{1,2}(?::\d\d(?::\d\d)?)?\s*(?:[ap]\.?m\.?)?z?)", _with_time),
        (r"(?P<time>\d{1,2}(?::\d\d)?\s*(?:[ap]\.?m\.?)?),?\s+(?:on\s+)(?P<date>.*\d)", _with_time),
    )
]  # fmt: skip


def _absolute(text: str) -> str:
    if len(text) > 60:
        return ""
    for pattern, value in _FORMS:
        match = pattern.fullmatch(text)
        if match is not None:
            found = value(match)
            if found:
                return found
    return ""


def _range(text: str) -> str:
    between = re.fullmatch(r"between\s+(.+?)\s+and\s+(.+)", text)
    if between is None:
        text = re.sub(r"\Afrom\s+", "", text)
        marks = list(re.finditer(_RANGE_MARK, text)) if len(text) <= 60 else []
        pairs = [(text[: mark.start()], text[mark.end() :]) for mark in marks]
    else:
        pairs = [(between.group(1), between.group(2))]
    for first, last in pairs:
        end = _absolute(last) or _two_digit_year(first, last)
        start = _absolute(first) or _completed(first, last)
        if re.fullmatch(r"[12]\d{3}.*", end) and start.startswith("--"):
            start = f"{end[:4]}{start[1:]}"
        if not end and re.fullmatch(r"\d{1,2}(?:,?\s+[12]\d{3})?", last):  # "March 3–9, 2021"
            month = re.match(rf"(?:{MONTHS})\b", first)
            end = _absolute(f"{month.group()} {last}") if month else ""
            start = _absolute(first + last[len(last.split(",")[0].split(" ")[0]) :]) if month else start
        if start and end and len(start) == len(end) and start < end:
            return f"{start}/{end}"
    return ""


def _two_digit_year(first: str, last: str) -> str:
    if re.fullmatch(r"[12]\d{3}", first) and re.fullmatch(r"\d\d", last) and int(last) > int(first[2:]):
        return first[:2] + last
    return ""


def _completed(first: str, last: str) -> str:
    """Read the day of "3 to 9 May 2021" and the month of "May to July 2020" with what stands behind the other."""
    if re.fullmatch(r"\d{1,2}(?:st|nd|rd|th)?", first):
        rest = re.fullmatch(rf"\d{{1,2}}(?:st|nd|rd|th)?(\s+(?:{MONTHS})\b.*)", last)
        return _absolute(first + rest.group(1)) if rest else ""
    year = re.search(r"[12]\d{3}\Z", last)
    return _absolute(f"{first} {year.group()}") if year else ""


_SHIFTS = {"last": -1, "previous": -1, "past": -1, "this": 0, "current": 0, "next": 1, "coming": 1, "following": 1}


def _relative(text: str, today: datetime.date, tense: Tense) -> str:
    days = {
        "today": 0, "tonight": 0, "this morning": 0, "this afternoon": 0, "this evening": 0, "yesterday": -1,
        "last night": -1, "yesterday morning": -1, "yesterday evening": -1, "yesterday afternoon": -1, "tomorrow": 1,
        "tomorrow morning": 1, "tomorrow evening": 1, "day before yesterday": -2, "day after tomorrow": 2,
    }  # fmt: skip
    if text in days:
        return _moved(today, days[text])
    ago = re.fullmatch(rf"({NUMBER})\s+(day|week|month|year)s?\s+(ago|earlier|later|from now)", text)
    if ago is not None:
        return _ago(
            parse_number(ago.group(1)), ago.group(2), forward=ago.group(3) in ("later", "from now"), today=today
        )
    match = re.fullmatch(
        rf"(?:(last|previous|past|this|current|next|coming|following)\s+)?(week|month|year|weekend|quarter|{_DAYS}|"
        rf"{MONTHS}|spring|summer|autumn|winter)(?:\s+(?:morning|afternoon|evening|night))?",
        text,
    )
    if match is None or match.group(2) in ("weekend", "quarter"):
        return ""
    return _shifted(match.group(1), match.group(2), today, tense)


def _shifted(which: str | None, unit: str, today: datetime.date, tense: Tense) -> str:
    shift = _SHIFTS.get(which or "")
    weekday = _DAY_OF.get(unit[:3])
    if unit not in _MONTH_OF and weekday is not None and unit not in ("month",):
        return _weekday(weekday, today, shift, tense)
    if shift is None:
        return ""
    if unit in _MONTH_OF:
        month = _MONTH_OF[unit]
        year = today.year + (shift if shift == 0 or (month - today.month) * shift <= 0 else 0)
        return f"{year}-{month:02}"
    if unit in _SEASONS:
        return ""  # Which winter is the last one? Writers differ.
    if unit == "week":
        year, week, _ = (today + datetime.timedelta(weeks=shift)).isocalendar()
        return f"{year}-W{week:02}"
    return _ago(Decimal(abs(shift)), unit, forward=shift > 0, today=today)


def _weekday(weekday: int, today: datetime.date, shift: int | None, tense: Tense) -> str:
    if shift == 0:
        return _moved(today, weekday - today.weekday())
    if shift == -1 or (shift is None and tense is Tense.PAST):
        back = (today.weekday() - weekday) % 7
        return _moved(today, -(back or (0 if shift is None else 7)))
    if shift == 1 or (shift is None and tense is Tense.FUTURE):
        return _moved(today, (weekday - today.weekday()) % 7 or 7)
    return ""


def _moved(today: datetime.date, days: int) -> str:
    try:
        return (today + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        return ""


def _ago(number: Decimal | None, unit: str, *, forward: bool, today: datetime.date) -> str:
    if number is None or number != int(number) or number > 10_000:
        return ""
    shift = int(number) if forward else -int(number)
    if unit in _AGO:
        return _moved(today, shift * _AGO[unit])
    months = today.year * 12 + today.month - 1 + shift * (12 if unit == "year" else 1)
    if not 12 <= months < 120_000:
        return ""
    return f"{months // 12:04}" if unit == "year" else f"{months // 12:04}-{months % 12 + 1:02}"
