"""Statements of different sources that cannot all hold, found inside the transaction that brings them together.

Layer: ``kg``; SQLAlchemy Core. Whether two answers can both hold is :mod:`kg.stores.agreement`'s to say; here is which
statements answer one question: those of one relation that has one answer, about one entity. Both sides are kept, and go
with their statements.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, delete, insert, select

from kg.ports import Contradiction, ContradictionSide
from kg.stores.agreement import Answer, disagree
from kg.stores.queries import STATEMENT_COLUMNS, in_batches, to_triple_row
from kg.stores.rows import Values
from kg.stores.schema import contradictions, entities, mentions, triples
from kg.types import Origin

__all__ = ["FUNCTIONAL", "Fixed", "describe_functional", "read_contradictions", "recheck", "recheck_all"]

Fixed = Literal["head", "tail", "both"]
"""Which end of a statement has one partner in a relation."""

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


def recheck(connection: Connection, entity_ids: Iterable[str], functional: Mapping[str, Fixed]) -> None:
    """Find again what contradicts each other about these entities.

    :param connection: A connection in a write transaction; statements are written.
    :param entity_ids: Entities whose statements changed.
    :param functional: Relations that have one answer.
    """
    for batch in in_batches(sorted(set(entity_ids))):
        connection.execute(delete(contradictions).where(contradictions.c.entity_id.in_(batch)))
        rows = [row for fixed in ("head", "tail") for row in _found(connection, fixed, batch, functional)]
        if rows:
            connection.execute(insert(contradictions), rows)


def recheck_all(connection: Connection, functional: Mapping[str, Fixed]) -> None:
    """Find all contradictions anew, after the set of functional relations changed."""
    connection.execute(delete(contradictions))
    recheck(connection, connection.execute(select(entities.c.entity_id)).scalars().all(), functional)


def _found(connection: Connection, fixed: str, batch: Iterable[str], functional: Mapping[str, Fixed]) -> list[Values]:
    relations = _spellings(name for name, end in functional.items() if end in {fixed, "both"})
    t = triples.c
    ours, theirs, mention_id = (
        (t.head_id, t.tail_id, t.tail_mention_id) if fixed == "head" else (t.tail_id, t.head_id, t.head_mention_id)
    )
    query: Select[Any] = select(
        t.triple_id, t.name, ours.label("ours"), theirs.label("theirs"), mentions.c.label, mentions.c.value
    )
    query = query.join(mentions, mentions.c.mention_id == mention_id)
    query = query.where(ours.in_(list(batch)), t.name.in_(relations), t.origin != Origin.PREDICTED.value)
    questions: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        questions[(row.ours, row.name)].append(row)
    return [
        {"entity_id": entity_id, "relation": relation, "fixed": fixed, "triple_id": row.triple_id, "side": side}
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
        triples, t.triple_id == c.triple_id
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
