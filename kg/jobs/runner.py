"""Run a job: feed its items to the pipeline, write down what became of each, wait and try again, stop when asked.

Layer: ``kg``; the standard library. It knows ports only; how an item becomes files is a function that it is given.

The record is the truth, and the job only a note of it: what is in the record is recognised by source and SHA-256, so a
note that a crash lost costs the reading of a file and changes nothing. Notes are therefore written a few times a second
at most, many items at once, and a full disk loses notes before it loses documents.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from kg.errors import StoreError
from kg.ingest import Cancellation, IngestPipeline, IngestProgress
from kg.jobs.model import ItemState, Job, JobItem, JobOwner, JobState
from kg.jobs.policy import RetryPolicy
from kg.types import FileOutcome, IngestReport, IngestStatus, RawFile

__all__ = ["JobRunner", "JobStore"]

_NOTE_EVERY_S = 1.0
_NOTE_EVERY = 100
_PAGE = 500
_log = logging.getLogger(__name__)


class JobStore(Protocol):
    """Where jobs are written down."""

    def create(self, *, kind: str, request: dict[str, Any], items: Iterable[JobItem]) -> Job:
        """Write a new job down, ``queued``."""
        ...

    def get(self, job_id: str) -> Job:
        """Return a job; raise ``NotFoundError`` if there is none."""
        ...

    def jobs(self, *, limit: int = 50) -> list[Job]:
        """List jobs, the newest first."""
        ...

    def items(
        self, job_id: str, *, states: Sequence[ItemState] = (), after: int = -1, limit: int = 100
    ) -> list[JobItem]:
        """List the items of a job in these states (none: all) whose ordinal is above ``after``, in order."""
        ...

    def claim(self, job_id: str, owner: JobOwner, *, is_alive: Callable[[JobOwner, float], bool]) -> bool:
        """Make the job this process's, ``running``, unless a process that is alive has it."""
        ...

    def note(self, job_id: str, items: Sequence[JobItem]) -> bool:
        """Write down what became of items, and a sign of life; tell whether the job is to be cancelled."""
        ...

    def finish(self, job_id: str, state: JobState, *, message: str = "") -> None:
        """Write down how the job ended; what it had not come to is ``cancelled`` if it was."""
        ...

    def ask_to_cancel(self, job_id: str, *, is_alive: Callable[[JobOwner, float], bool]) -> Job:
        """Ask the process that has the job to end it; one that nobody has is cancelled at once."""
        ...

    def reset(self, job_id: str, *, states: Sequence[ItemState]) -> int:
        """Set the items in these states to ``pending``, with no attempts, and the job to ``queued``; count them."""
        ...

    def forget(self, job_id: str) -> None:
        """Delete a job and its items; no document is touched."""
        ...

    def forget_document(self, document_id: str) -> None:
        """Delete the items that brought a document in."""
        ...


@dataclass(slots=True)
class _Reading:
    """An item that is being read: its outcomes so far, and how many files came out of it, once that is known."""

    item: JobItem
    outcomes: list[FileOutcome] = field(default_factory=list)
    n_files: int = 0
    is_read: bool = False


class _Tracker:
    """Leads outcomes back to the items they came from. The files come in one thread, the outcomes in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Reading] = deque()

    def files(self, items: Iterable[JobItem], read: Callable[[JobItem], Iterable[Any]]) -> Iterator[Any]:
        """Yield the files of the items, remembering whose they are.

        It looks one file ahead within an item, so that an item is known to be read when its last file goes out.
        """
        for item in items:
            reading = _Reading(item)
            with self._lock:
                self._waiting.append(reading)
            files = iter(read(item))
            file = next(files, None)
            while file is not None:
                following = next(files, None)
                with self._lock:
                    reading.n_files += 1
                    reading.is_read = following is None
                yield file
                file = following
            with self._lock:
                reading.is_read = True

    def finished(self, outcome: FileOutcome | None) -> Iterator[tuple[JobItem, list[FileOutcome]]]:
        """Take the next outcome; yield each item that is finished by it, in order."""
        with self._lock:
            for reading in self._waiting:
                if outcome is not None and len(reading.outcomes) < reading.n_files:
                    reading.outcomes.append(outcome)
                    break
            done = []
            while self._waiting and self._waiting[0].is_read:
                if len(self._waiting[0].outcomes) < self._waiting[0].n_files:
                    break
                reading = self._waiting.popleft()
                done.append((reading.item, reading.outcomes))
        yield from done

    def begun(self) -> list[JobItem]:
        """Return the items that were begun and are not finished."""
        with self._lock:
            return [reading.item for reading in self._waiting]


class JobRunner:
    """Runs jobs of one workspace.

    :param jobs: Where they are written down.
    :param pipeline: The road into the record.
    :param read: Opens an item: its files, or outcomes that say why it cannot be read.
    :param policy: When what failed is tried again.
    :param now: Seconds since 1970.
    :param clock: Seconds of a steady clock, for how often notes are written.
    """

    def __init__(
        self,
        jobs: JobStore,
        pipeline: IngestPipeline,
        read: Callable[[JobItem], Iterable[RawFile | FileOutcome]],
        *,
        policy: RetryPolicy,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._pipeline = pipeline
        self._read = read
        self._policy = policy
        self._now = now
        self._clock = clock

    def run(
        self,
        job_id: str,
        *,
        on_outcome: Callable[[FileOutcome], None] = lambda _: None,
        on_progress: Callable[[IngestProgress], None] | None = None,
        wait: Callable[[Cancellation, float], bool] = Cancellation.wait,
        cancellation: Cancellation | None = None,
    ) -> IngestReport:
        """Run a job that this process has claimed, until every item is done or dead, or the end is asked for.

        :param job_id: The job.
        :param on_outcome: Told the outcome of each file; of one that is tried again, each time.
        :param on_progress: Told each step of each stage.
        :param wait: Sleeps some seconds, or until cancelled; tells whether cancelled.
        :param cancellation: Asks for the end, beside what is asked through the record.
        :returns: The last outcome of every file that was tried, in the order of the items.
        """
        notes = _Notes(self._jobs, job_id, clock=self._clock)
        outer = cancellation or Cancellation()
        wish = Cancellation(lambda: outer.is_cancelled() or notes.beat())
        latest: dict[int, list[FileOutcome]] = {}
        seconds = 0.0
        while True:
            tracker = _Tracker()
            notes.begun = tracker.begun

            def heard(outcome: FileOutcome | None, tracker: _Tracker = tracker) -> None:
                if outcome is not None:
                    on_outcome(outcome)
                for item, outcomes in tracker.finished(outcome):
                    latest[item.ordinal] = outcomes
                    notes.add(self._judged(item, outcomes))

            items = tracker.files(self._due(job_id), self._read)
            total = self._jobs.get(job_id).n_items if not latest else None
            try:
                report = self._pipeline.ingest(
                    items, on_outcome=heard, on_progress=on_progress, total=total, cancellation=wish
                )
                heard(None)
            except KeyboardInterrupt:
                self._finish(job_id, JobState.CANCELLED, "It was interrupted.", notes=notes)
                raise
            except BaseException as error:
                self._finish(job_id, JobState.FAILED, f"{type(error).__name__}: {error}", notes=notes)
                raise
            seconds += report.seconds
            notes.write()
            next_try = None if report.is_cancelled else self._next_try(job_id)
            if next_try is None or wait(wish, max(0.0, next_try - self._now())):
                break
        is_cancelled = report.is_cancelled or wish.is_cancelled()
        self._finish(job_id, *self._ending(job_id, is_cancelled=is_cancelled), notes=notes)
        outcomes = tuple(outcome for ordinal in sorted(latest) for outcome in latest[ordinal])
        return IngestReport(outcomes=outcomes, seconds=seconds, is_cancelled=is_cancelled)

    def _due(self, job_id: str) -> Iterator[JobItem]:
        """Yield what is to be tried now, a page at a time, so that a long job is never in memory."""
        after = -1
        open_states = (ItemState.PENDING, ItemState.RUNNING, ItemState.FAILED, ItemState.CANCELLED)
        while page := self._jobs.items(job_id, states=open_states, after=after, limit=_PAGE):
            after = page[-1].ordinal
            for item in page:
                if item.next_try_at is None or item.next_try_at <= self._now():
                    yield item

    def _judged(self, item: JobItem, outcomes: Sequence[FileOutcome]) -> JobItem:
        """Return the item with what became of it."""
        failed = [outcome for outcome in outcomes if outcome.status is IngestStatus.FAILED]
        told = tuple({**asdict(outcome), "status": str(outcome.status)} for outcome in outcomes)
        made = replace(
            item,
            attempts=item.attempts + 1,
            seconds=sum(outcome.seconds for outcome in outcomes),
            document_id=next((outcome.document_id for outcome in outcomes if outcome.document_id), ""),
            outcomes=told,
            error_code="",
            message="",
            next_try_at=None,
        )
        if not failed:
            return replace(made, state=ItemState.DONE, message=outcomes[0].message if outcomes else "")
        # One file of an archive that may pass later is reason enough to read the archive again.
        worst = min(failed, key=lambda o: self._policy.wait_s(o.error_code, attempts=made.attempts) is None)
        wait_s = self._policy.wait_s(worst.error_code, attempts=made.attempts)
        return replace(
            made,
            state=self._policy.state_of(worst.error_code, attempts=made.attempts),
            error_code=worst.error_code,
            message=worst.message,
            next_try_at=None if wait_s is None else self._now() + wait_s,
        )

    def _next_try(self, job_id: str) -> float | None:
        """Return when the first item that waits is due; ``None`` if none waits."""
        waiting: list[float] = []
        after = -1
        while page := self._jobs.items(job_id, states=(ItemState.FAILED,), after=after, limit=_PAGE):
            after = page[-1].ordinal
            waiting += [item.next_try_at for item in page if item.next_try_at is not None]
        return min(waiting, default=None)

    def _ending(self, job_id: str, *, is_cancelled: bool) -> tuple[JobState, str]:
        if is_cancelled:
            return JobState.CANCELLED, "It was cancelled."
        left = self._jobs.items(job_id, states=(ItemState.FAILED,), limit=1)
        if left:
            return JobState.FAILED, left[0].message
        return JobState.DONE, ""

    def _finish(self, job_id: str, state: JobState, message: str, *, notes: _Notes) -> None:
        notes.begun = list
        notes.write()
        try:
            self._jobs.finish(job_id, state, message=message)
        except StoreError as error:
            _log.warning("%s How job %s ended was not written down; it can be resumed.", error, job_id)


class _Notes:
    """Gathers what became of items and writes it down now and then."""

    def __init__(self, jobs: JobStore, job_id: str, *, clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._clock = clock
        self._last = clock()
        self._items: list[JobItem] = []
        self._is_cancel_asked = False
        self.begun: Callable[[], list[JobItem]] = list
        """Returns the items that are being read now."""

    def add(self, item: JobItem) -> None:
        """Take what became of an item."""
        self._items.append(item)
        if len(self._items) >= _NOTE_EVERY:
            self.write()

    def beat(self) -> bool:
        """Write what there is, and a sign of life, if it is time; tell whether the job is to be cancelled."""
        if self._clock() - self._last >= _NOTE_EVERY_S:
            self.write()
        return self._is_cancel_asked

    def write(self) -> None:
        """Write what there is. Where the record refuses, it is kept for the next time."""
        self._last = self._clock()
        try:
            running = [replace(item, state=ItemState.RUNNING) for item in self.begun()]
            self._is_cancel_asked = self._jobs.note(self._job_id, [*self._items, *running])
        except StoreError as error:
            _log.warning("%s The progress of job %s was not written down.", error, self._job_id)
        else:
            self._items = []
