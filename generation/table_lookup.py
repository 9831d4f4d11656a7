"""Read the answer off one cell of a table: the one whose row and column fit the question best.

Layer: ``generation``. "How many goats live on Aldis?" is the cell of the row ``Aldis`` under ``Goats``. A cell answers
if it has the type asked for, the question speaks of its row, and of its column where several could be meant; nothing
that the question names may be missing from the table, and no other value may fit as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from generation.patterns import PATTERNS
from generation.question import Question, QuestionKind
from generation.table_match import NUMERIC, Asked, is_percent, numbers_of, unit_of, with_unit
from generation.tables import SaidRow, SaidTable
from generation.units import Unit
from generation.words import content_stems
from kg.loaders.table_header import looks_like_value

__all__ = ["TableAnswer", "find_table_cell"]

_TIE = 1e-9
_ABOUT_SHARE = 0.3
"""What a word of the question is worth that stands over the table rather than in the row or its column's name."""
_LABEL_SHARE = 0.5
"""Of the words of a row's name, the share that the question must say."""
_ANY_TYPE = frozenset({QuestionKind.PERSON, QuestionKind.PLACE, QuestionKind.THING, QuestionKind.DEFINITION})
_TIME_NAMES = frozenset(content_stems("year date day month when period quarter"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAnswer:
    """The words that answer, the rows that show it, and the share of the question that their names hold.

    ``units`` are the rows, or a row and its header, the row that holds the answer first. ``covered`` is the share of
    the question that the names and what the table stands under hold together.
    """

    text: str
    units: tuple[Unit, ...]
    share: float
    covered: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A cell in its row, with the names by which a question could mean it."""

    table: SaidTable
    row: SaidRow
    column: str
    value: str
    beside: tuple[str, ...]
    is_label: bool


def find_table_cell(question: Question, tables: Sequence[SaidTable], idf: Mapping[str, float]) -> TableAnswer | None:
    """Find the cell that answers.

    :param question: The question, read.
    :param tables: The tables of the evidence.
    :param idf: The weight of each of the question's stems.
    :returns: The cell; ``None`` where none fits, or several with different values fit equally well.
    """
    asked = Asked(question, idf)
    found = [answer for table in tables for row in table.rows for answer in _answers(asked, table, row)]
    if not found:
        return None
    best = max(found, key=lambda answer: answer.share)
    rivals = {answer.text.casefold() for answer in found if answer.share > best.share - _TIE}
    return best if len(rivals) == 1 else None


def _places(table: SaidTable, row: SaidRow) -> list[_Place]:
    return [
        _Place(
            table=table,
            row=row,
            column=cell.name,
            value=cell.value,
            beside=tuple(other.value for j, other in enumerate(row.cells) if j != i),
            is_label=i == 0,
        )
        for i, cell in enumerate(row.cells)
    ]


def _answers(asked: Asked, table: SaidTable, row: SaidRow) -> Iterator[TableAnswer]:
    typed = [(place, text) for place in _places(table, row) if (text := _value(asked, place))]
    if asked.question.kind is QuestionKind.NUMBER and not all("%" in text for _, text in typed):
        typed = [(place, text) for place, text in typed if "%" not in text or asked.fit(place.column).stems]
    for place, text in typed:
        share = _share(asked, place, is_only=len(typed) == 1)
        if share > 0.0:
            names = {s for name in (place.column, *place.beside) for s in content_stems(name)}
            covered = asked.weight(names | table.about)
            units = (row.unit,) if row.header is None else (row.unit, row.header)
            yield TableAnswer(text=text, units=units, share=share, covered=covered)


def _share(asked: Asked, place: _Place, *, is_only: bool) -> float:
    """Return how well a cell fits the question; 0 where it must not answer."""
    column = asked.fit(place.column)
    beside = [asked.fit(text) for text in place.beside if len(text) <= 200]
    if column.tie <= -1.0 or any(fit.tie <= -1.0 for fit in beside):
        return 0.0
    said = frozenset().union(*(fit.stems for fit in beside))
    of_row = said - column.stems if len(place.table.rows) > 1 else said
    if len(place.table.rows) > 1 and not _is_row_said(asked, place, of_row):
        return 0.0
    if not column.is_said and not (is_only and _is_meant(asked, place, said)):
        return 0.0
    if asked.question.kind in _ANY_TYPE and not said:
        return 0.0
    held = {s for text in (place.column, *place.beside) for s in content_stems(text)}
    if asked.is_derived(held) or not asked.is_about(place.table, held, numbers_of((place.column, *place.beside))):
        return 0.0
    own = column.stems | said
    tie = max(column.tie, 0.0) + _surplus(column.tie) + max((fit.tie for fit in beside if fit.is_said), default=0.0)
    return asked.weight(own) + _ABOUT_SHARE * asked.weight(place.table.about - own) + tie


def _surplus(tie: float) -> float:
    return min(tie, 0.0)


def _is_row_said(asked: Asked, place: _Place, of_row: frozenset[str]) -> bool:
    """Tell whether the question says one of the row's names, most of it, by more than the column's name says."""
    for text in place.beside:
        fit = asked.fit(text)
        if fit.share >= _LABEL_SHARE and (fit.stems & of_row or not content_stems(text)):
            return True
    return False


def _is_meant(asked: Asked, place: _Place, said: frozenset[str]) -> bool:
    """Tell whether the only value of a row is meant though the question does not say its column.

    What is counted must be named by the row or stand over the table; a column that has a name which stands there too
    is one of several things that the table is about, and perhaps not the one asked for.
    """
    own = frozenset(content_stems(place.column))
    if not asked.head and (own or asked.question.kind in _ANY_TYPE):
        return False
    if own and asked.head and asked.head <= said:
        return False  # a named column holds something of the row, not how many of it there are: "how many Kestrels"
    return not own or not asked.head or not own <= place.table.about


def _value(asked: Asked, place: _Place) -> str:
    """Return the part of a cell that has the type asked for, with its unit; empty where there is none."""
    kind = asked.question.kind
    own = set(content_stems(place.value))
    if not place.value.strip() or (own and own <= asked.stems):
        return ""
    if kind in NUMERIC:
        return _number(asked, place)
    if kind in _ANY_TYPE:
        return with_unit(place.value, unit_of(place.column))
    pattern = PATTERNS.get(kind)
    match = pattern.search(place.value) if pattern is not None else None
    return match[0] if match is not None else ""


def _number(asked: Asked, place: _Place) -> str:
    """Return a cell's number as it is written, with the unit that its column's name says, if it fits the kind."""
    kind = asked.question.kind
    fit = asked.fit(place.column)
    said = fit.is_said
    if place.is_label and not fit.stems:
        return ""
    is_year = PATTERNS[QuestionKind.DATE].fullmatch(place.value) is not None
    if is_year and (not said or set(content_stems(place.column)) & _TIME_NAMES):
        return ""
    match = PATTERNS[kind].search(place.value)
    if match is not None and kind is not QuestionKind.NUMBER:
        return match[0]
    if not looks_like_value(place.value):
        return match[0] if match is not None else ""
    if PATTERNS[QuestionKind.NUMBER].search(place.value) is None:
        return ""
    if kind is QuestionKind.PERCENT:
        unit = unit_of(place.column)
        is_share = unit == "%" or (not unit and is_percent(f"{place.column}\n{place.table.text}"))
        return with_unit(place.value, unit) if is_share and "%" not in place.value else ""
    if kind is QuestionKind.MONEY and "%" in place.value:
        return ""
    if kind is QuestionKind.DURATION and not said:
        return ""
    return with_unit(place.value, unit_of(place.column))
