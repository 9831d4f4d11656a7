"""Exact nearest neighbours with NumPy: the reference that FAISS is held to, and a good index in its own right.

Layer: ``retrieval``; NumPy and ``kg`` only. One query over 10**5 vectors of 384 is one matrix-vector product.

Shape suffixes: N vectors, Q queries, D vector width.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from retrieval.indexes.row_files import read_rows, write_rows
from retrieval.indexes.rows import MARGIN, DenseRows, checked_ids, checked_rows, ranked
from retrieval.indexes.topk import require_k

__all__ = ["ExactIndex"]

_GATHER_SHARE = 0.2
"""Past this share of allowed rows, scoring all of them is cheaper than copying the allowed ones together."""


class ExactIndex:
    """A matrix of vectors and their ids; satisfies ``retrieval.types.VectorIndex``. Safe between threads.

    :param dimension: Width of the vectors.
    """

    name = "exact"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._lock = threading.RLock()
        self._rows = DenseRows()
        self._matrix_ND = np.empty((0, dimension), dtype=np.float32)

    def add(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Add vectors; an id that is there already is replaced.

        :param ids: One id per vector.
        :param vectors_ND: Unit vectors. *Shape:* ``(N, D)``.
        :raises EncoderError: If the vectors are of another width or not finite.
        :raises VectorIndexError: If the ids do not name each vector once.
        """
        vectors_ND = checked_rows(vectors_ND, dimension=self.dimension, where="ExactIndex.add")
        checked_ids(ids, n_vectors=len(vectors_ND), where="ExactIndex.add")
        with self._lock:
            rows_N = self._rows.take(ids)
            self._reserve(len(self._rows))
            self._matrix_ND[rows_N] = vectors_ND

    def _reserve(self, n_rows: int) -> None:
        """Make room by doubling, so that adding one by one costs no more than adding at once."""
        if n_rows > len(self._matrix_ND) or not self._matrix_ND.flags.writeable:  # a file's rows are not ours to change
            grown_ND = np.empty((max(n_rows, 2 * len(self._matrix_ND)), self.dimension), dtype=np.float32)
            grown_ND[: len(self._matrix_ND)] = self._matrix_ND
            self._matrix_ND = grown_ND

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out; unknown ids are ignored. The last row moves into each gap."""
        with self._lock:
            self._reserve(len(self._rows))
            for gap, last in self._rows.give(ids):
                self._matrix_ND[gap] = self._matrix_ND[last]

    def search(
        self, queries_QD: NDArray[np.float32], *, k: int, allowed: frozenset[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return up to ``k`` ``(id, inner product)`` pairs for each query, best first, ties by id.

        :param queries_QD: Unit vectors. *Shape:* ``(Q, D)``.
        :param k: The most pairs for a query.
        :param allowed: Only these ids may be found; ``None`` allows all.
        :returns: One list per query.
        :raises InputError: If ``k`` is below 1.
        :raises EncoderError: If the queries are of another width or not finite.
        """
        require_k(k, where="ExactIndex.search")
        queries_QD = checked_rows(queries_QD, dimension=self.dimension, where="ExactIndex.search")
        with self._lock:
            matrix_ND = self._matrix_ND[: len(self._rows)]
            rows_N = np.arange(len(self._rows)) if allowed is None else self._rows.among(allowed)
            if len(rows_N) > _GATHER_SHARE * len(matrix_ND):
                scores_QN = (queries_QD @ matrix_ND.T)[:, rows_N]
            else:
                scores_QN = queries_QD @ matrix_ND[rows_N].T
            nominees = [rows_N[_nominees(scores_N, k)] for scores_N in scores_QN]
            return [
                ranked(matrix_ND[rows], [self._rows.ids[row] for row in rows.tolist()], query_D, k=k)
                for rows, query_D in zip(nominees, queries_QD, strict=True)
            ]

    def ids(self) -> frozenset[str]:
        """Return the ids that are in the index."""
        with self._lock:
            return frozenset(self._rows.ids)

    def __len__(self) -> int:
        return len(self._rows)

    def save(self, path: Path, *, encoder: str, record_version: int) -> None:
        """Write the index to a file, whole or not at all.

        :param path: The file; an older one is replaced.
        :param encoder: The fingerprint of the encoder that made the vectors.
        :param record_version: The version of the record that the index is of.
        :raises VectorIndexError: If the file cannot be written.
        """
        with self._lock:
            write_rows(
                path,
                kind=self.name,
                ids=self._rows.ids,
                vectors_ND=self._matrix_ND[: len(self._rows)],
                encoder=encoder,
                record_version=record_version,
            )

    @classmethod
    def load(cls, path: Path, *, encoder: str, record_version: int | None = None) -> Self:
        """Read an index that :meth:`save` wrote. A large file is mapped into memory, until the first change copies it.

        :param path: The file.
        :param encoder: The fingerprint of the encoder in use now.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :returns: The index.
        :raises VectorIndexError: If the file is missing, damaged, stale, or of another encoder: build the index again.
        """
        file = read_rows(path, kind=cls.name, encoder=encoder, record_version=record_version)
        index = cls(file.vectors.shape[1])
        index._rows, index._matrix_ND = DenseRows(file.ids), file.vectors
        index.record_version = file.record_version
        return index


def _nominees(scores_N: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the places of all scores within the margin of the ``k``-th."""
    if len(scores_N) <= k:
        return np.arange(len(scores_N))
    worst = np.partition(scores_N, len(scores_N) - k)[len(scores_N) - k]
    return np.flatnonzero(scores_N >= worst - MARGIN)
