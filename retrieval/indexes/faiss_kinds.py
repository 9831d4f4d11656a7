"""The kinds of FAISS index: which one for how many vectors, how each is made, trained and asked.

Layer: ``retrieval``; imports ``kg.errors``, NumPy, and faiss (lazily: the first index imports it, in some 0.1 s).
Sources: Douze et al. 2024, "The Faiss library", arXiv:2401.08281; Malkov & Yashunin 2018, arXiv:1603.09320 (HNSW);
Jégou, Douze & Schmid 2011, doi:10.1109/TPAMI.2010.57 (inverted lists of product-quantised residuals, IVF-PQ).

========  ======================================  =====================================================
kind      what a query reads                      what stands in memory per vector of 384 (10**5 of them)
========  ======================================  =====================================================
flat      every vector                            1,536 bytes
sq8       every vector's code of one byte a       384 bytes; the vectors themselves stay in the file
          number, then the best vectors again
ivfpq     the codes in the nearest lists,         79 bytes; the vectors themselves stay in the file
          then the best vectors again
hnsw      a walk over a graph of neighbours       1,808 bytes
========  ======================================  =====================================================

Which one is chosen goes by size (:func:`choose_faiss_kind`); HNSW is there for who sets it.
"Measured" means ``python -m tests.benchmarks.index_speed`` and the vectors that it describes.

Shape suffixes: N vectors, D vector width.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError

__all__ = [
    "FLAT_UP_TO",
    "SQ8_UP_TO",
    "FaissKind",
    "FaissParameters",
    "KindChoice",
    "choose_faiss_kind",
    "code_error",
    "faiss_module",
    "made",
    "n_training_vectors",
    "search_parameters",
    "trained",
]

_LOG = logging.getLogger(__name__)

FaissKind = Literal["flat", "sq8", "hnsw", "ivfpq"]

FLAT_UP_TO = 50_000
"""Flat search is exact and needs no build; up to here a query of 384 numbers takes 15 ms of one core (half of
what it takes at 10**5)."""
SQ8_UP_TO = 200_000
"""SQ8 reads every vector too, but a quarter of the bytes: 5 ms at 10**5, 11 ms here. It finds what exact search finds
whatever the vectors are like, and is built in a second; past it IVF-PQ takes 0.5 ms (at 10**5), and a twentieth of the
memory of HNSW, whose graph takes nine times as long to build (139 s against 16 s) for the same recall."""
_KEEP_SHARE = 0.5
"""A larger kind is kept until this share of its limit, so that no size makes it build again and again."""
_WIDTH_PER_CODE = 8
"""Numbers of a vector that one byte of a PQ code stands for. Measured at 10**5 vectors of 384: 8 and 4 find the same
once 100 candidates are scored again, and 8 takes a third of the time to learn and to read."""
_LEAST_CODE_BYTES = 16
_LISTS_PER_ROOT = 4
"""IVF-PQ has this times the square root of its size in lists: the least of FAISS's guideline (4 to 16)."""
_POINTS_PER_LIST = 40
"""k-means is taught with this many vectors per list: FAISS warns below 39 and takes 256 at most."""
_POINTS_PER_CODE_WORD = 64
_N_CODE_WORDS = 256
_LEAST_TRAINING = 300
"""256 code words need as many vectors, after a tenth is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissParameters:
    """The constants of the approximate kinds.

    :raises ConfigError: If one is not positive, or ``train_at`` is below the 300 that PQ's code words need.
    """

    links: int = 32
    """HNSW's links per vector (M). 32 is FAISS's default."""
    build_beam: int = 80
    """HNSW's ``efConstruction``: wider builds slower and finds more. 80 measured as good as 200."""
    search_beam: int = 128
    """HNSW's ``efSearch``, at least; it grows with ``k`` and with the filter."""
    probes: int = 64
    """How many lists of IVF-PQ a query reads, at least; it grows with the filter."""
    lists_per_probe: int = 4
    """A query of IVF-PQ reads one list in so many, if that is more than ``probes``. Where neighbourhoods are smaller
    than lists, the nearest ten lie in many of them. Measured at 10**6 (4,000 lists; a centre for each 100 vectors):
    reading 64, 256, 512, 1,000 lists finds .82, .94, .97, .99 of what exact search does, in 2, 5, 7, 10 CPU ms (exact:
    266 ms)."""
    candidates: int = 2000
    """How many vectors IVF-PQ nominates for exact scoring, at least; five for each of the ``k`` if that is more.
    Measured at 10**6 and 1,000 lists, 200 queries: 1,200, 2,000, 3,000 find .982, .988, .989 of the nearest ten in
    10.5, 11.2, 12.4 CPU ms (exact: 291); what the codes are taught with moves these by .01."""
    train_at: int = 10_000
    """SQ8 and IVF-PQ scan exactly until they hold this many vectors, and learn their codes then. PQ's 256 code words
    want 39 vectors each (FAISS's own minimum)."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < (_LEAST_TRAINING if name == "train_at" else 1):
                raise ConfigError(f"FaissParameters.{name}: {getattr(self, name)} is too small.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KindChoice:
    """Which kind of index, and why: for the log and for the trace of a search."""

    kind: FaissKind
    reason: str


def choose_faiss_kind(
    n_vectors: int,
    *,
    wanted: str = "auto",
    current: FaissKind | None = None,
    flat_up_to: int = FLAT_UP_TO,
    sq8_up_to: int = SQ8_UP_TO,
) -> KindChoice:
    """Choose the kind of index, and log why.

    :param n_vectors: How many vectors the index will hold.
    :param wanted: ``"auto"`` chooses by size; a kind's name is taken as it is.
    :param current: The kind that is there already. It is kept while the size is a little below its lower limit.
    :param flat_up_to: The largest number that is searched exactly.
    :param sq8_up_to: The largest number of which a query reads every code.
    :returns: The kind and the reason.
    :raises ConfigError: If ``wanted`` is unknown.
    """
    if wanted in get_args(FaissKind):
        choice = KindChoice(kind=wanted, reason="set in the configuration")  # type: ignore[arg-type]
    elif wanted != "auto":
        raise ConfigError(f"Vector index {wanted!r} is unknown. Use auto, {', '.join(get_args(FaissKind))}.")
    else:
        choice = _by_size(n_vectors, current, {"flat": flat_up_to, "sq8": sq8_up_to})
    _LOG.info("FAISS index for %d vectors: %s (%s)", n_vectors, choice.kind, choice.reason)
    return choice


def _by_size(n_vectors: int, current: FaissKind | None, limits: dict[str, int]) -> KindChoice:
    sizes: list[FaissKind] = ["flat", "sq8", "ivfpq"]
    reasons = {
        "flat": f"exact and built at once; up to {limits['flat']} vectors",
        "sq8": f"a query reads every vector, but a byte a number; up to {limits['sq8']} vectors",
        "ivfpq": f"a query must not read every vector; past {limits['sq8']} vectors",
    }
    place = 0 if n_vectors <= limits["flat"] else 1 if n_vectors <= limits["sq8"] else 2
    if current in sizes[place + 1 :]:
        lower_limit = limits["flat" if current == "sq8" else "sq8"]
        if n_vectors > _KEEP_SHARE * lower_limit:
            return KindChoice(kind=current, reason=f"{reasons[current]}; kept down to {_KEEP_SHARE:.0%} of the limit")
    kind = sizes[place]
    return KindChoice(kind=kind, reason=reasons[kind])


def faiss_module() -> Any:
    """Import faiss when it is first needed; its type stubs lack the search parameters, so it is untyped here."""
    return importlib.import_module("faiss")


def made(kind: FaissKind, dimension: int, *, n_vectors: int, parameters: FaissParameters) -> Any:
    """Return an empty FAISS index; ``sq8`` and ``ivfpq`` are to be :func:`trained`.

    :param kind: The kind.
    :param dimension: Width of the vectors.
    :param n_vectors: How many vectors it is made for: IVF-PQ has ``4 * sqrt(n_vectors)`` lists.
    :param parameters: The constants.
    :returns: The index.
    """
    faiss = faiss_module()
    if kind == "flat":
        return faiss.IndexFlatIP(dimension)
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimension, parameters.links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = parameters.build_beam
        return graph
    if kind == "sq8":
        return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    n_lists = max(1, min(_LISTS_PER_ROOT * isqrt(n_vectors), n_vectors // _POINTS_PER_LIST))
    lists = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFPQ(lists, dimension, n_lists, _code_bytes(dimension), 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = _POINTS_PER_LIST
    index.pq.cp.max_points_per_centroid = _POINTS_PER_CODE_WORD
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # FAISS warns on stdout below this
    return index


def _code_bytes(dimension: int) -> int:
    """Return into how many equal parts a vector is cut: one for 8 numbers, but 16 at least where the width allows."""
    most = max(dimension // _WIDTH_PER_CODE, min(dimension, _LEAST_CODE_BYTES))
    return max(n for n in range(1, most + 1) if dimension % n == 0)


def n_training_vectors(n_vectors: int) -> int:
    """Return how many of ``n_vectors`` the training of a kind takes at most."""
    return min(
        n_vectors, max(_POINTS_PER_LIST * _LISTS_PER_ROOT * isqrt(n_vectors), _POINTS_PER_CODE_WORD * _N_CODE_WORDS)
    )


def trained(index: Any, sample_ND: NDArray[np.float32]) -> float:
    """Train an index and return its error: the mean squared distance between a vector and what its code stands for.

    Every tenth vector is held out from the training and measured, so that vectors that come later can be compared.

    :param index: The index, from :func:`made`.
    :param sample_ND: Vectors as those that will be added. *Shape:* ``(N, D)``, N > 10.
    :returns: The error on what was held out.
    """
    held_out_N = np.arange(len(sample_ND)) % 10 == 0
    index.train(np.ascontiguousarray(sample_ND[~held_out_N]))
    return code_error(index, sample_ND[held_out_N])


def code_error(index: Any, vectors_ND: NDArray[np.float32]) -> float:
    """Return the mean squared distance between vectors and what their codes stand for. *Shape:* ``(N, D)``."""
    vectors_ND = np.ascontiguousarray(vectors_ND)
    decoded_ND = index.sa_decode(index.sa_encode(vectors_ND))
    return float(((vectors_ND - decoded_ND) ** 2).sum(axis=1).mean())


def search_parameters(
    kind: FaissKind, *, selector: Any, n_asked: int, widening: float, n_lists: int, parameters: FaissParameters
) -> Any:
    """Return FAISS's search parameters for one query or more.

    :param kind: The kind of the index.
    :param selector: Which vectors may be found (an ``IDSelector``), or ``None``.
    :param n_asked: How many vectors are asked for.
    :param widening: All vectors over those that may be found, >= 1: how much farther a search must look.
    :param n_lists: How many lists the index has, for ``ivfpq``.
    :param parameters: The constants.
    :returns: A ``SearchParameters`` of the right class.
    """
    faiss = faiss_module()
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=round(max(parameters.search_beam, n_asked) * widening), sel=selector)
    if kind == "ivfpq":
        wider = widening * max(1.0, n_asked / parameters.candidates)
        least = max(parameters.probes, n_lists // parameters.lists_per_probe)
        return faiss.SearchParametersIVF(nprobe=min(n_lists, round(least * wider)), sel=selector)
    return faiss.SearchParameters(sel=selector)
