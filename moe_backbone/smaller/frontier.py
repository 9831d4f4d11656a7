"""Find the best pair of thresholds by walking the frontier of a monotone grid.

Layer: ``moe_backbone``; the standard library only.
Source: the frontier search of MoDES, arXiv:2511.15690. A higher threshold never skips less and never loses less, so
the best pair that skips enough lies on the staircase between pairs that skip enough and pairs that do not. The walk
starts at (lowest first, highest second) and takes at most n + m - 1 evaluations of n · m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Evaluate", "Found", "frontier_search", "grid_search"]

Evaluate = Callable[[int, int], tuple[float, float]]
"""From the places of two thresholds to (share skipped, loss)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best pair.

    :param first: Place of the first threshold.
    :param second: Place of the second.
    :param skipped: Share skipped there.
    :param loss: Loss there; lower is better.
    :param n_evaluations: Pairs that were evaluated.
    """

    first: int
    second: int
    skipped: float
    loss: float
    n_evaluations: int


def frontier_search(n_first: int, n_second: int, evaluate: Evaluate, *, target: float) -> Found | None:
    """Walk the staircase of pairs that skip enough, and return the one of least loss.

    :param n_first: Candidates of the first threshold, rising.
    :param n_second: Candidates of the second, rising.
    :param evaluate: Costs one run of the model; both results must not fall as either place rises, or the pair found
        may be second best.
    :param target: The least share to skip.
    :returns: The best pair; ``None`` if even the highest thresholds skip less. Ties go to the lower first place.
    """
    best: tuple[float, int, int, float] | None = None
    n_evaluations, first, second = 0, 0, n_second - 1
    while first < n_first and second >= 0:
        skipped, loss = evaluate(first, second)
        n_evaluations += 1
        if skipped >= target:
            candidate = (loss, first, second, skipped)
            best = candidate if best is None or candidate < best else best
            second -= 1
        else:
            first += 1
    return _found(best, n_evaluations)


def grid_search(n_first: int, n_second: int, evaluate: Evaluate, *, target: float) -> Found | None:
    """Evaluate every pair: the naive reference of :func:`frontier_search`.

    :param n_first: Candidates of the first threshold.
    :param n_second: Candidates of the second.
    :param evaluate: From places to (share skipped, loss).
    :param target: The least share to skip.
    :returns: The best pair; ``None`` if no pair skips enough.
    """
    best: tuple[float, int, int, float] | None = None
    for first in range(n_first):
        for second in range(n_second):
            skipped, loss = evaluate(first, second)
            if skipped >= target:
                candidate = (loss, first, second, skipped)
                best = candidate if best is None or candidate < best else best
    return _found(best, n_first * n_second)


def _found(best: tuple[float, int, int, float] | None, n_evaluations: int) -> Found | None:
    if best is None:
        return None
    loss, first, second, skipped = best
    return Found(first=first, second=second, skipped=skipped, loss=loss, n_evaluations=n_evaluations)
