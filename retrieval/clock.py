"""Stage times and notes of one search.

Layer: ``retrieval``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from retrieval.types import Trace

__all__ = ["Clock"]


@dataclass(slots=True)
class Clock:
    """Collects what becomes the :class:`retrieval.types.Trace` of one search; of one thread."""

    stages: list[tuple[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages.append((name, time.perf_counter() - started))

    def trace(self) -> Trace:
        """Return what was collected."""
        return Trace(stages=tuple(self.stages), notes=tuple(self.notes))
