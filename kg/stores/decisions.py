"""A person's decisions as they are stored, and which senses they mean now.

Layer: ``kg``; SQLAlchemy Core. What is decided is kept by name ids and hashes of documents' sources, none of which
changes when a document is replaced; senses, which come and go, are looked up each time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from kg.ports import Decision, DecisionKind
from kg.stores.locals import Local
from kg.stores.naming_tables import decisions, senses
from kg.stores.queries import among, in_batches, run
from kg.stores.schema import locals_

__all__ = ["Side", "decisions_on", "mates_of", "read_decisions", "senses_meant", "sides_of", "splits_among"]

Side = tuple[str, tuple[str, ...]]
"""A name id, and the source ids that say which of its senses is meant (none: the name as such)."""


def _to_decision(row: Row[Any]) -> Decision:
    return Decision(
        decision_id=row.decision_id,
        kind=DecisionKind(row.kind),
        left_id=row.left_id,
        right_id=row.right_id,
        left_sources=tuple(row.left_sources),
        right_sources=tuple(row.right_sources),
        by=row.by,
        at=row.at,
        note=row.note,
        undone_at=row.undone_at,
    )


def read_decisions(connection: Connection, *, is_active: bool | None = None) -> list[Decision]:
    """Return all decisions in the order they were taken; only those that hold, if ``is_active``."""
    query = select(decisions).order_by(decisions.c.decision_id)
    if is_active:
        query = query.where(decisions.c.undone_at == "")
    return [_to_decision(row) for row in connection.execute(query)]


_D = decisions.c
_ANY = select(_D.decision_id).where(_D.undone_at == "").limit(1)
_ON_NAMES = select(decisions).where(_D.undone_at == "", or_(among(_D.left_id), among(_D.right_id)))
_SENSES_OF_NAMES = select(senses.c.sense_id).where(among(senses.c.name_id))


def decisions_on(connection: Connection, name_ids: Iterable[str]) -> list[Decision]:
    """Return the decisions that hold and concern one of these names, in the order they were taken."""
    if connection.execute(_ANY).first() is None:  # as in most records, where this is asked for every document
        return []
    found = {row.decision_id: _to_decision(row) for row in run(connection, _ON_NAMES, name_ids)}
    return [found[decision_id] for decision_id in sorted(found)]


def splits_among(taken: Iterable[Decision]) -> dict[str, list[frozenset[str]]]:
    """Return, for each name that was split, the sets of source ids set apart; their order does not tell of history."""
    splits: dict[str, set[frozenset[str]]] = defaultdict(set)
    for decision in taken:
        if decision.kind is DecisionKind.SPLIT:
            splits[decision.left_id].add(frozenset(decision.left_sources))
    return {name_id: sorted(found, key=sorted) for name_id, found in splits.items()}


def sides_of(decision: Decision) -> tuple[Side, Side]:
    """Return both sides of a decision on two senses."""
    return (decision.left_id, decision.left_sources), (decision.right_id, decision.right_sources)


def senses_meant(connection: Connection, sides: Iterable[Side], *, unsaved: Mapping[str, Local]) -> dict[Side, str]:
    """Say which sense each side of a decision means now.

    A side without sources means the name's sense that most documents use, ties by id; one with sources the sense that
    most of those sources use. A side that nothing is left of is not in the answer, and its decision rests.

    :param connection: A connection in a transaction.
    :param sides: The sides.
    :param unsaved: Locals, by id, that are not yet stored, or not with their new sense.
    :returns: The sense id of each side that means one.
    """
    wanted = set(sides)
    sizes: dict[str, dict[str, int]] = defaultdict(dict)
    for batch in in_batches(sorted({name_id for name_id, _ in wanted})):
        s = senses.c
        query = select(s.name_id, s.sense_id, s.n_documents).where(s.name_id.in_(batch))
        for name_id, sense_id, n_documents in connection.execute(query):
            sizes[name_id][sense_id] = n_documents
    meant: dict[Side, str] = {}
    for name_id, sources in wanted:
        votes = _votes(connection, name_id, sources, unsaved) if sources else sizes[name_id]
        if votes:
            meant[(name_id, sources)] = min(votes, key=lambda sense_id: (-votes[sense_id], sense_id))
    return meant


def _votes(
    connection: Connection, name_id: str, sources: Sequence[str], unsaved: Mapping[str, Local]
) -> Mapping[str, int]:
    found: dict[str, str] = {}
    c = locals_.c
    for batch in in_batches(sorted(sources)):
        query = select(c.local_id, c.sense_id).where(c.source_id.in_(batch), c.name_id == name_id)
        found.update((row.local_id, row.sense_id) for row in connection.execute(query))
    found.update(
        (local.local_id, local.sense_id)
        for local in unsaved.values()
        if local.name_id == name_id and local.source_id in set(sources)
    )
    return Counter(found.values())


def mates_of(connection: Connection, name_ids: Iterable[str]) -> set[str]:
    """Return all senses of these names."""
    return {row.sense_id for row in run(connection, _SENSES_OF_NAMES, name_ids)}
