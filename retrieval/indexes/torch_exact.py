"""Exact nearest neighbours with torch, for machines with a GPU and no GPU build of FAISS.

Layer: ``retrieval``; imports ``kg``, NumPy, and torch (lazily: the first index imports it).

A matrix of vectors lies on the device; a query is one matrix product and one ``topk`` for each block of rows, so that
memory stays bounded whatever the size. The device only nominates: everything within a margin of the ``k``-th best is
scored again in float64 with the vectors as they came, so the lists are those of the exact reference, ties included.

With ``half=True`` the device holds float16, in half the memory. The vectors as they came then stand in the host's
memory, and the margin is wider than what rounding can move.

On a GPU (``python -m tests.benchmarks.index_gpu``; ids and exact scores included) it found what exact search on the
host finds for every query tried: 10**6 x 384 on an H100, 9,208 queries a second in batches of 256 and 766 one by one in
float32, 19,752 and 943 in float16; 10**7 x 128 on an H200, 2,743 and 282, 3,474 and 644. Leave torch's float32 products
at their full precision there (its default): TF32 rounds more than the margin of float32 allows for.

Shape suffixes: N vectors, B vectors of a block, Q queries, M nominees, D vector width.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError
from retrieval.indexes.row_files import read_rows, write_rows
from retrieval.indexes.rows import MARGIN, DenseRows, checked_ids, checked_rows, ranked
from retrieval.indexes.topk import require_k

__all__ = ["TorchExactIndex"]

_NAME = "torch-exact"
_HALF_MARGIN = 4e-3
"""Rounding both factors and the product to float16 (2**-11 each, relative) moves an inner product of unit vectors by
less than .0015. The nominee and the ``k``-th may move towards each other, so twice that, and a third to spare."""
_BLOCK_ROWS = 262_144
"""The fewest rows of one matrix product, unless they are given: its scores then take 1 MiB a query."""
_BLOCK_SCORES = 1 << 24
"""Scores of one matrix product where there are few queries, 64 MiB: one query over a million vectors is one product and
one ``topk``, not four of each with a wait between."""


class TorchExactIndex:
    """A matrix on a torch device and its ids; satisfies ``retrieval.types.VectorIndex``. Safe between threads.

    :param dimension: Width of the vectors.
    :param device: Where the matrix lies; ``None`` takes CUDA where there is one, else the CPU.
    :param half: Hold float16 on the device, and the float32 rows in the host's memory.
    :param block_rows: Rows of one matrix product; ``None`` takes more the fewer queries there are.
    :raises ConfigError: If a number is not positive.
    """

    def __init__(
        self, dimension: int, *, device: str | None = None, half: bool = False, block_rows: int | None = None
    ) -> None:
        if dimension < 1 or (block_rows is not None and block_rows < 1):
            raise ConfigError(
                f"TorchExactIndex: need positive numbers, got dimension={dimension}, block_rows={block_rows}."
            )
        self.name = _NAME
        self.dimension = dimension
        torch = _torch()
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._half = half
        self._block_rows = block_rows
        self._lock = threading.RLock()
        self._rows = DenseRows()
        self._matrix_ND = self._empty(0)
        self._floats_ND = np.empty((0, dimension if half else 0), dtype=np.float32)

    def _empty(self, n_rows: int) -> Any:
        torch = _torch()
        dtype = torch.float16 if self._half else torch.float32
        return torch.zeros((n_rows, self.dimension), dtype=dtype, device=self.device)

    def add(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Add vectors; an id that is there already is replaced.

        :param ids: One id per vector.
        :param vectors_ND: Unit vectors. *Shape:* ``(N, D)``.
        :raises EncoderError: If the vectors are of another width or not finite.
        :raises VectorIndexError: If the ids do not name each vector once.
        """
        vectors_ND = checked_rows(vectors_ND, dimension=self.dimension, where="TorchExactIndex.add")
        checked_ids(ids, n_vectors=len(vectors_ND), where="TorchExactIndex.add")
        if not ids:
            return
        torch = _torch()
        with self._lock:
            rows_N = self._rows.take(ids)
            self._reserve(len(self._rows))
            moved_ND = torch.from_numpy(vectors_ND.copy()).to(self.device, self._matrix_ND.dtype)
            self._matrix_ND[torch.from_numpy(rows_N).to(self.device)] = moved_ND
            if self._half:
                self._floats_ND[rows_N] = vectors_ND

    def _reserve(self, n_rows: int) -> None:
        """Make room by doubling, so that adding one by one costs no more than adding at once."""
        n_held = len(self._matrix_ND)
        if n_rows > n_held:
            grown_ND = self._empty(max(n_rows, 2 * n_held))
            grown_ND[:n_held] = self._matrix_ND
            self._matrix_ND = grown_ND
            if self._half:
                floats_ND = np.zeros((len(grown_ND), self.dimension), dtype=np.float32)
                floats_ND[:n_held] = self._floats_ND
                self._floats_ND = floats_ND

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out; unknown ids are ignored. The last row moves into each gap."""
        with self._lock:
            for gap, last in self._rows.give(ids):
                self._matrix_ND[gap] = self._matrix_ND[last]
                if self._half:
                    self._floats_ND[gap] = self._floats_ND[last]

    def search(
        self, queries_QD: NDArray[np.float32], *, k: int, allowed: frozenset[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the ``k`` best ``(id, inner product)`` pairs for each query, best first, ties by id.

        :param queries_QD: Unit vectors. *Shape:* ``(Q, D)``.
        :param k: The most pairs for a query.
        :param allowed: Only these ids may be found; ``None`` allows all.
        :returns: One list per query, of ``min(k, allowed vectors)`` pairs.
        :raises InputError: If ``k`` is below 1.
        :raises EncoderError: If the queries are of another width or not finite.
        """
        require_k(k, where="TorchExactIndex.search")
        queries_QD = checked_rows(queries_QD, dimension=self.dimension, where="TorchExactIndex.search")
        torch = _torch()
        with self._lock, torch.inference_mode():
            rows = None
            n_eligible = len(self._rows)
            if allowed is not None:
                known_N = self._rows.among(allowed)
                rows, n_eligible = torch.from_numpy(known_N).to(self.device), len(known_N)
            if not n_eligible or not len(queries_QD):
                return [[] for _ in queries_QD]
            on_device_QD = torch.from_numpy(queries_QD.copy()).to(self.device, self._matrix_ND.dtype)
            nominees = self._nominees(on_device_QD, rows, min(k, n_eligible))
            return [
                ranked(self._taken(rows_M), [self._rows.ids[row] for row in rows_M.tolist()], query_D, k=k)
                for rows_M, query_D in zip(nominees, queries_QD, strict=True)
            ]

    def _scored(self, queries_QD: Any, rows: Any) -> Iterator[tuple[Any, int]]:
        """Yield the scores of one block of eligible rows after the other, and where the block starts. ``(Q, B)``."""
        n_eligible = len(self._rows) if rows is None else len(rows)
        n_rows = self._block_rows or max(_BLOCK_ROWS, _BLOCK_SCORES // len(queries_QD))
        for start in range(0, n_eligible, n_rows):
            end = min(n_eligible, start + n_rows)
            block_BD = self._matrix_ND[start:end] if rows is None else self._matrix_ND[rows[start:end]]
            yield (queries_QD @ block_BD.T).float(), start

    def _nominees(self, queries_QD: Any, rows: Any, k: int) -> list[NDArray[np.int64]]:
        """Return, for each query, all eligible rows that score within the margin of the ``k``-th best.

        The device is waited for once a block, whatever the number of queries.
        """
        torch = _torch()
        margin = _HALF_MARGIN if self._half else MARGIN
        best_QK = torch.empty((len(queries_QD), 0), device=self.device)
        near: list[tuple[Any, Any, Any]] = []
        for scores_QB, start in self._scored(queries_QD, rows):
            best_QK = torch.cat([best_QK, scores_QB.topk(min(k, scores_QB.shape[1]), dim=1).values], dim=1)
            best_QK = best_QK.topk(min(k, best_QK.shape[1]), dim=1).values
            floor_Q1 = (
                best_QK[:, -1:] - margin if best_QK.shape[1] == k else torch.full_like(best_QK[:, :1], -torch.inf)
            )
            asked, places = (scores_QB >= floor_Q1).nonzero(as_tuple=True)
            near.append((asked, places + start, scores_QB[asked, places]))
        asked, places, scores = (torch.cat(parts) for parts in zip(*near, strict=True))
        kept = scores >= (best_QK[:, -1] - margin)[asked]  # the bar rose since the first blocks
        asked, places = asked[kept], places[kept]
        order = asked.argsort(stable=True)
        places = places[order] if rows is None else rows[places[order]]
        counts = asked.bincount(minlength=len(queries_QD)).cpu().tolist()
        return [part.numpy() for part in places.cpu().split(counts)]

    def _taken(self, rows_M: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._half:
            return self._floats_ND[rows_M]
        taken_MD: NDArray[np.float32] = self._matrix_ND[_torch().from_numpy(rows_M).to(self.device)].cpu().numpy()
        return taken_MD

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
            n_rows = len(self._rows)
            vectors_ND = self._floats_ND[:n_rows] if self._half else self._matrix_ND[:n_rows].cpu().numpy()
            write_rows(
                path,
                kind=self.name,
                ids=self._rows.ids,
                vectors_ND=vectors_ND,
                encoder=encoder,
                record_version=record_version,
            )

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        encoder: str,
        record_version: int | None = None,
        device: str | None = None,
        half: bool = False,
    ) -> Self:
        """Read an index that :meth:`save` wrote; a large file is mapped, not read twice.

        :param path: The file.
        :param encoder: The fingerprint of the encoder in use now.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :param device: As in the class.
        :param half: As in the class.
        :returns: The index.
        :raises VectorIndexError: If the file is missing, damaged, stale, or of another encoder: build the index again.
        """
        file = read_rows(path, kind=_NAME, encoder=encoder, record_version=record_version)
        index = cls(file.vectors.shape[1], device=device, half=half)
        for start in range(0, len(file.ids), _BLOCK_ROWS):
            index.add(file.ids[start : start + _BLOCK_ROWS], file.vectors[start : start + _BLOCK_ROWS])
        index.record_version = file.record_version
        return index


def _torch() -> Any:
    return importlib.import_module("torch")
