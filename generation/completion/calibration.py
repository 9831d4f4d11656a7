"""Turn a mixture's share of belief into the chance that the link is right.

Layer: ``generation``; NumPy only. Platt scaling: ``P(right) = sigmoid(slope * logit(p) + offset)``, where p is the
softmax of the scores over the candidates that are not known already, fitted on the best ten candidates of each
validation question. A candidate that validation does not name counts as wrong, so the chances lean low.
Source: Platt 1999, "Probabilistic outputs for support vector machines", with its smoothed targets (section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "fit_calibration"]

_FEWEST = 50
_LIMIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted scale. ``n`` counts the candidates it was fitted on, ``n_right`` the right ones among them."""

    slope: float
    offset: float
    n: int
    n_right: int

    def __call__(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chance that each is right. *Shape:* ``(n,)`` → ``(n,)``; a higher share is never less likely."""
        chances: NDArray[np.float64] = _sigmoid(self.slope * _logit(shares) + self.offset)
        return chances


def fit_calibration(shares: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration | None:
    """Fit the scale by Newton's method with a line search.

    :param shares: Softmax shares of candidates. *Shape:* ``(n,)``.
    :param right: Whether each was right. *Shape:* ``(n,)``.
    :returns: The calibration; ``None`` where fewer than 50 candidates, or fewer than 5 right or wrong ones, were seen.
    """
    n_right = int(right.sum())
    if len(shares) < _FEWEST or min(n_right, len(shares) - n_right) < 5:
        return None
    targets = np.where(right, (n_right + 1.0) / (n_right + 2.0), 1.0 / (len(right) - n_right + 2.0))
    inputs = np.stack([_logit(shares), np.ones(len(shares))], axis=1)
    slope_offset = np.array([1.0, 0.0])
    loss = _loss(inputs @ slope_offset, targets)
    for _ in range(100):
        chances = _sigmoid(inputs @ slope_offset)
        spread = chances * (1.0 - chances)
        curvature = (inputs * spread[:, None]).T @ inputs + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (targets - chances))
        trials = [slope_offset + step * 0.5**halvings for halvings in range(30)]
        losses = [_loss(inputs @ trial, targets) for trial in trials]
        best = int(np.argmin(losses))
        if losses[best] >= loss - 1e-10:
            break
        slope_offset, loss = trials[best], losses[best]
    slope = max(0.0, float(slope_offset[0]))
    offset = float(slope_offset[1]) if slope else float(np.log((n_right + 1.0) / (len(right) - n_right + 1.0)))
    return Calibration(slope=slope, offset=offset, n=len(shares), n_right=n_right)


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())


def _logit(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(shares, 1e-12, 1.0 - 1e-12)
    logits: NDArray[np.float64] = np.clip(np.log(inside) - np.log1p(-inside), -_LIMIT, _LIMIT)
    return logits


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(values, -_LIMIT * 4, _LIMIT * 4)))
    return result
