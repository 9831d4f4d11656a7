"""How the learning rate goes over the epochs of a training: one epoch to warm up, then down in a straight line.

Layer: ``generation``; the standard library only. The first step of Adagrad moves every number by the whole rate,
however small its gradient, so the first epoch takes a third of the peak; the peak itself is twice what ComplEx-N3 is
usually trained with at a constant rate, and what it leaves in noise goes as the rate falls.
Source: warm-up as in Goyal et al. 2017, arXiv:1706.02677, section 2.2; a straight line down to zero with the number of
epochs fixed beforehand as in Bergsma et al. 2025, arXiv:2502.15938. That it helps Adagrad here is measured: see
ARCHITECTURE.md.
"""

from __future__ import annotations

__all__ = ["GOES_ON_SHARE", "REFIT_SHARE", "WARM_UP_SHARE", "rate_share"]

WARM_UP_SHARE = 1.0 / 3.0
"""What the first epoch takes of the peak."""
GOES_ON_SHARE = 1.0 / 3.0
"""Where a training starts that goes on from tables of an earlier one, so that what is known is not thrown about."""
REFIT_SHARE = 2.0 / 3.0
"""Where the epochs over all of train start. Of held-out triples of DB15K they made .376 to .378 out of .370 (MRR, rank
200) from any start between a third and the peak; two thirds was best by a little, a tenth gave .373."""


def rate_share(epoch: int, n_epochs: int, *, falls_from: float | None = None) -> float:
    """Return what an epoch takes of the peak rate.

    :param epoch: The epoch, from 1.
    :param n_epochs: How many epochs there will be, at least ``epoch``.
    :param falls_from: The share of the first epoch where there is neither warm-up nor peak.
    :returns: A share in (0, 1]; the last epoch takes ``1 / (n_epochs - 1)`` of the peak, or ``1 / n_epochs`` of
        ``falls_from``.
    """
    if falls_from is not None:
        return falls_from * (n_epochs - epoch + 1) / n_epochs
    return WARM_UP_SHARE if epoch == 1 else (n_epochs - epoch + 1) / (n_epochs - 1)
