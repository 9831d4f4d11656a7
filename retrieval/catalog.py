"""Which chunks one version of the record holds, and what filters ask about them.

Layer: ``retrieval``; imports ``kg``. Everything here is read once per chunk and then kept, so that a filter
costs look-ups and no read of the record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from kg.types import DocumentInfo, Modality

__all__ = ["Catalog"]


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Which chunks one version of the record holds, and what filters ask about them."""

    version: int
    documents: dict[str, DocumentInfo]
    document_of: dict[str, str]
    modality_of: dict[str, Modality]
    heading_of: dict[str, str]
    """The headings above a chunk; chunks without any are left out."""
    pages_of: dict[str, tuple[int, int]]
    """A chunk's first and last page, of documents that have pages."""

    @property
    def chunk_ids(self) -> Collection[str]:
        """The ids of all chunks, sorted."""
        return self.document_of.keys()

    @cached_property
    def chunks_of(self) -> dict[str, tuple[str, ...]]:
        """The chunks of each document, sorted."""
        chunks: dict[str, list[str]] = {}
        for chunk_id, document_id in self.document_of.items():
            chunks.setdefault(document_id, []).append(chunk_id)
        return {document_id: tuple(chunk_ids) for document_id, chunk_ids in chunks.items()}

    def allowed(
        self,
        document_ids: Collection[str] | None,
        modalities: Collection[Modality] | None,
        chunk_ids: Collection[str] | None = None,
    ) -> frozenset[str] | None:
        """Return the chunks that a filter lets through, ``None`` where there is no filter.

        :param document_ids: Only chunks of these documents; ``None`` allows all.
        :param modalities: Only chunks of these kinds; ``None`` allows all.
        :param chunk_ids: Only these chunks, as far as they exist; ``None`` allows all.
        :returns: Chunk ids.
        """
        if document_ids is None and modalities is None and chunk_ids is None:
            return None
        kinds = None if modalities is None else frozenset(modalities)
        chunks: Iterable[str] = self.document_of.keys() if chunk_ids is None else chunk_ids
        if document_ids is not None:
            of_documents = (one for name in frozenset(document_ids) for one in self.chunks_of.get(name, ()))
            chunks = of_documents if chunk_ids is None else frozenset(chunk_ids).intersection(of_documents)
        return frozenset(
            one for one in chunks if one in self.document_of and (kinds is None or self.modality_of[one] in kinds)
        )
