"""Which vector index serves a corpus, on which device, and why; made anew or read from its file.

Layer: ``retrieval``; imports the indexes. Whether there is a GPU is asked only where a corpus is large enough to gain
by it, or a setting wants one: importing torch takes longer than a search.

====================  ===========================================================================================
a GPU is found        what serves
====================  ===========================================================================================
none, or few vectors  FAISS on the CPU, its kind by size (:func:`retrieval.indexes.faiss_kinds.choose_faiss_kind`)
by FAISS              FAISS with a copy on the GPUs (:mod:`retrieval.indexes.faiss_gpu`): flat, then IVF-PQ
by torch alone        exact search on the GPU with torch (:mod:`retrieval.indexes.torch_exact`)
====================  ===========================================================================================
"""

from __future__ import annotations

import importlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from kg.errors import ConfigError
from retrieval.config import Device, IndexKind
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_gpu import GPU_KINDS, Card, gpu_count
from retrieval.indexes.faiss_kinds import FLAT_UP_TO, FaissKind, choose_faiss_kind
from retrieval.indexes.torch_exact import TorchExactIndex
from retrieval.types import VectorIndex

__all__ = [
    "GPU_FLAT_UP_TO",
    "Gpus",
    "IndexChoice",
    "StoredVectorIndex",
    "choose_index",
    "load_index",
    "make_index",
]

_LOG = logging.getLogger(__name__)

GPU_FLAT_UP_TO = 4_000_000
"""Up to so many vectors a GPU searches exactly: 3 GB of float16 at 384 numbers, which a card that reads 1 TB/s reads in
3 ms. Worked out; by torch, 10 million of 128 numbers took 1.6 ms a query on an H200."""
_DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd")


class StoredVectorIndex(VectorIndex, Protocol):
    """A vector index with a file of its own."""

    record_version: int

    def save(self, path: Path, *, encoder: str, record_version: int) -> None:
        """Write the index to a file, whole or not at all; raise ``VectorIndexError`` if the disk refuses."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChoice:
    """Which index, on which device, and why: for the log and for the trace of a search."""

    kind: FaissKind | Literal["torch"]
    on_gpu: bool
    reason: str

    @property
    def is_exact(self) -> bool:
        """Whether it finds what exact search finds, always."""
        return self.kind in ("flat", "torch")


class Gpus:
    """Says which library can use a GPU here; asked when first needed."""

    def n_of_faiss(self) -> int:
        """Return how many GPUs FAISS can use."""
        return gpu_count()

    def of_torch(self) -> bool:
        """Tell whether torch can use one. torch is imported only where a driver is installed."""
        if not any(Path(name).exists() for name in _DRIVER_FILES) and shutil.which("nvidia-smi") is None:
            return False
        return bool(importlib.import_module("torch").cuda.is_available())


def choose_index(
    n_vectors: int, *, wanted: str = "auto", device: str = "auto", current: str | None = None, gpus: Gpus | None = None
) -> IndexChoice:
    """Choose the index, and log why.

    :param n_vectors: How many vectors it will hold.
    :param wanted: ``"auto"`` chooses by size and device; a kind of FAISS or ``"torch"`` is taken as it is.
    :param device: ``"cpu"``; ``"gpu"``, which must be there; or ``"auto"``: a GPU for more than
        :data:`~retrieval.indexes.faiss_kinds.FLAT_UP_TO` vectors, where there is one.
    :param current: The name of the index that is there already; a kind of FAISS is kept while the size is a little
        below its lower limit.
    :param gpus: Says which GPUs there are.
    :returns: The choice.
    :raises ConfigError: If a name is unknown, or a GPU is wanted and there is none, or none for that kind.
    """
    if wanted not in get_args(IndexKind) or device not in get_args(Device):
        raise ConfigError(
            f"Vector index {wanted!r} on {device!r} is unknown. Use {', '.join(get_args(IndexKind))} on "
            f"{', '.join(get_args(Device))}."
        )
    choice = _choice(n_vectors, wanted, device, current, gpus or Gpus())
    _LOG.info("vector index for %d vectors: %s (%s)", n_vectors, choice.kind, choice.reason)
    return choice


def _choice(n_vectors: int, wanted: str, device: str, current: str | None, gpus: Gpus) -> IndexChoice:
    by_faiss = device != "cpu" and wanted != "torch" and (device == "gpu" or n_vectors > FLAT_UP_TO)
    by_faiss = by_faiss and wanted in ("auto", *GPU_KINDS) and gpus.n_of_faiss() > 0
    if by_faiss:
        kind: FaissKind = "ivfpq" if wanted == "ivfpq" or n_vectors > GPU_FLAT_UP_TO else "flat"
        kind = "flat" if wanted == "flat" else kind
        return IndexChoice(kind=kind, on_gpu=True, reason=f"a copy on {gpus.n_of_faiss()} GPU(s) by FAISS")
    may_be_torch = wanted == "torch" or (
        wanted == "auto" and (device == "gpu" or FLAT_UP_TO < n_vectors <= GPU_FLAT_UP_TO)
    )
    if device != "cpu" and may_be_torch and gpus.of_torch():
        return IndexChoice(kind="torch", on_gpu=True, reason="exact on a GPU by torch; FAISS has none here")
    if device == "gpu":
        raise ConfigError(
            f"retrieval.device is gpu and retrieval.index {wanted}: no GPU was found that can serve it. FAISS needs a "
            f"GPU build (faiss-gpu-cu12) and has {' and '.join(GPU_KINDS)} there; torch needs a CUDA build. Set "
            "retrieval.device: auto."
        )
    if wanted == "torch":
        return IndexChoice(kind="torch", on_gpu=False, reason="set in the configuration")
    of_faiss = next((kind for kind in get_args(FaissKind) if current == f"faiss-{kind}"), None)
    by_size = choose_faiss_kind(n_vectors, wanted=wanted, current=of_faiss)
    return IndexChoice(kind=by_size.kind, on_gpu=False, reason=by_size.reason)


def make_index(choice: IndexChoice, dimension: int) -> StoredVectorIndex:
    """Return an empty index of a choice.

    :param choice: What was chosen.
    :param dimension: Width of the vectors.
    :returns: The index.
    """
    if choice.kind == "torch":
        return TorchExactIndex(dimension, device=None if choice.on_gpu else "cpu", half=choice.on_gpu)
    return FaissIndex(dimension, kind=choice.kind, card=Card() if choice.on_gpu else None)


def load_index(path: Path, choice: IndexChoice, *, encoder: str) -> StoredVectorIndex:
    """Read an index of a choice from its file.

    :param path: The file.
    :param choice: What was chosen.
    :param encoder: The fingerprint of the encoder in use now.
    :returns: The index.
    :raises VectorIndexError: If the file is missing, damaged, of another encoder, or of another kind of index.
    """
    if choice.kind == "torch":
        device = None if choice.on_gpu else "cpu"
        return TorchExactIndex.load(path, encoder=encoder, device=device, half=choice.on_gpu)
    index = FaissIndex.load(path, kind=choice.kind, encoder=encoder)
    index.card = Card() if choice.on_gpu else None
    return index
