"""The reads of the record, each inside a read transaction that :mod:`kg.stores.record` opens.

Layer: ``kg``; SQLAlchemy Core. Every look-up here has its index in :mod:`kg.stores.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    Table,
    bindparam,
    func,
    or_,
    select,
)

from kg.errors import NotFoundError
from kg.ids import relation_id
from kg.ports import ChunkRow, MentionRow, TripleRow
from kg.stores.rows import to_asset, to_caption, to_chunk, to_document, to_mention, to_table, to_triple
from kg.stores.schema import assets, captions, chunks, documents, entities, locals_, mentions, tables, triples
from kg.types import Caption, Chunk, Document, Extraction, GraphDelta, Modality, Origin, Relation
from kg.types import Table as DocumentTable

__all__ = [
    "INFO_COLUMNS",
    "STATEMENT_COLUMNS",
    "among",
    "caption",
    "chunk_rows",
    "chunk_stream",
    "document",
    "document_infos",
    "in_batches",
    "mention_rows",
    "relations",
    "rows_by_id",
    "run",
    "statistics",
    "tables_of",
    "to_triple_row",
    "triple_rows",
    "whole_change",
]

_BATCH = 500
"""Ids in one ``IN (…)``. SQLite allows 32,766 parameters (999 before 3.32), PostgreSQL 65,535; beyond some hundreds a
longer list saves nothing."""

_STREAM_ROWS = 1000
"""Chunks fetched at a time by :func:`chunk_stream`: about 1 MiB of text."""

INFO_COLUMNS: tuple[Column[Any], ...] = tuple(
    column for column in documents.c if column.name not in {"pages", "headings", "equations", "text"}
)
"""The columns of ``documents`` that a list needs."""


def in_batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of ids into parts that fit one ``IN (…)``."""
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]


def among(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Make the condition that ``column`` is one of the ids that :func:`run` is given.

    A statement is made with it once, when its module is imported: making one costs about as much as running it.
    """
    return column.in_(bindparam("ids", expanding=True))


def run(connection: Connection, statement: Executable, ids: Iterable[str]) -> list[Any]:
    """Run a statement that was made with :func:`among`, a batch of ids at a time, in the order of ids.

    The list is filled up to a power of two with ids of its own, which changes no answer: so there are ten texts of each
    statement and not five hundred, and the driver, which keeps the statements it has prepared, knows them.

    :param connection: A connection in a transaction.
    :param statement: A query, or a deletion.
    :param ids: The ids.
    :returns: The rows of a query; none of a deletion.
    """
    rows: list[Any] = []
    for batch in in_batches(sorted(set(ids))):
        n_places = min(_BATCH, 1 << (len(batch) - 1).bit_length())
        result = connection.execute(statement, {"ids": [*batch, *[batch[-1]] * (n_places - len(batch))]})
        if result.returns_rows:
            rows += result.all()
    return rows


def rows_by_id(connection: Connection, table: Table, ids: Sequence[str], *, kind: str, where: str) -> list[Row[Any]]:
    """Return the rows of a table with one-column primary key, in the order of ``ids``; an id may come twice.

    :param connection: A connection in a transaction.
    :param table: The table.
    :param ids: Its ids.
    :param kind: What an id names, for the message.
    :param where: The record as a user knows it, for the message.
    :returns: One row for each id.
    :raises NotFoundError: If an id is not there.
    """
    (key,) = table.primary_key.columns
    found: dict[str, Row[Any]] = {}
    for batch in in_batches(list(dict.fromkeys(ids))):
        for row in connection.execute(select(table).where(key.in_(batch))):
            found[row._mapping[key]] = row
    missing = next((one for one in ids if one not in found), None)
    if missing is not None:
        raise NotFoundError(
            f"There is no {kind} {missing!r} in {where}. It may have been removed since its id was looked up."
        )
    return [found[one] for one in ids]


def document(connection: Connection, document_id: str, *, where: str) -> Document:
    """Return a whole document with its assets.

    :param connection: A connection in a transaction.
    :param document_id: The document.
    :param where: The record as a user knows it, for the message.
    :returns: The document.
    :raises NotFoundError: If there is no such document.
    """
    row = connection.execute(select(documents).where(documents.c.document_id == document_id)).first()
    if row is None:
        raise NotFoundError(f"There is no document {document_id!r} in {where}. List the documents to see their ids.")
    pictures = select(assets).where(assets.c.document_id == document_id).order_by(assets.c.ordinal, assets.c.asset_id)
    t = tables.c
    own = select(tables).where(t.document_id == document_id, t.asset_id.is_(None)).order_by(t.ordinal, t.table_id)
    return to_document(
        row,
        assets=[to_asset(picture) for picture in connection.execute(pictures)],
        tables=[to_table(one) for one in connection.execute(own)],
    )


def caption(connection: Connection, asset_id: str) -> Caption | None:
    """Return the caption of an asset with its tables, if it has one."""
    row = connection.execute(select(captions).where(captions.c.asset_id == asset_id)).first()
    if row is None:
        return None
    found = select(tables).where(tables.c.asset_id == asset_id).order_by(tables.c.ordinal, tables.c.table_id)
    return to_caption(row, tables=[to_table(one) for one in connection.execute(found)])


def tables_of(connection: Connection, *, document_id: str | None) -> list[DocumentTable]:
    """Return all tables (of one document): by document, its own before those of its pictures, then ordinal."""
    t = tables.c
    query = select(tables) if document_id is None else select(tables).where(t.document_id == document_id)
    found = [to_table(row) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one.document_id, one.asset_id or "", one.ordinal, one.table_id))


def whole_change(connection: Connection, document_id: str) -> GraphDelta:
    """Return a stored document's change as it was applied: the entities of its mentions are name ids again."""
    whole = document(connection, document_id, where="the record")
    found = [caption(connection, asset.asset_id) for asset in whole.assets]
    m, t, c = mentions.c, triples.c, chunks.c
    ours = select(c.chunk_id).where(c.document_id == document_id)
    named = select(mentions, locals_.c.name_id).join(
        locals_, (locals_.c.local_id == m.local_id) & (locals_.c.document_id == document_id)
    )
    read = connection.execute(named.where(m.chunk_id.in_(ours)).order_by(m.mention_id))
    said = connection.execute(select(triples).where(t.chunk_id.in_(ours)).order_by(t.triple_id))
    return GraphDelta(
        document=whole,
        captions=tuple(one for one in found if one is not None),
        chunks=tuple(chunk_stream(connection, document_id=document_id)),
        extraction=Extraction(
            mentions=tuple(replace(to_mention(row), entity_id=row.name_id) for row in read),
            triples=tuple(to_triple(row) for row in said),
        ),
    )


def chunk_stream(connection: Connection, *, document_id: str | None) -> Iterator[Chunk]:
    """Yield chunks by document, ordinal and id, a thousand at a time in memory."""
    query = select(chunks).order_by(chunks.c.document_id, chunks.c.ordinal, chunks.c.chunk_id)
    if document_id is not None:
        query = query.where(chunks.c.document_id == document_id)
    for row in connection.execution_options(yield_per=_STREAM_ROWS).execute(query):
        yield to_chunk(row)


_CHUNK_ROWS = select(
    *(chunks.c[name] for name in ("chunk_id", "document_id", "modality", "heading", "page_first", "page_last"))
)
_CHUNK_ROWS_OF, _INFOS = _CHUNK_ROWS.where(among(chunks.c.document_id)), select(*INFO_COLUMNS)
_INFOS_OF = _INFOS.where(among(documents.c.document_id))


def chunk_rows(connection: Connection, *, document_ids: Sequence[str] | None) -> list[ChunkRow]:
    """Return every chunk's document and kind (in these documents), without its words, in no order."""
    rows = connection.execute(_CHUNK_ROWS) if document_ids is None else run(connection, _CHUNK_ROWS_OF, document_ids)
    kinds = {kind.value: kind for kind in Modality}
    return [
        ChunkRow(
            chunk_id=chunk_id,
            document_id=document_id,
            modality=kinds[kind],
            heading=heading,
            page_first=page_first,
            page_last=page_last,
        )
        for chunk_id, document_id, kind, heading, page_first, page_last in rows
    ]


def document_infos(connection: Connection, *, document_ids: Sequence[str] | None) -> Iterable[Row[Any]]:
    """Return the :data:`INFO_COLUMNS` of every document (of these ids), in no order."""
    return connection.execute(_INFOS) if document_ids is None else run(connection, _INFOS_OF, document_ids)


def relations(connection: Connection, *, entity_id: str | None, document_ids: Sequence[str] | None) -> list[Relation]:
    """Sum the statements of each relation; its score is that of its best statement, which no order can change.

    :param connection: A connection in a transaction.
    :param entity_id: Only relations that have this entity at one end; ``None`` for all.
    :param document_ids: Only statements of these documents; ``None`` for all.
    :returns: Relations by id, then origin (one pair may be related by extraction and by prediction).
    """
    t = triples.c
    key = (t.head_id, t.name, t.tail_id, t.origin)
    query: Select[Any] = select(*key, func.count().label("n_statements"), func.max(t.score).label("score"))
    query = query.group_by(*key)
    if entity_id is not None:
        query = query.where(or_(t.head_id == entity_id, t.tail_id == entity_id))
    sums: dict[tuple[str, str, str, str], tuple[int, float]] = {}
    for part in _within(query, t.chunk_id, document_ids):
        for row in connection.execute(part):
            n, score = sums.get((row.head_id, row.name, row.tail_id, row.origin), (0, 0.0))
            sums[(row.head_id, row.name, row.tail_id, row.origin)] = (n + row.n_statements, max(score, row.score))
    found = [
        Relation(
            relation_id=relation_id(head_id, name, tail_id),
            head_id=head_id,
            name=name,
            tail_id=tail_id,
            origin=Origin(origin),
            n_statements=n_statements,
            score=score,
        )
        for (head_id, name, tail_id, origin), (n_statements, score) in sums.items()
    ]
    return sorted(found, key=lambda relation: (relation.relation_id, relation.origin))


def _within(
    query: Select[Any], chunk_id: ColumnElement[str], document_ids: Sequence[str] | None
) -> Iterator[Select[Any]]:
    """Yield a query on chunks' rows as it is, or one for each batch of the documents it is bound to."""
    if document_ids is None:
        yield query
        return
    for batch in in_batches(sorted(set(document_ids))):
        yield query.where(chunk_id.in_(select(chunks.c.chunk_id).where(chunks.c.document_id.in_(batch))))


def mention_rows(connection: Connection, *, document_ids: Sequence[str] | None) -> list[MentionRow]:
    """Return every mention's place and entity (in these documents), by chunk and span."""
    m = mentions.c
    query = select(m.chunk_id, m.start, m.end, m.mention_id, m.entity_id, m.label, m.refers_to)
    rows = [tuple(row) for part in _within(query, m.chunk_id, document_ids) for row in connection.execute(part)]
    return [
        MentionRow(
            chunk_id=chunk_id, entity_id=entity_id, start=start, end=end, label=label, is_reference=bool(refers_to)
        )
        for chunk_id, start, end, _, entity_id, label, refers_to in sorted(rows)  # no two have the same first four
    ]


STATEMENT_COLUMNS: tuple[Column[Any], ...] = tuple(
    triples.c[name] for name in ("triple_id", "chunk_id", "head_id", "name", "tail_id", "score", "origin")
)
"""The columns of ``triples`` that :func:`to_triple_row` needs."""


def to_triple_row(row: Row[Any]) -> TripleRow:
    """Make the statement of a row that holds at least :data:`STATEMENT_COLUMNS`."""
    return TripleRow(
        triple_id=row.triple_id,
        chunk_id=row.chunk_id,
        head_id=row.head_id,
        name=row.name,
        tail_id=row.tail_id,
        score=row.score,
        origin=row.origin,
    )


def triple_rows(
    connection: Connection, *, relation: tuple[str, str, str] | None, document_ids: Sequence[str] | None
) -> list[TripleRow]:
    """Return statements by id, all or those of one ``(head_id, name, tail_id)`` (in these documents)."""
    t = triples.c
    query: Select[Any] = select(*STATEMENT_COLUMNS)
    if relation is not None:
        head_id, name, tail_id = relation
        query = query.where(t.head_id == head_id, t.name == name, t.tail_id == tail_id)
    rows = [to_triple_row(row) for part in _within(query, t.chunk_id, document_ids) for row in connection.execute(part)]
    return sorted(rows, key=lambda row: row.triple_id)


def statistics(connection: Connection) -> dict[str, int]:
    """Count what the record holds."""
    t = triples.c
    distinct_relations = select(t.head_id).group_by(t.head_id, t.name, t.tail_id, t.origin).subquery()
    counts = {
        "documents": select(func.count()).select_from(documents),
        "pages": select(func.coalesce(func.sum(documents.c.n_pages), 0)),
        "assets": select(func.count()).select_from(assets),
        "tables": select(func.count()).select_from(tables),
        "equations": select(func.coalesce(func.sum(func.json_array_length(documents.c.equations)), 0)),
        "chunks": select(func.count()).select_from(chunks),
        "mentions": select(func.count()).select_from(mentions),
        "entities": select(func.count()).select_from(entities),
        "relations": select(func.count()).select_from(distinct_relations),
        "triples": select(func.count()).select_from(triples),
    }
    return {name: int(connection.execute(query).scalar_one()) for name, query in counts.items()}
