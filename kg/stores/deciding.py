"""Take a person's decision on entities, or take it back.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction. A decision is refused if it contradicts one that holds; what
it means for the entities is worked out by :mod:`kg.stores.settle`, as for any other change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection, func, insert, select, update

from kg.errors import InputError, NotFoundError
from kg.ids import source_id
from kg.ports import Decision, DecisionKind
from kg.stores.decisions import Side, read_decisions, senses_meant, sides_of
from kg.stores.naming_tables import decisions, senses
from kg.stores.queries import in_batches
from kg.stores.schema import documents, locals_
from kg.stores.senses import SAMPLE

__all__ = ["end_decision", "find_decision", "find_sense", "make_decision", "save_decision", "side_of"]


def make_decision(
    connection: Connection, kind: DecisionKind, left_id: str, right_id: str, *, document_ids: Sequence[str], where: str
) -> Decision:
    """Say by stable ids what is to be decided; nothing is written.

    :param connection: A connection in a transaction.
    :param kind: What is decided.
    :param left_id: A sense or entity.
    :param right_id: Another one; not used for a split.
    :param document_ids: For a split, documents in which the name of ``left_id`` is another thing.
    :param where: The record as a user knows it, for messages.
    :returns: The decision, without its number.
    :raises NotFoundError: If an id is not known.
    :raises InputError: If both sides are one sense, or the split would part nothing.
    """
    left_name, left_sense = find_sense(connection, left_id, where=where)
    if kind is DecisionKind.SPLIT:
        sources = _sources_of_split(connection, left_name, document_ids, where=where)
        return Decision(decision_id=0, kind=kind, left_id=left_name, right_id=left_name, left_sources=sources)
    right_name, right_sense = find_sense(connection, right_id, where=where)
    if left_sense == right_sense:
        raise InputError(
            f"{left_id} and {right_id} are one name already. To part the documents that use it, split the name."
        )
    left, right = sorted((side_of(connection, left_name, left_sense), side_of(connection, right_name, right_sense)))
    if kind is DecisionKind.DIFFERENT and left_name == right_name:
        return Decision(
            decision_id=0, kind=DecisionKind.SPLIT, left_id=left_name, right_id=left_name, left_sources=right[1]
        )
    return Decision(
        decision_id=0, kind=kind, left_id=left[0], right_id=right[0], left_sources=left[1], right_sources=right[1]
    )


def save_decision(
    connection: Connection, wanted: Decision, *, at: str, is_forced: bool
) -> tuple[Decision, list[Decision]]:
    """Store a decision, unless it holds already.

    :param connection: A connection in a write transaction.
    :param wanted: The decision, without its number.
    :param at: ISO 8601, UTC.
    :param is_forced: End the decisions that contradict it, instead of refusing it.
    :returns: The decision as it holds, and all whose state changed; none if nothing was written.
    :raises InputError: If it contradicts one that holds, and is not forced.
    """
    active = read_decisions(connection, is_active=True)
    meant = senses_meant(connection, (side for one in (*active, wanted) for side in sides_of(one)), unsaved={})
    for one in active:
        if one.kind is wanted.kind and _says(one, meant) == _says(wanted, meant):
            return one, []
    ended: list[Decision] = []
    while (contrary := _contrary(wanted, active, meant)) is not None:
        if not is_forced:
            raise InputError(
                f"Decision {contrary.decision_id} ({contrary.at}{f', by {contrary.by}' if contrary.by else ''}) says "
                f"that they are {_IN_WORDS[contrary.kind]}. Undo it first, or force the new one, which ends it."
            )
        ended.append(end_decision(connection, contrary, at=at))
        active.remove(contrary)
    number = connection.execute(select(func.coalesce(func.max(decisions.c.decision_id), 0))).scalar_one() + 1
    taken = replace(wanted, decision_id=int(number), at=at)
    row = asdict(taken)
    row.update(kind=taken.kind.value, left_sources=list(taken.left_sources), right_sources=list(taken.right_sources))
    connection.execute(insert(decisions).values(row))
    return taken, [taken, *ended]


_IN_WORDS = {
    DecisionKind.SAME: "the same",
    DecisionKind.DIFFERENT: "different",
    DecisionKind.SPLIT: "different things under one name",
}


def find_decision(connection: Connection, decision_id: int, *, where: str) -> Decision:
    """Return a decision that holds.

    :param connection: A connection in a transaction.
    :param decision_id: Its number.
    :param where: The record as a user knows it, for messages.
    :returns: The decision.
    :raises NotFoundError: If there is none of that number.
    :raises InputError: If it was undone already.
    """
    for one in read_decisions(connection):
        if one.decision_id == decision_id:
            if not one.is_active:
                raise InputError(f"Decision {decision_id} was undone already, at {one.undone_at}.")
            return one
    raise NotFoundError(f"There is no decision {decision_id} in {where}. List the decisions to see their numbers.")


def end_decision(connection: Connection, decision: Decision, *, at: str) -> Decision:
    """Mark a decision as undone, and return it so."""
    this = decisions.c.decision_id == decision.decision_id
    connection.execute(update(decisions).where(this).values(undone_at=at))
    return replace(decision, undone_at=at)


def find_sense(connection: Connection, wanted: str, *, where: str) -> tuple[str, str]:
    """Return the name and the sense behind the id of a sense, or of a name (then the sense most documents mean)."""
    s = senses.c
    row = connection.execute(select(s.name_id, s.sense_id).where(s.sense_id == wanted)).first()
    if row is None:
        ranked = select(s.name_id, s.sense_id).where(s.name_id == wanted).order_by(s.n_documents.desc(), s.sense_id)
        row = connection.execute(ranked.limit(1)).first()
    if row is None:
        raise NotFoundError(f"There is no entity {wanted!r} in {where}. It may have been removed or joined to another.")
    return row.name_id, row.sense_id


def side_of(connection: Connection, name_id: str, sense_id: str) -> Side:
    """Say by stable ids which sense of a name is meant."""
    if name_id == sense_id:
        return name_id, ()
    c = locals_.c
    found = connection.execute(
        select(c.source_id).where(c.name_id == name_id, c.sense_id == sense_id).order_by(c.local_id).limit(SAMPLE)
    ).scalars()
    return name_id, tuple(sorted(found))


def _sources_of_split(
    connection: Connection, name_id: str, document_ids: Sequence[str], *, where: str
) -> tuple[str, ...]:
    wanted = sorted(set(document_ids))
    sources: list[str] = []
    for batch in in_batches(wanted):
        query = select(documents.c.source).where(documents.c.document_id.in_(batch))
        sources += [source_id(source) for source in connection.execute(query).scalars()]
    if not wanted or len(sources) != len(wanted):
        raise NotFoundError(f"Name at least one document of {where} to set apart; got {', '.join(wanted) or 'none'}.")
    c = locals_.c
    using: set[str] = set()
    for batch in in_batches(sorted(sources)):
        query = select(c.source_id).where(c.source_id.in_(batch), c.name_id == name_id)
        using |= set(connection.execute(query).scalars())
    n_all = connection.execute(select(func.count()).select_from(locals_).where(c.name_id == name_id)).scalar_one()
    if not using or len(using) == n_all:
        raise InputError(
            f"A split needs documents that use the name, and others that do; of {n_all} that use it, {len(using)} were "
            "named."
        )
    return tuple(sorted(using))


def _says(decision: Decision, meant: Mapping[Side, str]) -> object:
    """Return what a decision says of the senses that there are now; two that say the same are equal."""
    if decision.kind is DecisionKind.SPLIT:
        return (decision.left_id, decision.left_sources)
    ends = [meant.get(side, side) for side in sides_of(decision)]
    return frozenset(ends)


def _contrary(wanted: Decision, active: Iterable[Decision], meant: Mapping[Side, str]) -> Decision | None:
    """Return the latest decision that cannot hold beside ``wanted``."""
    active = list(active)
    left, right = (meant.get(side, "") for side in sides_of(wanted))
    same = [one for one in active if one.kind is DecisionKind.SAME]
    if wanted.kind is DecisionKind.SPLIT:
        found = [
            one for one in active if one.kind is DecisionKind.SAME and one.left_id == one.right_id == wanted.left_id
        ]
    elif wanted.kind is DecisionKind.DIFFERENT:
        found = _path(left, right, [one for one in active if one.kind is DecisionKind.SAME], meant)
    else:
        ours, theirs = _reach(left, same, meant), _reach(right, same, meant)
        found = [one for one in active if one.kind is DecisionKind.DIFFERENT and _parts(one, ours, theirs, meant)]
        if wanted.left_id == wanted.right_id:
            found += [one for one in active if one.kind is DecisionKind.SPLIT and one.left_id == wanted.left_id]
    return max(found, key=lambda one: one.decision_id, default=None)


def _parts(decision: Decision, ours: set[str], theirs: set[str], meant: Mapping[Side, str]) -> bool:
    left, right = (meant.get(side, "") for side in sides_of(decision))
    return (left in ours and right in theirs) or (left in theirs and right in ours)


def _reach(start: str, same: Sequence[Decision], meant: Mapping[Side, str]) -> set[str]:
    reached = {start}
    while True:
        ends = [{meant.get(side, "") for side in sides_of(one)} for one in same]
        grown = reached.union(*(pair for pair in ends if pair & reached and "" not in pair))
        if grown == reached:
            return reached
        reached = grown


def _path(start: str, goal: str, same: Sequence[Decision], meant: Mapping[Side, str]) -> list[Decision]:
    """Return decisions that lead from ``start`` to ``goal``, each joining two senses; none if there is no way."""
    came_by: dict[str, list[Decision]] = {start: []}
    queue = [start]
    while queue:
        here = queue.pop(0)
        if here == goal:
            return came_by[here]
        for one in same:
            left, right = (meant.get(side, "") for side in sides_of(one))
            for this, other in ((left, right), (right, left)):
                if this == here and other and other not in came_by:
                    came_by[other] = [*came_by[here], one]
                    queue.append(other)
    return []
