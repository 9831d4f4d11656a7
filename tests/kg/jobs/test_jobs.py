"""A job is written down as it goes: it can be watched, cancelled, resumed and tried again, and its end is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kg.errors import CaptionerBusyError, NotFoundError, StoreFullError
from kg.ingest import Cancellation, IngestConfig
from kg.jobs import ItemState, JobItem, JobOwner, JobRunner, JobState, RetryPolicy, advice
from kg.ports import CaptionRequest
from kg.stores.jobs import KEPT_JOBS, SqlJobStore
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import AltTextCaptioner, make_pipeline, make_raw
from kg.types import Caption, FileOutcome, GraphDelta, IngestStatus, RawFile

ME = JobOwner(host="here", pid=1, started=10.0)
OTHER = JobOwner(host="here", pid=2, started=20.0)
POLICY = RetryPolicy(max_attempts=3, backoff_s=2.0, max_backoff_s=100.0, draw=lambda: 1.0)


class Clock:
    """Time that passes only when someone waits for it."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, wish: Cancellation, seconds: float) -> bool:
        self.waits.append(seconds)
        self.time += seconds
        return wish.is_cancelled()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlRecordStore]:
    record = open_record(tmp_path / "record.db")
    yield record
    record.close()


@pytest.fixture
def jobs(store: SqlRecordStore, clock: Clock) -> SqlJobStore:
    return SqlJobStore(store, now=clock.now)


TEXTS = {"a.txt": b"Ada", "b.txt": b"\xff", "c.txt": b"Cy\n\n[picture: Cy]", "d.txt": b"Dee"}


def read(item: JobItem) -> Iterable[RawFile | FileOutcome]:
    yield make_raw(TEXTS[item.name], name=item.name, source=item.source)


def items_of(names: Sequence[str]) -> list[JobItem]:
    return [JobItem(ordinal=place, source=f"/docs/{name}", name=name) for place, name in enumerate(names)]


def started(jobs: SqlJobStore, names: Sequence[str] = tuple(TEXTS)) -> str:
    job = jobs.create(kind="ingest", request={"kind": "paths"}, items=items_of(names))
    assert jobs.claim(job.job_id, ME, is_alive=lambda *_: True)
    return job.job_id


def runner(
    jobs: SqlJobStore,
    store: SqlRecordStore,
    clock: Clock,
    *,
    captioner: AltTextCaptioner | None = None,
    reader: Callable[[JobItem], Iterable[RawFile | FileOutcome]] = read,
    workers: int = 1,
) -> JobRunner:
    pipeline = replace(
        make_pipeline(store), captioner=captioner or AltTextCaptioner(), config=IngestConfig(workers=workers)
    )
    return JobRunner(jobs, pipeline, reader, policy=POLICY, now=clock.now, clock=clock.now)


class BusyCaptioner(AltTextCaptioner):
    """A server that is busy the first so many times."""

    def __init__(self, n_busy: int) -> None:
        self.left = n_busy

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        self.left -= 1
        if self.left >= 0:
            raise CaptionerBusyError("429: come back later.")
        return super().caption(requests)


@pytest.mark.parametrize("workers", [0, 1])
def test_job_says_of_each_file_what_became_of_it(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock, workers: int):
    job_id = started(jobs)
    report = runner(jobs, store, clock, workers=workers).run(job_id)

    assert [outcome.name for outcome in report.outcomes] == list(TEXTS)
    found = jobs.items(job_id)
    assert [(i.state, i.attempts, i.error_code) for i in found] == [
        (ItemState.DONE, 1, ""),
        (ItemState.DEAD, 1, "corrupt"),
        (ItemState.DONE, 1, ""),
        (ItemState.DONE, 1, ""),
    ]
    assert [bool(item.document_id) for item in found] == [True, False, True, True]
    assert found[1].message == "b.txt is not UTF-8 (byte 0). Save it as UTF-8."
    job = jobs.get(job_id)
    assert (job.state, dict(job.counts), job.n_items) == (JobState.DONE, {"done": 3, "dead": 1}, 4)
    assert clock.waits == []  # nothing that passes by itself


def test_busy_captioner_is_asked_again_after_twice_the_wait_each_time(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock
):
    job_id = started(jobs)
    report = runner(jobs, store, clock, captioner=BusyCaptioner(2)).run(job_id, wait=clock.wait)

    assert clock.waits == [2.0, 4.0]
    assert jobs.items(job_id)[2].attempts == 3
    assert jobs.items(job_id)[2].state is ItemState.DONE
    assert [outcome.error_code for outcome in report.outcomes] == ["", "corrupt", "", ""]


def test_file_whose_attempts_are_used_up_is_dead_and_can_be_tried_again(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock
):
    job_id = started(jobs)
    runner(jobs, store, clock, captioner=BusyCaptioner(9)).run(job_id, wait=clock.wait)
    dead = jobs.items(job_id, states=[ItemState.DEAD])
    assert [(item.name, item.error_code, item.attempts) for item in dead] == [
        ("b.txt", "corrupt", 1),
        ("c.txt", "caption_busy", 3),
    ]

    assert jobs.reset(job_id, states=[ItemState.DEAD]) == 2
    assert jobs.get(job_id).state is JobState.QUEUED
    assert jobs.claim(job_id, ME, is_alive=lambda *_: True)
    report = runner(jobs, store, clock).run(job_id)
    assert [outcome.name for outcome in report.outcomes] == ["b.txt", "c.txt"]  # the others are not read again
    assert [item.name for item in jobs.items(job_id, states=[ItemState.DEAD])] == ["b.txt"]


def test_wait_is_half_fixed_half_drawn_and_bounded():
    lucky, unlucky = replace(POLICY, draw=lambda: 0.0), POLICY
    assert [lucky.wait_s("caption_busy", attempts=n) for n in (1, 2, 3)] == [1.0, 2.0, None]
    assert [unlucky.wait_s("caption_busy", attempts=n) for n in (1, 2, 3)] == [2.0, 4.0, None]
    assert replace(POLICY, max_attempts=50).wait_s("caption_busy", attempts=40) == 100.0
    assert POLICY.wait_s("corrupt", attempts=1) is None


def test_failure_of_the_record_gives_no_file_up_and_fails_the_job(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    def apply(_: SqlRecordStore, delta: GraphDelta) -> IngestStatus:
        raise StoreFullError("There is no room left.")

    job_id = started(jobs, ["a.txt", "c.txt"])
    with monkeypatch.context() as patched:
        patched.setattr(SqlRecordStore, "apply", apply)
        runner(jobs, store, clock).run(job_id)
    job = jobs.get(job_id)
    assert (job.state, job.message) == (JobState.FAILED, "There is no room left.")
    assert [item.state for item in jobs.items(job_id)] == [ItemState.FAILED] * 2

    assert jobs.claim(job_id, ME, is_alive=lambda *_: True)
    assert runner(jobs, store, clock).run(job_id).n_failed == 0
    assert jobs.get(job_id).state is JobState.DONE


def test_notes_that_cannot_be_written_lose_no_document(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    def note(*_: object) -> bool:
        raise StoreFullError("There is no room left.")

    job_id = started(jobs, ["a.txt", "d.txt"])
    with monkeypatch.context() as patched:
        patched.setattr(SqlJobStore, "note", note)
        assert runner(jobs, store, clock).run(job_id).n_failed == 0
    assert store.statistics()["documents"] == 2

    assert jobs.claim(job_id, ME, is_alive=lambda *_: True)
    again = runner(jobs, store, clock).run(job_id)  # nothing was noted, so all is looked at, and nothing is parsed
    assert [outcome.status for outcome in again.outcomes] == [IngestStatus.UNCHANGED] * 2
    assert jobs.get(job_id).counts == {ItemState.DONE: 2}


def test_job_cancelled_from_outside_stops_between_files_and_resumes_where_it_was(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock
):
    job_id = started(jobs)

    def reader(item: JobItem) -> Iterator[RawFile | FileOutcome]:
        if item.ordinal == 2:
            jobs.ask_to_cancel(job_id, is_alive=lambda *_: True)
            clock.time += 10  # so that it is looked for
        yield from read(item)

    report = runner(jobs, store, clock, reader=reader, workers=0).run(job_id)
    assert report.is_cancelled
    assert jobs.get(job_id).state is JobState.CANCELLED
    assert [item.state for item in jobs.items(job_id)] == [
        ItemState.DONE,
        ItemState.DEAD,
        ItemState.CANCELLED,
        ItemState.CANCELLED,
    ]

    assert jobs.claim(job_id, ME, is_alive=lambda *_: True)
    report = runner(jobs, store, clock).run(job_id)
    assert [outcome.name for outcome in report.outcomes] == ["c.txt", "d.txt"]
    assert jobs.get(job_id).state is JobState.DONE


def test_wait_for_the_next_attempt_ends_when_cancelled(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock):
    job_id = started(jobs)

    def wait(wish: Cancellation, seconds: float) -> bool:
        jobs.ask_to_cancel(job_id, is_alive=lambda *_: True)
        return clock.wait(wish, seconds)

    report = runner(jobs, store, clock, captioner=BusyCaptioner(9)).run(job_id, wait=wait)
    assert report.is_cancelled
    assert clock.waits == [2.0]
    assert [item.state for item in jobs.items(job_id)][2] is ItemState.FAILED
    assert jobs.get(job_id).state is JobState.CANCELLED


@pytest.mark.parametrize("workers", [0, 1])
def test_interrupted_job_is_cancelled_with_what_is_in_noted(
    store: SqlRecordStore, jobs: SqlJobStore, clock: Clock, workers: int
):
    def hear(outcome: FileOutcome) -> None:
        if outcome.name == "b.txt":
            raise KeyboardInterrupt

    job_id = started(jobs)
    with pytest.raises(KeyboardInterrupt):
        runner(jobs, store, clock, workers=workers).run(job_id, on_outcome=hear)
    job = jobs.get(job_id)
    assert (job.state, job.message) == (JobState.CANCELLED, "It was interrupted.")
    assert jobs.items(job_id)[0].state is ItemState.DONE
    assert jobs.items(job_id)[3].state is ItemState.CANCELLED


def test_archive_is_one_item_with_an_outcome_for_each_file(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock):
    def reader(item: JobItem) -> Iterator[RawFile | FileOutcome]:
        if item.name == "many.zip":
            for name in ("a.txt", "b.txt", "d.txt"):
                yield make_raw(TEXTS[name], name=name, source=f"/docs/many.zip!/{name}")
        elif item.name != "empty.zip":
            yield from read(item)

    job_id = started(jobs, ["empty.zip", "many.zip", "c.txt"])
    report = runner(jobs, store, clock, reader=reader).run(job_id)
    assert len(report.outcomes) == 4
    found = jobs.items(job_id)
    assert [(item.state, len(item.outcomes), item.error_code) for item in found] == [
        (ItemState.DONE, 0, ""),
        (ItemState.DEAD, 3, "corrupt"),
        (ItemState.DONE, 1, ""),
    ]
    assert [outcome["status"] for outcome in found[1].outcomes] == ["added", "failed", "added"]


def test_job_of_a_living_process_is_left_to_it_and_that_of_a_dead_one_is_taken(jobs: SqlJobStore):
    job_id = started(jobs)
    assert not jobs.claim(job_id, OTHER, is_alive=lambda owner, _: owner == ME)
    assert jobs.get(job_id).owner == ME
    assert jobs.claim(job_id, OTHER, is_alive=lambda *_: False)
    assert jobs.get(job_id).owner == OTHER


def test_cancelling_a_job_that_nobody_runs_is_done_at_once(jobs: SqlJobStore):
    job_id = started(jobs)
    assert jobs.ask_to_cancel(job_id, is_alive=lambda *_: True).is_cancel_asked
    job = jobs.ask_to_cancel(job_id, is_alive=lambda *_: False)
    assert (job.state, dict(job.counts)) == (JobState.CANCELLED, {"cancelled": 4})


def test_items_come_page_by_page(jobs: SqlJobStore):
    job_id = started(jobs)
    pages = [jobs.items(job_id, after=-1, limit=3), jobs.items(job_id, after=2, limit=3)]
    assert [[item.ordinal for item in page] for page in pages] == [[0, 1, 2], [3]]


def test_forgotten_job_is_gone_and_its_runner_stops(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock):
    job_id = started(jobs)
    jobs.forget(job_id)
    with pytest.raises(NotFoundError, match="mmkg jobs list"):
        jobs.get(job_id)
    assert jobs.items(job_id) == []
    assert jobs.note(job_id, []) is True


def test_forgotten_document_leaves_no_name_in_any_job(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock):
    job_id = started(jobs, ["a.txt", "d.txt"])
    runner(jobs, store, clock).run(job_id)
    jobs.forget_document(jobs.items(job_id)[0].document_id)
    assert [item.name for item in jobs.items(job_id)] == ["d.txt"]


def test_oldest_finished_jobs_make_room_for_new_ones(jobs: SqlJobStore):
    first = jobs.create(kind="ingest", request={}, items=[])
    for _ in range(KEPT_JOBS + 2):
        job = jobs.create(kind="ingest", request={}, items=[])
        jobs.finish(job.job_id, JobState.DONE)
    kept = jobs.jobs(limit=1_000)
    assert len(kept) == KEPT_JOBS + 2  # the last one was not done when it was made
    assert kept[-1].job_id == first.job_id  # unfinished ones are never forgotten
    assert [job.created_at for job in kept] == sorted((job.created_at for job in kept), reverse=True)


def test_jobs_do_not_change_the_version_of_the_record(store: SqlRecordStore, jobs: SqlJobStore, clock: Clock):
    job_id = started(jobs, ["b.txt"])
    runner(jobs, store, clock).run(job_id)
    assert store.version() == 0


def test_every_dead_letter_comes_with_advice():
    assert "password" in advice("encrypted")
    assert "mmkg jobs retry" in advice("a code that nobody has thought of")
