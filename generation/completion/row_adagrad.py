"""Adagrad for tables of which a batch touches some rows.

Layer: ``generation``; imports torch. The same numbers as ``torch.optim.Adagrad``, which is the reference, to rounding;
with sparse gradients that one takes twice the time on a CPU, since it passes over all touched rows ten times, where
here a few hundred rows at a time stay in the cache.
Source: Duchi et al. 2011 (JMLR 12), diagonal form.

Shape suffixes: N rows of a table, C touched ones, W row width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RowAdagrad"]

_EPSILON = 1e-10
_CACHED_VALUES = 2**20
"""Numbers of a part that is taken at a time on a CPU: 4 MB each of gradients, sums and steps."""


class RowAdagrad:
    """The sums of squared gradients of one table, and its steps.

    :param table_NW: The table, float32; :meth:`step` changes it in place.
    :param learning_rate: Above 0, dimensionless.
    """

    def __init__(self, table_NW: Tensor, *, learning_rate: float) -> None:
        self.table_NW, self.learning_rate = table_NW, learning_rate
        self.sums_NW = torch.zeros_like(table_NW)

    @torch.no_grad()
    def step(self, gradient_CW: Tensor, rows_C: Tensor | None = None) -> None:
        """Take a step.

        :param gradient_CW: Gradient of the touched rows. *Shape:* ``(C, W)``.
        :param rows_C: Which they are, none twice; ``None`` takes them for all rows. *Shape:* ``(C,)``, int64.
        """
        n_rows, width = gradient_CW.shape
        part = n_rows if gradient_CW.is_cuda else max(1, _CACHED_VALUES // max(1, width))
        for first in range(0, n_rows, max(1, part)):
            stop = min(first + part, n_rows)
            gradient = gradient_CW[first:stop]
            if rows_C is None:
                sums = self.sums_NW[first:stop].addcmul_(gradient, gradient)
                self.table_NW[first:stop].addcdiv_(gradient, sums.sqrt().add_(_EPSILON), value=-self.learning_rate)
                continue
            rows = rows_C[first:stop]
            sums = self.sums_NW[rows].addcmul_(gradient, gradient)
            self.sums_NW.index_copy_(0, rows, sums)
            steps = gradient / sums.sqrt_().add_(_EPSILON)
            self.table_NW.index_add_(0, rows, steps, alpha=-self.learning_rate)
