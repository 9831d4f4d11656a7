"""What changed when: the counter of changes, and for each document and entity the last one that touched it.

Layer: ``kg``; SQLAlchemy Core. There is one row a thing, however often it changes, so asking what changed costs what
the answer holds. A row stays when its thing is gone, for that is a change too.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kg.errors import InputError
from kg.ports import ChangeSet
from kg.stores.queries import among, run
from kg.stores.schema import changes, meta

__all__ = ["count_change", "read_changes"]

_DOCUMENT, _ENTITY = "document", "entity"


def count_change(connection: Connection, *, document_ids: Iterable[str] = (), entity_ids: Iterable[str] = ()) -> None:
    """Raise the record's version by one and note what the change touched.

    :param connection: A connection in a write transaction.
    :param document_ids: Documents that were added or removed.
    :param entity_ids: Entities of which anything changed, those that vanished included.
    """
    version = int(connection.execute(_VERSION).scalar_one()) + 1
    connection.execute(_RAISE, {"to": version})
    for kind, ids in ((_DOCUMENT, document_ids), (_ENTITY, entity_ids)):
        touched = sorted(set(ids))
        run(connection, _FORGET[kind], touched)
        if touched:
            connection.execute(_NOTE, [{"kind": kind, "item_id": one, "version": version} for one in touched])


_C = changes.c
_VERSION, _RAISE, _NOTE = select(meta.c.version), update(meta).values(version=bindparam("to")), insert(changes)
_FORGET = {kind: delete(changes).where(_C.kind == kind, among(_C.item_id)) for kind in (_DOCUMENT, _ENTITY)}


def read_changes(connection: Connection, version: int, *, where: str) -> ChangeSet:
    """Name what changed after ``version``.

    :param connection: A connection in a transaction.
    :param version: The version at which the caller read the record last; 0 for never.
    :param where: The record as a user knows it, for the message.
    :returns: The changes, and the version they lead to.
    :raises InputError: If the record never had that version.
    """
    current = int(connection.execute(select(meta.c.version)).scalar_one())
    if not 0 <= version <= current:
        raise InputError(
            f"{where} is at version {current}, and changes since {version} were asked for. What was derived came from "
            "another record or a later state of this one: build it anew."
        )
    query = select(changes.c.kind, changes.c.item_id).where(changes.c.version > version).order_by(changes.c.item_id)
    named: dict[str, list[str]] = {_DOCUMENT: [], _ENTITY: []}
    for kind, item_id in connection.execute(query):
        named[kind].append(item_id)
    return ChangeSet(version=current, document_ids=tuple(named[_DOCUMENT]), entity_ids=tuple(named[_ENTITY]))
