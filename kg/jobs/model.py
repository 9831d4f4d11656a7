"""What a job is: a list of things to read, each with what became of it.

Layer: ``kg``; the standard library only. Times are seconds since 1970 (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["ItemState", "Job", "JobItem", "JobOwner", "JobState"]


class JobState(StrEnum):
    """Where a job stands. A ``running`` one whose process is gone can be resumed, and so can all but ``done``."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "done"


class ItemState(StrEnum):
    """Where one item stands.

    ``failed`` is for a passing reason, or because the record failed: it is tried again. ``dead`` is for good, until a
    person has it tried again (``mmkg jobs retry``).
    """

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOwner:
    """The process that runs a job: a process id alone may be given to another process later."""

    host: str
    pid: int
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is listed; ``counts`` are its items by state.

    ``request`` says how its items are read again (``{"kind": "paths"}`` or ``{"kind": "uploads"}``, and what was
    asked for). ``heartbeat_at`` is when its process was last heard of.
    """

    job_id: str
    kind: str
    state: JobState
    created_at: float
    updated_at: float
    heartbeat_at: float
    request: Mapping[str, Any]
    counts: Mapping[ItemState, int]
    owner: JobOwner | None = None
    is_cancel_asked: bool = False
    message: str = ""

    @property
    def n_items(self) -> int:
        """How many items it has."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobItem:
    """One thing to read: a file, an upload, or an archive with many files, whose outcomes are in ``outcomes``.

    ``root`` is the folder that pictures named by the file may be read from. ``next_try_at`` is set while it waits to
    be tried again. ``error_code``, ``message`` and ``document_id`` are of the first file that failed, or the first.
    """

    ordinal: int
    source: str
    name: str
    root: str = ""
    state: ItemState = ItemState.PENDING
    attempts: int = 0
    error_code: str = ""
    message: str = ""
    document_id: str = ""
    seconds: float = 0.0
    next_try_at: float | None = None
    outcomes: tuple[Mapping[str, Any], ...] = field(default=())
