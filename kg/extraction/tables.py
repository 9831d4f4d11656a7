"""Read the rows of a table: ``River: Selke; Length (km): 64`` states the length of the Selke.

Layer: ``kg``; the standard library only. No parser is needed: the words of a cell hang on nothing.

The subject of a row is its first cell that is not a mere number, or else its first cell. Every other cell is related to
it by the name of its column, in lower case and without its unit: ``(Selke, length, 64)`` with the value
``64000 metre``. Cells that say nothing (``-``, ``n/a``, ``unknown``) or hold more than a phrase make no mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kg.extraction.labels import label_by_form, label_of_kind, name_key
from kg.extraction.mentions import CONCEPT, MISC
from kg.extraction.values import guess_value
from kg.wordlists import word_set

__all__ = ["Cell", "is_row", "read_rows"]

_CELL = re.compile(r"(?:\A|(?<=; ))(?P<column>[^:;\n]{1,60}): (?P<value>(?:(?!; [^:;\n]{1,60}: ).)*)")
_NOTHING = word_set("- – — n/a na none null unknown nan nil ? . * x tbd")
_UNIT = re.compile(r"\s*[(\[]([^)\]]{1,20})[)\]]\s*\Z")
_MAX_CHARACTERS = 60
_COLUMN_LABELS = {
    word: label
    for label, words in {
        "PERSON": "name author director actor player student employee contact owner founder architect person customer "
        "winner composer artist singer manager responsible teacher doctor patient editor",
        "GPE": "city country town state office birthplace nationality",
        "ORG": "company employer organisation organization institution maker manufacturer publisher club team supplier "
        "university bank",
        "LOC": "river lake mountain island mouth",
        "PRODUCT": "product model sensor device part item",
        "WORK_OF_ART": "film book song album title",
        "DATE": "year",
    }.items()
    for word in words.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its column's name, and where it stands in the line, what it is and what it amounts to."""

    column: str
    start: int
    end: int
    text: str
    label: str
    value: str


def is_row(line: str) -> bool:
    """Tell whether a line is a row of a table: two cells or more, each behind the name of its column."""
    return len(_CELL.findall(line)) >= 2


def read_rows(line: str, labels: Mapping[str, str]) -> tuple[Cell, list[Cell]] | None:
    """Return the subject of a row and its other cells; ``None`` where fewer than two cells say something.

    :param line: A line of a table's text.
    :param labels: The label that a name has in the text of the document, by its normalised form.
    :returns: Subject and others.
    """
    cells = list(_cells(line, labels))
    if len(cells) < 2:
        return None
    subject = next((cell for cell in cells if not cell.value), cells[0])
    return subject, [cell for cell in cells if cell is not subject]


def _cells(line: str, labels: Mapping[str, str]) -> Iterator[Cell]:
    for match in _CELL.finditer(line):
        raw = match["value"]
        text = raw.strip(" ,;")
        column = match["column"].strip()
        unit = _UNIT.search(column)
        name = column[: unit.start()].strip() if unit else column
        if not text or text.lower() in _NOTHING or len(text) > _MAX_CHARACTERS or not name:
            continue
        start = match.start("value") + raw.index(text)
        label, value = guess_value(text, unit=unit.group(1) if unit else "")
        if not label:
            label = _label(text, name, labels)
        yield Cell(" ".join(name.lower().split()), start, start + len(text), text, label, value)


def _label(text: str, column: str, labels: Mapping[str, str]) -> str:
    form = label_by_form(text)
    known = form or labels.get(name_key(text), "")
    if known and known not in (CONCEPT, MISC):
        return known
    noun = column.lower().split()[-1]
    words = [word for word in text.split() if word[0].isalpha()]
    is_name = bool(words) and all(word[0].isupper() for word in words)
    by_column = _COLUMN_LABELS.get(noun) or label_of_kind(noun)
    if is_name and by_column:
        return by_column
    return MISC if any(c.isdigit() for c in text) and is_name else CONCEPT
