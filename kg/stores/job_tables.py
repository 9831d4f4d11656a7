"""The tables of jobs: beside those of the record, in the same database, and no part of what the record says.

Layer: ``kg``; SQLAlchemy Core only. Times are seconds since 1970 (UTC), as whole milliseconds where they are written.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from kg.stores.schema import metadata

__all__ = ["job_items", "jobs"]

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(40), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    Column("is_cancel_asked", Boolean, nullable=False),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("owner_started", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("request", JSON, nullable=False),
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Double),
    Column("seconds", Double, nullable=False),
    Column("document_id", String(40), nullable=False),
    Column("error_code", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("outcomes", JSON, nullable=False),
    Index("job_items_by_state", "job_id", "state", "ordinal"),
)
