"""Nearest neighbours with FAISS: flat, SQ8, HNSW or IVF-PQ behind one class, on the CPU or helped by GPUs.

Layer: ``retrieval``; imports ``kg``, NumPy, and faiss (lazily). The kinds, their sources and their constants are in
:mod:`retrieval.indexes.faiss_kinds`.

- Ids are strings outside and places in FAISS's own order inside. A removed vector stays where it is, and no search may
  return it (a tombstone); once tombstones pass :data:`REBUILD_SHARE` of the index it is built again from the living.
- A filter is a bitmap that FAISS consults *during* the search. For HNSW and IVF-PQ that is not enough: the walk ends
  when its beam is full of near but forbidden vectors, and the nearest lists may hold none that is allowed. So where a
  filter leaves few vectors or a small share of them, those are scanned exactly instead, and otherwise the beam, or the
  number of lists, is widened in proportion.
- FAISS only nominates. The nominees are scored again with the vectors as they came, so that all kinds agree on the
  scores and on the order of what they find. SQ8 and IVF-PQ hold codes alone; their vectors stand beside them, in a
  memory map of the file where there is one.
- SQ8 and IVF-PQ learn their codes from the vectors. Until there are enough to learn from, all are scanned exactly. They
  learn again, from all there is, once the index is :data:`GROWTH` times as large as when they last did, or once
  what was added since is coded :data:`DRIFT` times worse than what they learnt from. Otherwise an addition costs the
  same whatever the size.

OpenMP. The wheels of torch and of faiss-cpu each bring their own copy of GNU OpenMP. On Linux, importing and using them
in one process worked in either order, with 1 and 2 threads and calls taking turns, and without loss of speed
(``tests/benchmarks/vector_index_speed.py`` repeats it). On macOS the two wheels bring LLVM's runtime, which aborts when
it finds itself twice ("OMP: Error #15"); import torch first there, or run with ``OMP_NUM_THREADS=1``.

Shape suffixes: N vectors, M nominees, Q queries, D vector width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError
from retrieval.indexes import faiss_files
from retrieval.indexes.faiss_gpu import GPU_KINDS, Card
from retrieval.indexes.faiss_kinds import (
    FaissKind,
    FaissParameters,
    code_error,
    faiss_module,
    made,
    n_training_vectors,
    search_parameters,
    trained,
)
from retrieval.indexes.float_rows import FloatRows
from retrieval.indexes.locks import SharedLock
from retrieval.indexes.rows import MARGIN, checked_ids, checked_rows, ranked
from retrieval.indexes.topk import require_k

__all__ = ["DRIFT", "GROWTH", "REBUILD_SHARE", "FaissIndex"]

_LOG = logging.getLogger(__name__)

REBUILD_SHARE = 0.25
"""The share of tombstones past which an index is built again, so that a removal costs what four additions do."""
GROWTH = 4
"""SQ8 and IVF-PQ learn again at this many times the size they learnt at: all the times together then cost a third more
than the last alone, and IVF-PQ has never less than half the lists that its size asks for."""
DRIFT = 1.5
"""They also learn again once vectors added since are coded this many times worse; vectors of the same source, and
others' noise, stay within 1.1."""
_DRIFT_ERROR = 0.01
"""A squared error below this is none worth learning again for: of unit vectors, it moves a cosine by .005."""
_DRIFT_SAMPLE = 64
"""So many vectors of an addition are coded once more to be compared."""
_DRIFT_SHARE = 0.1
"""What was added since is compared once it is this share of what they learnt from."""
_SCAN_UP_TO = 10_000
_SCAN_SHARE = 0.1
_SCAN_ROWS = 16_384
_SPARE = 16
_PER_K = 5


class FaissIndex:
    """A FAISS index with string ids; satisfies ``retrieval.types.VectorIndex``. Safe between threads.

    :param dimension: Width of the vectors.
    :param kind: ``"flat"`` is exact; the others are approximate, and faster or smaller
        (see :mod:`retrieval.indexes.faiss_kinds`).
    :param parameters: The constants of the approximate kinds.
    :param card: Where a copy on GPUs nominates (:mod:`retrieval.indexes.faiss_gpu`); ``None`` stays on the CPU.
    :raises ConfigError: If ``kind`` is unknown or ``dimension`` is not positive.
    """

    def __init__(
        self,
        dimension: int,
        *,
        kind: FaissKind = "flat",
        parameters: FaissParameters | None = None,
        card: Card | None = None,
    ) -> None:
        if kind not in get_args(FaissKind) or dimension < 1:
            raise ConfigError(
                f"FaissIndex: need one of the kinds {', '.join(get_args(FaissKind))} and a positive dimension, "
                f"got kind={kind!r}, dimension={dimension}."
            )
        self.name = f"faiss-{kind}"
        self.dimension = dimension
        self.kind: FaissKind = kind
        self.parameters = parameters or FaissParameters()
        self.card = card
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._changes = threading.Lock()  # one change at a time, building again included
        self._lock = SharedLock()  # what searches read; never held while something is built
        self._names: list[str] = []  # by place; a tombstone keeps its name
        self._places: dict[str, int] = {}
        self._alive_N = np.zeros(0, dtype=np.bool_)  # longer than _names, so that it grows by doubling
        self._floats = FloatRows(np.empty((0, dimension), dtype=np.float32)) if self._has_codes else None
        self._index: Any = None  # None: codes are not learnt yet
        self._view: memoryview | None = None  # what _index reads in place and must not change
        self._learnt_from = 0
        self._learnt_error = 0.0
        self._since = (0, 0.0)  # vectors added since, and the sum of their errors
        if not self._has_codes:
            self._index = made(kind, dimension, n_vectors=0, parameters=self.parameters)

    @property
    def _has_codes(self) -> bool:
        return self.kind in ("sq8", "ivfpq")

    # ------------------------------------------------------------------ changes

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
        with self._changes:
            with self._lock.writing():
                self._forget(ids)
                self._append(ids, vectors_ND)
            if self._has_codes and self._must_learn(vectors_ND):
                self._rebuild()
            else:
                self._compact()

    def _append(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        self._own()
        n_before, n_after = len(self._names), len(self._names) + len(ids)
        if self._floats is not None:
            self._floats.append(vectors_ND)
        if self._index is not None:
            self._index.add(vectors_ND)
        if n_after > len(self._alive_N):
            self._alive_N = np.resize(self._alive_N, max(n_after, 2 * len(self._alive_N)))
        self._alive_N[n_before:n_after] = True
        self._places.update(zip(ids, range(n_before, n_after), strict=True))
        self._names.extend(ids)

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out; unknown ids are ignored."""
        with self._changes:
            with self._lock.writing():
                self._forget(ids)
            self._compact()

    def _forget(self, ids: Sequence[str]) -> None:
        for item_id in ids:
            place = self._places.pop(item_id, None)
            if place is not None:
                self._alive_N[place] = False

    def _compact(self) -> None:
        if self._n_tombstones() > REBUILD_SHARE * len(self._names):
            _LOG.info("%s: %d of %d vectors were removed", self.name, self._n_tombstones(), len(self._names))
            self._rebuild()

    def _n_tombstones(self) -> int:
        return len(self._names) - len(self._places)

    def _own(self) -> None:
        """Copy what is read in place from a file, before the first change."""
        if self._view is not None:
            self._index = faiss_module().deserialize_index(np.frombuffer(self._view, dtype=np.uint8))
            self._view = None

    def _must_learn(self, added_ND: NDArray[np.float32]) -> bool:
        if self._index is None:
            return len(self._places) >= self.parameters.train_at
        n_since, error = self._since
        some_ND = added_ND[:: -(-len(added_ND) // _DRIFT_SAMPLE)]
        n_since, error = n_since + len(added_ND), error + len(added_ND) * code_error(self._index, some_ND)
        self._since = (n_since, error)
        bearable = max(_DRIFT_ERROR, DRIFT * self._learnt_error)
        drifted = n_since >= _DRIFT_SHARE * self._learnt_from and error > bearable * n_since
        return drifted or len(self._places) >= GROWTH * self._learnt_from

    def _rebuild(self) -> None:
        """Build again from the living, block by block; kinds with codes learn them again.

        Searches go on meanwhile: what they read is only replaced, at the end.
        """
        living = np.flatnonzero(self._alive_N[: len(self._names)])
        blocks = [living[start : start + _SCAN_ROWS] for start in range(0, len(living), _SCAN_ROWS)]
        index: Any = None
        if not self._has_codes or len(living) >= self.parameters.train_at:
            _LOG.info("%s: built again from %d vectors", self.name, len(living))
            index = made(self.kind, self.dimension, n_vectors=len(living), parameters=self.parameters)
        if self._has_codes and index is not None:
            step = len(living) / n_training_vectors(len(living))
            sample = living[(np.arange(n_training_vectors(len(living))) * step).astype(np.int64)]
            self._learnt_error = trained(index, self._rows(sample))
            self._learnt_from, self._since = len(living), (0, 0.0)
        floats = self._floats
        if floats is not None and self._n_tombstones():
            floats = FloatRows(np.empty((0, self.dimension), dtype=np.float32))
        for block in blocks:
            rows_MD = self._rows(block)
            if index is not None:
                index.add(rows_MD)
            if floats is not None and floats is not self._floats:
                floats.append(rows_MD)
        names = [self._names[place] for place in living.tolist()]
        places = {name: place for place, name in enumerate(names)}
        with self._lock.writing():
            self._index, self._view, self._floats = index, None, floats
            self._names, self._places, self._alive_N = names, places, np.ones(len(names), dtype=np.bool_)

    # ------------------------------------------------------------------ search

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
        with self._lock.reading():
            eligible_N = self._eligible(allowed)
            n_eligible = len(self._names) if eligible_N is None else int(np.count_nonzero(eligible_N))
            if n_eligible == 0 or not len(queries_QD):
                return [[] for _ in queries_QD]
            if self._must_scan(n_eligible):
                places = self._every(eligible_N)
                return [self._closest(query_D, places, k) for query_D in queries_QD]
            nominees = self._nominate(queries_QD, eligible_N, n_eligible, k)
            return [self._closest(query_D, places, k) for query_D, places in zip(queries_QD, nominees, strict=True)]

    def _eligible(self, allowed: frozenset[str] | None) -> NDArray[np.bool_] | None:
        """Return which places may be found, or ``None`` where that is every one."""
        if allowed is not None:
            eligible_N = np.zeros(len(self._names), dtype=np.bool_)
            eligible_N[[self._places[item_id] for item_id in allowed if item_id in self._places]] = True
            return eligible_N
        return self._alive_N[: len(self._names)] if self._n_tombstones() else None

    def _every(self, eligible_N: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        return np.arange(len(self._names)) if eligible_N is None else np.flatnonzero(eligible_N)

    def _must_scan(self, n_eligible: int) -> bool:
        if self._index is None:
            return True
        if self.kind == "flat" or n_eligible == len(self._names):
            return False
        return n_eligible <= _SCAN_UP_TO or (self.kind != "sq8" and n_eligible < _SCAN_SHARE * len(self._names))

    def _nominate(
        self, queries_QD: NDArray[np.float32], eligible_N: NDArray[np.bool_] | None, n_eligible: int, k: int
    ) -> Iterator[NDArray[np.int64]]:
        """Yield, for each query, all places that FAISS scores within the margin of the last one asked for."""
        least = max(_PER_K * k, self.parameters.candidates) if self._has_codes else k
        wanted = min(n_eligible, least + _SPARE)
        margin = MARGIN + (self.card.margin if self.card is not None and not self._has_codes else 0.0)
        scores_QM, places_QM = self._ask(queries_QD, wanted, eligible_N, n_eligible)
        for query_D, scores_M, places_M in zip(queries_QD, scores_QM, places_QM, strict=True):
            asked = wanted
            while asked < n_eligible and places_M[-1] >= 0 and scores_M[-1] >= scores_M[least - 1] - margin:
                asked = min(n_eligible, 2 * asked)  # a tie runs past what was asked for: ask for more
                (scores_M,), (places_M,) = self._ask(query_D[None, :], asked, eligible_N, n_eligible)
            found = places_M[places_M >= 0]
            yield found if len(found) >= min(k, n_eligible) else self._every(eligible_N)

    def _ask(
        self, queries_QD: NDArray[np.float32], m: int, eligible_N: NDArray[np.bool_] | None, n_eligible: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        bits = None if eligible_N is None else np.packbits(eligible_N, bitorder="little")
        parameters = search_parameters(
            self.kind,
            selector=None if bits is None else faiss_module().IDSelectorBitmap(bits),
            n_asked=m,
            widening=len(self._names) / n_eligible,
            n_lists=self._index.nlist if self.kind == "ivfpq" else 1,
            parameters=self.parameters,
        )
        if self.card is not None and self.kind in GPU_KINDS:
            n_probes = parameters.nprobe if self.kind == "ivfpq" else None
            found = self.card.search(
                self._index, queries_QD, m, eligible_N=eligible_N, n_probes=n_probes, rows=self._rows
            )
            if found is not None:
                return found
        scores_QM, places_QM = self._index.search(queries_QD, m, params=parameters)
        return scores_QM, places_QM

    def _closest(self, query_D: NDArray[np.float32], places: NDArray[np.int64], k: int) -> list[tuple[str, float]]:
        """Score places exactly, block by block so that memory stays bounded, and return the best ``k``."""
        blocks = [places[start : start + _SCAN_ROWS] for start in range(0, len(places), _SCAN_ROWS)]
        scores: NDArray[np.float32] = np.concatenate([self._rows(block) @ query_D for block in blocks])
        if len(scores) > k:
            worst = np.partition(scores, len(scores) - k)[len(scores) - k]
            places = places[scores >= worst - MARGIN]
        return ranked(self._rows(places), [self._names[place] for place in places.tolist()], query_D, k=k)

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors at some places as they were added. *Shape:* ``(N, D)``."""
        if self._floats is not None:
            return self._floats.take(places)
        rows_ND: NDArray[np.float32] = self._index.reconstruct_batch(places)
        return rows_ND

    # ------------------------------------------------------------------ content and file

    def ids(self) -> frozenset[str]:
        """Return the ids that are in the index."""
        with self._lock.reading():
            return frozenset(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def save(self, path: Path, *, encoder: str, record_version: int) -> None:
        """Write the index to a file, whole or not at all.

        :param path: The file; an older one is replaced.
        :param encoder: The fingerprint of the encoder that made the vectors.
        :param record_version: The version of the record that the index is of.
        :raises VectorIndexError: If the file cannot be written.
        """
        with self._changes:
            content = faiss_files.FaissContent(
                kind=self.kind,
                dimension=self.dimension,
                parameters=self.parameters,
                names=[name if self._places.get(name) == place else None for place, name in enumerate(self._names)],
                learnt=(self._learnt_from, self._learnt_error, *self._since),
                index=self._index,
                floats=self._floats,
            )
            faiss_files.write(path, content, encoder=encoder, record_version=record_version)

    @classmethod
    def load(
        cls, path: Path, *, kind: FaissKind | None = None, encoder: str, record_version: int | None = None
    ) -> Self:
        """Read an index that :meth:`save` wrote. A large file is mapped into memory, not read.

        :param path: The file.
        :param kind: The kind that is wanted now; ``None`` takes the one that is there.
        :param encoder: The fingerprint of the encoder in use now.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :returns: The index.
        :raises VectorIndexError: If the file is missing, damaged, stale, of another kind, or of another encoder.
        """
        content = faiss_files.read(path, kind=kind, encoder=encoder, record_version=record_version)
        index = cls(content.dimension, kind=content.kind, parameters=content.parameters)
        index._names = [name or "" for name in content.names]
        index._places = {name: place for place, name in enumerate(content.names) if name is not None}
        index._alive_N = np.array([name is not None for name in content.names], dtype=np.bool_)
        learnt_from, index._learnt_error, n_since, error = content.learnt
        index._learnt_from, index._since = int(learnt_from), (int(n_since), error)
        index._index, index._view, index._floats = content.index, content.view, content.floats
        index.record_version = content.record_version
        return index
