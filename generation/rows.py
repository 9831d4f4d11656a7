"""Read the row of a table as its cells, ``Ship: Kestrel; Year: 2021; Seats: 180``, and check a claim against rows.

Layer: ``generation``. A table is evidence as one line a row, each value behind the name of its column
(:mod:`kg.loaders.tables`); the first cell of a chart's row may have no name. Which cell answers a question is found in
:mod:`generation.table_lookup`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.lexicon import word_set
from generation.units import Unit
from generation.words import content_stems, numbers_in, words

__all__ = ["Cell", "are_opposed_bounds", "cells_of", "rows_of", "tied_otherwise"]

_CELL_END = "; "
_NAME_END = ": "
_CLAUSES = re.compile(r"\s(?:and|but|while|whereas)\s|[;,·]\s")
_PAIR = re.compile(r"[^:|;]{1,80}: [^:|;\d]{0,3}\d[^:|;]{0,20}")
_OVER = word_set("over above exceeding older")
_UNDER = word_set("under below younger")
_LABEL_WORDS = 6
"""A cell of more words is a remark, whose words a claim may hold by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a row: the name of its column, empty where it has none, and its value as written."""

    name: str
    value: str


def cells_of(row: str) -> list[Cell]:
    """Return the cells of a row as it is said: ``Column: value; Column: value``.

    :param row: The line that says the row.
    :returns: At least one cell; a part without a name has an empty one.
    """
    cells: list[Cell] = []
    for part in row.split(_CELL_END):
        name, found, value = part.partition(_NAME_END)
        cells.append(Cell(name=name if found else "", value=value if found else name))
    return cells


def rows_of(units: Sequence[Unit]) -> list[str]:
    """Return the rows among ``units`` where all of them are rows, or the caption over some; else nothing.

    A picture's group of lines is rows if each line of it is ``label: value``; other words on it are what its rows stand
    under.
    """
    if not all(unit.row or unit.picture for unit in units):
        return []
    rows = [unit for unit in units if unit.row or _is_pairs(unit)]
    return [line for unit in rows for line in unit.text.splitlines() if _NAME_END in line]


def _is_pairs(unit: Unit) -> bool:
    return unit.picture and all(_PAIR.fullmatch(line) for line in unit.text.splitlines())


def tied_otherwise(sentence: str, rows: Sequence[str]) -> bool:
    """Tell whether a sentence ties numbers and names together that stand in no row together.

    Each clause must keep to one row. Where it names columns of that row without their values, a number in it from
    another column is taken for theirs, which it is not.

    :param sentence: The claim.
    :param rows: The rows that it cites.
    :returns: ``True`` if some clause fits no row.
    """
    table = [_labelled(cells_of(row)) for row in rows]
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


def _labelled(cells: list[Cell]) -> list[Cell]:
    """Make ``Oslo: 417`` a name beside its value: the name ties a claim to the row."""
    if len(cells) != 1 or not cells[0].name:
        return cells
    return [Cell(name="", value=cells[0].name), Cell(name="", value=cells[0].value)]


def _marks(text: str) -> set[str]:
    """Return what ties a claim to a row: numbers, and the stems of words that carry meaning."""
    return {*numbers_in(text), *content_stems(text)}


def are_opposed_bounds(one: str, other: str) -> bool:
    """Tell whether one text says only "over" or the like and the other only "under"."""
    a, b = (frozenset(word.text.lower() for word in words(text)) for text in (one, other))
    return any(a & up and b & down and not a & down and not b & up for up, down in ((_OVER, _UNDER), (_UNDER, _OVER)))


def _fits(clause: str, said: set[str], cells: Sequence[Cell]) -> bool:
    held = [_marks(cell.value) for cell in cells]
    bounds = [cell.value for cell in cells if set(numbers_in(cell.value)) & said]
    if any(are_opposed_bounds(bound, clause) for bound in bounds):
        return False
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
