"""A time limit that a loader asks about between two steps of its work.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kg.errors import LimitExceededError

__all__ = ["Deadline"]


class Deadline:
    """Counts the seconds since it was made.

    :param timeout_s: Seconds until :meth:`check` refuses, > 0.
    :param where: The name of the file, for the message.
    :param clock: Monotonic seconds.
    """

    def __init__(self, timeout_s: float, *, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._where = where
        self._clock = clock
        self._end_s = clock() + timeout_s

    def check(self, step: str) -> None:
        """Return if there is time left for ``step``.

        :param step: What comes next (``"page 12"``), for the message.
        :raises LimitExceededError: If the time is spent.
        """
        if self._clock() > self._end_s:
            raise LimitExceededError(
                f"{self._where}: not read within {self._timeout_s:g} s; stopped before {step}. "
                "Raise the limit timeout_s or split the file."
            )
