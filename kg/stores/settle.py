"""Bring senses, links and entities up to what the documents now say, inside the transaction that changes them.

Layer: ``kg``; SQLAlchemy Core.

``locals → senses → profiles and blocks → links → components → entities, mentions, statements``

Each step is a function of the one before it, of the remaining documents and of a person's decisions; each looks at what
the change touched and no further, and hands on what it changed. So the outcome is the same in whatever order documents
came and went, and the cost depends on the document (``tests/benchmarks/store_speed.py`` measures it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select, update

from kg.ports import Decision, EntityMatcher
from kg.stores.contradictions import Statement
from kg.stores.decisions import decisions_on, splits_among
from kg.stores.entities import Move, move_shares
from kg.stores.joining import rejoin
from kg.stores.links import relink
from kg.stores.locals import Local, locals_of_names, read_locals_of_senses, save_locals
from kg.stores.naming_tables import senses
from kg.stores.profiles import save_profiles
from kg.stores.queries import among, in_batches, run
from kg.stores.schema import chunks, locals_, mentions, triples
from kg.stores.senses import Regrouped, regroup

__all__ = ["Settled", "realign", "settle"]


@dataclass(slots=True)
class Settled:
    """What a change did to the entities."""

    touched: set[str] = field(default_factory=set)
    """Entities of which anything changed: names, counts, mentions, relations, or that they vanished."""
    empty: list[str] = field(default_factory=list)
    """Entities that nothing is left of; no stored mention refers to them any more."""
    moved: set[Statement] = field(default_factory=set)
    """Stored statements that lead from or to another entity now, as they were and as they are."""


def settle(
    connection: Connection,
    matcher: EntityMatcher,
    *,
    gone: Sequence[Local] = (),
    added: Sequence[Local] = (),
    anew: Collection[str] = (),
    reconsidered: Iterable[Decision] = (),
) -> Settled:
    """Resolve what a change touches.

    :param connection: A connection in a write transaction. What is gone is deleted already; of what is added, the row
        of ``documents`` is there, and mentions are inserted afterwards, with the entities that this sets on ``added``.
    :param matcher: Decides senses and links.
    :param gone: Local entities that were deleted.
    :param added: Local entities to insert.
    :param anew: Names whose senses are decided anew as a whole.
    :param reconsidered: Decisions that were just taken or undone.
    :returns: What changed. The caller drops the entities that are empty.
    """
    name_ids = {local.name_id for local in (*gone, *added)} | set(anew)
    decided = decisions_on(connection, name_ids)
    regrouped = regroup(connection, matcher, gone=gone, added=added, splits=splits_among(decided), anew=anew)
    profiled = save_profiles(connection, matcher, regrouped)
    relinked = relink(connection, matcher, profiled, vanished=regrouped.vanished)
    unsaved = {local.local_id: local for local in (*added, *regrouped.moved)}
    seeds = relinked | set(regrouped.counts) | set(regrouped.count_changes)
    changed = rejoin(connection, seeds, decided=[*decided, *reconsidered], unsaved=unsaved)
    return _carry_out(connection, regrouped, changed, gone=gone, added=added)


def _carry_out(
    connection: Connection,
    regrouped: Regrouped,
    changed: Mapping[str, str],
    *,
    gone: Sequence[Local],
    added: Sequence[Local],
) -> Settled:
    """Move local entities, their mentions and their statements to the entities that were decided."""
    moving = {local.local_id: local for local in regrouped.moved}
    for local in read_locals_of_senses(connection, changed):
        moving.setdefault(local.local_id, local)
    entity_of = _entities_of(connection, {local.sense_id for local in (*added, *moving.values())})
    moves = [Move(local, local.entity_id, "") for local in gone]
    moves += [Move(local, "", entity_of[local.sense_id]) for local in added]
    stored = [
        Move(local, local.entity_id, entity_of[local.sense_id])
        for local in moving.values()
        if local.entity_id != entity_of[local.sense_id]
    ]
    result = Settled()
    result.empty = move_shares(connection, [*moves, *stored])
    for move in (*moves, *stored):
        result.touched |= {move.old, move.new} - {""}
        move.local.entity_id = move.new
    save_locals(connection, added=added, moved=list(moving.values()))
    result.moved = _move_statements(connection, stored)
    result.touched |= {end for head_id, _, tail_id in result.moved for end in (head_id, tail_id)}
    return result


def realign(connection: Connection) -> Settled:
    """Move every stored local entity that stands elsewhere than its sense: the last step of resolving all."""
    ours, theirs = locals_.c, senses.c
    query = select(ours.name_id).join(senses, theirs.sense_id == ours.sense_id)
    misplaced = connection.execute(query.where(ours.entity_id != theirs.entity_id).distinct()).scalars().all()
    moving = Regrouped(moved=locals_of_names(connection, misplaced))
    return _carry_out(connection, moving, {}, gone=(), added=())


def _entities_of(connection: Connection, sense_ids: Iterable[str]) -> dict[str, str]:
    return dict(run(connection, _ENTITIES, sense_ids))


_ENTITIES = select(senses.c.sense_id, senses.c.entity_id).where(among(senses.c.sense_id))


def _move_statements(connection: Connection, moves: Iterable[Move]) -> set[Statement]:
    """Lead stored mentions and statements on to their new entities; return these statements, before and after.

    A relation of the entities at their other ends leads somewhere else now.
    """
    by_entity: dict[tuple[str, str], list[str]] = defaultdict(list)
    documents: set[str] = set()
    for move in moves:
        by_entity[(move.old, move.new)].append(move.local.local_id)
        documents.add(move.local.document_id)
    new_of: dict[str, str] = {}
    m = mentions.c
    for (old, new), local_ids in sorted(by_entity.items()):
        for batch in in_batches(sorted(local_ids)):
            moving = (m.entity_id == old) & m.local_id.in_(batch)
            new_of.update(dict.fromkeys(connection.execute(select(m.mention_id).where(moving)).scalars(), new))
            connection.execute(update(mentions).where(moving).values(entity_id=new))
    return _lead_on(connection, documents, new_of)


def _lead_on(connection: Connection, document_ids: Iterable[str], new_of: Mapping[str, str]) -> set[Statement]:
    """Give the ends of these documents' statements the new entities of the mentions that they stand at."""
    moved: set[Statement] = set()
    rows: list[dict[str, str]] = []
    for row in run(connection, _STATEMENTS, document_ids):
        head_id = new_of.get(row.head_mention_id, row.head_id)
        tail_id = new_of.get(row.tail_mention_id, row.tail_id)
        if (head_id, tail_id) != (row.head_id, row.tail_id):
            moved |= {(row.head_id, row.name, row.tail_id), (head_id, row.name, tail_id)}
            rows.append({"k_chunk": row.chunk_id, "k_triple": row.triple_id, "head_id": head_id, "tail_id": tail_id})
    if rows:
        connection.execute(_LEAD_ON, rows)
    return moved


_T = triples.c
_STATEMENTS = (
    select(_T.chunk_id, _T.triple_id, _T.head_mention_id, _T.tail_mention_id, _T.head_id, _T.name, _T.tail_id)
    .join(chunks, chunks.c.chunk_id == _T.chunk_id)
    .where(among(chunks.c.document_id))
)
_LEAD_ON = (
    update(triples)
    .where((_T.chunk_id == bindparam("k_chunk")) & (_T.triple_id == bindparam("k_triple")))
    .values(head_id=bindparam("head_id"), tail_id=bindparam("tail_id"))
)
