"""What the record says around some entities: their mentions, relations and statements.

Layer: ``kg``; the standard library. Reads through :class:`kg.ports.RecordStore` alone.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from kg.errors import NotFoundError
from kg.ports import MentionLink, MentionRow, RecordStore, TripleRow
from kg.types import Entity, Relation

__all__ = ["BY_ENTITY_MAX", "Surroundings", "existing", "surroundings"]

BY_ENTITY_MAX = 500
"""Up to so many entities each is asked for by itself; beyond, the whole record is read once, which is then cheaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything that has one of the entities in it; ``rows`` come by statement id."""

    mentions: frozenset[MentionLink]
    relations: frozenset[Relation]
    rows: tuple[TripleRow, ...]


def existing(store: RecordStore, entity_ids: Collection[str]) -> list[Entity]:
    """Return those of the entities that are there, by id."""
    wanted = sorted(set(entity_ids))
    if len(wanted) <= BY_ENTITY_MAX:
        found: list[Entity] = []
        for entity_id in wanted:
            with contextlib.suppress(NotFoundError):
                found += store.entities([entity_id])
        return found
    asked = set(wanted)
    return [entity for entity in store.entities() if entity.entity_id in asked]


def surroundings(store: RecordStore, entity_ids: Collection[str]) -> Surroundings:
    """Read what is around entities; the cost depends on them, or, for many, on the record.

    :param store: The record.
    :param entity_ids: The entities, which exist; one that vanishes meanwhile is left out.
    :returns: Their surroundings.
    """
    asked = set(entity_ids)
    if len(asked) > BY_ENTITY_MAX:
        return Surroundings(
            mentions=_links(store.mention_rows(), asked),
            relations=frozenset(one for one in store.relations() if one.head_id in asked or one.tail_id in asked),
            rows=tuple(row for row in store.triple_rows() if row.head_id in asked or row.tail_id in asked),
        )
    documents: set[str] = set()
    relations: set[Relation] = set()
    rows: dict[str, TripleRow] = {}
    for entity_id in sorted(asked):
        with contextlib.suppress(NotFoundError):
            said = store.contributions(entity_id)
            documents.update(one.document_id for one in said)
            rows.update((row.triple_id, row) for one in said for row in one.statements)
            relations.update(store.relations(entity_id=entity_id))
    mentions = store.mention_rows(document_ids=sorted(documents)) if documents else []
    return Surroundings(
        mentions=_links(mentions, asked),
        relations=frozenset(relations),
        rows=tuple(rows[key] for key in sorted(rows)),
    )


def _links(rows: Iterable[MentionRow], asked: set[str]) -> frozenset[MentionLink]:
    counts = Counter((row.entity_id, row.chunk_id) for row in rows if row.entity_id in asked)
    return frozenset(
        MentionLink(entity_id=entity_id, chunk_id=chunk_id, n_mentions=count)
        for (entity_id, chunk_id), count in counts.items()
    )
