"""What one document says of one name: the atoms of which senses and entities are made.

Layer: ``kg``; SQLAlchemy Core.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from kg import ids
from kg.ports import EntityMatcher, LocalEntity
from kg.stores.names import tidy
from kg.stores.naming_tables import senses
from kg.stores.queries import among, run
from kg.stores.rows import Values
from kg.stores.schema import locals_
from kg.types import GraphDelta

__all__ = [
    "UNNAMED",
    "Local",
    "as_local_entity",
    "locals_of",
    "locals_of_documents",
    "locals_of_names",
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
    uses: dict[Use, int]
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
            uses=dict(counts),
            features=tuple(features.get(name_id, ())),
        )
        for name_id, counts in uses.items()
    ]
    return sorted(found, key=lambda local: local.local_id)


def as_local_entity(local: Local) -> LocalEntity:
    """Show a local entity to a matcher: with the uses that name it."""
    uses = local.uses
    if UNNAMED in uses:
        uses = {use: count for use, count in uses.items() if use != UNNAMED}
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


def _to_local(row: Any) -> Local:  # noqa: ANN401 - a row of eight columns
    local_id, document_id, source_id, name_id, sense_id, entity_id, uses, features = row
    return Local(
        local_id=local_id,
        document_id=document_id,
        source_id=source_id,
        name_id=name_id,
        sense_id=sense_id,
        entity_id=entity_id,
        uses={(surface, label): count for surface, label, count in uses},
        features=tuple(features),
    )


_C = locals_.c
_LOCALS = select(_C.local_id, _C.document_id, _C.source_id, _C.name_id, _C.sense_id, _C.entity_id, _C.uses, _C.features)
_OF_NAMES, _OF_DOCUMENTS = _LOCALS.where(among(_C.name_id)), _LOCALS.where(among(_C.document_id))
_SMALLEST = _LOCALS.where(_C.name_id == bindparam("name_id")).order_by(_C.local_id).limit(bindparam("n"))
_NAMES_OF_SENSES = select(senses.c.name_id).where(among(senses.c.sense_id)).distinct()


def locals_of_names(connection: Connection, name_ids: Iterable[str]) -> list[Local]:
    """Return the stored locals of these names, by local id."""
    return sorted(map(_to_local, run(connection, _OF_NAMES, name_ids)), key=_by_id)


def locals_of_documents(connection: Connection, document_ids: Iterable[str]) -> list[Local]:
    """Return the stored locals of these documents, by local id."""
    return sorted(map(_to_local, run(connection, _OF_DOCUMENTS, document_ids)), key=_by_id)


def _by_id(local: Local) -> str:
    return local.local_id


def read_locals_of_senses(connection: Connection, sense_ids: Iterable[str]) -> list[Local]:
    """Return the stored locals of these senses, by local id; all that is stored of their names is looked through."""
    wanted = set(sense_ids)
    name_ids = {row.name_id for row in run(connection, _NAMES_OF_SENSES, wanted)}
    return [local for local in locals_of_names(connection, name_ids) if local.sense_id in wanted]


def read_smallest(connection: Connection, name_id: str, *, n: int) -> list[Local]:
    """Return the ``n`` stored locals of a name with the smallest ids."""
    return [_to_local(row) for row in connection.execute(_SMALLEST, {"name_id": name_id, "n": n})]


_INSERT = insert(locals_)
_MOVE = (
    update(locals_)
    .where((_C.name_id == bindparam("k_name")) & (_C.local_id == bindparam("k_local")))
    .values(sense_id=bindparam("sense_id"), entity_id=bindparam("entity_id"))
)


def save_locals(connection: Connection, *, added: Sequence[Local], moved: Sequence[Local]) -> None:
    """Insert new locals, and write the sense and entity of those that moved."""
    if added:
        connection.execute(_INSERT, [to_values(local) for local in added])
    if moved:
        rows = [
            {"k_name": one.name_id, "k_local": one.local_id, "sense_id": one.sense_id, "entity_id": one.entity_id}
            for one in moved
        ]
        connection.execute(_MOVE, rows)
