"""The chunks that an exact answer rests on, as evidence that can be shown and cited.

Layer: ``retrieval``; imports ``kg``.
"""

from __future__ import annotations

from kg.ports import RecordStore
from retrieval.exact_questions.types import ExactAnswer, ExactRow
from retrieval.types import Contribution, Evidence, TableRow

__all__ = ["ROWS_CITED", "evidence_of"]

ROWS_CITED = 50
"""Rows of an answer whose chunks are read: more are counted, but nobody reads more citations."""


def evidence_of(store: RecordStore, answer: ExactAnswer) -> list[Evidence]:
    """Read the chunks of an answer's first :data:`ROWS_CITED` rows.

    :param store: The record.
    :param answer: The answer.
    :returns: One piece of evidence per chunk, in the order of the rows, found by the retriever ``exact``.
    :raises NotFoundError: If a document went since the answer was worked out.
    """
    by_chunk: dict[str, list[ExactRow]] = {}
    for row in answer.rows[:ROWS_CITED]:
        if row.chunk_id:
            by_chunk.setdefault(row.chunk_id, []).append(row)
    documents = {info.document_id: info for info in store.documents()}
    return [
        Evidence(
            rank=rank,
            score=1.0,
            chunk=chunk,
            document=documents[chunk.document_id],
            contributions=(Contribution(retriever="exact", rank=rank, score=1.0, share=1.0),),
            entities=tuple(dict.fromkeys(row.label for row in by_chunk[chunk.chunk_id])),
            rows=tuple(TableRow(number=row.row, span=row.span) for row in by_chunk[chunk.chunk_id] if row.row),
        )
        for rank, chunk in enumerate(store.chunks(list(by_chunk)), start=1)
        if chunk.document_id in documents
    ]
