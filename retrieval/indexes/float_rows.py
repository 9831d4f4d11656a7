"""The vectors as they came, for indexes that keep only codes of them: read by number, added at the end.

Layer: ``retrieval``; NumPy only. What a file held is read through its memory map, so that only rows that are asked for
come into memory. What was added since stands in pieces of their own that are never moved, so that an addition costs the
same whatever the size.

Shape suffixes: N vectors, B vectors of the base, P vectors of a piece, D vector width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatRows"]

_LEAST_ROWS, _MOST_ROWS = 1024, 262_144
"""A new piece has as many rows as there are already, within these; a tenth of a second to fill, at most, at D = 384."""


class FloatRows:
    """Rows of float32 under the numbers 0, 1, 2, …; never changed, only added to.

    :param base_BD: The first rows, for instance a memory map; never written to. *Shape:* ``(B, D)``.
    """

    def __init__(self, base_BD: NDArray[np.float32]) -> None:
        self._pieces_PD = [base_BD]
        self._starts = [0]
        self._n_rows = len(base_BD)

    def append(self, vectors_ND: NDArray[np.float32]) -> None:
        """Add rows at the end.

        :param vectors_ND: The rows. *Shape:* ``(N, D)``.
        """
        while len(vectors_ND):
            piece_PD, n_used = self._pieces_PD[-1], self._n_rows - self._starts[-1]
            if n_used == len(piece_PD):
                n_rows = max(len(vectors_ND), min(_MOST_ROWS, max(_LEAST_ROWS, self._n_rows)))
                piece_PD, n_used = np.empty((n_rows, piece_PD.shape[1]), dtype=np.float32), 0
                self._pieces_PD.append(piece_PD)
                self._starts.append(self._n_rows)
            part_ND = vectors_ND[: len(piece_PD) - n_used]
            piece_PD[n_used : n_used + len(part_ND)] = part_ND
            self._n_rows += len(part_ND)
            vectors_ND = vectors_ND[len(part_ND) :]

    def take(self, numbers_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy of some rows.

        :param numbers_N: Their numbers, in any order. *Shape:* ``(N,)``.
        :returns: The rows, in that order. *Shape:* ``(N, D)``.
        """
        if len(self._pieces_PD) == 1:
            return self._pieces_PD[0][numbers_N]
        rows_ND = np.empty((len(numbers_N), self._pieces_PD[0].shape[1]), dtype=np.float32)
        pieces_N = np.searchsorted(self._starts, numbers_N, side="right") - 1
        for piece in np.unique(pieces_N).tolist():
            here_N = pieces_N == piece
            rows_ND[here_N] = self._pieces_PD[piece][numbers_N[here_N] - self._starts[piece]]
        return rows_ND

    def parts(self) -> Iterator[memoryview]:
        """Yield the bytes of all rows in order, without copying them."""
        ends = [*self._starts[1:], self._n_rows]
        for piece_PD, start, end in zip(self._pieces_PD, self._starts, ends, strict=True):
            yield np.ascontiguousarray(piece_PD[: end - start]).reshape(-1).view(np.uint8).data

    def __len__(self) -> int:
        return self._n_rows
