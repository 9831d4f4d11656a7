"""Take out of predictions what a deleted document said, inside the transaction that deletes it.

Layer: ``kg``; SQLAlchemy Core. The passages of a prediction go with their chunks (a foreign key). What it says for
itself is forgotten with the first of them, or if it names an entity that vanished; the words of a relation go with the
last statement that uses them. A prediction that nothing is left of stays only if a person decided on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, select, update

from kg.stores.contradictions import Statement
from kg.stores.prediction_tables import prediction_chunks, predictions
from kg.stores.queries import in_batches
from kg.stores.schema import entities, triples

__all__ = ["forget_lost"]


def forget_lost(connection: Connection, *, vanished: Iterable[str], unsaid: Iterable[Statement]) -> None:
    """Forget what predictions hold of documents that were just deleted.

    :param connection: A connection in a write transaction; the documents are deleted, and the rows of ``entities`` that
        nothing is left of still stand.
    :param vanished: The entities that nothing is left of.
    :param unsaid: The statements that were deleted.
    """
    p = predictions.c
    if connection.execute(select(p.prediction_id).limit(1)).first() is None:
        return
    words = _words_of(connection, vanished)
    c = prediction_chunks.c
    counts = select(c.prediction_id, func.count()).group_by(c.prediction_id)
    left = {prediction_id: int(count) for prediction_id, count in connection.execute(counts)}
    lost = [
        row.prediction_id
        for row in connection.execute(select(p.prediction_id, p.n_passages, p.evidence))
        if left.get(row.prediction_id, 0) < row.n_passages or _names_one(row.evidence, words)
    ]
    for batch in in_batches(lost):
        connection.execute(update(predictions).where(p.prediction_id.in_(batch)).values(evidence={}))
    for name in sorted({name for _, name, _ in unsaid}):
        relation = " ".join(name.split())
        if connection.execute(select(triples.c.triple_id).where(triples.c.name == name).limit(1)).first() is None:
            ours = p.relation == relation
            connection.execute(delete(predictions).where(ours, p.status == "open"))
            connection.execute(update(predictions).where(ours).values(relation=""))


def _words_of(connection: Connection, vanished: Iterable[str]) -> set[str]:
    """Return the ids, names and other names of these entities."""
    found: set[str] = set()
    for batch in in_batches(sorted(vanished)):
        query = select(entities.c.entity_id, entities.c.name, entities.c.aliases)
        for entity_id, name, aliases in connection.execute(query.where(entities.c.entity_id.in_(batch))):
            found |= {entity_id, name, *aliases}
    return found


def _names_one(evidence: object, words: set[str]) -> bool:
    if not words or not evidence:
        return False
    text = json.dumps(evidence, ensure_ascii=False)
    return any(word in text for word in words)
