"""From files to the record, one file at a time, each wholly or not at all.

Layer: ``kg``; the standard library. It knows ports only: which loader, captioner, extractor or store stands behind them
is chosen in ``api.wiring``.

``RawFile → known already? → load → caption → chunk → extract → resolve → GraphDelta → store.apply``

Nothing is written before :meth:`kg.ports.RecordStore.apply`, which is one transaction. A process that is killed at any
point leaves whole documents only, and running the same ingest again ends in the same state as one that was never
disturbed: files that are in are recognised by source and SHA-256 without being parsed.

Files are taken strictly in the order given, so two runs over the same files report in the same order.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kg import ids
from kg.captioning.context import caption_request
from kg.captioning.grading import grade_statements
from kg.errors import EmptyFileError, InputError, LoadError, MmkgError, StoreError, StoreFullError
from kg.ports import Captioner, CaptionRequest, Extractor, RecordStore, Resolver
from kg.types import (
    Asset,
    Caption,
    Chunk,
    Document,
    DocumentInfo,
    Extraction,
    FileOutcome,
    GraphDelta,
    IngestReport,
    IngestStatus,
    RawFile,
)

__all__ = ["CAPTION_BATCH", "Chunker", "DocumentLoader", "IngestPipeline"]

CAPTION_BATCH = 16
"""Pictures handed to the captioner at once: enough to fill a batch of a vision-language model on one GPU, and at
2,000 × 2,000 pixels still under 200 MiB decoded."""

_INTERNAL = "internal"
"""The error code of a failure that no :class:`MmkgError` explains: a fault of ours or of a library."""

_log = logging.getLogger(__name__)


class DocumentLoader(Protocol):
    """Turns any supported file into a document, as the registry of loaders does."""

    def load(self, raw: RawFile) -> Document:
        """Parse ``raw``; raise a :class:`kg.errors.LoadError` that says what is wrong with it."""
        ...


class Chunker(Protocol):
    """Cuts a document and the captions of its pictures into chunks."""

    def __call__(self, document: Document, captions: Sequence[Caption]) -> Sequence[Chunk]:
        """Return the chunks in reading order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPipeline:
    """Everything that stands between a file and the record.

    :param store: The record.
    :param loaders: Parses files.
    :param chunker: Cuts documents; bind the tokenizer and the sizes into it.
    :param extractor: Finds entities and statements.
    :param resolver: Decides which mentions name the same thing.
    :param captioner: Describes pictures; ``None`` leaves them without words.
    :param caption_batch: Pictures handed to the captioner at once, at least 1.
    :param clock: Seconds of a steady clock, for the report.
    """

    store: RecordStore
    loaders: DocumentLoader
    chunker: Chunker
    extractor: Extractor
    resolver: Resolver
    captioner: Captioner | None = None
    caption_batch: int = CAPTION_BATCH
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        if self.caption_batch < 1:
            raise InputError(f"IngestPipeline: caption_batch must be at least 1, got {self.caption_batch}.")

    def ingest(
        self,
        items: Iterable[RawFile | FileOutcome],
        *,
        on_outcome: Callable[[FileOutcome], None] | None = None,
    ) -> IngestReport:
        """Ingest files one after the other; one that fails does not stop the others.

        Only a failure of the record itself (disk full, locked, damaged) ends the work: each file after it would meet
        the same one after minutes of parsing, so the rest fail at once with the same code and can be run again.

        :param items: Files, or outcomes of files that could not even be opened, which are passed through. They are
            taken one at a time, so an iterator that reads lazily keeps one file in memory.
        :param on_outcome: Called with each outcome as it comes, for progress.
        :returns: One outcome for each item, in their order.
        """
        started = self.clock()
        outcomes: list[FileOutcome] = []
        broken: FileOutcome | None = None
        for item in items:
            if isinstance(item, FileOutcome):
                outcome = item
            elif broken is not None:
                outcome = _not_tried(item, because=broken)
            else:
                outcome, is_record_broken = self._ingest_one(item)
                broken = outcome if is_record_broken else None
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
        return IngestReport(outcomes=tuple(outcomes), seconds=self.clock() - started)

    def ingest_file(self, raw: RawFile) -> FileOutcome:
        """Ingest one file; whatever goes wrong with it stands in the outcome."""
        return self._ingest_one(raw)[0]

    def build(self, raw: RawFile) -> GraphDelta:
        """Make one file's whole change to the record, without writing it.

        :param raw: The file.
        :returns: The change.
        :raises LoadError: If the file cannot be read, or holds neither text nor a picture.
        """
        document = self.loaders.load(raw)
        if document.document_id != ids.document_id(raw.source, raw.sha256):
            raise LoadError(
                f"The loader of {raw.media_type} returned another document ({document.source!r}) for {raw.source!r}. "
                "A document's source and SHA-256 must be those of its file."
            )
        captions = self._describe(document)
        chunks = tuple(self.chunker(document, captions))
        if not chunks and not document.assets:
            raise EmptyFileError(f"{raw.name} holds neither text nor pictures, so there is nothing to find in it.")
        extraction = self.extractor.extract(chunks, document=document) if chunks else Extraction()
        extraction = grade_statements(extraction, chunks=chunks, captions=captions, tables=document.tables)
        return GraphDelta(
            document=document, captions=captions, chunks=chunks, extraction=self.resolver.resolve(extraction)
        )

    def _ingest_one(self, raw: RawFile) -> tuple[FileOutcome, bool]:
        """Return the outcome of one file, and whether the record itself failed."""
        started = self.clock()
        try:
            known = self.store.find(source=raw.source)
            if known is not None and known.sha256 == raw.sha256:
                return _unchanged(raw, known, seconds=self.clock() - started), False
            delta = self.build(raw)
            status = self.store.apply(delta)
        except MmkgError as error:
            _log.info("could not ingest %s: %s", raw.source, error, exc_info=True)
            outcome = _failed(raw, code=error.code, message=str(error), seconds=self.clock() - started)
            return outcome, isinstance(error, StoreError)
        except Exception as error:  # noqa: BLE001 - the one boundary: a fault in one file must not lose the others
            code, message = _explain(raw, error)
            _log.exception("could not ingest %s", raw.source)
            return _failed(raw, code=code, message=message, seconds=self.clock() - started), False
        return _done(raw, delta, status=status, seconds=self.clock() - started), False

    def _describe(self, document: Document) -> tuple[Caption, ...]:
        if self.captioner is None:
            return ()
        captions: list[Caption] = []
        for start in range(0, len(document.assets), self.caption_batch):
            batch = document.assets[start : start + self.caption_batch]
            found = self.captioner.caption([_request(asset, document) for asset in batch])
            captions.extend(caption for caption in found if caption is not None)
        return tuple(captions)


def _request(asset: Asset, document: Document) -> CaptionRequest:
    return caption_request(asset, document)


def _explain(raw: RawFile, error: Exception) -> tuple[str, str]:
    """Name a failure that is not an :class:`MmkgError`."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError.code, f"{raw.name}: the disk is full. Free some space and run the same command again."
    return _INTERNAL, (
        f"{raw.name} could not be ingested because of a fault in the program ({type(error).__name__}: {error}). "
        "Nothing of it was stored; the log has the traceback. Please report it."
    )


def _failed(raw: RawFile, *, code: str, message: str, seconds: float) -> FileOutcome:
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=IngestStatus.FAILED,
        seconds=seconds,
        error_code=code,
        message=message,
    )


def _not_tried(raw: RawFile, *, because: FileOutcome) -> FileOutcome:
    message = f"Not tried, because the record failed at {because.name}: {because.message}"
    return _failed(raw, code=because.error_code, message=message, seconds=0.0)


def _unchanged(raw: RawFile, known: DocumentInfo, *, seconds: float) -> FileOutcome:
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=IngestStatus.UNCHANGED,
        seconds=seconds,
        document_id=known.document_id,
        n_pages=known.n_pages,
        n_chunks=known.n_chunks,
        n_assets=known.n_assets,
    )


def _done(raw: RawFile, delta: GraphDelta, *, status: IngestStatus, seconds: float) -> FileOutcome:
    note = ""
    if not delta.chunks:
        note = f"No words were found in or on {raw.name}: its pictures are kept, but a search for words cannot find it."
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=status,
        seconds=seconds,
        document_id=delta.document.document_id,
        n_pages=len(delta.document.pages),
        n_chunks=len(delta.chunks),
        n_assets=len(delta.document.assets),
        n_mentions=len(delta.extraction.mentions),
        n_triples=len(delta.extraction.triples),
        message=note,
    )
