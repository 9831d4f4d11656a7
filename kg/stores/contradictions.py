"""Statements of different sources that cannot all hold, found inside the transaction that brings them together.

Layer: ``kg``; SQLAlchemy Core. Whether two answers can both hold is :mod:`kg.stores.agreement`'s to say; here is which
statements answer one question: those of one relation that has one answer, about one entity. Both sides are kept, and go
with their statements.

Only statements of such a relation that came, went or moved are looked at (:func:`questioned`), so a document that makes
none costs nothing here, however much is said of its entities.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, insert, select

from kg.ports import Contradiction, ContradictionSide
from kg.stores.agreement import Answer, disagree
from kg.stores.queries import STATEMENT_COLUMNS, in_batches, to_triple_row
from kg.stores.rows import Values
from kg.stores.schema import contradictions, entities, triples
from kg.types import Origin

__all__ = [
    "FUNCTIONAL",
    "Fixed",
    "Statement",
    "describe_functional",
    "questioned",
    "read_contradictions",
    "recheck",
    "recheck_all",
]

Fixed = Literal["head", "tail", "both"]
"""Which end of a statement has one partner in a relation."""

Statement = tuple[str, str, str]
"""The entity at the head, the relation, the entity at the tail."""

FUNCTIONAL: Mapping[str, Fixed] = MappingProxyType(
    {
        "born in": "head",
        "born on": "head",
        "born at": "head",
        "die in": "head",
        "die on": "head",
        "died in": "head",
        "died on": "head",
        "buried in": "head",
        "founded in": "head",
        "founded on": "head",
        "established in": "head",
        "established on": "head",
        "incorporated in": "head",
        "date of birth": "head",
        "place of birth": "head",
        "date of death": "head",
        "place of death": "head",
        "capital of": "both",
    }
)
"""Relations that have one answer, by the names that :mod:`kg.extraction` gives them (a verb's lemma, a passive's form),
and the end that is fixed: one is born in one place; a capital is that of one country, and a country has one. Places and
dates may both answer "born in", and are not compared with each other."""


def describe_functional(functional: Mapping[str, Fixed]) -> str:
    """Write down a set of functional relations; two equal sets give the same text."""
    return json.dumps(sorted(functional.items()), ensure_ascii=False)


def questioned(statements: Iterable[Statement], functional: Mapping[str, Fixed]) -> set[str]:
    """Return the entities of which these statements answer a question that has one answer.

    :param statements: Statements that came, went or moved: with the entities at their ends, before and after.
    :param functional: Relations that have one answer.
    :returns: The entities to hand to :func:`recheck`; of no other did any contradiction change.
    """
    found: set[str] = set()
    fixed = {spelt: end for name, end in functional.items() for spelt in _spellings([name])}
    for head_id, name, tail_id in statements:
        end = fixed.get(name)
        if end in {"head", "both"}:
            found.add(head_id)
        if end in {"tail", "both"}:
            found.add(tail_id)
    return found


def recheck(connection: Connection, entity_ids: Iterable[str], functional: Mapping[str, Fixed]) -> None:
    """Find again what contradicts each other about these entities, and write what differs from before.

    :param connection: A connection in a write transaction; statements are written.
    :param entity_ids: Entities whose statements changed, as :func:`questioned` names them.
    :param functional: Relations that have one answer.
    """
    c = contradictions.c
    for batch in in_batches(sorted(set(entity_ids))):
        stored = connection.execute(select(contradictions).where(c.entity_id.in_(batch)))
        before = {_key(row): row for row in (dict(one._mapping) for one in stored)}
        found = (row for fixed in ("head", "tail") for row in _found(connection, fixed, batch, functional))
        after = {_key(row): row for row in found}
        gone = [dict(zip(_KEYS, key, strict=True)) for key, row in before.items() if after.get(key) != row]
        came = [row for key, row in after.items() if before.get(key) != row]
        if gone:
            this = and_(
                *(column == bindparam(key) for key, column in zip(_KEYS, contradictions.primary_key, strict=True))
            )
            connection.execute(delete(contradictions).where(this), gone)
        if came:
            connection.execute(insert(contradictions), came)


_KEYS = tuple(f"k_{column.name}" for column in contradictions.primary_key)


def _key(row: Values) -> tuple[str, ...]:
    return tuple(row[column.name] for column in contradictions.primary_key)


def recheck_all(connection: Connection, functional: Mapping[str, Fixed]) -> None:
    """Find all contradictions anew, after the set of functional relations changed."""
    connection.execute(delete(contradictions))
    recheck(connection, connection.execute(select(entities.c.entity_id)).scalars().all(), functional)


def _found(connection: Connection, fixed: str, batch: Iterable[str], functional: Mapping[str, Fixed]) -> list[Values]:
    relations = _spellings(name for name, end in functional.items() if end in {fixed, "both"})
    t = triples.c
    ours, theirs, label, value = (
        (t.head_id, t.tail_id, t.tail_label, t.tail_value)
        if fixed == "head"
        else (t.tail_id, t.head_id, t.head_label, t.head_value)
    )
    columns = (ours.label("ours"), theirs.label("theirs"), label.label("label"), value.label("value"))
    query: Select[Any] = select(t.chunk_id, t.triple_id, t.name, *columns)
    query = query.where(ours.in_(list(batch)), t.name.in_(relations), t.origin != Origin.PREDICTED.value)
    questions: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        questions[(row.ours, row.name)].append(row)
    return [
        {
            "entity_id": entity_id,
            "relation": relation,
            "fixed": fixed,
            "triple_id": row.triple_id,
            "chunk_id": row.chunk_id,
            "side": side,
        }
        for (entity_id, relation), rows in questions.items()
        for side, row in _sides(rows)
    ]


def _spellings(relations: Iterable[str]) -> list[str]:
    return sorted({spelt for name in relations for spelt in (name, name.replace(" ", "_"))})


def _sides(rows: Iterable[Row[Any]]) -> list[tuple[str, Row[Any]]]:
    """Return the statements that another one disagrees with, each with what it answers."""
    answers: dict[Answer, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        answers[Answer(row.theirs, row.label, row.value)].append(row)
    return [
        (answer.value or answer.entity_id, row)
        for answer, said in answers.items()
        if any(disagree(answer, other) for other in answers)
        for row in said
    ]


def read_contradictions(connection: Connection, *, entity_id: str | None) -> list[Contradiction]:
    """Return contradictions (about one entity), by entity, relation and fixed end; sides by value, then entity."""
    c, t = contradictions.c, triples.c
    query: Select[Any] = select(*STATEMENT_COLUMNS, c.entity_id, c.relation, c.fixed, c.side).join(
        triples, (t.chunk_id == c.chunk_id) & (t.triple_id == c.triple_id)
    )
    if entity_id is not None:
        query = query.where(c.entity_id == entity_id)
    grouped: dict[tuple[str, str, str], dict[str, list[Row[Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in connection.execute(query.order_by(t.triple_id)):
        grouped[(row.entity_id, row.relation, row.fixed)][row.side].append(row)
    return [
        Contradiction(
            entity_id=key[0],
            relation=key[1],
            fixed=key[2],
            sides=tuple(_side(side, rows, fixed=key[2]) for side, rows in sorted(sides.items())),
        )
        for key, sides in sorted(grouped.items())
    ]


def _side(side: str, rows: Iterable[Row[Any]], *, fixed: str) -> ContradictionSide:
    statements = tuple(to_triple_row(row) for row in rows)
    entity_id = min(one.tail_id if fixed == "head" else one.head_id for one in statements)
    return ContradictionSide(entity_id=entity_id, value="" if side == entity_id else side, statements=statements)
