"""How far an ingest is, stage by stage, and how long the rest will take.

Layer: ``kg``; the standard library only.

The time left is the number of files left times a mean of the seconds between two finished files in which each newer
one weighs more: the mean forgets half of what it knew every :data:`_HALF_LIFE` files, so a run of large PDFs among
notes changes the estimate soon, and one slow file does not throw it over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from kg.ingest.steps import STAGES, Task

__all__ = ["IngestProgress", "Meter", "Rate"]

_HALF_LIFE = 16.0
"""Files after which an interval weighs half: short enough to follow a folder from notes to scans, long enough that
single files do not show. A convention, not a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """One step of one stage. ``total`` is ``None`` while it is not known; ``eta_s`` is of the whole run, in seconds.

    ``n_bytes``, ``n_pages`` and ``n_pictures`` are sums over the files that the stage has done, failed ones included
    as far as they were read.
    """

    stage: str
    done: int
    total: int | None
    n_bytes: int
    n_pages: int
    n_pictures: int
    name: str = ""
    eta_s: float | None = None


class Rate:
    """A mean of intervals in which newer ones weigh more.

    :param clock: Seconds of a steady clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._sum = 0.0
        self._weight = 0.0

    def tick(self) -> None:
        """Say that one more is finished."""
        now = self._clock()
        keep = 0.5 ** (1.0 / _HALF_LIFE)
        self._sum = self._sum * keep + (now - self._last)
        self._weight = self._weight * keep + 1.0
        self._last = now

    def seconds_for(self, n_left: int) -> float | None:
        """Estimate the seconds for ``n_left`` more; ``None`` before the first."""
        return None if self._weight == 0.0 else max(0, n_left) * self._sum / self._weight


class Meter:
    """Counts what the stages have done and tells whoever listens; safe between threads.

    :param listen: Told each step, from the thread that made it, one at a time; ``None`` counts nothing.
    :param total: How many files there will be, if that is known.
    :param clock: Seconds of a steady clock.
    """

    def __init__(
        self, listen: Callable[[IngestProgress], None] | None, *, total: int | None, clock: Callable[[], float]
    ) -> None:
        self._listen = listen
        self._total = total
        self._lock = threading.Lock()
        self._rate = Rate(clock)
        self._sums = {stage: [0, 0, 0, 0] for stage in STAGES}

    def count(self, stage: str, task: Task) -> None:
        """Say that a stage is done with a task."""
        pages = pictures = 0
        if task.document is not None:
            pages, pictures = len(task.document.pages), len(task.document.assets)
        self._count(stage, (1, len(task.raw.data), pages, pictures), name=task.raw.name)

    def passed(self, name: str) -> None:
        """Count a file that never became a task: it could not be opened."""
        for stage in STAGES:
            self._count(stage, (1, 0, 0, 0), name=name)

    def _count(self, stage: str, amounts: tuple[int, int, int, int], *, name: str) -> None:
        if self._listen is None:
            return
        with self._lock:
            self._sums[stage] = [old + new for old, new in zip(self._sums[stage], amounts, strict=True)]
            done, n_bytes, n_pages, n_pictures = self._sums[stage]
            if stage == STAGES[-1]:
                self._rate.tick()
            stored = self._sums[STAGES[-1]][0]
            total = None if self._total is None else max(self._total, self._sums[STAGES[0]][0])
            self._listen(
                IngestProgress(
                    stage=stage,
                    done=done,
                    total=total,
                    n_bytes=n_bytes,
                    n_pages=n_pages,
                    n_pictures=n_pictures,
                    name=name,
                    eta_s=None if total is None else self._rate.seconds_for(total - stored),
                )
            )
