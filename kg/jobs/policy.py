"""Whether, and when, what failed is tried again; and what a person can do about what is not.

Layer: ``kg``; the standard library only.

Source of the waiting times: exponential backoff with "equal jitter", Marc Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015: half of the wait is fixed, half is drawn, so that clients that failed together do not come
back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from kg.errors import CaptionerBusyError, FetchError, SchemaVersionError, StoreBusyError, StoreError, StoreFullError
from kg.jobs.model import ItemState

__all__ = ["RECORD_CODES", "TRANSIENT_CODES", "RetryPolicy", "advice"]

TRANSIENT_CODES = frozenset({StoreBusyError.code, CaptionerBusyError.code, FetchError.code})
"""Reasons that pass by themselves."""

RECORD_CODES = frozenset({StoreError.code, StoreFullError.code, StoreBusyError.code, SchemaVersionError.code})
"""Reasons that lie in the record and not in the file: such a file is never given up."""

_ADVICE = {
    "corrupt": "Repair the file or save it again, then `mmkg jobs retry`.",
    "empty": "There is nothing in the file to read.",
    "encrypted": "Save the file without its password, then `mmkg jobs retry`.",
    "limit": "Split the file or raise the limit that the message names, then `mmkg jobs retry`.",
    "unsupported": "Convert the file to a format that `mmkg ingest` reads.",
    "unreadable": "Make the file readable for this user, then `mmkg jobs retry`.",
    "unsafe_path": "Take the archive apart by hand and ingest its files.",
    "internal": "This is a fault of the program: please report it, with the log (`mmkg -v`).",
    FetchError.code: "See that the server answers, then `mmkg jobs retry`.",
    CaptionerBusyError.code: "See that the captioner's server answers, then `mmkg jobs retry`.",
    StoreFullError.code: "Free some space, then `mmkg jobs resume`.",
    StoreBusyError.code: "Wait until the other process is done, then `mmkg jobs resume`.",
}


def advice(code: str) -> str:
    """Say what a person can do about a failure of this code."""
    return _ADVICE.get(code, "See the message; when its cause is gone, `mmkg jobs retry`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed item is tried again.

    :param max_attempts: The most attempts, >= 1.
    :param backoff_s: Seconds before the second attempt, twice that before the third, and so on.
    :param max_backoff_s: The longest wait, in seconds.
    :param draw: A number in ``[0, 1)``, drawn anew each time.
    """

    max_attempts: int = 3
    backoff_s: float = 2.0
    max_backoff_s: float = 120.0
    draw: Callable[[], float] = random.random

    def wait_s(self, code: str, *, attempts: int) -> float | None:
        """Return the seconds to wait before the next attempt, ``None`` if there is to be none.

        :param code: Why the last attempt failed.
        :param attempts: How many there were, >= 1.
        :returns: Between half of the doubled wait and all of it.
        """
        if code not in TRANSIENT_CODES or attempts >= self.max_attempts:
            return None
        whole: float = min(self.max_backoff_s, self.backoff_s * 2.0 ** (attempts - 1))
        return whole * (0.5 + 0.5 * self.draw())

    def state_of(self, code: str, *, attempts: int) -> ItemState:
        """Say how an item that failed now stands: to be tried again, or dead."""
        if code in RECORD_CODES or self.wait_s(code, attempts=attempts) is not None:
            return ItemState.FAILED
        return ItemState.DEAD
