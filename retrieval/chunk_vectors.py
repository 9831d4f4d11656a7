"""Make the vectors of new chunks during ingest, exactly as the search would make them later.

Layer: ``retrieval``; satisfies :class:`kg.ports.ChunkEncoder`.

Shape suffixes: N texts, D vector width.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.ports import EncodedChunk, RecordStore
from kg.types import GraphDelta
from retrieval.config import RetrievalConfig
from retrieval.derived import searchable_text, vector_space
from retrieval.picture_fields import FIELDS, encoded_fields
from retrieval.types import TextEncoder
from retrieval.vector_cache import Recent, encode_new

__all__ = ["IngestChunkEncoder"]


class IngestChunkEncoder:
    """Encodes the chunks of several documents in one call; the encoder sorts them by length.

    :param encoder: Turns texts into vectors.
    :param config: The constants of retrieval, which decide what is encoded of a chunk.
    :param store: The record, for vectors of texts that it holds already; ``None`` encodes every text.
    """

    def __init__(self, encoder: TextEncoder, config: RetrievalConfig, *, store: RecordStore | None = None) -> None:
        self._encoder = encoder
        self._limit = config.max_context_characters
        self._store = store
        self._recent = Recent()
        self._recent_of = {field: Recent() for field in FIELDS}
        self.space = vector_space(encoder, config)

    def encode(self, deltas: Sequence[GraphDelta]) -> list[list[EncodedChunk]]:
        """Return the vectors of each document's chunks, in order.

        :param deltas: Documents with their chunks.
        :returns: For each document, the vector of each chunk, and of each field of its pictures. *Shape:* ``(D,)``.
        :raises EncoderError: If the encoder fails.
        """
        texts = [
            searchable_text(chunk, title=delta.document.title, max_context_characters=self._limit)
            for delta in deltas
            for chunk in delta.chunks
        ]
        contents, vectors = encode_new(texts, self._encoder, space=self.space, store=self._store, recent=self._recent)
        left = iter(contents)
        of_fields = encoded_fields(deltas, self._encoder, store=self._store, recent=self._recent_of)
        return [
            [
                *(
                    EncodedChunk(chunk_id=chunk.chunk_id, vector=vectors[content], content=content)
                    for chunk in delta.chunks
                    for content in [next(left)]
                ),
                *fields,
            ]
            for delta, fields in zip(deltas, of_fields, strict=True)
        ]
