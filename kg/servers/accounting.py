"""What calls to a paid server cost, and the limit at which they stop.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from kg.errors import InputError

__all__ = ["Budget", "Exhausted", "Ledger", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call, or all of them, took.

    Tokens are as the server counted them; where it does not, they are estimated and ``is_estimated`` is true.
    ``cost`` is in the currency of the prices, 0 where none are set. ``n_retries`` are requests beyond the first.
    """

    n_calls: int = 0
    n_retries: int = 0
    n_failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    is_estimated: bool = False

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            n_calls=self.n_calls + other.n_calls,
            n_retries=self.n_retries + other.n_retries,
            n_failed=self.n_failed + other.n_failed,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=self.cost + other.cost,
            is_estimated=self.is_estimated or other.is_estimated,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Prices and limits; 0 means none.

    :param prompt_price: Price of a million prompt tokens.
    :param completion_price: Price of a million completion tokens.
    :param max_cost: No call is begun once this was spent.
    :param max_tokens: No call is begun once this many tokens were used.
    :raises InputError: If one is negative, or ``max_cost`` is set without prices.
    """

    prompt_price: float = 0.0
    completion_price: float = 0.0
    max_cost: float = 0.0
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if min(self.prompt_price, self.completion_price, self.max_cost, self.max_tokens) < 0:
            raise InputError(f"Budget: prices and limits must not be negative, got {self}.")
        if self.max_cost and not (self.prompt_price or self.completion_price):
            raise InputError("Budget: max_cost says nothing without prices. Set them as well.")

    def priced(self, usage: Usage) -> Usage:
        """Return the usage with its cost."""
        cost = usage.prompt_tokens * self.prompt_price + usage.completion_tokens * self.completion_price
        return replace(usage, cost=cost / 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """A limit that was reached: its name in :class:`Budget`, and the words that say how far."""

    limit: str
    text: str


class Ledger:
    """The sum of all calls. Safe between threads.

    A call is judged before it begins, so the limit is passed by at most the calls that were under way.

    :param budget: Prices and limits.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._total = Usage()
        self._lock = threading.Lock()

    @property
    def total(self) -> Usage:
        """Everything so far."""
        with self._lock:
            return self._total

    def exhausted(self) -> Exhausted | None:
        """Return the limit that forbids another call; ``None`` where there is room."""
        total, budget = self.total, self._budget
        if budget.max_cost and total.cost >= budget.max_cost:
            return Exhausted(limit="max_cost", text=f"{total.cost:.4f} of max_cost {budget.max_cost:g} is spent")
        if budget.max_tokens and total.tokens >= budget.max_tokens:
            return Exhausted(limit="max_tokens", text=f"{total.tokens} of max_tokens {budget.max_tokens} are used")
        return None

    def add(self, usage: Usage) -> Usage:
        """Add a call and return it with its cost."""
        priced = self._budget.priced(usage)
        with self._lock:
            self._total = self._total.plus(priced)
        return priced
