"""Let the doubt about a picture's words reach the statements that were read from them.

Layer: ``kg``; the standard library only. It runs between the extractor and the resolver.

A statement's score is the extractor's times that of the least certain line of the caption that it was read from: the
statement needs all of them. A statement that was read from a table takes the table's score. Statements from the
document's own text stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kg.types import Caption, Chunk, Extraction, Table, Triple

__all__ = ["grade_statements"]


def grade_statements(
    extraction: Extraction, *, chunks: Sequence[Chunk], captions: Sequence[Caption], tables: Sequence[Table] = ()
) -> Extraction:
    """Multiply the score of each statement by that of the words it was read from.

    :param extraction: What the extractor found; its statements carry the extractor's own confidence.
    :param chunks: The chunks that it read.
    :param captions: The captions that the chunks of pictures were cut from.
    :param tables: The tables that the chunks of tables were cut from.
    :returns: The same extraction with graded statements.
    """
    chunk_of = {chunk.chunk_id: chunk for chunk in chunks if chunk.asset_id is not None or chunk.table_id is not None}
    caption_of = {caption.asset_id: caption for caption in captions}
    table_of = {table.table_id: table for table in tables}
    graded = []
    for triple in extraction.triples:
        chunk = chunk_of.get(triple.chunk_id)
        if chunk is None:
            factor = 1.0
        elif chunk.table_id is not None:
            factor = table_of[chunk.table_id].score if chunk.table_id in table_of else 1.0
        else:
            factor = _line_score(triple, caption_of.get(chunk.asset_id or ""))
        graded.append(triple if factor == 1.0 else replace(triple, score=triple.score * factor))
    return replace(extraction, triples=tuple(graded))


def _line_score(triple: Triple, caption: Caption | None) -> float:
    if caption is None:
        return 1.0
    span = triple.span
    touched = [line.score for line in caption.lines if line.span.start < span.end and span.start < line.span.end]
    return min(touched, default=caption.score)
