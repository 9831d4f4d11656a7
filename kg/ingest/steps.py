"""The stages of one file's road, each as a step on a task; how they follow each other is decided elsewhere.

Layer: ``kg``; the standard library. It knows ports only.

``RawFile → known already? → parse → caption → extract (chunk, extract, resolve) → encode → store``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from kg import ids
from kg.captioning.context import caption_request
from kg.captioning.grading import grade_statements
from kg.captioning.lines import NAMED_BY_FILE, name_caption
from kg.errors import EmptyFileError, LoadError, MmkgError
from kg.ingest.outcomes import Failure, attempt, done, failed, unchanged
from kg.ports import (
    BatchExtractor,
    Captioner,
    ChunkEncoder,
    EncodedChunk,
    EncodedPicture,
    Extractor,
    PictureEncoder,
    RecordStore,
    Resolver,
)
from kg.types import Caption, Chunk, Document, Extraction, FileOutcome, GraphDelta, RawFile

__all__ = ["CAPTION_BATCH", "STAGES", "Chunker", "DocumentLoader", "Steps", "Task"]

CAPTION_BATCH = 16
"""Pictures handed to the captioner at once: enough to fill a batch of a vision-language model on one GPU, and at
2,000 × 2,000 pixels still under 200 MiB decoded."""

STAGES = ("parse", "caption", "extract", "encode", "store")
"""The stages in their order, as progress and timings name them."""

_T = TypeVar("_T")


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


@dataclass(slots=True, kw_only=True)
class Task:
    """One file on its way: what the stages have made of it so far. One thread has it at a time.

    ``is_known`` says that the record held these very bytes when the file came in, so nothing was made of it.
    """

    ordinal: int
    raw: RawFile
    stages: dict[str, float] = field(default_factory=dict)
    is_known: bool = False
    document: Document | None = None
    captions: tuple[Caption, ...] = ()
    delta: GraphDelta | None = None
    vectors: Sequence[EncodedChunk] = ()
    picture_vectors: Mapping[str, Sequence[EncodedPicture]] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is anything left to make of it."""
        return self.failure is None and not self.is_known

    @property
    def size_bytes(self) -> int:
        """What it weighs in memory, nearly: its bytes, its text (thrice: as chunks and mentions too), its pictures."""
        size = len(self.raw.data)
        if self.document is not None:
            size += 3 * len(self.document.text) + sum(len(asset.data) for asset in self.document.assets)
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps over the ports of one pipeline. Each leaves its result, or its failure, in the task.

    :param store: The record.
    :param loaders: Parses files.
    :param chunker: Cuts documents.
    :param extractor: Finds entities and statements.
    :param resolver: Decides which mentions name the same thing.
    :param captioner: Describes pictures; ``None`` leaves them without words.
    :param encoder: Makes the vectors of chunks; ``None`` leaves that to whoever searches.
    :param picture_encoder: Makes the vectors of pictures; ``None`` leaves that to whoever searches.
    :param caption_batch: Pictures handed to the captioner at once.
    :param clock: Seconds of a steady clock.
    """

    store: RecordStore
    loaders: DocumentLoader
    chunker: Chunker
    extractor: Extractor
    resolver: Resolver
    captioner: Captioner | None
    encoder: ChunkEncoder | None
    caption_batch: int
    clock: Callable[[], float] = time.perf_counter
    picture_encoder: PictureEncoder | None = None

    def look_up(self, task: Task) -> None:
        """See whether the record has the file already."""
        found = self._timed([task], "store", lambda: attempt(task.raw, lambda: self.store.find(source=task.raw.source)))
        if isinstance(found, Failure):
            task.failure = found
        else:
            task.is_known = found is not None and found.sha256 == task.raw.sha256

    def parse(self, task: Task) -> None:
        """Make a document of the file."""
        loaded = self._timed([task], "parse", lambda: attempt(task.raw, lambda: self._load(task.raw)))
        if isinstance(loaded, Failure):
            task.failure = loaded
        else:
            task.document = loaded

    def caption(self, task: Task) -> None:
        """Describe the document's pictures."""
        document = task.document
        if self.captioner is None or document is None or not document.assets:
            return
        found = self._timed([task], "caption", lambda: attempt(task.raw, lambda: self._describe(document)))
        if isinstance(found, Failure):
            task.failure = found
        else:
            task.captions = found

    def chunk(self, task: Task) -> list[Chunk]:
        """Cut the document; no chunks where that fails, or where there are pictures only."""
        document = task.document
        if document is None:
            return []
        chunks = self._timed([task], "extract", lambda: attempt(task.raw, lambda: self._cut(document, task.captions)))
        if isinstance(chunks, Failure):
            task.failure = chunks
            return []
        return chunks

    def extract(self, tasks: Sequence[Task]) -> None:
        """Chunk documents and find what they say, all in one batch; where the batch fails, one by one."""
        cut = [(task, self.chunk(task)) for task in tasks if task.is_open]
        batch = [(task, chunks) for task, chunks in cut if task.is_open]
        for (task, chunks), found in zip(batch, self._extract_together(batch), strict=True):
            self._resolve(task, chunks, found)

    def _extract_together(self, batch: Sequence[tuple[Task, list[Chunk]]]) -> Sequence[Extraction | None]:
        """Read many documents at once; ``None`` for each where that cannot be done or fails."""
        extractor = self.extractor
        if len(batch) < 2 or not isinstance(extractor, BatchExtractor):
            return [None] * len(batch)
        items = [(_that_say_something(chunks, task.captions), _document(task)) for task, chunks in batch]
        found = self._timed(
            [task for task, _ in batch],
            "extract",
            lambda: attempt(batch[0][0].raw, lambda: extractor.extract_many(items)),
            weights=[len(chunks) for _, chunks in batch],
        )
        return [None] * len(batch) if isinstance(found, Failure) else found

    def encode(self, tasks: Sequence[Task]) -> None:
        """Make the vectors of all chunks, and of all pictures, of the tasks in one batch each.

        Vectors are derived: a failure here is logged and fails no file, and the search that needs them tries again.
        """
        self._encode_chunks(tasks)
        self._encode_pictures(tasks)

    def _encode_chunks(self, tasks: Sequence[Task]) -> None:
        encoder = self.encoder
        deltas = [task.delta for task in tasks if task.is_open and task.delta is not None]
        if encoder is None or not deltas:
            return
        open_tasks = [task for task in tasks if task.is_open and task.delta is not None]
        weights = [len(delta.chunks) for delta in deltas]
        found = self._timed(
            open_tasks,
            "encode",
            lambda: attempt(open_tasks[0].raw, lambda: encoder.encode(deltas)),
            weights=weights,
        )
        if not isinstance(found, Failure):
            for task, rows in zip(open_tasks, found, strict=True):
                task.vectors = rows

    def _encode_pictures(self, tasks: Sequence[Task]) -> None:
        encoder = self.picture_encoder
        for task in tasks if encoder is not None else ():
            assets = task.document.assets if task.is_open and task.document is not None else ()
            if encoder is None or not assets:
                continue
            work = partial(attempt, task.raw, partial(encoder.encode, assets))
            found = self._timed([task], "encode", work)
            if not isinstance(found, Failure):
                task.picture_vectors = found

    def finish(self, task: Task) -> FileOutcome:
        """Write the document, and say what became of the file. Only here is anything decided that others can see.

        The record may have changed since the file came in, if the same source comes twice in a run or another process
        writes too: what it holds now is what counts.
        """
        if task.failure is not None:
            return failed(task.raw, task.failure, stages=task.stages)
        outcome = self._timed([task], "store", lambda: attempt(task.raw, lambda: self._store(task)))
        if isinstance(outcome, Failure):
            task.failure = outcome
            return failed(task.raw, outcome, stages=task.stages)
        return outcome(task)

    def build(self, raw: RawFile) -> GraphDelta:
        """Make one file's whole change to the record, without writing it; raises what is wrong with the file."""
        document = self._load(raw)
        captions = self._describe(document) if self.captioner is not None else ()
        return self._delta(document, captions, self._cut(document, captions), None)

    def _store(self, task: Task) -> Callable[[Task], FileOutcome]:
        known = self.store.find(source=task.raw.source)
        if known is not None and known.sha256 == task.raw.sha256:
            return lambda task: unchanged(task.raw, known, stages=task.stages)
        delta = task.delta if task.delta is not None else self.build(task.raw)
        status = self.store.apply(delta)
        return lambda task: done(task.raw, delta, status=status, stages=task.stages)

    def _resolve(self, task: Task, chunks: Sequence[Chunk], found: Extraction | None) -> None:
        """Make the task's delta of what was found in its chunks; look for it first where that was not done."""

        def run() -> GraphDelta:
            document = _document(task)
            return self._delta(document, task.captions, chunks, found)

        made = self._timed([task], "extract", lambda: attempt(task.raw, run))
        if isinstance(made, Failure):
            task.failure = made
        else:
            task.delta = made

    def _delta(
        self, document: Document, captions: Sequence[Caption], chunks: Sequence[Chunk], found: Extraction | None
    ) -> GraphDelta:
        if found is None:
            telling = _that_say_something(chunks, captions)
            found = self.extractor.extract(telling, document=document) if telling else Extraction()
        found = grade_statements(found, chunks=chunks, captions=captions, tables=document.tables)
        return GraphDelta(
            document=document,
            captions=tuple(captions),
            chunks=tuple(chunks),
            extraction=self.resolver.resolve(found),
        )

    def _load(self, raw: RawFile) -> Document:
        document = self.loaders.load(raw)
        if document.document_id != ids.document_id(raw.source, raw.sha256):
            raise LoadError(
                f"The loader of {raw.media_type} returned another document ({document.source!r}) for {raw.source!r}. "
                "A document's source and SHA-256 must be those of its file."
            )
        return document

    def _describe(self, document: Document) -> tuple[Caption, ...]:
        captions: list[Caption] = []
        if self.captioner is None:
            return ()
        for start in range(0, len(document.assets), self.caption_batch):
            batch = document.assets[start : start + self.caption_batch]
            found = self.captioner.caption([caption_request(asset, document) for asset in batch])
            captions.extend(
                caption if caption is not None else name_caption(asset, document)
                for asset, caption in zip(batch, found, strict=True)
            )
        return tuple(captions)

    def _cut(self, document: Document, captions: Sequence[Caption]) -> list[Chunk]:
        chunks = list(self.chunker(document, captions))
        if not chunks and not document.assets:
            raise EmptyFileError(f"{document.name} holds neither text nor pictures, so there is nothing to find in it.")
        return chunks

    def _timed(
        self, tasks: Sequence[Task], stage: str, action: Callable[[], _T], *, weights: Sequence[int] | None = None
    ) -> _T:
        """Do something for some tasks, and share its seconds among them by weight."""
        started = self.clock()
        result = action()
        seconds = self.clock() - started
        shares = weights or [1] * len(tasks)
        total = sum(shares) or 1
        for task, share in zip(tasks, shares, strict=True):
            task.stages[stage] = task.stages.get(stage, 0.0) + seconds * share / total
        return result


def _document(task: Task) -> Document:
    if task.document is None:
        raise MmkgError(f"{task.raw.name} came to a stage before it was parsed. Please report this.")
    return task.document


def _that_say_something(chunks: Sequence[Chunk], captions: Sequence[Caption]) -> list[Chunk]:
    """Return the chunks in which names may be looked for: a file's name is no statement of anything."""
    nameless = {caption.asset_id for caption in captions if caption.captioner == NAMED_BY_FILE}
    return [chunk for chunk in chunks if chunk.asset_id is None or chunk.asset_id not in nameless]
