"""Read the answer off the row of a table, ``Ship: Kestrel; Year: 2021; Seats: 180``, and check a claim against it.

Layer: ``generation``. A document's table is evidence as one line a row, each value behind the name of its column
(:mod:`kg.loaders.tables`). A cell answers if it has the type that is asked for, the question speaks of its column, and
no cell of another row or column is spoken of as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from generation.patterns import PATTERNS
from generation.question import Question, QuestionKind
from generation.scoring import Scored
from generation.units import Unit
from generation.words import content_stems, numbers_in, words

__all__ = ["RowCell", "find_row_cell", "is_ambiguous_row", "rows_of", "tied_otherwise"]

_CELL_END = "; "
_NAME_END = ": "
_NAME_BONUS = 0.01
"""What a column's name earns for a word of the question that carries no meaning by itself ("for", "against")."""
_TIE = 1e-9
_CLAUSES = re.compile(r"\s(?:and|but|while|whereas)\s|[;,]\s")
_LABEL_WORDS = 6
"""A cell of more words is a remark, whose words a claim may hold by chance."""
_OF_ANY_TYPE = frozenset({QuestionKind.PERSON, QuestionKind.PLACE, QuestionKind.THING})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCell:
    """The words of a cell that answer, the row they stand in, and the share of the question that its labels hold."""

    text: str
    source: Scored
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    name: str
    value: str


def find_row_cell(question: Question, ranked: Sequence[Scored], idf: Mapping[str, float]) -> RowCell | None:
    """Find the cell of a table that answers.

    :param question: The question, read.
    :param ranked: The best units; those that are no rows are passed over.
    :param idf: The weight of each of the question's stems.
    :returns: The cell; ``None`` where none fits, or several with different values fit equally well.
    """
    found = [cell for item in ranked if item.unit.row for cell in _answers(question, item, idf)]
    if not found:
        return None
    best = max(found, key=lambda cell: cell.share)
    rivals = {cell.text.casefold() for cell in found if cell.share > best.share - _TIE}
    return best if len(rivals) == 1 else None


def is_ambiguous_row(question: Question, unit: Unit) -> bool:
    """Tell whether several cells of a row have the type that is asked for: nearness in the line says nothing then."""
    pattern = PATTERNS.get(question.kind)
    if pattern is None:
        return False
    return sum(pattern.search(cell.value) is not None for cell in _cells(unit.text)) > 1


def _answers(question: Question, item: Scored, idf: Mapping[str, float]) -> Iterator[RowCell]:
    cells = list(_cells(item.unit.text))
    asked = {word.text.lower() for word in words(question.text)}
    total = sum(idf.values()) or 1.0
    for cell in cells:
        value = _value(question, cell)
        named = set(content_stems(cell.name)) & set(question.stems)
        said = bool({word.text.lower() for word in words(cell.name)} & asked)
        if not value or not (named or said):
            continue
        beside = {s for other in cells if other is not cell for s in content_stems(other.value)}
        if question.kind in _OF_ANY_TYPE and not (named and beside & set(question.stems)):
            continue
        share = sum(idf.get(s, 0.0) for s in named | beside) / total + _NAME_BONUS * said
        yield RowCell(text=value, source=item, share=share)


def _value(question: Question, cell: _Cell) -> str:
    """Return the part of a cell that has the type asked for, empty where there is none or the question says it."""
    pattern = PATTERNS.get(question.kind)
    if set(content_stems(cell.value)) <= set(question.stems):
        return ""
    if pattern is None:
        return cell.value if question.kind in _OF_ANY_TYPE else ""
    match = pattern.search(cell.value)
    if match is None:
        return ""
    is_year = question.kind is QuestionKind.NUMBER and PATTERNS[QuestionKind.DATE].fullmatch(cell.value) is not None
    return "" if is_year else match[0]


def _cells(row: str) -> Iterator[_Cell]:
    for part in row.split(_CELL_END):
        name, found, value = part.partition(_NAME_END)
        yield _Cell(name=name if found else "", value=value if found else name)


def rows_of(units: Sequence[Unit]) -> list[str]:
    """Return the rows among ``units`` where all of them are rows, or the caption over some; else nothing."""
    if not units or not all(unit.row for unit in units):
        return []
    return [unit.text for unit in units if _NAME_END in unit.text]


def tied_otherwise(sentence: str, rows: Sequence[str]) -> bool:
    """Tell whether a sentence ties numbers and names together that stand in no row together.

    Each clause must keep to one row. Where it names columns of that row without their values, a number in it from
    another column is taken for theirs, which it is not.

    :param sentence: The claim.
    :param rows: The rows that it cites.
    :returns: ``True`` if some clause fits no row.
    """
    table = [list(_cells(row)) for row in rows]
    known = {
        mark
        for cells in table
        for cell in cells
        if len(cell.value.split()) <= _LABEL_WORDS
        for mark in _marks(cell.value)
    }
    for clause in _CLAUSES.split(sentence):
        said = _marks(clause) & known
        if said and not any(_fits(clause, said, cells) for cells in table):
            return True
    return False


def _marks(text: str) -> set[str]:
    """Return what ties a claim to a row: numbers, and the stems of words that carry meaning."""
    return {*numbers_in(text), *content_stems(text)}


def _fits(clause: str, said: set[str], cells: Sequence[_Cell]) -> bool:
    held = [_marks(cell.value) for cell in cells]
    if not said <= set().union(*held, *(_marks(cell.name) for cell in cells)):
        return False
    shared = set.intersection(*(set(content_stems(cell.name)) for cell in cells)) if len(cells) > 1 else set()
    asked = set(content_stems(clause))
    named = [bool((set(content_stems(cell.name)) - shared) & asked) for cell in cells]
    stated = [bool(values & said) for values in held]
    is_claimed_without_value = any(
        is_named and not is_stated for is_named, is_stated in zip(named, stated, strict=True)
    )
    has_stray_number = any(
        is_stated and not is_named and bool(set(numbers_in(cell.value)) & said)
        for cell, is_named, is_stated in zip(cells, named, stated, strict=True)
    )
    return not (is_claimed_without_value and has_stray_number)
