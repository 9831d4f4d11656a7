"""Documents and chunks of the record as a graph store keeps them.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from kg.ports import ChunkNode, DocumentNode
from kg.types import Chunk, DocumentInfo

__all__ = ["chunk_node", "document_node"]


def document_node(info: DocumentInfo) -> DocumentNode:
    """Keep of a document what a citation needs."""
    return DocumentNode(
        document_id=info.document_id,
        name=info.name,
        source=info.source,
        title=info.title,
        media_type=info.media_type,
    )


def chunk_node(chunk: Chunk) -> ChunkNode:
    """Keep of a chunk its place."""
    return ChunkNode(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        ordinal=chunk.ordinal,
        page_first=chunk.page_first,
        page_last=chunk.page_last,
        modality=chunk.modality,
    )
