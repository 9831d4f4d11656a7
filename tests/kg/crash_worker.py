"""Ingest a folder of text files in a process of its own, and die by SIGKILL at a chosen point.

``python crash_worker.py RECORD FOLDER POINT COUNT [overlapping]``: ``POINT`` is ``never``, ``parse`` (before the
transaction), ``statement`` (inside it, after rows were written or deleted), ``commit`` (all written, nothing committed)
or ``done`` (committed, not reported); the process dies when it reaches that point for the ``COUNT``-th time. With
``overlapping`` the stages run side by side, as a job: the newest one is resumed if there is one, and its state is the
last line of the output.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from kg.ingest import IngestConfig, IngestPipeline
from kg.jobs import JobItem, JobOwner, JobRunner, RetryPolicy
from kg.stores.jobs import SqlJobStore
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import CompanyMatcher, PlainTextLoader, make_pipeline, make_raw
from kg.types import Document, FileOutcome, RawFile


def killer(count: int) -> Callable[[], None]:
    left = [count]

    def reach() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


class DyingLoader(PlainTextLoader):
    def __init__(self, reach: Callable[[], None]) -> None:
        self.reach = reach

    def load(self, raw: RawFile) -> Document:
        self.reach()
        return super().load(raw)


def run_job(store: SqlRecordStore, pipeline: IngestPipeline, folder: str, hear: Callable[[FileOutcome], None]) -> None:
    """Make a job of the folder's files, or go on with the one there is."""
    jobs = SqlJobStore(store)
    paths = sorted(Path(folder).iterdir())
    found = jobs.jobs(limit=1) or [
        jobs.create(
            kind="ingest",
            request={"kind": "paths"},
            items=[JobItem(ordinal=n, source=str(path), name=path.name) for n, path in enumerate(paths)],
        )
    ]
    assert jobs.claim(found[0].job_id, JobOwner(host="h", pid=os.getpid(), started=0.0), is_alive=lambda *_: False)
    runner = JobRunner(
        jobs,
        replace(pipeline, config=IngestConfig(workers=2, max_in_flight=4)),
        lambda item: [make_raw(Path(item.source).read_bytes(), name=item.name)],
        policy=RetryPolicy(),
    )
    report = runner.run(found[0].job_id, on_outcome=hear)
    for outcome in report.outcomes:
        sys.stdout.write(f"{outcome.name} {outcome.status} {outcome.error_code}\n")
    sys.stdout.write(f"{jobs.get(found[0].job_id).state}\n")


def main(record: str, folder: str, point: str, count: str, way: str = "plain") -> None:
    reach = killer(int(count))
    store = open_record(record, matcher=CompanyMatcher())
    pipeline = make_pipeline(store)
    on_outcome: Callable[[FileOutcome], None] | None = None
    if point == "parse":
        pipeline = replace(pipeline, loaders=DyingLoader(reach))
    elif point == "statement":

        @event.listens_for(store.engine, "after_cursor_execute")
        def _(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if statement.startswith(("INSERT", "UPDATE", "DELETE")):
                reach()

    elif point == "commit":
        event.listen(store.engine, "commit", lambda _: reach())
    elif point == "done":

        def on_outcome(_: FileOutcome) -> None:
            reach()

    if way == "overlapping":
        run_job(store, pipeline, folder, on_outcome or (lambda _: None))
        store.close()
        return
    files = sorted(Path(folder).iterdir())
    report = pipeline.ingest((make_raw(path.read_bytes(), name=path.name) for path in files), on_outcome=on_outcome)
    store.close()
    for outcome in report.outcomes:
        sys.stdout.write(f"{outcome.name} {outcome.status} {outcome.error_code}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
