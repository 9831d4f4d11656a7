"""Entities as sums over the local entities that belong to them.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction of :mod:`kg.stores.record`.

An entity has no words of its own: its name, type and aliases follow from how often each of its mentions wrote which
name under which label. Each document's share is kept in ``locals``, the sum in ``entity_names``. A local entity that
comes adds its share, one that goes takes the same share away, so nothing of a deleted document can stay behind, and the
cost depends on what moved alone.

Name and type are those that most mentions use; ties go to the one that sorts first, so that the outcome depends neither
on the order of documents nor on the process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from kg.stores.locals import UNNAMED, Local
from kg.stores.names import fold
from kg.stores.queries import among, run
from kg.stores.rows import Values
from kg.stores.schema import entities, entity_names, locals_

__all__ = ["Move", "derive_entity", "drop_entities", "move_shares"]

Use = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Move:
    """A local entity that goes from one entity to another; from ``""`` it is new, to ``""`` it is deleted."""

    local: Local
    old: str
    new: str


def derive_entity(entity_id: str, uses: Mapping[Use, int], *, n_documents: int) -> Values:
    """Make the row of ``entities`` that follows from the names in use.

    :param entity_id: The entity.
    :param uses: Mentions by surface and label, at least one that names it, every count > 0.
    :param n_documents: Documents that mention it.
    :returns: The row.
    """
    names: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for (surface, label), count in uses.items():
        if (surface, label) != UNNAMED:
            names[surface] += count
            labels[label] += count
    ranked = _by_count(names)
    return {
        "entity_id": entity_id,
        "name": ranked[0],
        "type": _by_count(labels)[0],
        "aliases": ranked[1:],
        "n_mentions": sum(uses.values()),
        "n_documents": n_documents,
    }


def _by_count(counter: Counter[str]) -> list[str]:
    return [text for text, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]


@dataclass(slots=True)
class _Changes:
    """Rows to write, gathered over all entities, so that each kind is one batch."""

    new_names: list[Values] = field(default_factory=list)
    changed_names: list[Values] = field(default_factory=list)
    gone_names: list[Values] = field(default_factory=list)
    new_entities: list[Values] = field(default_factory=list)
    changed_entities: list[Values] = field(default_factory=list)
    gone_entities: list[str] = field(default_factory=list)


def move_shares(connection: Connection, moves: Sequence[Move]) -> list[str]:
    """Take the shares of moving local entities from the old sums and add them to the new ones.

    :param connection: A connection in a write transaction. ``locals`` holds the old state: what is deleted is gone,
        what is new is not there, what moves stands where it was.
    :param moves: What moves.
    :returns: Entities that have nothing left. Drop them with :func:`drop_entities` when no mention refers to them.
    """
    shares: dict[str, dict[Use, int]] = defaultdict(lambda: defaultdict(int))
    for move in moves:
        for entity_id, sign in ((move.old, -1), (move.new, 1)):
            for use, count in move.local.uses.items() if entity_id else ():
                shares[entity_id][use] += sign * count
    ids = sorted(shares)
    stored = _stored_uses(connection, ids)
    documents = _documents_after(connection, moves, ids)
    changes = _Changes()
    for entity_id in ids:
        before = stored.get(entity_id, {})
        after = dict(before)
        for use, count in shares[entity_id].items():
            after[use] = after.get(use, 0) + count
        _compare(entity_id, before, after, changes)
        remaining = {use: count for use, count in after.items() if count > 0}
        if not remaining:
            changes.gone_entities.append(entity_id)
            continue
        row = derive_entity(entity_id, remaining, n_documents=documents[entity_id])
        (changes.changed_entities if before else changes.new_entities).append(row)
    _write(connection, changes)
    return changes.gone_entities


def drop_entities(connection: Connection, entity_ids: Iterable[str]) -> None:
    """Delete entities that nothing refers to any more."""
    run(connection, _DROP, entity_ids)


def _documents_after(connection: Connection, moves: Sequence[Move], ids: Sequence[str]) -> dict[str, int]:
    """Count the documents of each entity after the moves: one document may hold several of its names."""
    counts: dict[str, int] = defaultdict(int, run(connection, _COUNTS, ids))
    came: Counter[tuple[str, str]] = Counter()
    went: Counter[tuple[str, str]] = Counter()
    moved: set[str] = set()
    for move in moves:
        if move.new:
            came[(move.new, move.local.document_id)] += 1
        if move.old:
            went[(move.old, move.local.document_id)] += 1
        if move.old and move.new:
            moved.add(move.local.document_id)
    deleted = Counter((move.old, move.local.document_id) for move in moves if not move.new)
    stayed = _stored_presence(connection, moved, ids)
    for pair in set(came) | set(went):
        before = stayed[pair] + deleted[pair]
        after = before - went[pair] + came[pair]
        counts[pair[0]] += (after > 0) - (before > 0)
    return counts


def _stored_presence(
    connection: Connection, document_ids: Iterable[str], entity_ids: Sequence[str]
) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    wanted = set(entity_ids)
    for entity_id, document_id, count in run(connection, _PRESENCE, document_ids):
        if entity_id in wanted:
            found[(entity_id, document_id)] = count
    return found


def _stored_uses(connection: Connection, ids: list[str]) -> dict[str, dict[Use, int]]:
    uses: dict[str, dict[Use, int]] = defaultdict(dict)
    for entity_id, surface, label, count in run(connection, _USES, ids):
        uses[entity_id][(surface, label)] = count
    return uses


def _compare(entity_id: str, before: Mapping[Use, int], after: Mapping[Use, int], changes: _Changes) -> None:
    for (surface, label), count in after.items():
        old = before.get((surface, label), 0)
        if count == old:
            continue
        key = {"k_entity": entity_id, "k_surface": surface, "k_label": label}
        if count <= 0:
            changes.gone_names.append(key)
        elif old:
            changes.changed_names.append({**key, "n_mentions": count})
        else:
            changes.new_names.append(
                {
                    "entity_id": entity_id,
                    "surface": surface,
                    "label": label,
                    "folded": fold(surface),
                    "n_mentions": count,
                }
            )


_E, _N = entities.c, entity_names.c
_COUNTS = select(_E.entity_id, _E.n_documents).where(among(_E.entity_id))
_USES = select(_N.entity_id, _N.surface, _N.label, _N.n_mentions).where(among(_N.entity_id))
_PRESENCE = (
    select(locals_.c.entity_id, locals_.c.document_id, func.count())
    .where(among(locals_.c.document_id))
    .group_by(locals_.c.entity_id, locals_.c.document_id)
)
_DROP, _INSERT, _NAME = delete(entities).where(among(_E.entity_id)), insert(entities), insert(entity_names)
_UPDATE = (
    update(entities)
    .where(_E.entity_id == bindparam("k_entity"))
    .values({column.name: bindparam(column.name) for column in _E if not column.primary_key})
)
_THIS_NAME = (
    (_N.entity_id == bindparam("k_entity"))
    & (_N.surface == bindparam("k_surface"))
    & (_N.label == bindparam("k_label"))
)
_COUNT_NAME = update(entity_names).where(_THIS_NAME).values(n_mentions=bindparam("n_mentions"))
_DROP_NAME = delete(entity_names).where(_THIS_NAME)


def _write(connection: Connection, changes: _Changes) -> None:
    """Write entities before their names, which refer to them."""
    changed = [{"k_entity": row.pop("entity_id"), **row} for row in changes.changed_entities]
    for statement, rows in (
        (_INSERT, changes.new_entities),
        (_UPDATE, changed),
        (_NAME, changes.new_names),
        (_COUNT_NAME, changes.changed_names),
        (_DROP_NAME, changes.gone_names),
    ):
        if rows:
            connection.execute(statement, rows)
