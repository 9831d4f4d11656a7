"""Which rows of a table a question is about: cells that it names, and bounds that it sets.

Layer: ``retrieval``; imports ``kg``. Every condition belongs to exactly one column, or the question is unclear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kg.extraction.values import guess_value
from retrieval.exact_questions.columns import Column, ColumnKind, ReadyTable
from retrieval.exact_questions.types import AskedExactly, UnclearQuestionError
from retrieval.exact_questions.values import DATE, Value, is_blank, read_cell, value_of_text
from retrieval.exact_questions.words import FRAME, is_number, stems_of

__all__ = ["Condition", "cell_conditions", "value_conditions"]

_MOST_WORDS = 10
_BOUND = re.compile(
    r"\b(?P<not_over>no (?:more|later) than|at most|up to|until)\b|\b(?P<not_under>no (?:less|fewer|earlier) than|"
    r"at least|since|from)\b(?=\D{0,24}\d)|\b(?P<over>(?:more|greater|higher|later|larger|longer|older|taller|heavier) "
    r"than|over|above|after|exceeding)\b|\b(?P<under>(?:less|fewer|lower|smaller|earlier|shorter|lighter|younger) than|"
    r"under|below|before)\b|\b(?P<between>between)\b",
    re.I,
)
_DATE_BOUNDS = re.compile(r"before|after|since|until|earlier|later", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A test of one column. ``used`` are the places of the question's words that it accounts for."""

    column: Column
    said: str
    holds: Callable[[int], bool]
    used: frozenset[int]


def cell_conditions(asked: AskedExactly, table: ReadyTable, *, taken: frozenset[int]) -> list[Condition]:
    """Find the cells of words that the question names, the longest first.

    :param asked: The question.
    :param table: The table.
    :param taken: Places of words that are accounted for already.
    :returns: One condition per column; several cells of one column are alternatives.
    :raises UnclearQuestionError: If a cell stands in several columns and the question does not say which is meant.
    """
    cells: dict[tuple[str, ...], list[Column]] = {}
    for column in table.columns:
        if column.kind is ColumnKind.TEXT:
            for cell in dict.fromkeys(column.cells):
                key = stems_of(cell)
                if not is_blank(cell) and 0 < len(key) <= _MOST_WORDS:
                    owners = cells.setdefault(key, [])
                    owners += [column] if column not in owners else []
    found: dict[int, list[tuple[tuple[str, ...], range]]] = {}
    place = 0
    while place < len(asked.words):
        match = _longest(asked, cells, place, taken)
        if match is None:
            place += 1
            continue
        column = _owner(asked, cells[match], place, table)
        found.setdefault(column.index, []).append((match, range(place, place + len(match))))
        place += len(match)
    return [_cell_condition(asked, table.columns[index], matches) for index, matches in found.items()]


def _longest(
    asked: AskedExactly, cells: dict[tuple[str, ...], list[Column]], place: int, taken: frozenset[int]
) -> tuple[str, ...] | None:
    for size in range(min(_MOST_WORDS, len(asked.words) - place), 0, -1):
        run = range(place, place + size)
        key = asked.stems[place : place + size]
        if key in cells and not taken & set(run) and any(asked.words[i].lower() not in FRAME for i in run):
            return key
    return None


def _owner(asked: AskedExactly, owners: Sequence[Column], place: int, table: ReadyTable) -> Column:
    before = asked.stems[place - 1] if place else ""
    others = [one for one in table.columns if one not in owners and set(stems_of(one.name)) == {before}]
    if others:
        raise UnclearQuestionError(
            f"{asked.words[place]!r} stands behind the name of column {others[0].name!r}, which does not hold it"
        )
    named = [one for one in owners if set(stems_of(one.name)) <= set(asked.stems)] if len(owners) > 1 else owners
    if len(named) != 1:
        listed = " and ".join(repr(one.name) for one in owners)
        raise UnclearQuestionError(f"{asked.words[place]!r} stands in the columns {listed}")
    return named[0]


def _cell_condition(asked: AskedExactly, column: Column, matches: Sequence[tuple[tuple[str, ...], range]]) -> Condition:
    keys = {key for key, _ in matches}
    used = {place for _, run in matches for place in run}
    used |= {i for i, stem in enumerate(asked.stems) if stem in column.stems and asked.words[i].lower() not in FRAME}
    said = " or ".join(dict.fromkeys(cell for cell in column.cells if stems_of(cell) in keys))
    return Condition(
        column=column,
        said=f"{column.name} is {said}",
        holds=lambda row: stems_of(column.cells[row]) in keys,
        used=frozenset(used),
    )


def value_conditions(asked: AskedExactly, table: ReadyTable, *, taken: frozenset[int]) -> list[Condition]:
    """Find the bounds that the question sets ("more than 100 seats", "before 2000"), and the values that it names.

    :param asked: The question.
    :param table: The table.
    :param taken: Places of words that are accounted for already.
    :returns: The conditions.
    :raises UnclearQuestionError: If a value fits no column, or several.
    """
    found: list[Condition] = []
    used = set(taken)
    for place, word in enumerate(asked.words):
        starts = is_number(word) or (word in "€$£¥₹" and place + 1 < len(asked.words)) or _opens_date(asked, place)
        if place in used or not starts:
            continue
        condition = _value_condition(asked, table, place, frozenset(used))
        found.append(condition)
        used |= condition.used
    return found


def _opens_date(asked: AskedExactly, place: int) -> bool:
    """Tell whether a month's name opens a date: "March 2021"."""
    pair = asked.words[place : place + 2]
    if len(pair) < 2 or not is_number(pair[1]) or is_number(pair[0]) or len(pair[0]) < 3:
        return False
    return guess_value(" ".join(pair))[0] == "DATE" and asked.words[place].lower() not in FRAME


def _value_condition(asked: AskedExactly, table: ReadyTable, place: int, taken: frozenset[int]) -> Condition:
    mark = _mark(asked, place)
    kind, begins = (mark.lastgroup or "", mark.start()) if mark else ("", asked.spans[place][0])
    is_time = mark is not None and _DATE_BOUNDS.search(mark.group()) is not None
    options = []
    for column in table.columns:
        read = _read(asked, place, column)
        if read is not None and (not is_time or read[0].unit == DATE):
            options.append((column, *read))
    column, value, end = _choose(asked, options, place, taken)
    used = {i for i in range(len(asked.words)) if begins <= asked.spans[i][0] and i < end}
    if kind == "between":
        second = next((i for i in range(end, len(asked.words)) if asked.words[i].lower() != "and"), -1)
        other = _read(asked, second, column) if second >= 0 else None
        if other is None:
            raise UnclearQuestionError("'between' is followed by one value")
        used |= set(range(end, other[1]))
        test = _between(value, other[0])
    else:
        test = _TESTS[kind](value)
    named = {i for i, stem in enumerate(asked.stems) if stem in column.stems and asked.words[i].lower() not in FRAME}
    sign = {"over": ">", "under": "<", "not_over": "≤", "not_under": "≥", "between": "between"}.get(kind, "=")
    last = max(used)
    said = asked.text[asked.spans[place][0] : asked.spans[last][1]]

    def holds(row: int) -> bool:
        if not is_blank(column.cells[row]) and column.values[row] is None:
            raise UnclearQuestionError(f"{column.cells[row]!r} in column {column.name!r} cannot be compared")
        found = column.values[row]
        return found is not None and test(found)

    return Condition(column=column, said=f"{column.name} {sign} {said}", holds=holds, used=frozenset(used | named))


def _mark(asked: AskedExactly, place: int) -> re.Match[str] | None:
    """Return the bound that stands right before a value, but for the words "the year" and the like."""
    start = asked.spans[place][0]
    found = [one for one in _BOUND.finditer(asked.text[:start] + "0") if one.end() <= start]
    if not found:
        return None
    between = asked.text[found[-1].end() : start].lower().split()
    return found[-1] if set(between) <= {"the", "year", "a", "an", "€", "$", "£"} else None


def _read(asked: AskedExactly, place: int, column: Column) -> tuple[Value, int] | None:
    """Read the value that begins at a place as one of a column; returns it and the place after it."""
    if column.kind not in (ColumnKind.NUMBER, ColumnKind.DATE, ColumnKind.MIXED):
        return None
    for end in range(min(len(asked.words), place + 5), place, -1):
        text = asked.text[asked.spans[place][0] : asked.spans[end - 1][1]].rstrip("?,. ")
        if column.dimension == DATE:
            label, written = guess_value(text)
            value = value_of_text(label, written) if label == "DATE" else None
        else:
            value = read_cell(text, unit=column.unit)
        if value is not None and value.unit == column.dimension:
            return value, end
    return None


def _choose(
    asked: AskedExactly, options: Sequence[tuple[Column, Value, int]], place: int, taken: frozenset[int]
) -> tuple[Column, Value, int]:
    """Choose the column of a value: the one named next to it, or the only one that it fits."""
    word = asked.words[place]
    if not options:
        raise UnclearQuestionError(f"{word!r} fits no column")
    near: list[tuple[int, int, tuple[Column, Value, int]]] = []
    for option in options:
        column, _, end = option
        places = [i for i, stem in enumerate(asked.stems) if stem in column.stems and i not in taken]
        if places:
            distance = min(i - end + 1 if i >= end else place - i + 1 for i in places)
            near.append((max(distance, 0), column.index, option))
    near.sort(key=lambda one: one[:2])
    if near and (len(near) == 1 or near[0][0] < near[1][0]):
        return near[0][2]
    if len(options) == 1 and not near:
        return options[0]
    listed = ", ".join(repr(column.name) for column, _, _ in options)
    raise UnclearQuestionError(f"{word!r} may be a value of the columns {listed}")


_TESTS: dict[str, Callable[[Value], Callable[[Value], bool]]] = {
    "": lambda bound: bound.holds,
    "over": lambda bound: lambda value: _is_sure(bound, value) and bound.is_less(value),
    "under": lambda bound: lambda value: _is_sure(bound, value) and value.is_less(bound),
    "not_over": lambda bound: lambda value: _is_sure(bound, value) and not bound.is_less(value),
    "not_under": lambda bound: lambda value: _is_sure(bound, value) and not value.is_less(bound),
}


def _is_sure(bound: Value, value: Value) -> bool:
    """Return ``True`` unless the two overlap without one holding the other's whole, which leaves their order open."""
    apart = value.is_less(bound) or bound.is_less(value)
    if not apart and not bound.holds(value):
        raise UnclearQuestionError("a date of the table is not precise enough to be compared with that of the question")
    return True


def _between(low: Value, high: Value) -> Callable[[Value], bool]:
    return lambda value: (
        _is_sure(low, value) and _is_sure(high, value) and not value.is_less(low) and not high.is_less(value)
    )
