"""Resolve a whole record anew, when its matcher changed.

Layer: ``kg``; SQLAlchemy Core, inside one write transaction: the record is resolved by one matcher or by the other.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import JSON, Connection, bindparam, select, update

from kg.ports import EntityMatcher
from kg.stores.decisions import decisions_on, splits_among
from kg.stores.joining import rejoin
from kg.stores.links import relink
from kg.stores.locals import save_locals
from kg.stores.naming_tables import names, senses
from kg.stores.profiles import Profiled, save_profiles
from kg.stores.queries import in_batches, whole_change
from kg.stores.schema import documents, locals_, meta
from kg.stores.senses import regroup
from kg.stores.settle import Settled, realign

__all__ = ["Progress", "resolve_anew"]

Progress = Callable[[str, int, int], None]
"""Told the stage, and how many of how many things are done."""


def resolve_anew(connection: Connection, matcher: EntityMatcher, *, progress: Progress | None) -> Settled:
    """Decide features, senses, links and entities of all documents, as if they were read in anew.

    :param connection: A connection in a write transaction.
    :param matcher: The matcher to resolve by; the record notes its version.
    :param progress: Told what is done.
    :returns: What changed. The caller drops the entities that are empty.
    """
    tell = progress or (lambda _stage, _done, _total: None)
    _read_features(connection, matcher, tell)
    connection.execute(update(senses).values(profile=JSON.NULL))
    vanished: set[str] = set()
    name_ids = sorted(connection.execute(select(names.c.name_id)).scalars())
    done = 0
    for batch in in_batches(name_ids):
        splits = splits_among(decisions_on(connection, batch))
        regrouped = regroup(connection, matcher, gone=(), added=(), splits=splits, anew=batch)
        save_locals(connection, added=[], moved=regrouped.moved)
        save_profiles(connection, matcher, regrouped)
        vanished |= regrouped.vanished
        done += len(batch)
        tell("senses", done, len(name_ids))
    sense_ids = sorted(connection.execute(select(senses.c.sense_id)).scalars())
    relink(connection, matcher, Profiled(), vanished=vanished)
    done = 0
    for batch in in_batches(sense_ids):
        relink(connection, matcher, Profiled(changed=set(batch)), vanished=())
        done += len(batch)
        tell("links", done, len(sense_ids))
    rejoin(connection, sense_ids, decided=(), unsaved={})
    connection.execute(update(meta).values(matcher=matcher.version))
    settled = realign(connection)
    tell("entities", len(sense_ids), len(sense_ids))
    return settled


def _read_features(connection: Connection, matcher: EntityMatcher, tell: Progress) -> None:
    document_ids = sorted(connection.execute(select(documents.c.document_id)).scalars())
    this = (locals_.c.name_id == bindparam("k_name")) & (locals_.c.local_id == bindparam("k_local"))
    for done, document_id in enumerate(document_ids, start=1):
        found = matcher.features(whole_change(connection, document_id))
        query = select(locals_.c.local_id, locals_.c.name_id).where(locals_.c.document_id == document_id)
        rows = [
            {"k_name": row.name_id, "k_local": row.local_id, "features": list(found.get(row.name_id, ()))}
            for row in connection.execute(query)
        ]
        if rows:
            connection.execute(update(locals_).where(this), rows)
        tell("features", done, len(document_ids))
