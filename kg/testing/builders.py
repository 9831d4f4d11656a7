"""Make files, documents and deltas for tests from a line of text.

Layer: ``kg``. Everything goes through the fakes of :mod:`kg.testing.fakes`, whose text format it shares.
"""

from __future__ import annotations

from dataclasses import replace

from kg import ids
from kg.ingest import IngestPipeline
from kg.ports import RecordStore
from kg.testing.fakes import (
    AltTextCaptioner,
    CapitalisedWordExtractor,
    NameResolver,
    PlainTextLoader,
    chunk_by_paragraph,
)
from kg.types import Box, Chunk, Document, Equation, GraphDelta, Heading, Modality, RawFile, Span, Table

__all__ = ["make_delta", "make_document", "make_pipeline", "make_raw", "with_every_field"]


def make_raw(text: str | bytes, *, name: str = "note.txt", source: str | None = None) -> RawFile:
    """Make a text file; its source is ``/docs/NAME`` unless another is given."""
    data = text.encode() if isinstance(text, str) else text
    return RawFile(
        source=source or f"/docs/{name}", name=name, media_type="text/plain", data=data, sha256=ids.sha256_hex(data)
    )


def make_document(text: str, *, name: str = "note.txt", source: str | None = None) -> Document:
    """Make a document in the text format of :mod:`kg.testing.fakes`."""
    return PlainTextLoader().load(make_raw(text, name=name, source=source))


def make_delta(text: str, *, name: str = "note.txt", source: str | None = None) -> GraphDelta:
    """Make the whole change that a text brings to the record."""
    document = make_document(text, name=name, source=source)
    captioner, extractor = AltTextCaptioner(), CapitalisedWordExtractor()
    captions = tuple(caption for asset in document.assets if (caption := captioner.caption_asset(asset)) is not None)
    chunks = chunk_by_paragraph(document, captions)
    extraction = NameResolver().resolve(extractor.extract(chunks, document=document))
    return GraphDelta(document=document, captions=captions, chunks=chunks, extraction=extraction)


def make_pipeline(store: RecordStore) -> IngestPipeline:
    """Make a pipeline of the fakes around a store."""
    return IngestPipeline(
        store=store,
        loaders=PlainTextLoader(),
        chunker=chunk_by_paragraph,
        extractor=CapitalisedWordExtractor(),
        resolver=NameResolver(),
        captioner=AltTextCaptioner(),
    )


def with_every_field(delta: GraphDelta) -> GraphDelta:
    """Fill the fields that the fakes leave at their defaults, so that each can be seen to survive.

    :param delta: The change of a document of at least three chunks and eleven characters, the third chunk a picture.
    :returns: The same with a table of the text and one of the picture, an equation, a heading, metadata and a value.
    """
    box = Box(x0=0.1, y0=0.2, x1=0.3, y1=1 / 3)
    asset = replace(
        delta.document.assets[0],
        box=box,
        caption="Fig. 1",
        surrounding_text="Zürich 東京 🜁\x00",
        data=bytes(range(256)),
        label="Figure 1",
        mentioned_at=(Span(start=0, end=5), Span(start=6, end=11)),
    )
    own, read_off = _table(delta), _table(delta, asset_id=asset.asset_id)
    caption = delta.captions[0]
    caption = replace(caption, score=0.75, lines=(replace(caption.lines[0], box=box, score=0.1),), tables=(read_off,))
    chunk = replace(delta.chunks[0], heading="Manual > Safety", page_last=2)
    picture = replace(delta.chunks[2], box=box)
    document = replace(
        delta.document,
        assets=(asset,),
        headings=(Heading(level=2, text="Marie", span=Span(start=0, end=5)),),
        tables=(own,),
        equations=(Equation(source="Curie", span=Span(start=6, end=11), label="eq:1", page=1),),
        metadata={"author": "Ève", "a": "1"},
    )
    row = Chunk(
        chunk_id="c_table",
        document_id=document.document_id,
        ordinal=3,
        text=own.text,
        span=Span(start=0, end=len(own.text)),
        page_first=1,
        page_last=1,
        modality=Modality.TABLE,
        n_tokens=2,
        table_id=own.table_id,
    )
    first, second, *rest = delta.extraction.mentions
    second = replace(second, value="2021-03", refers_to=first.mention_id)
    return replace(
        delta,
        document=document,
        captions=(caption,),
        chunks=(chunk, delta.chunks[1], picture, row),
        extraction=replace(delta.extraction, mentions=(first, second, *rest)),
    )


def _table(delta: GraphDelta, *, asset_id: str | None = None) -> Table:
    document_id = delta.document.document_id
    return Table(
        table_id=ids.table_id(document_id, asset_id, 0),
        document_id=document_id,
        ordinal=0,
        rows=(("Year", "Élément"), ("1898", "Polonium")),
        n_header_rows=1,
        text="Year: 1898; Élément: Polonium",
        row_spans=(Span(start=0, end=29),),
        source="markup" if asset_id is None else "ocr",
        page=2,
        caption="Found",
        label="Table 1",
        span=Span(start=0, end=11) if asset_id is None else None,
        asset_id=asset_id,
        box=Box(x0=0, y0=0, x1=0.5, y1=1),
        score=0.25,
    )
