"""Ingest a folder of text files in a process of its own, and die by SIGKILL at a chosen point.

``python crash_worker.py RECORD FOLDER POINT COUNT``: ``POINT`` is ``never``, ``parse`` (before the transaction),
``statement`` (inside it, after rows were written or deleted), ``commit`` (all written, nothing committed) or ``done``
(committed, not reported); the process dies when it reaches that point for the ``COUNT``-th time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from kg.stores.record import open_record
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


def main(record: str, folder: str, point: str, count: str) -> None:
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

    files = sorted(Path(folder).iterdir())
    report = pipeline.ingest((make_raw(path.read_bytes(), name=path.name) for path in files), on_outcome=on_outcome)
    store.close()
    for outcome in report.outcomes:
        sys.stdout.write(f"{outcome.name} {outcome.status} {outcome.error_code}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
