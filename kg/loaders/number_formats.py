"""Show a spreadsheet's value as a person sees it in its cell: ``12.5%``, ``1,184.00``, ``2024-03-01``.

Layer: ``kg``; the standard library only. Dates are written as ISO 8601, whatever the cell's order of day and month. Of
number formats the everyday ones are followed (decimals, thousands, percent, a currency or unit in quotes, powers of
ten); any other shows the plain number, which loses nothing.
"""

from __future__ import annotations

import datetime
import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["shown"]

_NUMBER = re.compile(r"(?P<thousands>[#?]*,[#?0]*)?[#?0]*(?P<decimals>\.[0#?]+)?(?P<power>E[+-]0+)?")
_LITERAL = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\]-]*)[^\]]*\]|([$€£¥%°()+\- ])|([_*].)|(\[[^\]]*\])')
_SECONDS_A_DAY = 86_400
_MAX_DECIMALS = 15
_MAX_SHOWN = 1e15  # beyond it a double has no decimals left to show


class _Format(NamedTuple):
    before: str
    after: str
    decimals: int
    thousands: bool
    is_percent: bool
    is_power: bool


def shown(value: object, number_format: str = "General") -> str:
    """Return what a cell shows.

    :param value: What the file holds: ``None``, a number, words, a switch, a date, a time or a length of time.
    :param number_format: The cell's format code, as in ``#,##0.00``.
    :returns: One string; empty for an empty cell.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, number_format)
    if isinstance(value, datetime.datetime):
        return _moment(value)
    if isinstance(value, datetime.timedelta):
        return _length(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _moment(value: datetime.datetime) -> str:
    value = value.replace(microsecond=0)
    if value.time() == datetime.time():
        return value.date().isoformat()
    return value.isoformat(sep=" ", timespec="seconds" if value.second else "minutes")


def _length(value: datetime.timedelta) -> str:
    seconds = round(value.days * _SECONDS_A_DAY + value.seconds + value.microseconds / 1e6)
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _number(value: float, number_format: str) -> str:
    form = _parsed(number_format)
    if form is None or abs(value) >= _MAX_SHOWN or value != value:
        return _general(value)
    if form.is_power:
        return f"{form.before}{value:.{form.decimals}E}{form.after}"
    scaled = value * 100 if form.is_percent else value
    sign = "-" if scaled < 0 else ""
    digits = f"{abs(scaled):{',' if form.thousands else ''}.{form.decimals}f}"
    return f"{sign}{form.before}{digits}{form.after}"


def _general(value: float) -> str:
    """Return a number without a format: at most 15 digits, which is what spreadsheets keep."""
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < _MAX_SHOWN else f"{value:.15g}"


@lru_cache(maxsize=512)
def _parsed(code: str) -> _Format | None:
    """Read the first section of a format code; ``None`` where it is not an everyday one."""
    section = code.partition(";")[0]
    if section in ("", "General", "@") or len(section) > 80:
        return None
    before, rest = _literals(section)
    number = _NUMBER.match(rest)
    if number is None or not number[0]:
        return None
    after, left = _literals(rest[number.end() :])
    decimals = len(number["decimals"] or ".") - 1
    if left or decimals > _MAX_DECIMALS or "#" in (number["decimals"] or ""):
        return None
    return _Format(
        before=before.lstrip(),
        after=after.rstrip(),
        decimals=decimals,
        thousands=bool(number["thousands"]),
        is_percent="%" in before + after,
        is_power=bool(number["power"]),
    )


def _literals(code: str) -> tuple[str, str]:
    """Split off what stands in front of a number as itself: quoted words, currencies, marks, colours."""
    words: list[str] = []
    position = 0
    while (literal := _LITERAL.match(code, position)) is not None:
        words.append(next((group for group in literal.groups()[:4] if group), ""))
        position = literal.end()
    return "".join(words), code[position:]
