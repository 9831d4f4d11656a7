"""What joins the stages: channels that end, a budget that holds memory, a hand-over in order, and a way to stop.

Layer: ``kg``; the standard library only. Nothing here waits without being woken: a consumer that dies, a cancelled run
and a closed channel all wake whoever waits, so no thread is left hanging.

Why one budget and not a size for each queue: whatever stands in any queue was let in by the budget, so every queue is
bounded by it; and since files are let in in their order, the oldest one is always among them and can always go on, so
the stages can never wait for each other in a circle.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Budget", "Cancellation", "Channel", "InOrder", "Stop"]

_T = TypeVar("_T")


class Cancellation:
    """Asks a run to end after the file it is at. It can be asked from any thread, and stays asked.

    :param also: Asked as well at each look, for a wish that comes from elsewhere (another process).
    """

    def __init__(self, also: Callable[[], bool] = lambda: False) -> None:
        self._event = threading.Event()
        self._also = also

    def cancel(self) -> None:
        """Ask for the end."""
        self._event.set()

    def is_cancelled(self) -> bool:
        """Tell whether the end was asked for."""
        if not self._event.is_set() and self._also():
            self._event.set()
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep until cancelled or the time is over; tell whether cancelled. Wishes from elsewhere are heard in 1 s."""
        end = time.monotonic() + seconds
        while not self.is_cancelled():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._event.wait(min(left, 1.0))
        return True


class Stop:
    """The end of one run for all its threads: set once, by whoever comes to it first, and everything wakes."""

    def __init__(self) -> None:
        self._conditions: list[threading.Condition] = []
        self._lock = threading.Lock()
        self._is_set = False
        self.error: BaseException | None = None

    def condition(self) -> threading.Condition:
        """Return a condition that is notified when the run ends."""
        condition = threading.Condition()
        with self._lock:
            self._conditions.append(condition)
        return condition

    def set(self, error: BaseException | None = None) -> None:
        """End the run, because of ``error`` if there is one; the first error stays."""
        with self._lock:
            self._is_set = True
            self.error = self.error or error
        for condition in self._conditions:
            with condition:
                condition.notify_all()

    def is_set(self) -> bool:
        """Tell whether the run has ended."""
        return self._is_set


class Channel(Generic[_T]):
    """Hands items from one stage to the next, in the order they came.

    :param stop: The end of the run.
    :param n_senders: How many threads put items in; it ends when all of them have closed it.
    """

    def __init__(self, stop: Stop, *, n_senders: int = 1) -> None:
        self._stop = stop
        self._changed = stop.condition()
        self._items: deque[_T] = deque()
        self._n_open = n_senders

    def put(self, item: _T) -> None:
        """Put an item in; it never waits, because the budget has let the item into the run."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def close(self) -> None:
        """Say that this sender puts nothing more in."""
        with self._changed:
            self._n_open -= 1
            self._changed.notify_all()

    def take(self, *, most: Callable[[list[_T], _T], bool] | None = None) -> list[_T]:
        """Wait for an item, and take as many as are there and fit.

        :param most: Tells whether a further item still fits with those taken; ``None`` takes one item.
        :returns: At least one item; none when the channel has ended or the run was stopped.
        """
        with self._changed:
            while not self._items and self._n_open > 0 and not self._stop.is_set():
                self._changed.wait()
            if self._stop.is_set() or not self._items:
                return []
            taken = [self._items.popleft()]
            while most is not None and self._items and most(taken, self._items[0]):
                taken.append(self._items.popleft())
            return taken


class Budget:
    """Holds the number and the bytes of what is between being read and being in the record.

    :param stop: The end of the run.
    :param max_count: The most files, >= 1.
    :param max_bytes: The most bytes; one file that is larger is let in when nothing else is there.
    """

    def __init__(self, stop: Stop, *, max_count: int, max_bytes: int) -> None:
        self._stop = stop
        self._changed = stop.condition()
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._held: dict[int, int] = {}
        self._n_bytes = 0
        self.most_bytes = 0
        """The most bytes that were ever held."""
        self.most_count = 0
        """The most files that were ever held."""

    def enter(self, ordinal: int, n_bytes: int) -> bool:
        """Wait until a file of this size may come in; return ``False`` if the run was stopped meanwhile."""
        with self._changed:
            while not self._stop.is_set() and not self._fits(n_bytes):
                self._changed.wait()
            if self._stop.is_set():
                return False
            self._held[ordinal] = 0
            self._charge(ordinal, n_bytes)
            return True

    def wait_to_grow(self, ordinal: int) -> bool:
        """Wait until a file may be made into something larger: while there is room, or when it is the oldest.

        What a document will weigh is known only when it is made. So it may then exceed the budget, but no second one
        is begun before there is room again, unless every file before it is done.
        """
        with self._changed:
            while not self._stop.is_set() and self._n_bytes > self._max_bytes and ordinal != min(self._held):
                self._changed.wait()
            return not self._stop.is_set()

    def weigh(self, ordinal: int, n_bytes: int) -> None:
        """Say what a file that is in weighs now."""
        with self._changed:
            self._charge(ordinal, n_bytes)
            self._changed.notify_all()

    def leave(self, ordinal: int) -> None:
        """Say that a file is done with."""
        with self._changed:
            self._n_bytes -= self._held.pop(ordinal)
            self._changed.notify_all()

    def _fits(self, n_bytes: int) -> bool:
        if not self._held:
            return True
        return len(self._held) < self._max_count and self._n_bytes + n_bytes <= self._max_bytes

    def _charge(self, ordinal: int, n_bytes: int) -> None:
        self._n_bytes += n_bytes - self._held[ordinal]
        self._held[ordinal] = n_bytes
        self.most_bytes = max(self.most_bytes, self._n_bytes)
        self.most_count = max(self.most_count, len(self._held))


class InOrder(Generic[_T]):
    """Takes items as they are finished and gives them back by number, from 0.

    :param stop: The end of the run.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._changed = stop.condition()
        self._ready: dict[int, _T] = {}
        self._next = 0
        self._n_all: int | None = None

    def put(self, ordinal: int, item: _T) -> None:
        """Hand in a finished item."""
        with self._changed:
            self._ready[ordinal] = item
            self._changed.notify_all()

    def end(self, n_all: int) -> None:
        """Say how many items there are in all."""
        with self._changed:
            self._n_all = n_all
            self._changed.notify_all()

    def take(self, *, poll: Callable[[], bool] = lambda: False, poll_s: float = 1.0) -> _T | None:
        """Wait for the next item in order; ``None`` when there is none left, the run stopped, or ``poll`` says so.

        :param poll: Asked at the start and every ``poll_s`` seconds while waiting.
        :param poll_s: Seconds between two questions.
        :returns: The item.
        """
        with self._changed:
            while not poll() and not self._stop.is_set() and self._next != self._n_all:
                if self._next in self._ready:
                    self._next += 1
                    return self._ready.pop(self._next - 1)
                self._changed.wait(poll_s)
            return None

    def is_over(self) -> bool:
        """Tell whether every item was taken."""
        return self._next == self._n_all
