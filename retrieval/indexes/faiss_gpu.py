"""Copies of a FAISS index on GPUs, which nominate in its place.

Layer: ``retrieval``; imports NumPy, and faiss (lazily). A GPU build of FAISS is needed (``faiss-gpu-cu12`` or conda's);
with the CPU build :func:`gpu_count` is 0 and nothing here is used.

The index in the host's memory stays the truth: it is changed, saved, filtered and scored there
(:mod:`retrieval.indexes.faiss_cpu`). A card holds a copy of it, in float16 by default and cut into shards where there
are several GPUs, and answers what is asked of it:

- What was added since the copy was made is scanned in the host's memory and joined to the answer. Once that is
  :data:`TAIL_SHARE` of the copy, the copy is made anew, so an addition costs the same whatever the size.
- A GPU index takes no filter. It is asked for more than is wanted, in proportion to what the filter leaves, and what is
  not allowed is dropped. A filter for which that is more than :data:`MOST_ASKED` is left to the host, which is exact
  and fast just there, because few vectors are left.
- float16 moves a product by more than what ties are told by, so a flat index nominates everything within
  ``margin`` of the last one asked for.

A build of FAISS may see a GPU that it has no machine code for, and then ends the process at the first search: the
packages ``faiss-gpu-cu12`` up to 1.14.1 hold code for compute capability 7.0 and 8.0 only, so on an H100 (9.0) they
load, count one GPU, and abort with CUDA error 209. So :func:`gpu_count` tries a search in another process first, and a
GPU on which it fails is left to torch. ``faiss-gpu-cuvs`` is built for CUDA 13.

No search by FAISS has been run on a GPU: the H100 at hand was one of those. The tests run all of this with a copy in
the host's memory in the place of the card's (``faiss.clone_index``), and the calls that make a card's copy against a
stand-in that notes them.

Shape suffixes: N vectors, T vectors of the tail, M nominees, Q queries, D vector width.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.indexes.faiss_kinds import FaissKind, faiss_module

__all__ = ["GPU_KINDS", "MOST_ASKED", "TAIL_SHARE", "Card", "copy_to_gpus", "gpu_count", "searches_on_gpu"]

GPU_KINDS: tuple[FaissKind, ...] = ("flat", "ivfpq")
"""The kinds that FAISS has on GPUs; SQ8 without lists and HNSW are not among them."""
MOST_ASKED = 2048
"""The most results of one query that FAISS's GPU indexes return."""
TAIL_SHARE = 0.05
_LEAST_TAIL = 4096
_HALF_MARGIN = 4e-3
"""As in :mod:`retrieval.indexes.torch_exact`: rounding to float16 moves an inner product by less than .0015."""

_TRIAL = """
import faiss, numpy
index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), 8)
index.add(numpy.eye(8, dtype="float32"))
assert index.search(numpy.eye(8, dtype="float32"), 1)[1].ravel().tolist() == list(range(8))
"""
_TRIAL_TIMEOUT_S = 120.0
_LOG = logging.getLogger(__name__)

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


def gpu_count() -> int:
    """Return how many GPUs FAISS can use: 0 with a CPU build, and where a search on them fails."""
    n_gpus = _n_seen()
    return n_gpus if n_gpus and searches_on_gpu() else 0


def _n_seen() -> int:
    faiss = faiss_module()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


@cache
def searches_on_gpu(script: str = _TRIAL) -> bool:
    """Tell whether FAISS can search on the first GPU, by doing it in another process, once.

    :param script: What that process runs; it must end with status 0.
    :returns: Whether it did; if not, a warning says what it said.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        _LOG.warning("FAISS sees a GPU, but a trial search on it took over %g s; it is not used.", _TRIAL_TIMEOUT_S)
        return False
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        _LOG.warning("FAISS sees a GPU, but a trial search on it failed; it is not used (%s).", last)
    return done.returncode == 0


def copy_to_gpus(index: Any, *, half: bool) -> Any:
    """Copy an index to all GPUs: to the one there is, or in shards to several.

    :param index: A flat or IVF-PQ index.
    :param half: Hold float16 (flat), or look up in float16 (IVF-PQ): half the memory, and faster.
    :returns: The copy, and what must live as long as it does.
    """
    faiss = faiss_module()
    if _n_seen() == 1:
        options, resources = faiss.GpuClonerOptions(), faiss.StandardGpuResources()
        options.useFloat16 = options.useFloat16LookupTables = half
        copy = faiss.index_cpu_to_gpu(resources, 0, index, options)
        copy.resources_of_ours = resources  # FAISS's copy does not keep them
        return copy
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    options.useFloat16 = options.useFloat16LookupTables = half
    return faiss.index_cpu_to_all_gpus(index, co=options)


class Card:
    """The copy of one index at a time on the GPUs. Safe between threads: it answers one search after the other.

    :param copy: Makes a copy of an index where searches shall run.
    :param half: Whether that copy holds float16.
    """

    def __init__(self, *, copy: Callable[..., Any] = copy_to_gpus, half: bool = True) -> None:
        self._copy_of = copy
        self._half = half
        self.margin = _HALF_MARGIN if half else 0.0
        """How far scores of a flat copy may be from the true ones, both ways together; beside rounding of float32."""
        self.n_copies = 0
        """How often a whole index was copied."""
        self._lock = threading.Lock()  # a StandardGpuResources must not be used by two threads at once
        self._source: Any = None
        self._copy: Any = None
        self._n_copied = 0

    def search(
        self,
        index: Any,
        queries_QD: NDArray[np.float32],
        m: int,
        *,
        eligible_N: NDArray[np.bool_] | None,
        n_probes: int | None,
        rows: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ) -> Found | None:
        """Return what ``index.search`` would, from the copy.

        :param index: The index in the host's memory; the caller keeps it unchanged meanwhile.
        :param queries_QD: Unit vectors. *Shape:* ``(Q, D)``.
        :param m: How many nominees a query gets.
        :param eligible_N: Which vectors may be found; ``None`` for all. *Shape:* ``(N,)``.
        :param n_probes: How many lists of an IVF-PQ index are read; ``None`` for a flat one.
        :param rows: Returns the vectors at some places.
        :returns: Scores by fall and places, -1 where there are no more. *Shape:* ``(Q, M)`` both. ``None`` if the
            filter leaves so few vectors that the host must search.
        """
        n_all = index.ntotal
        n_eligible = n_all if eligible_N is None else int(np.count_nonzero(eligible_N))
        asked = m if n_eligible == n_all else -(-m * n_all // max(n_eligible, 1)) * 2
        if asked > min(MOST_ASKED, n_all):
            if n_all > MOST_ASKED:
                return None
            asked = n_all
        with self._lock:
            copy, n_copied = self._current(index)
            asked = min(asked, n_copied)
            if n_probes is not None:
                copy.nprobe = n_probes
            scores_QM, places_QM = copy.search(queries_QD, asked)
        if eligible_N is not None:
            forbidden_QM = (places_QM >= 0) & ~eligible_N[np.maximum(places_QM, 0)]
            places_QM = np.where(forbidden_QM, -1, places_QM)
            if asked < n_copied and ((places_QM >= 0).sum(axis=1) < m).any():
                return None
        return self._joined(scores_QM, places_QM, queries_QD, m, self._tail(n_copied, n_all, eligible_N), rows)

    def _current(self, index: Any) -> tuple[Any, int]:
        """Return the copy and how many vectors it holds, made anew if it is of another index or has fallen behind."""
        behind = index.ntotal - self._n_copied
        if self._source is not index or behind > max(_LEAST_TAIL, TAIL_SHARE * self._n_copied):
            self._copy = None  # frees the card's memory before it is needed again
            self._copy = self._copy_of(index, half=self._half)
            self._source, self._n_copied = index, index.ntotal
            self.n_copies += 1
        return self._copy, self._n_copied

    @staticmethod
    def _tail(n_copied: int, n_all: int, eligible_N: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        tail_T = np.arange(n_copied, n_all)
        return tail_T if eligible_N is None else tail_T[eligible_N[n_copied:]]

    @staticmethod
    def _joined(
        scores_QM: NDArray[np.float32],
        places_QM: NDArray[np.int64],
        queries_QD: NDArray[np.float32],
        m: int,
        tail_T: NDArray[np.int64],
        rows: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ) -> Found:
        """Join the copy's answer with the tail's, best first."""
        scores_QM = np.where(places_QM >= 0, scores_QM, -np.inf).astype(np.float32)
        if len(tail_T):
            tail_QT = queries_QD @ rows(tail_T).T
            scores_QM = np.concatenate([scores_QM, tail_QT], axis=1)
            places_QM = np.concatenate([places_QM, np.broadcast_to(tail_T, tail_QT.shape)], axis=1)
        order_QM = np.argsort(-scores_QM, axis=1, kind="stable")[:, :m]
        scores_QM = np.take_along_axis(scores_QM, order_QM, axis=1)
        places_QM = np.take_along_axis(places_QM, order_QM, axis=1)
        if scores_QM.shape[1] < m:
            short = ((0, 0), (0, m - scores_QM.shape[1]))
            scores_QM = np.pad(scores_QM, short, constant_values=-np.inf)
            places_QM = np.pad(places_QM, short, constant_values=-1)
        return scores_QM, places_QM
