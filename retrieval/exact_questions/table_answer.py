"""Turn what a plan found in a table into an answer whose every thing names its row.

Layer: ``retrieval``; imports ``kg``.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.ports import RecordStore
from kg.types import Chunk, Span
from retrieval.exact_questions.table_plan import Finding, TablePlan
from retrieval.exact_questions.types import ExactAnswer, ExactKind, ExactRow

__all__ = ["NAMES_SHOWN", "answer_from_table", "listed"]

NAMES_SHOWN = 20
"""Names that an answer's sentence gives; all of them are among its rows."""
_WORDS = {ExactKind.MAX: "greatest", ExactKind.MIN: "least", ExactKind.SUM: "total", ExactKind.AVERAGE: "average"}


def answer_from_table(plan: TablePlan, finding: Finding, store: RecordStore) -> ExactAnswer:
    """Say what was found.

    :param plan: The plan.
    :param finding: What it found.
    :param store: The record, for the places of rows.
    :returns: The answer; each of its rows names the table's row and the words that say it.
    """
    table, measure = plan.table, plan.measure
    notes = list(finding.notes)
    if table.n_totals:
        notes.append(f"{table.n_totals} row(s) of totals are left out.")
    where = " and ".join(one.said for one in plan.conditions)
    source = f"table {table.title}" if table.table.caption or table.table.label else table.title
    source += f", column {(measure or plan.target or table.subject).name}"
    return ExactAnswer(
        kind=plan.kind,
        short=_short(plan, finding),
        text=_text(plan, finding, where),
        source=f"{source}, where {where}" if where else source,
        rows=_rows(plan, finding.rows, store),
        notes=tuple(notes),
    )


def listed(names: Sequence[str]) -> str:
    """Return names as an enumeration, cut after :data:`NAMES_SHOWN`."""
    shown = list(names[:NAMES_SHOWN])
    more = len(names) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")


def _short(plan: TablePlan, finding: Finding) -> str:
    if plan.kind is ExactKind.LIST or (plan.kind in (ExactKind.MAX, ExactKind.MIN) and _asks_for_thing(plan)):
        return listed(finding.labels) or "none"
    return finding.number


def _asks_for_thing(plan: TablePlan) -> bool:
    """Tell "which ship has the most seats" from "what is the highest number of seats"."""
    first = [word.lower() for word in plan.asked.words[:3]]
    asks = "which" in first or "who" in first or plan.target is not None
    return asks and plan.named is not plan.measure


def _text(plan: TablePlan, finding: Finding, where: str) -> str:
    condition = f" where {where}" if where else ""
    n_rows = len(plan.table.rows)
    if plan.measure is None:
        things = f"{len(finding.labels)} {plan.named.name}{condition}, of {n_rows} rows"
        return f"{things}: {listed(finding.labels)}." if finding.labels else f"{things}."
    word = _WORDS[plan.kind]
    if plan.kind in (ExactKind.SUM, ExactKind.AVERAGE):
        return f"The {word} {plan.measure.name} of {len(finding.rows)} rows{condition} is {finding.number}."
    unit = f" ({plan.measure.unit})" if plan.measure.unit else ""
    who = listed(finding.labels)
    tie = f", {len(finding.labels)} of which share it" if len(finding.labels) > 1 else ""
    return f"The {word} {plan.measure.name}{unit}{condition} is {finding.number}: {who}{tie}."


def _rows(plan: TablePlan, rows: Sequence[int], store: RecordStore) -> tuple[ExactRow, ...]:
    table = plan.table.table
    chunks = [one for one in store.iter_chunks(document_id=table.document_id) if one.table_id == table.table_id]
    found = []
    for row in rows:
        number = plan.table.rows[row]
        chunk, span = _place(chunks, table.row_spans[number - 1])
        found.append(
            ExactRow(
                label=plan.named.cells[row],
                value="" if plan.measure is None else plan.measure.cells[row],
                document_id=table.document_id,
                chunk_id=chunk,
                span=span,
                row=number,
            )
        )
    return tuple(found)


def _place(chunks: Sequence[Chunk], span: Span) -> tuple[str, Span]:
    """Return the chunk that holds most of a row, and the part of the row that it holds."""
    held = [
        (min(chunk.span.end, span.end) - max(chunk.span.start, span.start), -index, chunk)
        for index, chunk in enumerate(chunks)
    ]
    best = max(held, key=lambda one: one[:2], default=None)
    if best is None or best[0] <= 0:
        return "", span
    chunk = best[2]
    return chunk.chunk_id, Span(start=max(chunk.span.start, span.start), end=min(chunk.span.end, span.end))
