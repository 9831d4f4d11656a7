"""What every vector index does alike: check what it is given, and rank candidates so that all indexes agree.

Layer: ``retrieval``; NumPy and ``kg.errors`` only.

Equal chunks (boilerplate, a repeated page) have equal vectors, but a float32 matrix product may score equal rows
differently in the last bit, depending on where they stand. So each index only *nominates* with its fast product: all
items within :data:`MARGIN` of the ``k``-th. The nominees are scored again in float64, row by row, and sorted by score,
then id. Equal vectors then tie exactly, and exact search and FAISS return the same lists.

Shape suffixes: N vectors, K nominees, Q queries, D vector width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kg.errors import EncoderError, VectorIndexError
from retrieval.indexes.topk import best_first

__all__ = ["MARGIN", "DenseRows", "checked_ids", "checked_rows", "ranked"]

MARGIN = 1e-5
"""How far a float32 inner product of unit vectors may be from the true one: ten times the error seen at D = 384."""


class DenseRows:
    """Which row of a matrix holds which id, without gaps. The matrix is the caller's, and so is the lock."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        """The id of each row."""
        self.of = {item_id: row for row, item_id in enumerate(self.ids)}
        """The row of each id."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of ids, new ones behind the last.

        :param ids: Ids, each once.
        :returns: One row an id. *Shape:* ``(N,)``.
        """
        for item_id in ids:
            if self.of.setdefault(item_id, len(self.ids)) == len(self.ids):
                self.ids.append(item_id)
        return np.array([self.of[item_id] for item_id in ids], dtype=np.int64)

    def give(self, ids: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Give up the rows of ids; unknown ones are ignored.

        :param ids: Ids.
        :yields: ``(gap, last)``: the caller must move the last row into the gap before it asks for more.
        """
        for item_id in ids:
            row = self.of.pop(item_id, None)
            if row is None:
                continue
            last = self.ids.pop()
            if last != item_id:
                self.ids[row] = last
                self.of[last] = row
                yield row, len(self.ids)

    def among(self, allowed: frozenset[str]) -> NDArray[np.int64]:
        """Return the rows of the ids that are there, in order."""
        return np.array(sorted(self.of[item_id] for item_id in self.of.keys() & allowed), dtype=np.int64)


def checked_rows(vectors_ND: NDArray[np.float32], *, dimension: int, where: str) -> NDArray[np.float32]:
    """Return the vectors as contiguous float32 rows.

    :param vectors_ND: Vectors. *Shape:* ``(N, D)``.
    :param dimension: The width that they must have.
    :param where: Who was given them, for the message.
    :returns: The same numbers. *Shape:* ``(N, D)``.
    :raises EncoderError: If they are of another shape or hold a value that is not finite.
    """
    if vectors_ND.ndim != 2 or vectors_ND.shape[1] != dimension:
        raise EncoderError(
            f"{where}: vectors must have shape (N, {dimension}), got {vectors_ND.shape}. "
            "Encode with the encoder that the index was made for, or build the index again."
        )
    rows_ND = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    if not np.isfinite(rows_ND).all():
        row = int(np.flatnonzero(~np.isfinite(rows_ND).all(axis=1))[0])
        raise EncoderError(f"{where}: vector {row} holds values that are not finite. Check the encoder's weights.")
    return rows_ND


def checked_ids(ids: Sequence[str], *, n_vectors: int, where: str) -> None:
    """Refuse ids that do not name each vector once.

    :param ids: The ids.
    :param n_vectors: How many vectors they name.
    :param where: Who was given them, for the message.
    :raises VectorIndexError: If there are more or fewer ids than vectors, or one comes twice.
    """
    if len(ids) != n_vectors or len(set(ids)) != len(ids):
        raise VectorIndexError(
            f"{where}: got {len(ids)} ids ({len(set(ids))} different) for {n_vectors} vectors. "
            "Give each one id of its own."
        )


def ranked(
    rows_KD: NDArray[np.float32], ids: Sequence[str], query_D: NDArray[np.float32], *, k: int
) -> list[tuple[str, float]]:
    """Score nominees exactly and return the best ``k``, ties by id.

    :param rows_KD: The nominees' vectors. *Shape:* ``(K, D)``.
    :param ids: Their ids.
    :param query_D: The query. *Shape:* ``(D,)``.
    :param k: The most pairs to return.
    :returns: ``(id, inner product)`` pairs, best first.
    """
    scores_K = (rows_KD.astype(np.float64) * query_D.astype(np.float64)).sum(axis=1)
    return best_first(scores_K, ids, k=k)
