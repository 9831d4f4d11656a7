"""What the record says of its entities: senses, links, each document's share, and what some documents alone say.

Layer: ``kg``; SQLAlchemy Core, inside a read transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, or_, select

from kg.errors import NotFoundError
from kg.ports import Contribution, Decision, DecisionKind, EntityLink, LinkStatus, Sense, TripleRow
from kg.stores.decisions import read_decisions, senses_meant, sides_of
from kg.stores.entities import derive_entity
from kg.stores.locals import locals_of_documents, read_locals_of_senses
from kg.stores.naming_tables import links, senses
from kg.stores.profiles import profile_names
from kg.stores.queries import STATEMENT_COLUMNS, in_batches, to_triple_row
from kg.stores.schema import chunks, triples
from kg.types import Entity

__all__ = ["contributions_to", "entities_within", "read_links", "read_senses"]

_OF_A_PERSON = ("a person decided it",)


def read_senses(connection: Connection, *, entity_id: str | None) -> list[Sense]:
    """Return the senses (of one entity), by id."""
    s = senses.c
    query = select(senses).order_by(s.sense_id)
    if entity_id is not None:
        query = query.where(s.entity_id == entity_id)
    return [
        Sense(
            sense_id=row.sense_id,
            name_id=row.name_id,
            entity_id=row.entity_id,
            n_documents=row.n_documents,
            names=profile_names(row.profile),
        )
        for row in connection.execute(query)
    ]


def read_links(connection: Connection, *, entity_id: str | None, status: LinkStatus | None) -> list[EntityLink]:
    """Return links with what became of them, by falling score, then ids.

    What a person decided of two senses that were never compared is a link too, of score 1 or 0.
    """
    own = None if entity_id is None else {one.sense_id for one in read_senses(connection, entity_id=entity_id)}
    decided = _decided_pairs(connection)
    rows: dict[tuple[str, str], tuple[float, bool, tuple[str, ...]]] = {}
    for query in _link_queries(own):
        for row in connection.execute(query):
            rows[(row.left_id, row.right_id)] = (row.score, row.is_automatic, tuple(row.reasons))
    for pair, decision in decided.items():
        if own is None or own & set(pair):
            score = 1.0 if decision.kind is DecisionKind.SAME else 0.0
            rows.setdefault(pair, (score, False, _OF_A_PERSON))
    entity_of = _entities_of(connection, {sense_id for pair in rows for sense_id in pair})
    found = [
        EntityLink(
            left_id=left,
            right_id=right,
            left_entity_id=entity_of[left],
            right_entity_id=entity_of[right],
            score=score,
            reasons=reasons,
            status=_status(decided.get((left, right)), is_automatic),
            decision_id=decided[(left, right)].decision_id if (left, right) in decided else 0,
        )
        for (left, right), (score, is_automatic, reasons) in rows.items()
    ]
    found = [one for one in found if status is None or one.status is status]
    return sorted(found, key=lambda one: (-one.score, one.left_id, one.right_id))


def _link_queries(own: set[str] | None) -> Iterable[Select[Any]]:
    if own is None:
        return [select(links)]
    e = links.c
    return [select(links).where(or_(e.left_id.in_(batch), e.right_id.in_(batch))) for batch in in_batches(sorted(own))]


def _decided_pairs(connection: Connection) -> dict[tuple[str, str], Decision]:
    active = [one for one in read_decisions(connection, is_active=True) if one.kind is not DecisionKind.SPLIT]
    meant = senses_meant(connection, (side for one in active for side in sides_of(one)), unsaved={}) if active else {}
    pairs: dict[tuple[str, str], Decision] = {}
    for decision in active:
        left, right = (meant.get(side, "") for side in sides_of(decision))
        if left and right and left != right:
            pairs[(min(left, right), max(left, right))] = decision
    return pairs


def _status(decision: Decision | None, is_automatic: bool) -> LinkStatus:
    if decision is not None:
        return LinkStatus.CONFIRMED if decision.kind is DecisionKind.SAME else LinkStatus.REJECTED
    return LinkStatus.AUTOMATIC if is_automatic else LinkStatus.REVIEW


def _entities_of(connection: Connection, sense_ids: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for batch in in_batches(sorted(sense_ids)):
        query = select(senses.c.sense_id, senses.c.entity_id).where(senses.c.sense_id.in_(batch))
        found.update((row.sense_id, row.entity_id) for row in connection.execute(query))
    return found


def contributions_to(connection: Connection, entity_id: str, *, where: str) -> list[Contribution]:
    """Return what each document says of an entity, by document id.

    :param connection: A connection in a transaction.
    :param entity_id: The entity.
    :param where: The record as a user knows it, for the message.
    :returns: One contribution for each document that mentions it.
    :raises NotFoundError: If there is no such entity.
    """
    uses: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for local in read_locals_of_senses(
        connection, (sense.sense_id for sense in read_senses(connection, entity_id=entity_id))
    ):
        uses[local.document_id].update(local.uses)
    if not uses:
        raise NotFoundError(
            f"There is no entity {entity_id!r} in {where}. It may have been removed or joined to another."
        )
    t = triples.c
    said: dict[str, list[TripleRow]] = defaultdict(list)
    query: Select[Any] = select(*STATEMENT_COLUMNS, chunks.c.document_id).join(chunks, chunks.c.chunk_id == t.chunk_id)
    query = query.where(or_(t.head_id == entity_id, t.tail_id == entity_id)).order_by(t.triple_id)
    for row in connection.execute(query):
        said[row.document_id].append(to_triple_row(row))
    return [
        Contribution(
            document_id=document_id,
            uses=dict(sorted(counts.items())),
            n_mentions=counts.total(),
            statements=tuple(said[document_id]),
        )
        for document_id, counts in sorted(uses.items())
    ]


def entities_within(
    connection: Connection, entity_ids: Sequence[str] | None, document_ids: Sequence[str]
) -> list[Entity]:
    """Return entities as these documents alone make them; those that the documents do not mention are left out."""
    uses: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    within: dict[str, set[str]] = defaultdict(set)
    wanted = None if entity_ids is None else set(entity_ids)
    for local in locals_of_documents(connection, document_ids):
        if wanted is None or local.entity_id in wanted:
            uses[local.entity_id].update(local.uses)
            within[local.entity_id].add(local.document_id)
    order = sorted(uses) if entity_ids is None else [one for one in entity_ids if one in uses]
    rows = [derive_entity(one, uses[one], n_documents=len(within[one])) for one in order]
    return [Entity(**{**row, "aliases": tuple(row["aliases"])}) for row in rows]
