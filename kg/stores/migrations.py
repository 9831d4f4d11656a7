"""Bring a record to the schema of this version when it is opened, or refuse it and say what to do.

Layer: ``kg``; SQLAlchemy Core only.

A migration is a function that takes a connection from version ``n`` to ``n + 1``. All the steps that a record needs run
in one transaction, with foreign keys unenforced (SQLite rebuilds tables to change them) and checked before the commit:
a record is either wholly migrated or untouched.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, insert, inspect, literal, select, text, update
from sqlalchemy.schema import CreateColumn, CreateTable

from kg.errors import SchemaVersionError, StoreError
from kg.ids import local_id, source_id
from kg.stores import job_tables as _job_tables  # noqa: F401 - registers its tables, which create_all then makes
from kg.stores.locals import Local, save_locals
from kg.stores.matching import NamesOnlyMatcher
from kg.stores.naming_tables import names, senses
from kg.stores.prediction_tables import prediction_chunks, predictions
from kg.stores.profiles import make_profile, sense_row
from kg.stores.schema import (
    SCHEMA_VERSION,
    assets,
    changes,
    chunks,
    contradictions,
    documents,
    entities,
    mentions,
    meta,
    metadata,
    picture_vectors,
    triples,
    vectors,
)
from kg.stores.senses import SAMPLE

__all__ = ["MIGRATIONS", "Migration", "is_current", "prepare_schema"]

Migration = Callable[[Connection], None]


def _add_column(connection: Connection, column: Column[Any]) -> None:
    """Add a column with its server default; the name of the table and the column are ours, not a user's."""
    described = CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {described}")


def _to_schema_2(connection: Connection) -> None:
    """Tables, equations, labels of pictures and values of mentions; what changed when; senses and links."""
    younger = (
        meta.c.matcher,
        meta.c.functional,
        documents.c.equations,
        assets.c.label,
        assets.c.mentioned_at,
        chunks.c.table_id,
        mentions.c.local_id,
        mentions.c.value,
        mentions.c.refers_to,
    )
    for column in younger:
        _add_column(connection, column)
    metadata.create_all(connection)
    columns = ["kind", "item_id", "version"]
    version = select(meta.c.version).scalar_subquery()
    for kind, key in (("document", documents.c.document_id), ("entity", entities.c.entity_id)):
        connection.execute(insert(changes).from_select(columns, select(literal(kind), key, version)))
    _contributions_to_locals(connection)


def _contributions_to_locals(connection: Connection) -> None:
    """Keep what each document says of a name as one local entity; as in schema 1, each name is one entity."""
    sources = {
        row.document_id: row.source for row in connection.execute(select(documents.c.document_id, documents.c.source))
    }
    found: dict[tuple[str, str], Local] = {}
    query = text("SELECT document_id, entity_id, surface, label, n_mentions FROM contributions")
    for document_id, name_id, surface, label, n_mentions in connection.execute(query):
        local = found.setdefault(
            (name_id, document_id),
            Local(
                local_id=local_id(document_id, name_id),
                document_id=document_id,
                source_id=source_id(sources[document_id]),
                name_id=name_id,
                uses=Counter(),
                sense_id=name_id,
                entity_id=name_id,
            ),
        )
        local.uses[(surface, label)] = n_mentions
    by_name: dict[str, list[Local]] = defaultdict(list)
    for local in found.values():
        by_name[local.name_id].append(local)
    save_locals(connection, added=list(found.values()), moved=[])
    for name_id, members in by_name.items():
        members.sort(key=lambda local: local.local_id)
        last = members[SAMPLE - 1].local_id if len(members) > SAMPLE else ""
        connection.execute(insert(names).values(name_id=name_id, n_locals=len(members), n_senses=1, last_sampled=last))
        connection.execute(insert(senses).values(sense_row(make_profile(name_id, members[:SAMPLE]), members)))
    for local in found.values():
        in_document = select(chunks.c.chunk_id).where(chunks.c.document_id == local.document_id)
        ours = (mentions.c.entity_id == local.name_id) & mentions.c.chunk_id.in_(in_document)
        connection.execute(update(mentions).where(ours).values(local_id=local.local_id))
    connection.execute(text("DROP TABLE contributions"))
    connection.execute(update(meta).values(matcher=NamesOnlyMatcher.version))


def _to_schema_3(connection: Connection) -> None:
    """Mentions and statements are keyed by their chunk; statements hold the labels and values at their ends."""
    inspector = inspect(connection)
    rebuilt = (contradictions, triples, mentions)
    for table in rebuilt:
        for index in inspector.get_indexes(table.name):
            connection.exec_driver_sql(f"DROP INDEX {index['name']}")
        connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {table.name}_before")
    for table in reversed(rebuilt):
        connection.execute(CreateTable(table))
        columns = ", ".join(connection.dialect.identifier_preparer.quote(column.name) for column in table.c)
        # In the order of the new key, so that each page of its index is written once.
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) {_COPIES[table.name]}")
        for index in table.indexes:
            index.create(connection)
    for table in rebuilt:
        connection.exec_driver_sql(f"DROP TABLE {table.name}_before")


_COPIES = {
    "mentions": """SELECT chunk_id, mention_id, entity_id, local_id, start, "end", label, source, score, value,
        refers_to, text FROM mentions_before ORDER BY chunk_id, mention_id""",
    "triples": """SELECT t.chunk_id, t.triple_id, t.head_mention_id, t.tail_mention_id, t.head_id, t.name, t.tail_id,
        t.origin, t.start, t."end", t.extractor, t.score, h.label, h.value, l.label, l.value FROM triples_before t
        JOIN mentions_before h ON h.mention_id = t.head_mention_id
        JOIN mentions_before l ON l.mention_id = t.tail_mention_id ORDER BY t.chunk_id, t.triple_id""",
    "contradictions": """SELECT c.entity_id, c.relation, c.fixed, c.triple_id, t.chunk_id, c.side
        FROM contradictions_before c JOIN triples_before t ON t.triple_id = c.triple_id""",
}
"""What the tables of schema 3 hold, from those of schema 2; the columns stand in the order of the new table."""


def _to_schema_4(connection: Connection) -> None:
    """Vectors know the text that they are of; pictures have vectors of their own and are found by their bytes."""
    _add_column(connection, vectors.c.content)
    picture_vectors.create(connection, checkfirst=True)
    for index in (*vectors.indexes, *(index for index in assets.indexes if index.name == "assets_by_content")):
        index.create(connection)


def _to_schema_5(connection: Connection) -> None:
    """Predicted links are kept, in tables of their own."""
    for table in (predictions, prediction_chunks):
        table.create(connection, checkfirst=True)


MIGRATIONS: Mapping[int, Migration] = {1: _to_schema_2, 2: _to_schema_3, 3: _to_schema_4, 4: _to_schema_5}
"""The step from each older version to the next. Tables that are new since are made by ``metadata.create_all``."""


def is_current(connection: Connection, *, target: int = SCHEMA_VERSION) -> bool:
    """Say whether the record has the schema wanted, by reading alone: opening it then needs no lock for writing."""
    if not inspect(connection).has_table(meta.name):
        return False
    return connection.execute(select(meta.c.schema_version)).scalar_one_or_none() == target


def prepare_schema(
    connection: Connection,
    *,
    where: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> None:
    """Create the tables in an empty database, or migrate those of an older version, inside the caller's transaction.

    :param connection: A connection in a write transaction that the caller commits.
    :param where: The record as a user knows it, for messages.
    :param migrations: The step from each version to the next.
    :param target: The version to reach.
    :raises SchemaVersionError: If the record is newer than ``target``, or a step is missing.
    :raises StoreError: If the database holds something else than a record, or a migration broke a reference.
    """
    found = set(inspect(connection).get_table_names())
    if not found:
        metadata.create_all(connection)
        connection.execute(insert(meta).values(id=1, schema_version=target, version=0))
        return
    if meta.name not in found:
        raise StoreError(f"{where} is a database, but not a record of mmkgrag. Choose another file or workspace.")
    current = connection.execute(select(meta.c.schema_version)).scalar_one_or_none()
    if current is None:
        raise StoreError(f"{where} says no schema version. Restore a backup, or move it away and ingest again.")
    if current > target:
        raise SchemaVersionError(
            f"{where} was written by a newer mmkgrag (schema {current}, this one reads up to {target}). "
            "Upgrade mmkgrag, or use another workspace."
        )
    if current < target:
        _migrate(connection, where=where, current=current, target=target, migrations=migrations)


def _migrate(
    connection: Connection, *, where: str, current: int, target: int, migrations: Mapping[int, Migration]
) -> None:
    for version in range(current, target):
        step = migrations.get(version)
        if step is None:
            raise SchemaVersionError(
                f"{where} has schema {current}, and this mmkgrag has no step from {version} to {version + 1}. "
                "Open it once with the mmkgrag version between, or ingest the documents again into a new workspace."
            )
        step(connection)
        connection.execute(update(meta).values(schema_version=version + 1))
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StoreError(
                f"Migrating {where} to schema {target} would leave {len(broken)} broken references (first: "
                f"{tuple(broken[0])}). Nothing was changed; please report this."
            )
