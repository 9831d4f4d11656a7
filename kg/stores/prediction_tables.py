"""The tables of predicted links: in the record's database, and apart from all that documents state.

Layer: ``kg``; SQLAlchemy Core only. The ends of a link are kept as decisions keep theirs (:mod:`kg.stores.decisions`):
by name and, where the name has several senses, by the documents that use the sense meant. So a prediction follows every
merge and split, and holds no word of a document but what ``evidence`` says, which goes with the passages behind it.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from kg.stores.schema import metadata

__all__ = ["prediction_chunks", "predictions"]

_ID = String(40)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", _ID, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("relation_id", _ID, nullable=False),
    Column("head_name_id", _ID, nullable=False),
    Column("tail_name_id", _ID, nullable=False),
    Column("score", Double, nullable=False),
    Column("probability", Double, nullable=False),
    Column("calibrated", Double),
    Column("rank", Integer, nullable=False),
    Column("n_passages", Integer, nullable=False),
    Column("model", String(80), nullable=False),
    Column("run", _ID, nullable=False),
    Column("made_at", String(40), nullable=False),
    Column("decided_at", String(40), nullable=False),
    Column("document_id", _ID, ForeignKey("documents.document_id", ondelete="SET NULL")),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("relation", Text, nullable=False),
    Column("head_sources", JSON, nullable=False),
    Column("tail_sources", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Index("predictions_by_status", "status"),
    Index("predictions_of_document", "document_id"),
)
"""``relation_id`` is the hash of the relation's words: a rejected link is known by it when the words are gone."""

prediction_chunks = Table(
    "prediction_chunks",
    metadata,
    Column("prediction_id", _ID, ForeignKey("predictions.prediction_id", ondelete="CASCADE"), primary_key=True),
    Column("chunk_id", _ID, ForeignKey("chunks.chunk_id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Index("predictions_of_chunk", "chunk_id"),
    sqlite_with_rowid=False,
)
