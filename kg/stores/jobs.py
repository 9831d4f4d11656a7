"""Jobs written down in the record's database: the SQL behind :class:`kg.jobs.JobStore`.

Layer: ``kg``; SQLAlchemy Core. Each method is one transaction. Nothing here changes the record's version.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, update

from kg.errors import NotFoundError
from kg.jobs.model import ItemState, Job, JobItem, JobOwner, JobState
from kg.stores.job_tables import job_items, jobs
from kg.stores.session import RecordSession

__all__ = ["KEPT_JOBS", "SqlJobStore"]

KEPT_JOBS = 100
"""Finished jobs that are kept; a new one pushes the oldest of more out. Enough to look back a while; a convention."""

_AT_ONCE = 500
_OPEN_ITEMS = (ItemState.PENDING, ItemState.RUNNING)


class SqlJobStore:
    """The jobs of one record.

    :param session: The record's database.
    :param now: Seconds since 1970.
    """

    def __init__(self, session: RecordSession, *, now: Callable[[], float] = time.time) -> None:
        self._session = session
        self._now = now

    def create(self, *, kind: str, request: Mapping[str, Any], items: Iterable[JobItem]) -> Job:
        """Write a new job down, ``queued``, and forget the oldest finished ones beyond :data:`KEPT_JOBS`.

        :param kind: What it does, ``ingest`` or ``complete``.
        :param request: How its items are read.
        :param items: What is to be read; their ordinals must differ.
        :returns: The job.
        :raises StoreError: If the database refuses.
        """
        now = self._now()
        with self._session._write("write a job down") as connection:
            number = connection.execute(select(func.coalesce(func.max(jobs.c.number), 0) + 1)).scalar_one()
            job_id = (
                f"j{number}-{secrets.token_hex(2)}"  # counted for people; drawn, so that no forgotten id comes back
            )
            values = {
                "job_id": job_id,
                "number": number,
                "kind": kind,
                "state": JobState.QUEUED,
                "created_at": now,
                "updated_at": now,
                "heartbeat_at": now,
                "is_cancel_asked": False,
                "owner_host": "",
                "owner_pid": 0,
                "owner_started": 0.0,
                "message": "",
                "request": dict(request),
            }
            connection.execute(insert(jobs), [values])
            rows = (_item_values(job_id, item) for item in items)
            while batch := list(itertools.islice(rows, _AT_ONCE)):
                connection.execute(insert(job_items), batch)
            _forget_old(connection)
            return _job(connection, job_id, where=self._session.where)

    def get(self, job_id: str) -> Job:
        """Return a job; raise ``NotFoundError`` if there is none."""
        with self._session._read("read a job") as connection:
            return _job(connection, job_id, where=self._session.where)

    def jobs(self, *, limit: int = 50) -> list[Job]:
        """List jobs, the newest first."""
        with self._session._read("list the jobs") as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.number.desc()).limit(limit)).all()
            return [_to_job(row, _counts(connection, row.job_id)) for row in rows]

    def items(
        self, job_id: str, *, states: Sequence[ItemState] = (), after: int = -1, limit: int = 100
    ) -> list[JobItem]:
        """List the items of a job in these states (none: all) whose ordinal is above ``after``, in order."""
        query: Select[Any] = select(job_items).where(job_items.c.job_id == job_id, job_items.c.ordinal > after)
        if states:
            query = query.where(job_items.c.state.in_(states))
        with self._session._read("read a job's items") as connection:
            rows = connection.execute(query.order_by(job_items.c.ordinal).limit(limit)).all()
        return [_to_item(row) for row in rows]

    def claim(self, job_id: str, owner: JobOwner, *, is_alive: Callable[[JobOwner, float], bool]) -> bool:
        """Make the job this process's, ``running``, unless a process that is alive has it.

        :param job_id: The job.
        :param owner: This process.
        :param is_alive: Tells of a process, and of when it was last heard of, whether it still runs.
        :returns: Whether this process has the job now.
        :raises NotFoundError: If there is no such job.
        """
        now = self._now()
        with self._session._write("take a job") as connection:
            job = _job(connection, job_id, where=self._session.where)
            if _is_held(job, is_alive):
                return False
            values = {
                "state": JobState.RUNNING,
                "is_cancel_asked": False,
                "owner_host": owner.host,
                "owner_pid": owner.pid,
                "owner_started": owner.started,
                "heartbeat_at": now,
                "updated_at": now,
                "message": "",
            }
            connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(values))
            return True

    def note(self, job_id: str, items: Sequence[JobItem]) -> bool:
        """Write down what became of items, and a sign of life; tell whether the job is to be cancelled.

        A job that was forgotten meanwhile is to be cancelled.
        """
        now = self._now()
        with self._session._write("note a job's progress") as connection:
            asked = connection.execute(
                select(jobs.c.is_cancel_asked).where(jobs.c.job_id == job_id)
            ).scalar_one_or_none()
            if asked is None:
                return True
            stamp = {"heartbeat_at": now, "updated_at": now} if items else {"heartbeat_at": now}
            connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(stamp))
            if items:
                connection.execute(_UPDATE_ITEM, [_update_values(job_id, item) for item in items])
            return bool(asked)

    def finish(self, job_id: str, state: JobState, *, message: str = "") -> None:
        """Write down how the job ended; what it had not come to is ``cancelled`` if the job was."""
        with self._session._write("end a job") as connection:
            _end(connection, job_id, state, message=message, now=self._now())

    def ask_to_cancel(self, job_id: str, *, is_alive: Callable[[JobOwner, float], bool]) -> Job:
        """Ask the process that has the job to end it; one that nobody has is cancelled at once.

        :param job_id: The job.
        :param is_alive: Tells of a process, and of when it was last heard of, whether it still runs.
        :returns: The job as it is then; one that was done stays so.
        :raises NotFoundError: If there is no such job.
        """
        with self._session._write("cancel a job") as connection:
            job = _job(connection, job_id, where=self._session.where)
            if _is_held(job, is_alive):
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(is_cancel_asked=True))
            elif job.state is not JobState.DONE:
                _end(connection, job_id, JobState.CANCELLED, message="It was cancelled.", now=self._now())
            return _job(connection, job_id, where=self._session.where)

    def reset(self, job_id: str, *, states: Sequence[ItemState]) -> int:
        """Set the items in these states to ``pending``, with no attempts, and the job to ``queued``; count them."""
        with self._session._write("reset a job") as connection:
            chosen = (job_items.c.job_id == job_id) & job_items.c.state.in_(states)
            values = {"state": ItemState.PENDING, "attempts": 0, "next_try_at": None}
            n_items = connection.execute(update(job_items).where(chosen).values(values)).rowcount
            if n_items:
                stamp = {"state": JobState.QUEUED, "updated_at": self._now(), "message": ""}
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(stamp))
            return int(n_items)

    def forget(self, job_id: str) -> None:
        """Delete a job and its items; no document is touched."""
        with self._session._write("forget a job") as connection:
            _job(connection, job_id, where=self._session.where)
            connection.execute(delete(jobs).where(jobs.c.job_id == job_id))

    def forget_document(self, document_id: str) -> None:
        """Delete the items that brought a document in: when it goes, its name and place go too."""
        with self._session._write("forget a document's items") as connection:
            connection.execute(delete(job_items).where(job_items.c.document_id == document_id))


_UPDATE_ITEM = (
    update(job_items)
    .where(job_items.c.job_id == bindparam("of_job"), job_items.c.ordinal == bindparam("at"))
    .values(
        {
            column: bindparam(f"new_{column}")
            for column in (
                "state",
                "attempts",
                "next_try_at",
                "seconds",
                "document_id",
                "error_code",
                "message",
                "outcomes",
            )
        }
    )
)


def _is_held(job: Job, is_alive: Callable[[JobOwner, float], bool]) -> bool:
    return job.state is JobState.RUNNING and job.owner is not None and is_alive(job.owner, job.heartbeat_at)


def _end(connection: Connection, job_id: str, state: JobState, *, message: str, now: float) -> None:
    values = {"state": state, "message": message, "updated_at": now, "is_cancel_asked": False}
    connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(values))
    if state is JobState.CANCELLED:
        left = (job_items.c.job_id == job_id) & job_items.c.state.in_(_OPEN_ITEMS)
        connection.execute(update(job_items).where(left).values(state=ItemState.CANCELLED))


def _forget_old(connection: Connection) -> None:
    done = select(jobs.c.job_id).where(jobs.c.state == JobState.DONE).order_by(jobs.c.number.desc()).offset(KEPT_JOBS)
    old = connection.execute(done.limit(_AT_ONCE)).scalars().all()
    if old:
        connection.execute(delete(jobs).where(jobs.c.job_id.in_(old)))


def _job(connection: Connection, job_id: str, *, where: str) -> Job:
    row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise NotFoundError(f"There is no job {job_id!r} in {where}. `mmkg jobs list` shows those there are.")
    return _to_job(row, _counts(connection, job_id))


def _counts(connection: Connection, job_id: str) -> dict[ItemState, int]:
    query = select(job_items.c.state, func.count()).where(job_items.c.job_id == job_id).group_by(job_items.c.state)
    return {ItemState(state): int(count) for state, count in connection.execute(query)}


def _to_job(row: Row[Any], counts: Mapping[ItemState, int]) -> Job:
    owner = None
    if row.owner_pid:
        owner = JobOwner(host=row.owner_host, pid=row.owner_pid, started=row.owner_started)
    return Job(
        job_id=row.job_id,
        kind=row.kind,
        state=JobState(row.state),
        created_at=row.created_at,
        updated_at=row.updated_at,
        heartbeat_at=row.heartbeat_at,
        request=row.request,
        counts=counts,
        owner=owner,
        is_cancel_asked=bool(row.is_cancel_asked),
        message=row.message,
    )


def _to_item(row: Row[Any]) -> JobItem:
    return JobItem(
        ordinal=row.ordinal,
        source=row.source,
        name=row.name,
        root=row.root,
        state=ItemState(row.state),
        attempts=row.attempts,
        error_code=row.error_code,
        message=row.message,
        document_id=row.document_id,
        seconds=row.seconds,
        next_try_at=row.next_try_at,
        outcomes=tuple(row.outcomes),
    )


def _item_values(job_id: str, item: JobItem) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "ordinal": item.ordinal,
        "name": item.name,
        "source": item.source,
        "root": item.root,
        **{name.removeprefix("new_"): value for name, value in _changing(item).items()},
    }


def _update_values(job_id: str, item: JobItem) -> dict[str, Any]:
    return {"of_job": job_id, "at": item.ordinal, **_changing(item)}


def _changing(item: JobItem) -> dict[str, Any]:
    return {
        "new_state": item.state,
        "new_attempts": item.attempts,
        "new_next_try_at": item.next_try_at,
        "new_seconds": item.seconds,
        "new_document_id": item.document_id,
        "new_error_code": item.error_code,
        "new_message": item.message,
        "new_outcomes": [dict(outcome) for outcome in item.outcomes],
    }
