"""Cut a document and its captions into chunks: the units of retrieval and citation.

Layer: ``kg``; the standard library only. The encoder's tokens are counted through the ``kg.ports.Tokenizer`` port.

How. A document is cut into *segments* at page starts and headings, a caption at its lines; a segment into sentences
(``kg.sentences``); a sentence longer than a whole chunk into pieces, at white space where there is some. Chunks are
then packed greedily from these units:

- a chunk never crosses a page of a paged document, unless ``cross_pages`` is set; then ``page_first`` and ``page_last``
  say so;
- a heading opens a new chunk once the current one holds ``min_tokens``, so tiny sections share a chunk;
- the next chunk repeats up to ``overlap_tokens`` of whole sentences, but not across a page or section break;
- a last chunk shorter than ``min_tokens`` reaches back for more sentences instead of standing alone.

- a table has chunks of its own, cut from its words (``Table.text``) between two rows; no other chunk runs into it.

Every character that is not white space is in some chunk (those of a table as its words), and ``chunk.text`` is exactly
the characters at ``chunk.span``. Time is linear in the text (:mod:`kg.packing`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kg.errors import InputError
from kg.ids import chunk_id
from kg.packing import ChunkingConfig, Unit, pack_units, row_units, units_of
from kg.ports import Tokenizer
from kg.types import Asset, Caption, Chunk, Document, Heading, Modality, Span, Table

__all__ = ["ChunkingConfig", "chunk_document"]


def chunk_document(
    document: Document,
    captions: Sequence[Caption],
    tokenizer: Tokenizer,
    config: ChunkingConfig | None = None,
) -> tuple[Chunk, ...]:
    """Cut a document's text and its pictures' captions into chunks, in reading order.

    A table's chunks stand where the table does; a caption's behind the text chunk in which the picture's anchor lies.

    :param document: What a loader returned.
    :param captions: Captions of some of the document's assets.
    :param tokenizer: Counts tokens as the encoder will.
    :param config: Sizes; ``None`` takes the defaults.
    :returns: Chunks with ordinals 0, 1, …; empty where there is nothing but white space.
    :raises InputError: If a caption describes an asset that the document does not have.
    """
    config = config or ChunkingConfig()
    placed = [((chunk.span.start, 0, 0, 0), chunk) for chunk in _text_chunks(document, tokenizer, config)]
    paths = _HeadingPaths(document.headings)
    for table in document.tables:
        start = table.span.start if table.span is not None else 0
        for chunk in _table_chunks(table, paths.at(start), tokenizer, config):
            placed.append(((start, 0, table.ordinal, chunk.span.start), chunk))
    assets = {asset.asset_id: asset for asset in document.assets}
    page_starts = {page.number: page.span.start for page in reversed(document.pages)}
    for caption in captions:
        asset = assets.get(caption.asset_id)
        if asset is None:
            raise InputError(f"chunk_document({document.name}): caption of unknown asset {caption.asset_id!r}.")
        anchor = max(asset.anchor, page_starts.get(asset.page, 0))
        for chunk in _caption_chunks(document, asset, caption, tokenizer, config):
            placed.append(((anchor, 1, asset.ordinal, chunk.span.start), chunk))
    placed.sort(key=lambda item: item[0])
    return tuple(replace(chunk, ordinal=ordinal) for ordinal, (_, chunk) in enumerate(placed))


def _text_chunks(document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[Chunk]:
    barriers = {page.span.start for page in document.pages} if document.is_paged and not config.cross_pages else set()
    headings = {heading.span.start: heading.span.end for heading in document.headings if len(heading.span)}
    tables = sorted((table.span for table in document.tables if table.span is not None), key=lambda span: span.start)
    bounds = {0, len(document.text), *barriers, *headings, *headings.values()}
    bounds.update(bound for table in tables for bound in (table.start, table.end))
    units = units_of(document.text, sorted(bounds), barriers, headings, tokenizer, config, skipped=tables)
    paths = _HeadingPaths(document.headings)
    for cut in pack_units(document.text, units, tokenizer, config):
        start, end = units[cut.first].start, units[cut.stop - 1].end
        yield Chunk(
            chunk_id=chunk_id(document.document_id, None, start, end),
            document_id=document.document_id,
            ordinal=0,
            text=document.text[start:end],
            span=Span(start=start, end=end),
            page_first=document.page_at(start),
            page_last=document.page_at(end - 1),
            modality=Modality.TEXT,
            n_tokens=cut.n_tokens,
            heading=paths.ofunits_of(units[cut.first : cut.stop]),
        )


def _table_chunks(table: Table, path: str, tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[Chunk]:
    """Cut a table's words between rows; a chunk without the table's caption has it at the end of its heading path."""
    alone = replace(config, overlap_tokens=0, min_tokens=0)
    units = row_units(table.text, table.row_spans, tokenizer, alone)
    first_row = table.row_spans[0].start if table.row_spans else 0
    caption = " ".join(table.text[:first_row].split())
    for cut in pack_units(table.text, units, tokenizer, alone):
        start, end = units[cut.first].start, units[cut.stop - 1].end
        yield Chunk(
            chunk_id=chunk_id(table.document_id, table.table_id, start, end),
            document_id=table.document_id,
            ordinal=0,
            text=table.text[start:end],
            span=Span(start=start, end=end),
            page_first=table.page,
            page_last=table.page,
            modality=Modality.TABLE,
            n_tokens=cut.n_tokens,
            heading=path if start == 0 or not caption else " > ".join(filter(None, (path, caption))),
            box=table.box,
            table_id=table.table_id,
        )


def _caption_chunks(
    document: Document, asset: Asset, caption: Caption, tokenizer: Tokenizer, config: ChunkingConfig
) -> Iterator[Chunk]:
    bounds = {0, len(caption.text)}
    for line in caption.lines:
        bounds.update((line.span.start, line.span.end))
    # Rows said in words repeat what stands in reading order before them: chunks of their own blur no other vector.
    rows = [line.span.start for line in caption.lines if line.source == "table"]
    units = units_of(caption.text, sorted(bounds), set(rows[:1]), {}, tokenizer, config)
    heading = _HeadingPaths(document.headings).at(asset.anchor)
    for cut in pack_units(caption.text, units, tokenizer, config):
        start, end = units[cut.first].start, units[cut.stop - 1].end
        yield Chunk(
            chunk_id=chunk_id(document.document_id, asset.asset_id, start, end),
            document_id=document.document_id,
            ordinal=0,
            text=caption.text[start:end],
            span=Span(start=start, end=end),
            page_first=asset.page,
            page_last=asset.page,
            modality=asset.kind,
            n_tokens=cut.n_tokens,
            heading=heading,
            asset_id=asset.asset_id,
            box=asset.box,
        )


class _HeadingPaths:
    """The path of headings in force at each character: ``"Manual > Safety"``."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._starts: list[int] = []
        self._paths: list[tuple[str, ...]] = []
        stack: list[tuple[int, str]] = []
        for heading in sorted(headings, key=lambda h: h.span.start):
            while stack and stack[-1][0] >= heading.level:
                stack.pop()
            stack.append((heading.level, " ".join(heading.text.split())))
            self._starts.append(heading.span.start)
            self._paths.append(tuple(text for _, text in stack))

    def _path(self, offset: int) -> tuple[str, ...]:
        index = bisect_right(self._starts, offset) - 1
        return self._paths[index] if index >= 0 else ()

    def at(self, offset: int) -> str:
        return " > ".join(self._path(offset))

    def ofunits_of(self, units: Sequence[Unit]) -> str:
        """Return the longest path that all units share; headings count only where a chunk is headings alone."""
        body = [unit for unit in units if not unit.heading] or units[-1:]
        common = self._path(body[0].start)
        for unit in body[1:]:
            path = self._path(unit.start)
            n_shared = 0
            while n_shared < min(len(common), len(path)) and common[n_shared] == path[n_shared]:
                n_shared += 1
            common = common[:n_shared]
        return " > ".join(common)
