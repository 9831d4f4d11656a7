"""Nearest neighbours with FAISS on the CPU: flat (exact) or HNSW (a graph, approximate).

Layer: ``retrieval``; imports ``kg``, NumPy, and faiss (lazily: the first index imports it, in some 0.1 s).
Sources: Douze et al. 2024, "The Faiss library", arXiv:2401.08281; Malkov & Yashunin 2018, arXiv:1603.09320 (HNSW).

- Ids are strings outside and int64 numbers inside (``IndexIDMap2``); a number is never used twice.
- A filter is a bitmap that FAISS consults *during* the search. For HNSW that is not enough: the walk ends when its beam
  is full of near but forbidden vectors and returns too few, or worse ones. So where a filter leaves few vectors or a
  small share of them, those are scanned exactly instead, and otherwise the beam is widened in proportion.
- HNSW cannot take a vector out of its graph. A removed one stays as a signpost that no search may return (a tombstone);
  once tombstones pass :data:`REBUILD_SHARE` of the graph it is built again from the living.

OpenMP. The wheels of torch and of faiss-cpu each bring their own copy of GNU OpenMP. On Linux, importing and using them
in one process worked in either order, with 1 and 2 threads and calls taking turns, and without loss of speed
(``tests/benchmarks/vector_index_speed.py`` repeats it). On macOS the two wheels bring LLVM's runtime, which aborts when
it finds itself twice ("OMP: Error #15"); import torch first there, or run with ``OMP_NUM_THREADS=1``.

Shape suffixes: N vectors, M nominees, Q queries, D vector width.
"""

from __future__ import annotations

import importlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, VectorIndexError
from retrieval.indexes.rows import MARGIN, checked_ids, checked_rows, ranked
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file
from retrieval.indexes.topk import require_k

__all__ = ["FLAT_UP_TO", "REBUILD_SHARE", "FaissIndex", "FaissKind", "choose_faiss_kind"]

_LOG = logging.getLogger(__name__)

FaissKind = Literal["flat", "hnsw"]

FLAT_UP_TO = 200_000
"""Flat search is exact and needs no build; up to here a query of 384 numbers takes tens of milliseconds on one core."""
REBUILD_SHARE = 0.25
"""The share of tombstones past which an HNSW graph is built again."""
_SCAN_UP_TO = 10_000
_SCAN_SHARE = 0.1
_SCAN_ROWS = 16_384
_SPARE = 16


def _faiss() -> Any:
    """Import faiss when it is first needed; its type stubs lack the search parameters, so it is untyped here."""
    return importlib.import_module("faiss")


def choose_faiss_kind(n_vectors: int, *, flat_up_to: int = FLAT_UP_TO) -> FaissKind:
    """Choose the kind of index by size, and log why.

    :param n_vectors: How many vectors the index will hold.
    :param flat_up_to: The largest number that is searched exactly.
    :returns: ``"flat"`` or ``"hnsw"``.
    """
    kind: FaissKind = "flat" if n_vectors <= flat_up_to else "hnsw"
    why = "exact and built at once" if kind == "flat" else "a query must not read every vector"
    _LOG.info("FAISS index for %d vectors: %s (%s; the limit is %d)", n_vectors, kind, why, flat_up_to)
    return kind


class FaissIndex:
    """A FAISS index with string ids; satisfies ``retrieval.types.VectorIndex``. Safe between threads.

    :param dimension: Width of the vectors.
    :param kind: ``"flat"`` is exact; ``"hnsw"`` is approximate and faster past some 10**5 vectors.
    :param links: HNSW's links per vector (M). 32 is FAISS's default.
    :param build_beam: HNSW's ``efConstruction``: wider builds slower and finds more. 80 measured as good as 200 here.
    :param search_beam: HNSW's ``efSearch``, at least; it grows with ``k`` and with the filter.
    :raises ConfigError: If ``kind`` is unknown or a parameter is not positive.
    """

    def __init__(
        self,
        dimension: int,
        *,
        kind: FaissKind = "flat",
        links: int = 32,
        build_beam: int = 80,
        search_beam: int = 128,
    ) -> None:
        if kind not in ("flat", "hnsw") or min(dimension, links, build_beam, search_beam) < 1:
            raise ConfigError(
                f"FaissIndex: need kind 'flat' or 'hnsw' and positive numbers, got kind={kind!r}, "
                f"dimension={dimension}, links={links}, build_beam={build_beam}, search_beam={search_beam}."
            )
        self.name = f"faiss-{kind}"
        self.dimension = dimension
        self.kind: FaissKind = kind
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._links = links
        self._build_beam = build_beam
        self._search_beam = search_beam
        self._lock = threading.RLock()
        self._names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._index: Any = self._empty()

    def _empty(self) -> Any:
        if self.kind == "flat":
            return _faiss().IndexIDMap2(_faiss().IndexFlatIP(self.dimension))
        graph = _faiss().IndexHNSWFlat(self.dimension, self._links, _faiss().METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = self._build_beam
        return _faiss().IndexIDMap2(graph)

    def add(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Add vectors; an id that is there already is replaced.

        :param ids: One id per vector.
        :param vectors_ND: Unit vectors. *Shape:* ``(N, D)``.
        :raises EncoderError: If the vectors are of another width or not finite.
        :raises VectorIndexError: If the ids do not name each vector once.
        """
        vectors_ND = checked_rows(vectors_ND, dimension=self.dimension, where="FaissIndex.add")
        checked_ids(ids, n_vectors=len(vectors_ND), where="FaissIndex.add")
        if not ids:
            return
        with self._lock:
            self.remove(ids)
            numbers = np.arange(self._next, self._next + len(ids), dtype=np.int64)
            self._index.add_with_ids(vectors_ND, numbers)
            self._next += len(ids)
            self._names.update(zip(numbers.tolist(), ids, strict=True))
            self._numbers.update(zip(ids, numbers.tolist(), strict=True))

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out; unknown ids are ignored."""
        with self._lock:
            gone = [self._numbers.pop(item_id) for item_id in dict.fromkeys(ids) if item_id in self._numbers]
            for number in gone:
                del self._names[number]
            if gone and self.kind == "flat":
                self._index.remove_ids(np.array(gone, dtype=np.int64))
            elif gone and self._n_tombstones() > REBUILD_SHARE * self._index.ntotal:
                self._rebuild()

    def _n_tombstones(self) -> int:
        return int(self._index.ntotal) - len(self._names)

    def _rebuild(self) -> None:
        _LOG.info("HNSW: %d of %d vectors were removed; building again", self._n_tombstones(), self._index.ntotal)
        numbers = np.fromiter(self._names, dtype=np.int64, count=len(self._names))
        old, self._index = self._index, self._empty()
        if len(numbers):
            self._index.add_with_ids(old.reconstruct_batch(numbers), numbers)

    def search(
        self, queries_QD: NDArray[np.float32], *, k: int, allowed: frozenset[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return up to ``k`` ``(id, inner product)`` pairs for each query, best first, ties by id.

        :param queries_QD: Unit vectors. *Shape:* ``(Q, D)``.
        :param k: The most pairs for a query.
        :param allowed: Only these ids may be found; ``None`` allows all.
        :returns: One list per query, of ``min(k, allowed vectors)`` pairs.
        :raises InputError: If ``k`` is below 1.
        :raises EncoderError: If the queries are of another width or not finite.
        """
        require_k(k, where="FaissIndex.search")
        queries_QD = checked_rows(queries_QD, dimension=self.dimension, where="FaissIndex.search")
        with self._lock:
            eligible = self._eligible(allowed)
            n_eligible = len(self._names) if eligible is None else len(eligible)
            if n_eligible == 0 or not len(queries_QD):
                return [[] for _ in queries_QD]
            if self._must_scan(n_eligible):
                nominees = [self._scan(query_D, eligible, k) for query_D in queries_QD]
            else:
                nominees = list(self._nominate(queries_QD, eligible, n_eligible, k))
            return [self._ranked(query_D, numbers, k) for query_D, numbers in zip(queries_QD, nominees, strict=True)]

    def _eligible(self, allowed: frozenset[str] | None) -> NDArray[np.int64] | None:
        """Return the numbers that may be found, or ``None`` where that is everything FAISS holds."""
        if allowed is not None:
            known = (self._numbers.get(item_id) for item_id in allowed)
            return np.array(sorted(number for number in known if number is not None), dtype=np.int64)
        if self._n_tombstones():
            return np.fromiter(self._names, dtype=np.int64, count=len(self._names))
        return None

    def _must_scan(self, n_eligible: int) -> bool:
        few = n_eligible <= _SCAN_UP_TO or n_eligible < _SCAN_SHARE * self._index.ntotal
        return self.kind == "hnsw" and few and n_eligible < self._index.ntotal

    def _nominate(
        self, queries_QD: NDArray[np.float32], eligible: NDArray[np.int64] | None, n_eligible: int, k: int
    ) -> Iterator[NDArray[np.int64]]:
        """Yield, for each query, all numbers that score within the margin of the ``k``-th."""
        wanted = min(n_eligible, k + _SPARE)
        bitmap = None if eligible is None else self._bitmap(eligible)
        scores_QM, numbers_QM = self._ask(queries_QD, wanted, bitmap, n_eligible)
        for query_D, scores_M, numbers_M in zip(queries_QD, scores_QM, numbers_QM, strict=True):
            asked = wanted
            while asked < n_eligible and numbers_M[-1] >= 0 and scores_M[-1] >= scores_M[k - 1] - MARGIN:
                asked = min(n_eligible, 2 * asked)  # a tie runs past what was asked for: ask for more
                (scores_M,), (numbers_M,) = self._ask(query_D[None, :], asked, bitmap, n_eligible)
            if (numbers_M[: min(k, n_eligible)] < 0).any():
                yield self._scan(query_D, eligible, k)
            else:
                yield numbers_M[numbers_M >= 0]

    def _bitmap(self, eligible: NDArray[np.int64]) -> NDArray[np.uint8]:
        flags = np.zeros(self._next, dtype=np.bool_)
        flags[eligible] = True
        return np.packbits(flags, bitorder="little")

    def _ask(
        self, queries_QD: NDArray[np.float32], m: int, bitmap: NDArray[np.uint8] | None, n_eligible: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        selector = None if bitmap is None else _faiss().IDSelectorBitmap(bitmap)
        if self.kind == "hnsw":
            beam = round(max(self._search_beam, m) * self._index.ntotal / n_eligible)
            parameters = _faiss().SearchParametersHNSW(efSearch=beam, sel=selector)
        else:
            parameters = _faiss().SearchParameters(sel=selector)
        scores_QM, numbers_QM = self._index.search(queries_QD, m, params=parameters)
        return scores_QM, numbers_QM

    def _scan(self, query_D: NDArray[np.float32], eligible: NDArray[np.int64] | None, k: int) -> NDArray[np.int64]:
        """Nominate from an exact pass over the eligible vectors, block by block so that memory stays bounded."""
        if eligible is None:
            eligible = np.fromiter(self._names, dtype=np.int64, count=len(self._names))
        blocks = [eligible[start : start + _SCAN_ROWS] for start in range(0, len(eligible), _SCAN_ROWS)]
        scores: NDArray[np.float32] = np.concatenate(
            [self._index.reconstruct_batch(block) @ query_D for block in blocks]
        )
        if len(scores) <= k:
            return eligible
        worst = np.partition(scores, len(scores) - k)[len(scores) - k]
        nominated: NDArray[np.int64] = eligible[scores >= worst - MARGIN]
        return nominated

    def _ranked(self, query_D: NDArray[np.float32], numbers: NDArray[np.int64], k: int) -> list[tuple[str, float]]:
        rows_MD = self._index.reconstruct_batch(numbers)
        return ranked(rows_MD, [self._names[number] for number in numbers.tolist()], query_D, k=k)

    def ids(self) -> frozenset[str]:
        """Return the ids that are in the index."""
        with self._lock:
            return frozenset(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def save(self, path: Path, *, encoder: str, record_version: int) -> None:
        """Write the index to a file, whole or not at all.

        :param path: The file; an older one is replaced.
        :param encoder: The fingerprint of the encoder that made the vectors.
        :param record_version: The version of the record that the index is of.
        :raises VectorIndexError: If the file cannot be written.
        """
        with self._lock:
            sections = {
                "ids": json.dumps(self._numbers).encode(),
                "faiss": _faiss().serialize_index(self._index).tobytes(),
            }
            details = {
                "dimension": self.dimension,
                "next": self._next,
                "links": self._links,
                "build_beam": self._build_beam,
                "search_beam": self._search_beam,
            }
        file = IndexFile(
            kind=self.name, built_with=encoder, record_version=record_version, details=details, sections=sections
        )
        write_index_file(path, file)

    @classmethod
    def load(cls, path: Path, *, kind: FaissKind, encoder: str, record_version: int | None = None) -> Self:
        """Read an index that :meth:`save` wrote.

        :param path: The file.
        :param kind: The kind that is wanted now.
        :param encoder: The fingerprint of the encoder in use now.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :returns: The index.
        :raises VectorIndexError: If the file is missing, damaged, stale, of another kind, or of another encoder.
        """
        file = read_index_file(path, kind=f"faiss-{kind}", built_with=encoder, record_version=record_version)
        details = file.details
        index = cls(
            details["dimension"],
            kind=kind,
            links=details["links"],
            build_beam=details["build_beam"],
            search_beam=details["search_beam"],
        )
        try:
            index._index = _faiss().deserialize_index(np.frombuffer(file.sections["faiss"], dtype=np.uint8))
        except RuntimeError as error:
            raise VectorIndexError(f"Index file {path}: FAISS cannot read it ({error}). Build it again.") from error
        index._numbers = json.loads(bytes(file.sections["ids"]))
        index._names = {number: item_id for item_id, number in index._numbers.items()}
        index._next = details["next"]
        index.record_version = file.record_version
        return index
