"""Answer a database-like question from one table, or say why it is not about it.

Layer: ``retrieval``; imports ``kg``. A plan is a column to name, a column to measure, and conditions. It is taken only
where every word of the question that carries meaning is accounted for: by a column's name, a cell, a value, the caption
or the document's name. So a question for a column that the table lacks is never answered from the columns that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from kg.extraction.numbers import format_number, parse_number
from kg.wordlists import word_set
from retrieval.exact_questions.columns import Column, ColumnKind, ReadyTable
from retrieval.exact_questions.conditions import Condition, cell_conditions, value_conditions
from retrieval.exact_questions.types import AskedExactly, ExactKind, UnclearQuestionError
from retrieval.exact_questions.values import is_blank
from retrieval.exact_questions.words import FRAME, stem

__all__ = ["OWN_MEASURES", "Finding", "TablePlan", "plan_table"]

_ROW_NOUNS = frozenset(stem(word) for word in ("rows", "entries", "records", "items", "lines"))
OWN_MEASURES: dict[str, frozenset[str]] = {
    word: frozenset(stem(name) for name in names.split())
    for words, names in {
        "longest shortest": "length long duration",
        "tallest": "height tall elevation",
        "highest lowest": "height elevation altitude",
        "heaviest lightest": "weight mass",
        "fastest slowest": "speed",
        "deepest shallowest": "depth",
        "widest narrowest": "width",
        "hottest warmest coldest": "temperature",
        "cheapest expensive": "price cost",
        "largest biggest smallest": "size area",
        "youngest oldest": "age",
    }.items()
    for word in words.split()
}
"""What a superlative measures by itself: "the longest river" has the greatest length."""
_TIMES = word_set("earliest latest oldest newest youngest first last recent")
_EXTREMES = (ExactKind.MAX, ExactKind.MIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """What is read off a table. ``target`` is the column that names the things; ``None`` stands for the rows."""

    asked: AskedExactly
    table: ReadyTable
    kind: ExactKind
    target: Column | None
    measure: Column | None
    conditions: tuple[Condition, ...]

    @property
    def named(self) -> Column:
        """The column whose cells name the things."""
        return self.target or self.table.subject

    def run(self) -> Finding:
        """Work the answer out.

        :returns: The number or value, and the rows that it rests on.
        :raises UnclearQuestionError: If a value is missing that decides, or cannot be compared.
        """
        rows = [row for row in range(len(self.table.rows)) if all(one.holds(row) for one in self.conditions)]
        if self.measure is None:
            return self._things(rows)
        return _extreme(self, rows) if self.kind in _EXTREMES else _total(self, rows)

    def _things(self, rows: list[int]) -> Finding:
        if self.target is not None:
            rows = [row for row in rows if not is_blank(self.target.cells[row])]
        labels = [self.named.cells[row] for row in rows]
        if self.target is not None:
            labels = list(dict.fromkeys(labels))
        n_repeated = len(rows) - len(labels)
        notes = (f"{n_repeated} rows repeat a {self.named.name} and count once.",) if n_repeated else ()
        return Finding(labels=tuple(labels), number=str(len(labels)), rows=tuple(rows), notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a plan found; ``rows`` are indexes into ``ReadyTable.rows``, ``labels`` the things' names."""

    labels: tuple[str, ...]
    number: str
    rows: tuple[int, ...]
    notes: tuple[str, ...] = ()


def plan_table(asked: AskedExactly, table: ReadyTable) -> TablePlan | None:
    """Plan a question over one table.

    :param asked: The question.
    :param table: The table.
    :returns: The plan; ``None`` where the table does not speak of what is asked for.
    :raises UnclearQuestionError: If it does, but not in one way only, or not of everything in the question.
    """
    target, used = _target(asked, table)
    measured = asked.kind not in (ExactKind.COUNT, ExactKind.LIST)
    conditions = cell_conditions(asked, table, taken=used)
    taken = used | {place for one in conditions for place in one.used}
    spoken = set(asked.stems) & {name for column in table.columns for name in column.stems}
    if not used and not conditions and not (spoken and measured):
        return None
    measure: Column | None = None
    if measured:
        measure, used = _measure(asked, table, target, used)
        taken |= used
    conditions += value_conditions(asked, table, taken=frozenset(taken))
    taken |= {place for one in conditions for place in one.used}
    left = [
        asked.words[place]
        for place in range(len(asked.words))
        if place not in taken and asked.words[place].lower() not in FRAME and asked.stems[place] not in table.about
    ]
    if left:
        raise UnclearQuestionError(f"{', '.join(map(repr, left))} fits neither a column nor a cell of {table.title}")
    _check_noun(asked, table, target, taken)
    return TablePlan(
        asked=asked, table=table, kind=_turned(asked, measure), target=target, measure=measure,
        conditions=tuple(conditions),
    )  # fmt: skip


def _target(asked: AskedExactly, table: ReadyTable) -> tuple[Column | None, frozenset[int]]:
    """Find the column that the question's noun names, and the places of the words that name it."""
    stems = {asked.stems[place] for place in asked.noun}
    found = [column for column in table.columns if column.stems and column.stems <= stems]
    best = max((len(column.stems) for column in found), default=0)
    found = [column for column in found if len(column.stems) == best]
    if len(found) > 1:
        listed = " and ".join(repr(column.name) for column in found)
        raise UnclearQuestionError(f"{asked.noun_text!r} may be the columns {listed}")
    if found:
        column = found[0]
        places = frozenset(place for place in asked.noun if asked.stems[place] in column.stems)
        if column.kind is ColumnKind.NUMBER:
            if asked.kind in (ExactKind.COUNT, ExactKind.LIST):
                raise UnclearQuestionError(f"{column.name!r} is a column of numbers, which are not counted or listed")
            return None, frozenset()
        return column, places
    rows = frozenset(place for place in asked.noun if asked.stems[place] in table.about | _ROW_NOUNS)
    return None, rows


def _check_noun(
    asked: AskedExactly, table: ReadyTable, target: Column | None, taken: frozenset[int] | set[int]
) -> None:
    """Refuse a noun that is only in the table's caption by its describing words: "steel ships" of a list of steel."""
    if target is None and asked.noun and asked.kind in (ExactKind.COUNT, ExactKind.LIST):
        head = asked.noun[-1]
        if head not in taken and asked.stems[head] not in table.about | _ROW_NOUNS:
            raise UnclearQuestionError(f"{asked.words[head]!r} is not what the rows of {table.title} are called")


def _measure(
    asked: AskedExactly, table: ReadyTable, target: Column | None, used: frozenset[int]
) -> tuple[Column, frozenset[int]]:
    places = [place for place in range(len(asked.words)) if place not in used]
    stems = {asked.stems[place] for place in places}
    candidates = [column for column in table.columns if column is not target]
    is_time = asked.superlative in _TIMES or ("recent" in map(str.lower, asked.words) and asked.superlative == "most")
    scores = [(len(column.stems & stems), column.stems <= stems, column) for column in candidates]
    named = [one for one in scores if one[0] and one[2].kind is not ColumnKind.TEXT]
    words = [one[2] for one in scores if one[0] and one[2].kind is ColumnKind.TEXT and one[2] is not table.subject]
    if words and not named:
        raise UnclearQuestionError(f"column {words[0].name!r} of {table.title} holds words")
    if named:
        best = max((is_whole, n) for n, is_whole, _ in named)
        top = [column for n, is_whole, column in named if (is_whole, n) == best]
    else:
        top = _by_itself(asked, candidates, is_time=is_time)
    if is_time and len(top) > 1:
        top = [column for column in top if column.kind is ColumnKind.DATE] or top
    if len(top) != 1:
        listed = ", ".join(repr(column.name) for column in top)
        asks = " ".join(asked.words[place] for place in places if asked.words[place].lower() not in FRAME)
        reason = f"may be {listed}" if top else f"none fits {asks or asked.superlative!r}"
        raise UnclearQuestionError(f"it does not say which column of {table.title} is meant: {reason}")
    column = top[0]
    if column.kind is ColumnKind.MIXED:
        raise UnclearQuestionError(f"column {column.name!r} of {table.title} holds what cannot be compared")
    if column.kind is ColumnKind.DATE and asked.kind not in _EXTREMES:
        raise UnclearQuestionError(f"column {column.name!r} holds dates, which have no sum")
    said = column.stems | _own(asked) | (table.subject.stems if target is None else frozenset())
    return column, used | {place for place in places if asked.stems[place] in said}


def _own(asked: AskedExactly) -> frozenset[str]:
    """Return the stems of words that only complete a superlative: "most *recent*", "most *expensive*"."""
    return frozenset(stem(word) for word in ("recent", "expensive", "cheap")) if asked.superlative else frozenset()


def _by_itself(asked: AskedExactly, columns: Sequence[Column], *, is_time: bool) -> list[Column]:
    """Find the column that a superlative measures without its being named."""
    lower = [word.lower() for word in asked.words]
    word = "cheapest" if {"expensive", "cheap"} & set(lower) else asked.superlative
    own = OWN_MEASURES.get(word, frozenset())
    top = [column for column in columns if column.stems & own and column.kind is not ColumnKind.TEXT]
    if not top and is_time:
        top = [column for column in columns if column.kind is ColumnKind.DATE]
    return top


def _turned(asked: AskedExactly, measure: Column | None) -> ExactKind:
    """Turn "oldest" over: it is the least date, and the greatest age."""
    words = {"oldest", "youngest", "newest"}
    if measure is not None and measure.kind is not ColumnKind.DATE and asked.superlative in words:
        return ExactKind.MAX if asked.superlative == "oldest" else ExactKind.MIN
    return asked.kind


def _valued(plan: TablePlan, rows: Sequence[int]) -> tuple[list[int], tuple[str, ...]]:
    measure = plan.measure
    kept = [row for row in rows if measure is not None and measure.values[row] is not None]
    n_blank = len(rows) - len(kept)
    name = "" if measure is None else measure.name
    if not kept:
        raise UnclearQuestionError(f"no row that fits has a value in column {name!r}")
    return kept, ((f"{n_blank} of {len(rows)} rows have no {name} and are left out.",) if n_blank else ())


def _extreme(plan: TablePlan, rows: Sequence[int]) -> Finding:
    kept, notes = _valued(plan, rows)
    values = {row: value for row in kept if plan.measure and (value := plan.measure.values[row]) is not None}
    is_max = plan.kind is ExactKind.MAX
    best = kept[0]
    for row in kept[1:]:
        low, high = (values[best], values[row]) if is_max else (values[row], values[best])
        best = row if low.is_less(high) else best
    ties = [row for row in kept if values[row] == values[best]]
    for row in kept:
        low, high = (values[row], values[best]) if is_max else (values[best], values[row])
        if row not in ties and not low.is_less(high):
            raise UnclearQuestionError("dates of different precision decide, so their order is open")
    cells = plan.measure.cells if plan.measure else ()
    labels = tuple(dict.fromkeys(plan.named.cells[row] for row in ties))
    return Finding(labels=labels, number=cells[ties[0]], rows=tuple(ties), notes=notes)


def _total(plan: TablePlan, rows: Sequence[int]) -> Finding:
    kept, notes = _valued(plan, rows)
    numbers, unit = _amounts(plan.measure, kept) if plan.measure else ([], "")
    total = sum(numbers, start=Decimal(0))
    if plan.kind is ExactKind.AVERAGE:
        total /= len(numbers)
    return Finding(labels=(), number=f"{format_number(total)} {unit}".strip(), rows=tuple(kept), notes=notes)


def _amounts(column: Column, rows: Sequence[int]) -> tuple[list[Decimal], str]:
    """Return the numbers of rows and their unit: the column's own where it stands in its name."""
    bare = [parse_number(column.cells[row]) for row in rows]
    if column.unit and all(number is not None for number in bare):
        return [number for number in bare if number is not None], column.unit
    return [value.low for row in rows if (value := column.values[row]) is not None], column.dimension
