"""The file of a FAISS index: what is in it, and what must agree before it is believed.

Layer: ``retrieval``; imports ``kg.errors``, NumPy, and faiss (lazily). The file itself is
:mod:`retrieval.indexes.storage`'s: every byte is checked, and only the encoder's name that it was built with is taken.

A large file is mapped into memory. FAISS then reads its part of it in place (``IO_FLAG_MMAP_IFC``): such an index is
searched as any other, but whoever changes it must copy it first, and must hold the view for as long as it is used.

Shape suffixes: B vectors, D vector width.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, VectorIndexError
from retrieval.indexes.faiss_kinds import FaissKind, FaissParameters, faiss_module
from retrieval.indexes.float_rows import FloatRows
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file

__all__ = ["FaissContent", "read", "write"]

_LAYOUT = 2
"""Raise it when the sections or details change: a file of another layout is built again. 1 had ids as an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissContent:
    """Everything that a FAISS index of ours holds."""

    kind: FaissKind
    dimension: int
    parameters: FaissParameters
    names: list[str | None]
    """The ids by place; ``None`` for a vector that was removed."""
    learnt: tuple[float, ...]
    """Of kinds with codes: how many vectors they were learnt from, with which error, how many came since, and the sum
    of their errors."""
    index: Any
    """The FAISS index, or ``None`` where codes are not learnt yet."""
    floats: FloatRows | None
    """Of kinds with codes: the vectors."""
    view: memoryview | None = None
    """What ``index`` reads in place; ``None`` where it owns its memory."""
    record_version: int = 0


def write(path: Path, content: FaissContent, *, encoder: str, record_version: int) -> None:
    """Write the file, whole or not at all.

    :param path: The file; an older one is replaced.
    :param content: What to write.
    :param encoder: The fingerprint of the encoder that made the vectors.
    :param record_version: The version of the record that the index is of.
    :raises VectorIndexError: If the file cannot be written.
    """
    codes = b"" if content.index is None else memoryview(faiss_module().serialize_index(content.index))
    vectors = [] if content.floats is None else list(content.floats.parts())
    details = {
        "layout": _LAYOUT,
        "dimension": content.dimension,
        "parameters": dataclasses.asdict(content.parameters),
        "learnt": content.learnt,
    }
    file = IndexFile(
        kind=f"faiss-{content.kind}",
        built_with=encoder,
        record_version=record_version,
        details=details,
        sections={"faiss": codes, "ids": json.dumps(content.names).encode()},
    )
    write_index_file(path, file, in_parts={"vectors": vectors})


def read(path: Path, *, kind: FaissKind | None, encoder: str, record_version: int | None) -> FaissContent:
    """Read the file and check that its parts agree.

    :param path: The file.
    :param kind: The kind that is wanted; ``None`` takes the one that is there.
    :param encoder: The fingerprint of the encoder in use now.
    :param record_version: The version of the record that the index must be of; ``None`` takes any.
    :returns: What it holds.
    :raises VectorIndexError: If the file is missing, damaged, stale, of another kind, layout or encoder.
    """
    wanted = None if kind is None else f"faiss-{kind}"
    file = read_index_file(path, kind=wanted, built_with=encoder, record_version=record_version, mapped=True)
    layout = file.details.get("layout")
    found = next((known for known in get_args(FaissKind) if file.kind == f"faiss-{known}"), None)
    if found is None or layout != _LAYOUT:
        raise VectorIndexError(
            f"Index file {path}: it is of kind {file.kind!r} and layout {layout!r}; this version reads FAISS indexes "
            f"of layout {_LAYOUT}. Build the index again."
        )
    try:
        return _content(file, found)
    except (ConfigError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise VectorIndexError(
            f"Index file {path}: its parts do not agree ({error}). Build the index again."
        ) from error


def _content(file: IndexFile, kind: FaissKind) -> FaissContent:
    dimension = int(file.details["dimension"])
    names: list[str | None] = json.loads(bytes(file.sections["ids"]))
    vectors_BD = np.frombuffer(file.sections["vectors"], dtype=np.float32).reshape(-1, dimension)
    has_codes = kind in ("sq8", "ivfpq")
    codes = memoryview(file.sections["faiss"])
    index = _in_place(codes) if len(codes) else None
    n_held = len(vectors_BD) if has_codes else len(names)
    n_indexed = n_held if index is None else index.ntotal
    if not len(names) == n_held == n_indexed or (index is None and not has_codes):
        raise ValueError(f"{len(names)} ids, {n_held} vectors, {n_indexed} in FAISS")
    if index is not None and (index.d != dimension or type(index) is not _class_of(kind)):
        raise ValueError(f"FAISS holds a {type(index).__name__} of width {index.d}, not {kind} of {dimension}")
    return FaissContent(
        kind=kind,
        dimension=dimension,
        parameters=FaissParameters(**file.details["parameters"]),
        names=names,
        learnt=tuple(file.details["learnt"]),
        index=index,
        floats=FloatRows(vectors_BD) if has_codes else None,
        view=None if index is None else codes,
        record_version=file.record_version,
    )


def _in_place(codes: memoryview) -> Any:
    """Return an index whose large arrays lie in ``codes``."""
    faiss = faiss_module()
    data: NDArray[np.uint8] = np.frombuffer(codes, dtype=np.uint8)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.nbytes)
    return faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)


def _class_of(kind: FaissKind) -> Any:
    faiss = faiss_module()
    return {
        "flat": faiss.IndexFlatIP,
        "hnsw": faiss.IndexHNSWFlat,
        "sq8": faiss.IndexScalarQuantizer,
        "ivfpq": faiss.IndexIVFPQ,
    }[kind]
