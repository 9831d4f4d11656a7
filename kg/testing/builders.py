"""Make files, documents and deltas for tests from a line of text.

Layer: ``kg``. Everything goes through the fakes of :mod:`kg.testing.fakes`, whose text format it shares.
"""

from __future__ import annotations

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
from kg.types import Document, GraphDelta, RawFile

__all__ = ["make_delta", "make_document", "make_pipeline", "make_raw"]


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
