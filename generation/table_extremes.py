"""Find the row of a table that holds the most or the least, and the greater of two.

Layer: ``generation``. "Which crop had the highest yield?", "In which year …", "What was the lowest price?", "Which sold
more, Oslo or Rome?". Values are compared as numbers within one column of one table (or along one row, where the
columns are what is asked for); where a row is missing, values have different units or two are equal, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from generation.patterns import PATTERNS
from generation.question import Question, QuestionKind
from generation.table_lookup import TableAnswer
from generation.table_match import Asked, numbers_of, unit_of, with_unit
from generation.tables import SaidRow, SaidTable
from generation.words import content_stems

__all__ = ["find_extreme", "is_extreme"]

_MOST = re.compile(
    r"\b(?:highest|largest|biggest|greatest|most|maximum|longest|tallest|heaviest|more|higher|larger|bigger|greater|"
    r"longer|taller|heavier|peak(?:ed)?)\b",
    re.I,
)
_LEAST = re.compile(
    r"\b(?:lowest|smallest|fewest|least|minimum|shortest|lightest|fewer|less|lower|smaller|shorter|lighter)\b", re.I
)
_SUPERLATIVE = re.compile(r"est\b|\b(?:most|least|maximum|minimum|peak(?:ed)?)\b", re.I)
_NO_EXTREME = re.compile(
    r"\b(?:at (?:least|most)|most of|second|third|fourth|fifth|next|two|three|four|five|\d+ (?:most|highest|largest|"
    r"lowest)|difference|increase[ds]?|decrease[ds]?|grew|growth|change[ds]?|rise|rose|fell|average|mean)\b",
    re.I,
)
"""Ranks further down, several of them, and what is worked out of several values."""
_ASKS_LABEL = re.compile(
    r"\b(?:which|who|whose|where|when|what\s+(?!is\b|are\b|was\b|were\b|percent|share\b|proportion\b|number\b|"
    r"amount\b)\w+)\b",
    re.I,
)
_ALL_OF_THEM = frozenset(content_stems("total all sum overall average mean median altogether world everything"))
_NUMBER = re.compile(
    r"(?P<before>[^\d]*?)(?P<sign>[−-]?)(?P<x>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<after>.*)"
)
_BLANK = re.compile(r"|[-–—]|\.{2,3}|n/?a", re.I)
_MIN_SAID = 0.5
"""Of the question's weight, the share that the column, its table or what the table stands under must hold."""
_DEGREES = frozenset(content_stems(_MOST.pattern.replace("|", " ")) + content_stems(_LEAST.pattern.replace("|", " ")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A value, what it is the value of, and the row that it stands in."""

    label: str
    value: str
    number: float
    row: SaidRow


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Values that may be compared: those of a column, or of a row.

    ``name`` is what they are values of, ``kind`` what their labels are called; empty where the table does not say.
    """

    table: SaidTable
    name: str
    kind: str
    points: tuple[_Point, ...]


def find_extreme(question: Question, tables: Sequence[SaidTable], idf: Mapping[str, float]) -> TableAnswer | None:
    """Answer a question for the most, the least, or the greater of two.

    :param question: The question, read.
    :param tables: The tables of the evidence.
    :param idf: The weight of each of the question's stems.
    :returns: The label or the value, with its row and the one that comes next; ``None`` where the question asks for
        nothing of the kind, or no single table tells.
    """
    pick = _direction(question)
    if pick == 0:
        return None
    named = Asked(question, {s: w for s, w in idf.items() if s not in _DEGREES})
    unnamed = named.without_head()
    found: list[tuple[float, TableAnswer]] = []
    for table in tables:
        for series in _series(table):
            asked = named if series.kind or not _asks_for_label(question) else unnamed
            share = _fit(asked, series)
            answer = _extreme(asked, series, pick=pick, share=share) if share > 0.0 else None
            if answer is not None:
                found.append((share, answer))
    if not found:
        return None
    best = max(share for share, _ in found)
    answers = [answer for share, answer in found if share > best - 1e-9]
    return answers[0] if len({answer.text.casefold() for answer in answers}) == 1 else None


def _asks_for_label(question: Question) -> bool:
    """Tell whether the name of a row is asked for ("which crop") rather than its value ("what was the highest …")."""
    return bool(question.options) or _ASKS_LABEL.search(question.text) is not None


def is_extreme(question: Question) -> bool:
    """Tell whether a question asks for the most or the least of several: one cell alone cannot answer it."""
    return (
        question.kind is not QuestionKind.YES_NO
        and _SUPERLATIVE.search(question.text) is not None
        and bool(_MOST.search(question.text) or _LEAST.search(question.text))
    )


def _direction(question: Question) -> int:
    """Return 1 where the greatest is asked for, -1 for the least, 0 for neither."""
    most, least = _MOST.search(question.text), _LEAST.search(question.text)
    if bool(most) == bool(least) or _NO_EXTREME.search(question.text):
        return 0
    if question.kind is not QuestionKind.CHOICE and _SUPERLATIVE.search(question.text) is None:
        return 0
    return 0 if question.kind in (QuestionKind.YES_NO, QuestionKind.EXPLANATION) else 1 if most else -1


def _series(table: SaidTable) -> Iterator[_Series]:
    names = list(dict.fromkeys(cell.name for row in table.rows for cell in row.cells[1:]))
    kind = table.rows[0].cells[0].name
    for name in names:
        cells = [(row.label, value, row) for row in table.rows if (value := _under(row, name)) is not None]
        points = _points(cells)
        if len(points) > 1 and len({row.cells[0].name for row in table.rows}) == 1:
            yield _Series(table=table, name=name, kind=kind, points=points)
    for row in table.rows:
        points = _points([(cell.name, cell.value, row) for cell in row.cells[1:] if cell.name])
        if len(points) > 1:
            yield _Series(table=table, name=row.label, kind="", points=points)


def _under(row: SaidRow, name: str) -> str | None:
    """Return a row's value under a column's name, empty where it has none, ``None`` where it has several."""
    values = [cell.value for cell in row.cells[1:] if cell.name == name]
    return None if len(values) > 1 else values[0] if values else ""


def _points(cells: Sequence[tuple[str, str, SaidRow]]) -> tuple[_Point, ...]:
    """Read the values as numbers; none where one cannot be read, or they have different units."""
    points: list[_Point] = []
    units: set[str] = set()
    for label, value, row in cells:
        if _BLANK.fullmatch(value) or set(content_stems(label)) & _ALL_OF_THEM:
            continue
        match = _NUMBER.fullmatch(value)
        if match is None or any(char.isdigit() for char in match["after"]):
            return ()
        units.add(f"{match['before'].strip()}…{match['after'].strip(' *')}")
        number = float(match["x"].replace(",", "")) * (-1.0 if match["sign"] else 1.0)
        points.append(_Point(label=label, value=value, number=number, row=row))
    if len(units) > 1 or all(_is_year(point.value) for point in points):
        return ()
    return tuple(points)


def _is_year(text: str) -> bool:
    return PATTERNS[QuestionKind.DATE].fullmatch(text) is not None


def _fit(asked: Asked, series: _Series) -> float:
    """Return how well the question fits a series; 0 where it is not what is compared."""
    name = asked.fit(series.name)
    alike = [one for one in _series(series.table) if bool(one.kind) == bool(series.kind)]
    others = {other.name for other in alike}
    if name.tie <= -1.0 or not series.table.is_whole:
        return 0.0
    if not name.is_said and (len(others - {series.name}) > 0 or not _are_meant(asked, series)):
        return 0.0
    if not _are_asked_for(asked, series):
        return 0.0
    known = numbers_of([series.name, *(cell.value for point in series.points for cell in point.row.cells)])
    if not asked.is_about(series.table, _held(series), known):
        return 0.0
    reached = asked.weight(_held(series) | series.table.about)
    return reached + asked.weight(name.stems) + name.tie if reached >= _MIN_SAID else 0.0


def _held(series: _Series) -> set[str]:
    """Return the stems of all names and values that a question for one of the series may speak of."""
    texts = [series.name, series.kind]
    for point in series.points:
        texts += [point.label, *(cell.value for cell in point.row.cells)]
        texts += [cell.name for cell in point.row.cells if _NUMBER.fullmatch(cell.value) is None]
    return {found for text in texts for found in content_stems(text)}


def _are_meant(asked: Asked, series: _Series) -> bool:
    """Tell whether the only values of a table are meant though the question does not say their name."""
    return bool(asked.stems & series.table.about) or not series.name


def _are_asked_for(asked: Asked, series: _Series) -> bool:
    """Tell whether the labels are what the question asks for: years where it asks for one, other things where not."""
    if asked.question.options or not _asks_for_label(asked.question):
        return True
    years = [_is_year(point.label) for point in series.points]
    if asked.question.kind is QuestionKind.DATE:
        return all(years)
    return not any(years)


def _extreme(asked: Asked, series: _Series, *, pick: int, share: float) -> TableAnswer | None:
    points = _wanted(asked, series)
    if len(points) < 2 or len({point.label.casefold() for point in points}) < len(points):
        return None
    ordered = sorted(points, key=lambda point: -pick * point.number)
    if ordered[0].number == ordered[1].number:
        return None
    best = ordered[0]
    if not _asks_for_label(asked.question):
        column = next((cell.name for cell in best.row.cells if cell.value == best.value), "")
        text = with_unit(best.value, unit_of(column))
    else:
        text = _asked_cell(asked, series, best)
    covered = asked.weight(_held(series) | series.table.about)
    units = dict.fromkeys((best.row.unit, ordered[1].row.unit))
    return TableAnswer(text=text, units=tuple(units), share=min(share, 1.0), covered=min(covered, 1.0))


def _asked_cell(asked: Asked, series: _Series, best: _Point) -> str:
    """Return the row's own name, or its cell under another column that the question names first."""
    order = content_stems(asked.question.text)
    said = [
        (min(order.index(found) for found in shared), cell.value)
        for cell in best.row.cells
        if cell.name != series.name and (shared := set(content_stems(cell.name)) & set(order))
    ]
    return min(said)[1] if said and series.kind else best.label


def _wanted(asked: Asked, series: _Series) -> list[_Point]:
    """Keep the values that the question speaks of: the two of a choice, the rows of one year, or all."""
    points = list(series.points)
    if asked.question.options:
        chosen = [_only(option, points) for option in asked.question.options]
        return [point for point in chosen if point is not None] if all(chosen) else []
    for number in asked.question.numbers:
        with_it = [point for point in points if number in numbers_of(cell.value for cell in point.row.cells[1:])]
        if with_it and number not in numbers_of([series.name]):
            points = with_it
    for found in asked.stems:
        with_it = [point for point in points if any(found in content_stems(c.value) for c in point.row.cells[1:])]
        points = with_it or points
    return points


def _only(option: str, points: Sequence[_Point]) -> _Point | None:
    """Return the one point whose label has exactly the option's words."""
    wanted = set(content_stems(option))
    found = [point for point in points if wanted and set(content_stems(point.label)) == wanted]
    return found[0] if len(found) == 1 else None
