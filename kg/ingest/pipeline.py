"""From files to the record, each file wholly or not at all.

Layer: ``kg``; the standard library. It knows ports only: which loader, captioner, extractor or store stands behind them
is chosen in ``api.wiring``.

``RawFile → known already? → load → caption → chunk → extract → resolve → GraphDelta → store.apply``

Nothing is written before :meth:`kg.ports.RecordStore.apply`, which is one transaction. A process that is killed at any
point leaves whole documents only, and running the same ingest again ends in the same state as one that was never
disturbed: files that are in are recognised by source and SHA-256 without being parsed.

There are two ways through the stages, with the same outcomes in the same order: one file after the other
(``IngestConfig(workers=0)``, the reference), or overlapping (:mod:`kg.ingest.overlap`). In both, files are stored
strictly in the order given, so two runs over the same files report, and write, in the same order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

from kg.errors import InputError, MmkgError
from kg.ingest.config import IngestConfig
from kg.ingest.flow import Cancellation
from kg.ingest.memory import CHUNKS_BETWEEN, give_back_free_memory
from kg.ingest.outcomes import not_tried
from kg.ingest.overlap import Run
from kg.ingest.progress import IngestProgress, Meter
from kg.ingest.steps import CAPTION_BATCH, STAGES, Chunker, DocumentLoader, Steps, Task
from kg.ports import (
    Captioner,
    ChunkEncoder,
    EncodedChunk,
    EncodedPicture,
    Extractor,
    PictureEncoder,
    RecordStore,
    Resolver,
)
from kg.types import FileOutcome, GraphDelta, IngestReport, RawFile

__all__ = ["IngestPipeline"]

_VECTORS_AT_ONCE = 512
"""Vectors are written for several documents in one transaction: with one each, its flush would cost as much as the
document's. They are derived, so what a crash loses of them is made again by the next search."""

_log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """Hear of something and do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPipeline:
    """Everything that stands between a file and the record.

    :param store: The record.
    :param loaders: Parses files.
    :param chunker: Cuts documents; bind the tokenizer and the sizes into it.
    :param extractor: Finds entities and statements.
    :param resolver: Decides which mentions name the same thing.
    :param captioner: Describes pictures; ``None`` leaves them without words.
    :param encoder: Makes the vectors of chunks beside the other stages; ``None`` leaves that to the first search.
    :param picture_encoder: The same for the vectors of pictures.
    :param caption_batch: Pictures handed to the captioner at once, at least 1.
    :param config: How much goes on at once; one file after the other by default.
    :param clock: Seconds of a steady clock, for the report.
    """

    store: RecordStore
    loaders: DocumentLoader
    chunker: Chunker
    extractor: Extractor
    resolver: Resolver
    captioner: Captioner | None = None
    encoder: ChunkEncoder | None = None
    picture_encoder: PictureEncoder | None = None
    caption_batch: int = CAPTION_BATCH
    config: IngestConfig = IngestConfig(workers=0)  # noqa: RUF009 - frozen
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        if self.caption_batch < 1:
            raise InputError(f"IngestPipeline: caption_batch must be at least 1, got {self.caption_batch}.")

    def ingest(
        self,
        items: Iterable[RawFile | FileOutcome],
        *,
        on_outcome: Callable[[FileOutcome], None] | None = None,
        on_progress: Callable[[IngestProgress], None] | None = None,
        total: int | None = None,
        cancellation: Cancellation | None = None,
    ) -> IngestReport:
        """Ingest files; one that fails does not stop the others.

        Only a failure of the record itself (disk full, locked, damaged) ends the work: each file after it would meet
        the same one after minutes of parsing, so the rest fail at once with the same code and can be run again.

        :param items: Files, or outcomes of files that could not even be opened, which are passed through. They are
            taken as there is room for them, so an iterator that reads lazily keeps few files in memory.
        :param on_outcome: Called with each outcome as it comes, in order, from the calling thread.
        :param on_progress: Called with each step of each stage, from the stage's own thread.
        :param total: How many items there are, if that is known, for the time left.
        :param cancellation: Asks for the end: the files that are not stored by then are left for another run.
        :returns: One outcome for each item, in their order, up to where the work was ended.
        """
        started = self.clock()
        hear, wish = on_outcome or _ignore, cancellation or Cancellation()
        run = self._run(Meter(on_progress, total=total, clock=self.clock), wish)
        outcomes: list[FileOutcome] = []
        with closing(self._outcomes(items, run)) as stored:
            for outcome in stored:
                outcomes.append(outcome)
                hear(outcome)
        seconds = self.clock() - started
        return IngestReport(outcomes=tuple(outcomes), seconds=seconds, is_cancelled=not run.is_complete)

    def ingest_file(self, raw: RawFile) -> FileOutcome:
        """Ingest one file; whatever goes wrong with it stands in the outcome."""
        return self.ingest([raw]).outcomes[0]

    def build(self, raw: RawFile) -> GraphDelta:
        """Make one file's whole change to the record, without writing it.

        :param raw: The file.
        :returns: The change.
        :raises LoadError: If the file cannot be read, or holds neither text nor a picture.
        """
        return self._steps().build(raw)

    def _steps(self) -> Steps:
        return Steps(
            store=self.store,
            loaders=self.loaders,
            chunker=self.chunker,
            extractor=self.extractor,
            resolver=self.resolver,
            captioner=self.captioner,
            encoder=self.encoder,
            picture_encoder=self.picture_encoder,
            caption_batch=self.caption_batch,
            clock=self.clock,
        )

    def _run(self, meter: Meter, wish: Cancellation) -> Run | _OneByOne:
        if self.config.workers:
            return Run(self._steps(), self.config, meter=meter, cancellation=wish)
        return _OneByOne(self._steps(), meter=meter, cancellation=wish)

    def _outcomes(self, items: Iterable[RawFile | FileOutcome], run: Run | _OneByOne) -> Generator[FileOutcome]:
        """Yield the outcome of each item in order, storing what was made of it."""
        steps, meter = run.steps, run.meter
        broken: FileOutcome | None = None
        n_chunks = 0
        with closing(run.finished(items)) as finished, closing(_Vectors(self.store, self.encoder)) as vectors:
            for item in finished:
                if isinstance(item, FileOutcome):
                    meter.passed(item.name)
                    yield item
                    continue
                if broken is not None:
                    outcome = not_tried(item.raw, because=broken)
                else:
                    outcome = steps.finish(item)
                    vectors.add(item)
                    if item.failure is not None and item.failure.ends_run:
                        broken, run.is_hopeless = outcome, True
                meter.count(STAGES[-1], item)
                n_chunks += 0 if item.delta is None else len(item.delta.chunks)
                if n_chunks >= CHUNKS_BETWEEN:
                    n_chunks = 0
                    give_back_free_memory()
                yield outcome


class _OneByOne:
    """The plain way: each file through all stages before the next one is read."""

    def __init__(self, steps: Steps, *, meter: Meter, cancellation: Cancellation) -> None:
        self.steps = steps
        self.meter = meter
        self._cancellation = cancellation
        self.is_hopeless = self.is_complete = False

    def finished(self, items: Iterable[RawFile | FileOutcome]) -> Generator[Task | FileOutcome]:
        for ordinal, item in enumerate(items):
            if self._cancellation.is_cancelled():
                return
            if isinstance(item, FileOutcome):
                yield item
                continue
            task = Task(ordinal=ordinal, raw=item)
            if not self.is_hopeless:
                self._make(task)
            yield task
        self.is_complete = True

    def _make(self, task: Task) -> None:
        steps = self.steps
        steps.look_up(task)
        for stage, step in (
            ("parse", steps.parse),
            ("caption", steps.caption),
            ("extract", lambda task: steps.extract([task])),
            ("encode", lambda task: steps.encode([task])),
        ):
            if task.is_open:
                step(task)
            self.meter.count(stage, task)


class _Vectors:
    """Collects the vectors of stored documents and writes them, many at once."""

    def __init__(self, store: RecordStore, encoder: ChunkEncoder | None) -> None:
        self._store = store
        self._space = "" if encoder is None else encoder.space
        self._rows: list[EncodedChunk] = []
        self._pictures: dict[str, list[EncodedPicture]] = {}

    def add(self, task: Task) -> None:
        if task.failure is None:
            self._rows.extend(task.vectors)
            for space, rows in task.picture_vectors.items():
                self._pictures.setdefault(space, []).extend(rows)
        if len(self._rows) + sum(map(len, self._pictures.values())) >= _VECTORS_AT_ONCE:
            self.close()

    def close(self) -> None:
        rows, self._rows = self._rows, []
        pictures, self._pictures = self._pictures, {}
        try:
            for space in dict.fromkeys(row.space for row in rows):
                ours = [row for row in rows if row.space == space]
                pairs = [(row.chunk_id, row.vector) for row in ours]
                contents = [row.content for row in ours]
                self._store.put_vectors(encoder=space or self._space, rows=pairs, contents=contents)
            for space, made in pictures.items():
                self._store.put_picture_vectors(encoder=space, rows=made)
        except MmkgError as error:
            _log.warning("%s The vectors of %d chunks are made again by the next search.", error, len(rows))
