"""How the learning rate goes over the epochs of a training: one epoch to warm up, then down in a straight line.

Layer: ``generation``; the standard library only. The first step of Adagrad moves every number by the whole rate,
however small its gradient, so the first epoch takes a third of the peak; the peak itself is twice what ComplEx-N3 is
usually trained with at a constant rate, and what it leaves in noise goes as the rate falls.
Source: warm-up as in Goyal et al. 2017, arXiv:1706.02677, section 2.2; a straight line down to zero with the number of
epochs fixed beforehand as in Bergsma et al. 2025, arXiv:2502.15938. That it helps Adagrad here is measured: see
ARCHITECTURE.md.
"""

from __future__ import annotations

__all__ = ["WARM_UP_SHARE", "rate_share"]

WARM_UP_SHARE = 1.0 / 3.0
"""What the first epoch takes of the peak, and where a training starts that goes on from tables of an earlier one."""


def rate_share(epoch: int, n_epochs: int, *, goes_on: bool = False) -> float:
    """Return what an epoch takes of the peak rate.

    :param epoch: The epoch, from 1.
    :param n_epochs: How many epochs there will be, at least ``epoch``.
    :param goes_on: Whether the parameters come from an earlier training: then there is no peak, and the rate falls from
        the share of the first epoch, so that what is known is not thrown about.
    :returns: A share in (0, 1]; the last epoch takes ``1 / (n_epochs - 1)`` of the peak, or of the warm-up share
        ``1 / n_epochs`` where the training goes on.
    """
    if goes_on:
        return WARM_UP_SHARE * (n_epochs - epoch + 1) / n_epochs
    return WARM_UP_SHARE if epoch == 1 else (n_epochs - epoch + 1) / (n_epochs - 1)
