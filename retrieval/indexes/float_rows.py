"""The vectors as they came, for indexes that keep only codes of them: read by number, added at the end.

Layer: ``retrieval``; NumPy only. What a file held is read through its memory map, so that only rows that are asked for
come into memory; what was added since stands in an array that doubles.

Shape suffixes: N vectors, B vectors of the base, T vectors of the tail, D vector width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatRows"]


class FloatRows:
    """Rows of float32 under the numbers 0, 1, 2, …; never changed, only added to.

    :param base_BD: The first rows, for instance a memory map; never written to. *Shape:* ``(B, D)``.
    """

    def __init__(self, base_BD: NDArray[np.float32]) -> None:
        self._base_BD = base_BD
        self._tail_TD = np.empty((0, base_BD.shape[1]), dtype=np.float32)
        self._n_tail = 0

    def append(self, vectors_ND: NDArray[np.float32]) -> None:
        """Add rows at the end; making room by doubling keeps the cost of a row independent of how many there are.

        :param vectors_ND: The rows. *Shape:* ``(N, D)``.
        """
        n_rows = self._n_tail + len(vectors_ND)
        if n_rows > len(self._tail_TD):
            grown_TD = np.empty((max(n_rows, 2 * len(self._tail_TD)), self._tail_TD.shape[1]), dtype=np.float32)
            grown_TD[: self._n_tail] = self._tail_TD[: self._n_tail]
            self._tail_TD = grown_TD
        self._tail_TD[self._n_tail : n_rows] = vectors_ND
        self._n_tail = n_rows

    def take(self, numbers_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy of some rows.

        :param numbers_N: Their numbers, in any order. *Shape:* ``(N,)``.
        :returns: The rows, in that order. *Shape:* ``(N, D)``.
        """
        n_base = len(self._base_BD)
        if not self._n_tail:
            return self._base_BD[numbers_N]
        if not n_base:
            return self._tail_TD[numbers_N]
        rows_ND = np.empty((len(numbers_N), self._base_BD.shape[1]), dtype=np.float32)
        in_tail_N = numbers_N >= n_base
        rows_ND[~in_tail_N] = self._base_BD[numbers_N[~in_tail_N]]
        rows_ND[in_tail_N] = self._tail_TD[numbers_N[in_tail_N] - n_base]
        return rows_ND

    def parts(self) -> Iterator[memoryview]:
        """Yield the bytes of all rows in order, without copying them."""
        for part_ND in (self._base_BD, self._tail_TD[: self._n_tail]):
            yield np.ascontiguousarray(part_ND).reshape(-1).view(np.uint8).data

    def __len__(self) -> int:
        return len(self._base_BD) + self._n_tail
