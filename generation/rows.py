"""Read the answer off the row of a table: ``Ship: Kestrel; Year: 2021; Seats: 180``.

Layer: ``generation``. A document's table is evidence as one line a row, each value behind the name of its column
(:mod:`kg.loaders.tables`). A cell answers if it has the type that is asked for, the question speaks of its column, and
no cell of another row or column is spoken of as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from generation.patterns import PATTERNS
from generation.question import Question, QuestionKind
from generation.scoring import Scored
from generation.units import Unit
from generation.words import content_stems, words

__all__ = ["RowCell", "find_row_cell", "is_ambiguous_row"]

_CELL_END = "; "
_NAME_END = ": "
_NAME_BONUS = 0.01
"""What a column's name earns for a word of the question that carries no meaning by itself ("for", "against")."""
_TIE = 1e-9
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
