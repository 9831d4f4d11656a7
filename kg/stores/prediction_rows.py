"""Rows of predictions, and which links they mean now.

Layer: ``kg``; SQLAlchemy Core, inside a transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from kg.ids import content_id
from kg.ports import PredictionKey, PredictionStatus, StoredPrediction
from kg.stores.deciding import find_sense, side_of
from kg.stores.decisions import Side, senses_meant
from kg.stores.naming_tables import senses
from kg.stores.prediction_tables import prediction_chunks, predictions
from kg.stores.queries import in_batches
from kg.stores.schema import triples
from kg.types import Origin

__all__ = ["by_link", "read_predictions", "relation_words", "sides_of_link", "stated_links"]

_ORDER = {PredictionStatus.ACCEPTED: 0, PredictionStatus.REJECTED: 0, PredictionStatus.OPEN: 1}


def relation_words(name: str) -> str:
    """Return a relation's words with single spaces, as links are learnt from them."""
    return " ".join(name.split())


def sides_of_link(connection: Connection, link: PredictionKey, *, where: str) -> tuple[Side, Side]:
    """Say by stable ids which senses a link's ends mean; raise ``NotFoundError`` for an unknown entity."""
    head, tail = (side_of(connection, *find_sense(connection, end, where=where)) for end in (link[0], link[2]))
    return head, tail


def stated_links(connection: Connection, head_ids: Collection[str]) -> set[PredictionKey]:
    """Return the links from these entities that a document (or a person) states."""
    t = triples.c
    found: set[PredictionKey] = set()
    for batch in in_batches(sorted(head_ids)):
        query = select(t.head_id, t.name, t.tail_id).where(t.head_id.in_(batch), t.origin != Origin.PREDICTED.value)
        found |= {(row.head_id, relation_words(row.name), row.tail_id) for row in connection.execute(query.distinct())}
    return found


def read_predictions(
    connection: Connection,
    ids: Sequence[str] | None = None,
    *,
    relation_ids: Collection[str] | None = None,
    is_decided: bool = False,
) -> list[StoredPrediction]:
    """Return all predictions, by id, with their ends as they are now.

    :param connection: The transaction.
    :param ids: Only those of these ids.
    :param relation_ids: Only those of relations with these hashes; all predictions of one link have the same.
    :param is_decided: Only those that a person decided on. One whose note was deleted since is among them, open again.
    :returns: The predictions.
    """
    wanted: list[ColumnElement[bool]] = []
    if relation_ids is not None:  # rows of older records have no hash of their relation
        wanted.append(predictions.c.relation_id.in_([*relation_ids, ""]))
    if is_decided:
        wanted.append(predictions.c.status != PredictionStatus.OPEN.value)
    rows: list[Row[Any]] = []
    chunks: dict[str, list[str]] = defaultdict(list)
    c = prediction_chunks.c
    for batch in [None] if ids is None else in_batches(sorted(ids)):
        conditions = wanted if batch is None else [*wanted, predictions.c.prediction_id.in_(batch)]
        passages = select(c.prediction_id, c.chunk_id).order_by(c.prediction_id, c.ordinal)
        if conditions:
            passages = passages.where(c.prediction_id.in_(select(predictions.c.prediction_id).where(*conditions)))
        rows += connection.execute(select(predictions).where(*conditions)).all()
        for prediction_id, chunk_id in connection.execute(passages):
            chunks[prediction_id].append(chunk_id)
    entity_of = _entities_meant(connection, (side for row in rows for side in _sides(row)))
    found = [_to_prediction(row, entity_of, chunks[row.prediction_id]) for row in rows]
    if relation_ids is not None:
        found = [one for one in found if one.relation_id in relation_ids]
    return sorted(found, key=lambda one: one.prediction_id)


def by_link(found: Iterable[StoredPrediction]) -> dict[PredictionKey, StoredPrediction]:
    """Keep one prediction for each link: what a person decided, the last word first, before what is open.

    After a merge two predictions may mean one link. Links are keyed by the hash of their relation.
    """
    chosen: dict[PredictionKey, StoredPrediction] = {}
    for one in sorted(found, key=lambda one: (_ORDER[one.status], _reversed(one.decided_at), one.prediction_id)):
        gone = "" if one.head_id and one.tail_id else one.prediction_id  # what is gone is no other's link
        chosen.setdefault((one.head_id or gone, one.relation_id, one.tail_id or gone), one)
    return chosen


def _reversed(text: str) -> tuple[int, ...]:
    return tuple(-ord(char) for char in text)


def _sides(row: Row[Any]) -> tuple[Side, Side]:
    return (row.head_name_id, tuple(row.head_sources)), (row.tail_name_id, tuple(row.tail_sources))


def _entities_meant(connection: Connection, sides: Iterable[Side]) -> dict[Side, str]:
    meant = senses_meant(connection, sides, unsaved={})
    entity_of: dict[str, str] = {}
    for batch in in_batches(sorted(set(meant.values()))):
        query = select(senses.c.sense_id, senses.c.entity_id).where(senses.c.sense_id.in_(batch))
        entity_of.update((row.sense_id, row.entity_id) for row in connection.execute(query))
    return {side: entity_of[sense_id] for side, sense_id in meant.items()}


def _to_prediction(row: Row[Any], entity_of: dict[Side, str], chunk_ids: Sequence[str]) -> StoredPrediction:
    head, tail = _sides(row)
    status = PredictionStatus(row.status)
    if status is PredictionStatus.ACCEPTED and row.document_id is None:
        status = PredictionStatus.OPEN  # its note was deleted, so nothing asserts it any more
    is_open = status is PredictionStatus.OPEN
    return StoredPrediction(
        prediction_id=row.prediction_id,
        head_id=entity_of.get(head, ""),
        relation=row.relation,
        tail_id=entity_of.get(tail, ""),
        status=status,
        score=row.score,
        probability=row.probability,
        calibrated=row.calibrated,
        rank=row.rank,
        model=row.model,
        run=row.run,
        made_at=row.made_at,
        evidence=row.evidence,
        chunk_ids=tuple(chunk_ids),
        n_passages=row.n_passages,
        by="" if is_open else row.by,
        decided_at="" if is_open else row.decided_at,
        note="" if is_open else row.note,
        document_id=row.document_id or "",
        relation_id=row.relation_id or content_id(row.relation),
    )
