"""The tables of which names mean one thing, and of what a person said about that: see :mod:`kg.ports.entities`.

Layer: ``kg``; SQLAlchemy Core only. They are part of the record, like those of :mod:`kg.stores.schema`, and all but
``decisions`` follow from its ``locals``.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, Index, Integer, String, Table, Text

from kg.stores.schema import metadata

__all__ = ["block_windows", "blocks", "decisions", "links", "names", "senses"]

_ID = String(40)

names = Table(
    "names",
    metadata,
    Column("name_id", _ID, primary_key=True),
    Column("n_locals", Integer, nullable=False),
    Column("n_senses", Integer, nullable=False),
    Column("last_sampled", _ID, nullable=False),
    sqlite_with_rowid=False,
)
"""``last_sampled`` is the largest local id of the name's sample, empty where the sample is all there is."""

senses = Table(
    "senses",
    metadata,
    Column("sense_id", _ID, primary_key=True),
    Column("name_id", _ID, nullable=False),
    Column("entity_id", _ID, nullable=False),
    Column("n_documents", Integer, nullable=False),
    Column("profile", JSON, nullable=False),
    Index("senses_of_name", "name_id"),
    Index("senses_of_entity", "entity_id"),
    sqlite_with_rowid=False,
)

blocks = Table(
    "blocks",
    metadata,
    Column("block", String(200), primary_key=True),
    Column("sense_id", _ID, primary_key=True),
    Index("blocks_of_sense", "sense_id"),
    sqlite_with_rowid=False,
)

block_windows = Table(
    "block_windows",
    metadata,
    Column("block", String(200), primary_key=True),
    Column("last", _ID, nullable=False),
    sqlite_with_rowid=False,
)
"""``last`` is the largest sense id of the block that is compared with others of it."""

links = Table(
    "links",
    metadata,
    Column("left_id", _ID, primary_key=True),
    Column("right_id", _ID, primary_key=True),
    Column("score", Double, nullable=False),
    Column("is_automatic", Boolean, nullable=False),
    Column("reasons", JSON, nullable=False),
    Index("links_of_right", "right_id"),
    sqlite_with_rowid=False,
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("left_id", _ID, nullable=False),
    Column("right_id", _ID, nullable=False),
    Column("left_sources", JSON, nullable=False),
    Column("right_sources", JSON, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("undone_at", String(40), nullable=False),
    Column("note", Text, nullable=False),
    Index("decisions_on_left", "left_id"),
    Index("decisions_on_right", "right_id"),
)
