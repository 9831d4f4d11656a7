"""The tables of the record, for SQLite and PostgreSQL alike.

Layer: ``kg``; SQLAlchemy Core only, no ORM and no SQL dialect.

::

    documents ─┬─ assets ─┬─ captions
               │          └─ tables                     (those read off a picture)
               ├─ tables                                (those of the text)
               ├─ chunks ─┬─ mentions                   (what was read, with its place)
               │          ├─ triples                    (statements between mentions of the document)
               │          └─ vectors                    (what encoders made of it)
               └─ locals                                (what this document says of each name)
    names, senses ── blocks, links                      (which names mean one thing: see kg.stores.naming_tables)
    decisions                                           (what a person said about that: there too)
    entities ──── entity_names                          (the sum of all locals)
    contradictions                                      (statements that cannot all hold)
    picture_vectors                                     (what encoders made of pictures, by their bytes)
    changes                                             (the version at which each thing last changed)
    meta                                                (schema version, change counter)

Every line is a foreign key with ``ON DELETE CASCADE``: deleting a row of ``documents`` deletes all that came from it.
All tables below them follow from the documents that remain and from ``decisions`` alone. They are kept up to date
inside the same transaction at a cost that depends on the document, not on the record (see :mod:`kg.stores.settle`).

Ids come from :mod:`kg.ids`. Large columns stand last, because SQLite reads a row only as far as it has to. Columns that
are younger than their table have a server default, with which :mod:`kg.stores.migrations` adds them to older records.

Ids are hashes, so a B-tree that is ordered by one is written in another page for each row. What a chunk holds is
therefore keyed by the chunk first: the mentions and statements of a chunk share a page, and one index both finds them
and keeps their ids unique. Nothing is looked for by the id of a mention or of a statement alone.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "SCHEMA_VERSION",
    "assets",
    "captions",
    "changes",
    "chunks",
    "contradictions",
    "documents",
    "entities",
    "entity_names",
    "locals_",
    "mentions",
    "meta",
    "metadata",
    "picture_vectors",
    "tables",
    "triples",
    "vectors",
]

SCHEMA_VERSION = 5
"""Raise it with every change of a table, and add the step to :data:`kg.stores.migrations.MIGRATIONS`."""

_ID = String(40)
"""Ids have 22 characters; the room is for a longer digest, should one ever be needed."""

metadata = MetaData()


def _owned_by(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("matcher", Text, nullable=False, server_default=""),
    Column("functional", Text, nullable=False, server_default=""),
)

documents = Table(
    "documents",
    metadata,
    Column("document_id", _ID, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("n_bytes", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("is_paged", Boolean, nullable=False),
    Column("n_pages", Integer, nullable=False),
    Column("n_chunks", Integer, nullable=False),
    Column("n_assets", Integer, nullable=False),
    Column("added_at", String(40), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("pages", JSON, nullable=False),
    Column("headings", JSON, nullable=False),
    Column("equations", JSON, nullable=False, server_default="[]"),
    Column("text", Text, nullable=False),
    UniqueConstraint("source", name="one_document_per_source"),
)

assets = Table(
    "assets",
    metadata,
    Column("asset_id", _ID, primary_key=True),
    Column("document_id", _ID, _owned_by("documents.document_id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("media_type", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("page", Integer, nullable=False),
    Column("box", JSON(none_as_null=True)),
    Column("anchor", Integer, nullable=False),
    Column("alt_text", Text, nullable=False),
    Column("caption", Text, nullable=False),
    Column("surrounding_text", Text, nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("mentioned_at", JSON, nullable=False, server_default="[]"),
    Column("data", LargeBinary, nullable=False),
    Index("assets_of_document", "document_id", "ordinal"),
    Index("assets_by_content", "sha256"),
)

captions = Table(
    "captions",
    metadata,
    Column("asset_id", _ID, _owned_by("assets.asset_id"), primary_key=True),
    Column("captioner", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("lines", JSON, nullable=False),
)

tables = Table(
    "tables",
    metadata,
    Column("table_id", _ID, primary_key=True),
    Column("document_id", _ID, _owned_by("documents.document_id"), nullable=False),
    Column("asset_id", _ID, _owned_by("assets.asset_id")),
    Column("ordinal", Integer, nullable=False),
    Column("source", String(16), nullable=False),
    Column("page", Integer, nullable=False),
    Column("box", JSON(none_as_null=True)),
    Column("start", Integer),
    Column("end", Integer),
    Column("n_header_rows", Integer, nullable=False),
    Column("score", Double, nullable=False),
    Column("label", Text, nullable=False),
    Column("caption", Text, nullable=False),
    Column("row_spans", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("rows", JSON, nullable=False),
    Index("tables_of_document", "document_id", "ordinal"),
    Index("tables_of_asset", "asset_id"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("chunk_id", _ID, primary_key=True),
    Column("document_id", _ID, _owned_by("documents.document_id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page_first", Integer, nullable=False),
    Column("page_last", Integer, nullable=False),
    Column("modality", String(16), nullable=False),
    Column("n_tokens", Integer, nullable=False),
    Column("asset_id", _ID, _owned_by("assets.asset_id")),
    Column("table_id", _ID),
    Column("box", JSON(none_as_null=True)),
    Column("heading", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("chunks_of_document", "document_id", "ordinal", "chunk_id"),
    Index("chunks_of_asset", "asset_id"),
)

entities = Table(
    "entities",
    metadata,
    Column("entity_id", _ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("aliases", JSON, nullable=False),
    Column("n_mentions", Integer, nullable=False),
    Column("n_documents", Integer, nullable=False),
)

entity_names = Table(
    "entity_names",
    metadata,
    Column("entity_id", _ID, _owned_by("entities.entity_id"), primary_key=True),
    Column("surface", Text, primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("folded", Text, nullable=False),
    Column("n_mentions", Integer, nullable=False),
    Index("entity_names_folded", "folded"),
    sqlite_with_rowid=False,
)

locals_ = Table(
    "locals",
    metadata,
    Column("name_id", _ID, primary_key=True),
    Column("local_id", _ID, primary_key=True),
    Column("document_id", _ID, _owned_by("documents.document_id"), nullable=False),
    Column("source_id", _ID, nullable=False),
    Column("sense_id", _ID, nullable=False),
    Column("entity_id", _ID, nullable=False),
    Column("uses", JSON, nullable=False),
    Column("features", JSON, nullable=False),
    Index("locals_of_document", "document_id"),
    Index("locals_of_source", "source_id"),
    sqlite_with_rowid=False,
)
"""What one document says of one name: its contribution, kept apart from all others, with the surface forms and labels
it uses and how often. Rows of a name lie together, and there is no index by sense or entity: ids are hashes, so each
further index would dirty a page for every name of a document. ``senses`` leads from an entity to its names."""

mentions = Table(
    "mentions",
    metadata,
    Column("chunk_id", _ID, _owned_by("chunks.chunk_id"), primary_key=True),
    Column("mention_id", _ID, primary_key=True),
    Column("entity_id", _ID, ForeignKey("entities.entity_id"), nullable=False),
    Column("local_id", _ID, nullable=False, server_default=""),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("value", Text, nullable=False, server_default=""),
    Column("refers_to", _ID, nullable=False, server_default=""),
    Column("text", Text, nullable=False),
    Index("mentions_of_entity", "entity_id", "local_id"),
)

triples = Table(
    "triples",
    metadata,
    Column("chunk_id", _ID, _owned_by("chunks.chunk_id"), primary_key=True),
    Column("triple_id", _ID, primary_key=True),
    Column("head_mention_id", _ID, nullable=False),
    Column("tail_mention_id", _ID, nullable=False),
    Column("head_id", _ID, nullable=False),
    Column("name", Text, nullable=False),
    Column("tail_id", _ID, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("extractor", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("head_label", Text, nullable=False),
    Column("head_value", Text, nullable=False),
    Column("tail_label", Text, nullable=False),
    Column("tail_value", Text, nullable=False),
    Index("triples_of_relation", "head_id", "name", "tail_id", "origin"),
    Index("triples_of_tail", "tail_id", "name"),
)
"""The mentions at both ends are of the same document (:class:`kg.types.GraphDelta` sees to it) and go with it; their
labels and values, which never change, are kept here, so that statements are compared without looking for them."""

vectors = Table(
    "vectors",
    metadata,
    Column("chunk_id", _ID, _owned_by("chunks.chunk_id"), primary_key=True),
    Column("encoder", String(200), primary_key=True),
    Column("content", _ID, nullable=False, server_default=""),
    Column("vector", LargeBinary, nullable=False),
    Index("vectors_by_content", "content"),
)
"""``content`` is the hash of the text that was encoded, so that the same text elsewhere need not be."""

picture_vectors = Table(
    "picture_vectors",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("encoder", String(200), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
"""One row a picture, however many documents hold it; :mod:`kg.stores.vectors` lets it go with the last of them."""

changes = Table(
    "changes",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("item_id", _ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Index("changes_by_version", "version"),
    sqlite_with_rowid=False,
)
"""One row for each document and entity that ever was: what is derived from the record asks what changed since then. Of
things that are gone the id alone stays, a hash from which no word can be read."""

contradictions = Table(
    "contradictions",
    metadata,
    Column("entity_id", _ID, primary_key=True),
    Column("relation", Text, primary_key=True),
    Column("fixed", String(4), primary_key=True),
    Column("triple_id", _ID, primary_key=True),
    Column("chunk_id", _ID, _owned_by("chunks.chunk_id"), nullable=False),
    Column("side", Text, nullable=False),
    Index("contradictions_of_chunk", "chunk_id"),
    sqlite_with_rowid=False,
)
"""Statements that cannot all hold, each in its chunk; those of one ``side`` agree with each other."""
