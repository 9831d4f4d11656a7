"""The writes of the record, each inside a write transaction that :mod:`kg.stores.record` opens and commits.

Layer: ``kg``; SQLAlchemy Core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from kg.accepted import SOURCE_PREFIX
from kg.errors import NotFoundError
from kg.ports import EntityMatcher
from kg.stores.changes import count_change
from kg.stores.contradictions import Fixed, Statement, questioned, recheck
from kg.stores.entities import drop_entities
from kg.stores.locals import Local, locals_of, locals_of_documents
from kg.stores.prediction_upkeep import forget_lost
from kg.stores.queries import among, run
from kg.stores.rows import Values, asset_row, caption_row, chunk_row, document_row, mention_row, table_row, triple_row
from kg.stores.schema import assets, captions, chunks, documents, mentions, tables, triples
from kg.stores.settle import settle
from kg.stores.vectors import drop_vectors_of_lost_pictures, pictures_of
from kg.types import GraphDelta, IngestStatus, Mention

__all__ = ["apply_delta", "remove_document"]


def apply_delta(
    connection: Connection, delta: GraphDelta, *, matcher: EntityMatcher, functional: Mapping[str, Fixed], added_at: str
) -> IngestStatus:
    """Write one document's change.

    :param connection: A connection in a write transaction.
    :param delta: The change.
    :param matcher: Decides which names mean the same thing.
    :param functional: Relations that have one answer.
    :param added_at: ISO 8601, UTC.
    :returns: ``UNCHANGED`` if the document was there (nothing was written), else ``REPLACED`` or ``ADDED``.
    """
    document = delta.document
    older = connection.execute(_BY_SOURCE, {"source": document.source}).scalar_one_or_none()
    if older == document.document_id or connection.execute(_BY_ID, {"id": document.document_id}).first() is not None:
        return IngestStatus.UNCHANGED
    pictures = [] if older is None else pictures_of(connection, older)
    gone, unsaid = ([], []) if older is None else _delete(connection, older)
    connection.execute(
        _INSERTS[documents.name], [document_row(document, n_chunks=len(delta.chunks), added_at=added_at)]
    )
    added = locals_of(delta, matcher)
    settled = settle(connection, matcher, gone=gone, added=added)
    if older is not None:
        kept = {triple.name for triple in delta.extraction.triples}
        forget_lost(connection, vanished=settled.empty, unsaid=[one for one in unsaid if one[1] not in kept])
    drop_entities(connection, settled.empty)
    said = _insert_parts(connection, delta, added)
    drop_vectors_of_lost_pictures(connection, pictures)
    recheck(connection, questioned((*unsaid, *said, *settled.moved), functional), functional)
    changed = [document.document_id] if older is None else [document.document_id, older]
    count_change(connection, document_ids=changed, entity_ids=settled.touched)
    return IngestStatus.ADDED if older is None else IngestStatus.REPLACED


def remove_document(
    connection: Connection, document_id: str, *, matcher: EntityMatcher, functional: Mapping[str, Fixed], where: str
) -> None:
    """Delete a document and all that came from it.

    :param connection: A connection in a write transaction.
    :param document_id: The document.
    :param matcher: Decides which names mean the same thing.
    :param functional: Relations that have one answer.
    :param where: The record as a user knows it, for the message.
    :raises NotFoundError: If there is no such document.
    """
    source = connection.execute(_SOURCE_OF, {"id": document_id}).scalar_one_or_none()
    if source is None:
        raise NotFoundError(f"There is no document {document_id!r} in {where}. List the documents to see their ids.")
    pictures = pictures_of(connection, document_id)
    gone, unsaid = _delete(connection, document_id)
    drop_vectors_of_lost_pictures(connection, pictures)
    settled = settle(connection, matcher, gone=gone)
    is_note = source.startswith(SOURCE_PREFIX)  # the words of its statement are the prediction's own
    forget_lost(connection, vanished=settled.empty, unsaid=() if is_note else unsaid)
    drop_entities(connection, settled.empty)
    recheck(connection, questioned((*unsaid, *settled.moved), functional), functional)
    count_change(connection, document_ids=[document_id], entity_ids=settled.touched)


def _delete(connection: Connection, document_id: str) -> tuple[list[Local], list[Statement]]:
    """Delete a document; return what it said of each name, and its statements."""
    gone = locals_of_documents(connection, [document_id])
    unsaid = [(head_id, name, tail_id) for head_id, name, tail_id in run(connection, _SAID, [document_id])]
    run(connection, _DROP, [document_id])
    return gone, unsaid


_D, _T = documents.c, triples.c
_BY_ID = select(_D.document_id).where(_D.document_id == bindparam("id"))
_SOURCE_OF = select(_D.source).where(_D.document_id == bindparam("id"))
_BY_SOURCE = select(_D.document_id).where(_D.source == bindparam("source"))
_SAID = (
    select(_T.head_id, _T.name, _T.tail_id)
    .join(chunks, chunks.c.chunk_id == _T.chunk_id)
    .where(among(chunks.c.document_id))
    .distinct()
)
_DROP = delete(documents).where(among(_D.document_id))
_INSERTS = {table.name: insert(table) for table in (documents, assets, captions, tables, chunks, mentions, triples)}


def _insert_parts(connection: Connection, delta: GraphDelta, added: Sequence[Local]) -> set[Statement]:
    """Insert what a document holds; return its statements."""
    document, extraction = delta.document, delta.extraction
    local_of = {local.name_id: local for local in added}
    mention_rows = {one.mention_id: _mention_row(one, local_of[one.entity_id]) for one in extraction.mentions}
    # A statement's id is the hash of all it says, so two with one id are the same statement found twice.
    statements = {triple.triple_id: triple for triple in extraction.triples}.values()
    triple_rows = [
        triple_row(one, head=mention_rows[one.head_mention_id], tail=mention_rows[one.tail_mention_id])
        for one in statements
    ]
    batches = (
        (assets, [asset_row(asset) for asset in document.assets]),
        (captions, [caption_row(caption) for caption in delta.captions]),
        (tables, [table_row(table) for table in delta.tables]),
        (chunks, [chunk_row(chunk) for chunk in delta.chunks]),
        (mentions, list(mention_rows.values())),
        (triples, triple_rows),
    )
    for table, rows in batches:
        if rows:
            connection.execute(_INSERTS[table.name], rows)
    return {(row["head_id"], row["name"], row["tail_id"]) for row in triple_rows}


def _mention_row(mention: Mention, local: Local) -> Values:
    return {**mention_row(mention), "entity_id": local.entity_id, "local_id": local.local_id}
