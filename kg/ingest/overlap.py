"""The stages side by side: each in threads of its own, many documents in a batch, one order at the end.

Layer: ``kg``; the standard library.

::

    reader ─► parse ─► caption ─► extract ─► encode ─► in order ─► store (the calling thread)
      ▲          threads     threads      one        one                │
      └──────────────── budget of files and bytes in flight ◄──────────┘

Threads suffice because what costs time leaves Python's lock: OCR, the matrix products of spaCy and torch, decompression
and the database. The extractor and the encoder take whatever waits, up to a batch, so their batches are large exactly
when they are what the others wait for.

A stage's failure is its file's; a failure of the machinery itself ends the run in the calling thread. Whatever happens,
all threads have ended when :func:`run` returns or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from kg.ingest.config import IngestConfig
from kg.ingest.flow import Budget, Cancellation, Channel, InOrder, Stop
from kg.ingest.progress import Meter
from kg.ingest.steps import Steps, Task
from kg.types import FileOutcome, RawFile

__all__ = ["Run"]

_CHARACTERS_IN_A_CHUNK = 800
"""How a document's chunks are guessed before it is cut: 200 tokens of English prose."""


class Run:
    """One ingest with overlapping stages. Use it once: ``for item in run.finished(items): …``.

    :param steps: What is done to each file.
    :param config: How many threads and how much in flight.
    :param meter: Told what each stage has done.
    :param cancellation: Asks for the end.
    """

    def __init__(self, steps: Steps, config: IngestConfig, *, meter: Meter, cancellation: Cancellation) -> None:
        self.steps = steps
        self._config = config
        self.meter = meter
        self._cancellation = cancellation
        self._stop = Stop()
        self.budget = Budget(self._stop, max_count=config.max_in_flight, max_bytes=config.max_in_flight_bytes)
        self._to_parse: Channel[Task] = Channel(self._stop)
        self._to_caption: Channel[Task] = Channel(self._stop, n_senders=config.workers)
        self._to_extract: Channel[Task] = Channel(self._stop, n_senders=config.caption_workers)
        self._to_encode: Channel[Task] = Channel(self._stop)
        self._done: InOrder[Task | FileOutcome] = InOrder(self._stop)
        self.is_complete = False
        """Whether every item was yielded."""
        self.is_hopeless = False
        """Set by the caller when the record has failed: files still come, and nothing more is made of them."""

    def finished(self, items: Iterable[RawFile | FileOutcome]) -> Generator[Task | FileOutcome]:
        """Yield each file, all made of it but not stored, in the order of ``items``; the caller stores it.

        :param items: Files and outcomes, read in a thread of their own as there is room for them.
        :yields: Tasks, and the outcomes that stood among the items.
        """
        config = self._config
        pool = ThreadPoolExecutor(max_workers=config.workers + config.caption_workers + 3, thread_name_prefix="ingest")
        try:
            reader = pool.submit(self._read, items)
            for _ in range(config.workers):
                self._start(pool, self._parse)
            for _ in range(config.caption_workers):
                self._start(pool, self._caption)
            self._start(pool, self._extract)
            self._start(pool, self._encode)
            while (item := self._done.take(poll=self._cancellation.is_cancelled)) is not None:
                yield item
                if isinstance(item, Task):
                    self.budget.leave(item.ordinal)
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        if self._stop.error is not None:
            raise self._stop.error
        reader.result()  # what went wrong with the items themselves, now that those before it are done
        self.is_complete = self._done.is_over()

    def _start(self, pool: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        pool.submit(work).add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        """End the run if one of its threads died; without it the others would wait for ever."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self._stop.set(error)

    def _read(self, items: Iterable[RawFile | FileOutcome]) -> None:
        ordinal = 0
        try:
            for item in items:
                if isinstance(item, FileOutcome):
                    self._done.put(ordinal, item)
                elif self.budget.enter(ordinal, len(item.data)):
                    self._to_parse.put(Task(ordinal=ordinal, raw=item))
                else:
                    return
                ordinal += 1
        finally:
            self._to_parse.close()
            self._done.end(ordinal)

    def _parse(self) -> None:
        for (task,) in _until_end(self._to_parse):
            if not self.is_hopeless and self.budget.wait_to_grow(task.ordinal):
                self.steps.look_up(task)
                if task.is_open:
                    self.steps.parse(task)
                self.budget.weigh(task.ordinal, task.size_bytes)
            self.meter.count("parse", task)
            self._to_caption.put(task)
        self._to_caption.close()

    def _caption(self) -> None:
        for (task,) in _until_end(self._to_caption):
            if self._is_worth_it(task):
                self.steps.caption(task)
            self.meter.count("caption", task)
            self._to_extract.put(task)
        self._to_extract.close()

    def _extract(self) -> None:
        fits = partial(_fits, weigh=_chunks_expected, limit=self._config.extract_chunks)
        for tasks in _until_end(self._to_extract, most=fits):
            self.steps.extract([task for task in tasks if self._is_worth_it(task)])
            for task in tasks:
                self.meter.count("extract", task)
                self._to_encode.put(task)
        self._to_encode.close()

    def _encode(self) -> None:
        fits = partial(_fits, weigh=_chunks_made, limit=self._config.encode_chunks)
        for tasks in _until_end(self._to_encode, most=fits):
            self.steps.encode([task for task in tasks if self._is_worth_it(task)])
            for task in tasks:
                self.meter.count("encode", task)
                self._done.put(task.ordinal, task)

    def _is_worth_it(self, task: Task) -> bool:
        return task.is_open and task.document is not None and not self.is_hopeless


def _until_end(
    channel: Channel[Task], *, most: Callable[[list[Task], Task], bool] | None = None
) -> Iterator[list[Task]]:
    while tasks := channel.take(most=most):
        yield tasks


def _fits(taken: Sequence[Task], further: Task, *, weigh: Callable[[Task], int], limit: int) -> bool:
    return sum(map(weigh, taken)) + weigh(further) <= limit


def _chunks_expected(task: Task) -> int:
    if task.document is None or not task.is_open:
        return 0
    return 1 + len(task.document.text) // _CHARACTERS_IN_A_CHUNK + len(task.captions)


def _chunks_made(task: Task) -> int:
    return 0 if task.delta is None else len(task.delta.chunks)
