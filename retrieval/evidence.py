"""Read the chunks that were found, and say of each who found it and which rows and lines it holds.

Layer: ``retrieval``; imports ``kg``. Part of :class:`retrieval.engine.RetrievalEngine`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kg.errors import NotFoundError
from kg.ports import RecordStore
from kg.types import Caption, CaptionLine, Chunk, Span
from retrieval.derived import Catalog
from retrieval.fusion import ScoredPool
from retrieval.types import Contribution, Evidence, TableRow

__all__ = ["EvidenceReader", "FoundChunk"]

_TABLES_KEPT = 64
"""Tables whose rows' places are kept between searches: some tens of megabytes, where each has 20,000 rows."""
_BY_GRAPH = ("graph", "community")
"""Retrievers without a pool of their own: what they found is ranked as the evidence is."""
_COVERAGE = "coverage"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChunk:
    """A chunk on its way to become evidence."""

    chunk_id: str
    score: float
    shares: Mapping[str, float]
    entities: tuple[str, ...] = ()
    community: str = ""


class EvidenceReader:
    """Makes evidence of found chunks; safe to share between threads.

    :param store: The record.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._row_spans: dict[str, tuple[Span, ...]] = {}

    def read(
        self,
        found: Sequence[FoundChunk],
        pools: Mapping[str, ScoredPool],
        catalog: Catalog,
        *,
        leaves_out_gone: bool = False,
    ) -> list[Evidence]:
        """Read what was found.

        :param found: Chunks, best first.
        :param pools: What each retriever found, for ranks and raw scores.
        :param catalog: The documents.
        :param leaves_out_gone: Leave out what is there no more, rather than fail.
        :returns: Evidence in the same order, ranks from 1.
        :raises NotFoundError: If a chunk is there no more and is not left out.
        """
        if leaves_out_gone:
            read = [item for one in found for item in self._read_if_there(one, pools, catalog)]
            return [_ranked(item, rank) for rank, item in enumerate(read, start=1)]
        ranks = {
            name: {item: (rank, score) for rank, (item, score) in enumerate(pool.pairs, start=1)}
            for name, pool in pools.items()
        }
        evidence = []
        captions: dict[str, Caption | None] = {}
        chunks = self._store.chunks([item.chunk_id for item in found])
        for rank, (item, chunk) in enumerate(zip(found, chunks, strict=True), start=1):
            contributions = [
                Contribution(retriever=name, rank=by_id[item.chunk_id][0], score=by_id[item.chunk_id][1], share=share)
                for name, by_id in ranks.items()
                if item.chunk_id in by_id
                for share in [item.shares.get(name, 0.0)]
            ]
            contributions += [
                Contribution(retriever=name, rank=rank, score=item.score, share=item.shares[name])
                for name in _BY_GRAPH
                if name in item.shares
            ]
            if _COVERAGE in item.shares:  # its score is the part of what was missing that this piece brought
                brought = item.shares[_COVERAGE]
                contributions.append(Contribution(retriever=_COVERAGE, rank=rank, score=brought))
            caption = None
            if chunk.asset_id is not None:  # read once, however many pieces of it were found
                if chunk.asset_id not in captions:
                    captions[chunk.asset_id] = self._store.caption(chunk.asset_id)
                caption = captions[chunk.asset_id]
            evidence.append(
                Evidence(
                    rank=rank,
                    score=item.score,
                    chunk=chunk,
                    document=catalog.documents[chunk.document_id],
                    contributions=tuple(contributions),
                    entities=item.entities,
                    community=item.community,
                    lines=_lines(chunk, caption),
                    rows=self._rows(chunk),
                    n_parts=self._n_parts(chunk, caption),
                )
            )
        return evidence

    def _read_if_there(self, found: FoundChunk, pools: Mapping[str, ScoredPool], catalog: Catalog) -> list[Evidence]:
        try:
            return self.read([found], pools, catalog)
        except NotFoundError:
            return []

    def _n_parts(self, chunk: Chunk, caption: Caption | None) -> int:
        """Count the rows of a chunk's table, or the lines that were read off its picture."""
        if chunk.table_id is not None:
            return len(self._spans_of_rows(chunk.table_id))
        return 0 if caption is None else sum(line.source in ("ocr", "table") for line in caption.lines)

    def _spans_of_rows(self, table_id: str) -> tuple[Span, ...]:
        """Return the places of a table's rows. A table never changes under its id, so they are kept."""
        spans = self._row_spans.get(table_id)
        if spans is None:
            spans = self._store.table(table_id).row_spans
            if len(self._row_spans) >= _TABLES_KEPT:
                self._row_spans.clear()
            self._row_spans[table_id] = spans
        return spans

    def _rows(self, chunk: Chunk) -> tuple[TableRow, ...]:
        """Return the rows of a table that a chunk holds."""
        if chunk.table_id is None:
            return ()
        spans = self._spans_of_rows(chunk.table_id)
        first = bisect_right(spans, chunk.span.start, key=lambda span: span.end)
        stop = bisect_left(spans, chunk.span.end, key=lambda span: span.start)
        return tuple(TableRow(number=index + 1, span=spans[index]) for index in range(first, stop))


def _lines(chunk: Chunk, caption: Caption | None) -> tuple[CaptionLine, ...]:
    if caption is None:
        return ()
    first, last = chunk.span.start, chunk.span.end
    return tuple(line for line in caption.lines if line.span.start < last and first < line.span.end)


def _ranked(item: Evidence, rank: int) -> Evidence:
    voices = (replace(one, rank=rank) if one.retriever in _BY_GRAPH else one for one in item.contributions)
    return replace(item, rank=rank, contributions=tuple(voices))
