"""Read the answer off rows and columns that were read from a picture: ``2023 | 1,184``.

Layer: ``generation``. A captioner writes what stands side by side in a picture as one line with ``|`` between the
cells. A cell answers if it has the type asked for and the question speaks of its row (the label beside it) or of its
column (the label over or under it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from generation.patterns import PATTERNS, Candidate
from generation.question import Question, QuestionKind
from generation.units import Unit
from generation.words import content_stems

__all__ = ["find_cell"]

_BAR = "|"
_LABELLED = 2
"""Rows of two cells are a label and its value; longer ones are labelled by their first cell and by their neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    text: str
    start: int
    row: int
    column: int


def find_cell(question: Question, unit: Unit, idf: Mapping[str, float]) -> tuple[Candidate, float] | None:
    """Find the cell of a picture's words that answers.

    :param question: The question, read.
    :param unit: Lines read off a picture.
    :param idf: The weight of each of the question's stems.
    :returns: The cell and the share of the question's weight that its labels hold, in ``(0, 1]``; ``None`` where no
        cell or more than one fits best.
    """
    pattern = PATTERNS.get(question.kind)
    rows = _rows(unit.text)
    if pattern is None or not any(len(row) > 1 for row in rows):
        return None
    found: list[tuple[float, Candidate]] = []
    for row in rows:
        for cell in row:
            match = pattern.search(cell.text)
            if match is None or _is_year(cell.text, question) or set(content_stems(cell.text)) <= set(question.stems):
                continue
            labels = {s for label in _labels(cell, rows) for s in content_stems(label)}
            weight = sum(idf.get(s, 0.0) for s in labels) / (sum(idf.values()) or 1.0)
            start = cell.start + match.start()
            found.append((weight, Candidate(text=match[0], start=start, end=start + len(match[0]), trust=0.9)))
    found.sort(key=lambda pair: -pair[0])
    if not found or found[0][0] <= 0.0 or (len(found) > 1 and found[1][0] >= found[0][0]):
        return None
    return found[0][1], found[0][0]


def _rows(text: str) -> list[list[_Cell]]:
    rows: list[list[_Cell]] = []
    start = 0
    for line in text.splitlines(keepends=True):
        cells: list[_Cell] = []
        place = start
        for part in line.split(_BAR):
            lead = len(part) - len(part.lstrip())
            cells.append(_Cell(text=part.strip(), start=place + lead, row=len(rows), column=len(cells)))
            place += len(part) + 1
        rows.append(cells)
        start += len(line)
    return rows


def _labels(cell: _Cell, rows: Sequence[Sequence[_Cell]]) -> list[str]:
    row = rows[cell.row]
    beside = [other.text for other in (row if len(row) == _LABELLED else row[:1]) if other is not cell]
    across = []
    for index in {0, cell.row - 1, cell.row + 1} - {cell.row}:
        is_header = index == 0 or len(row) > _LABELLED
        if 0 <= index < len(rows) and len(rows[index]) == len(row) > 1 and is_header:
            across.append(rows[index][cell.column].text)
    return beside + across


def _is_year(text: str, question: Question) -> bool:
    """Tell whether a cell is a year where a plain number is asked for."""
    return question.kind is QuestionKind.NUMBER and PATTERNS[QuestionKind.DATE].fullmatch(text) is not None
