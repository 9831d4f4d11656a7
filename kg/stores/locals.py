"""What one document says of one name: the atoms of which senses and entities are made.

Layer: ``kg``; SQLAlchemy Core.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, insert, select, update

from kg import ids
from kg.ports import EntityMatcher, LocalEntity
from kg.stores.names import tidy
from kg.stores.queries import in_batches
from kg.stores.rows import Values
from kg.stores.schema import locals_, senses
from kg.types import GraphDelta

__all__ = [
    "UNNAMED",
    "Local",
    "as_local_entity",
    "locals_of",
    "read_locals",
    "read_locals_of_senses",
    "read_smallest",
    "save_locals",
    "to_values",
]

Use = tuple[str, str]
"""A surface form and the label it was used with."""

UNNAMED: Use = ("", "")
"""The use of a mention that refers to its entity without naming it."""


@dataclass(slots=True, kw_only=True)
class Local:
    """A row of ``locals`` while it is worked on; ``sense_id`` and ``entity_id`` are empty until they are decided."""

    local_id: str
    document_id: str
    source_id: str
    name_id: str
    uses: Counter[Use]
    features: tuple[str, ...] = field(default=())
    sense_id: str = ""
    entity_id: str = ""


def locals_of(delta: GraphDelta, matcher: EntityMatcher) -> list[Local]:
    """Gather what a document says of each name.

    A pronoun or a description ("she", "the company") is counted as a mention and names nothing. A name whose mentions
    all refer to each other is called by their own words: an entity without any name could not be shown.

    :param delta: The document's change; the ``entity_id`` of its mentions are name ids.
    :param matcher: Says which features each name has in it.
    :returns: One local entity for each name, by local id.
    """
    mentions = delta.extraction.mentions
    named = {mention.entity_id for mention in mentions if not mention.refers_to}
    uses: dict[str, Counter[Use]] = defaultdict(Counter)
    for mention in mentions:
        is_name = not mention.refers_to or mention.entity_id not in named
        uses[mention.entity_id][(tidy(mention.text), mention.label) if is_name else UNNAMED] += 1
    features = matcher.features(delta) if mentions else {}
    document = delta.document
    found = [
        Local(
            local_id=ids.local_id(document.document_id, name_id),
            document_id=document.document_id,
            source_id=ids.source_id(document.source),
            name_id=name_id,
            uses=counts,
            features=tuple(features.get(name_id, ())),
        )
        for name_id, counts in uses.items()
    ]
    return sorted(found, key=lambda local: local.local_id)


def as_local_entity(local: Local) -> LocalEntity:
    """Show a local entity to a matcher: with the uses that name it."""
    uses = {use: count for use, count in local.uses.items() if use != UNNAMED}
    return LocalEntity(
        local_id=local.local_id,
        document_id=local.document_id,
        name_id=local.name_id,
        uses=uses,
        features=local.features,
    )


def to_values(local: Local) -> Values:
    """Make the row of ``locals``."""
    return {
        "local_id": local.local_id,
        "document_id": local.document_id,
        "source_id": local.source_id,
        "name_id": local.name_id,
        "sense_id": local.sense_id,
        "entity_id": local.entity_id,
        "uses": [[surface, label, count] for (surface, label), count in sorted(local.uses.items())],
        "features": list(local.features),
    }


def _to_local(row: Row[Any]) -> Local:
    return Local(
        local_id=row.local_id,
        document_id=row.document_id,
        source_id=row.source_id,
        name_id=row.name_id,
        sense_id=row.sense_id,
        entity_id=row.entity_id,
        uses=Counter({(surface, label): count for surface, label, count in row.uses}),
        features=tuple(row.features),
    )


def read_locals(connection: Connection, column: ColumnElement[str], wanted: Iterable[str]) -> list[Local]:
    """Return the stored locals whose ``column`` is one of ``wanted``, by local id."""
    found: list[Local] = []
    for batch in in_batches(sorted(set(wanted))):
        found += [_to_local(row) for row in connection.execute(select(locals_).where(column.in_(batch)))]
    return sorted(found, key=lambda local: local.local_id)


def read_locals_of_senses(connection: Connection, sense_ids: Iterable[str]) -> list[Local]:
    """Return the stored locals of these senses, by local id; all that is stored of their names is looked through."""
    wanted = set(sense_ids)
    name_ids: set[str] = set()
    for batch in in_batches(sorted(wanted)):
        query = select(senses.c.name_id).where(senses.c.sense_id.in_(batch))
        name_ids |= set(connection.execute(query).scalars())
    found = read_locals(connection, locals_.c.name_id, name_ids) if name_ids else []
    return [local for local in found if local.sense_id in wanted]


def read_smallest(connection: Connection, condition: ColumnElement[bool], *, n: int) -> list[Local]:
    """Return the ``n`` stored locals with the smallest ids of those that meet ``condition`` (which has an index)."""
    query = select(locals_).where(condition).order_by(locals_.c.local_id).limit(n)
    return [_to_local(row) for row in connection.execute(query)]


def save_locals(connection: Connection, *, added: Sequence[Local], moved: Sequence[Local]) -> None:
    """Insert new locals, and write the sense and entity of those that moved."""
    if added:
        connection.execute(insert(locals_), [to_values(local) for local in added])
    if moved:
        this = (locals_.c.name_id == bindparam("k_name")) & (locals_.c.local_id == bindparam("k_local"))
        rows = [
            {"k_name": one.name_id, "k_local": one.local_id, "sense_id": one.sense_id, "entity_id": one.entity_id}
            for one in moved
        ]
        connection.execute(update(locals_).where(this), rows)
