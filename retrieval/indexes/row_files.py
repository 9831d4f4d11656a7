"""The file of an exact index: ids and vectors, nothing else.

Layer: ``retrieval``; imports ``kg.errors`` and NumPy. The file itself is :mod:`retrieval.indexes.storage`'s: every byte
is checked. A large one is mapped into memory, and its vectors are then read by the page.

Shape suffixes: N vectors, D vector width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.errors import VectorIndexError
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file

__all__ = ["RowFile", "read_rows", "write_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """What such a file holds. The vectors are read-only, and may be a memory map: ``(N, D)``."""

    ids: list[str]
    vectors: NDArray[np.float32]
    record_version: int


def write_rows(
    path: Path,
    *,
    kind: str,
    ids: Sequence[str],
    vectors_ND: NDArray[np.float32],
    encoder: str,
    record_version: int,
) -> None:
    """Write the file, whole or not at all.

    :param path: The file; an older one is replaced.
    :param kind: The name of the index.
    :param ids: One id per vector.
    :param vectors_ND: The vectors. *Shape:* ``(N, D)``.
    :param encoder: The fingerprint of the encoder that made them.
    :param record_version: The version of the record that the index is of.
    :raises VectorIndexError: If the file cannot be written.
    """
    file = IndexFile(
        kind=kind,
        built_with=encoder,
        record_version=record_version,
        details={"dimension": vectors_ND.shape[1]},
        sections={"ids": json.dumps(list(ids)).encode()},
    )
    rows = np.ascontiguousarray(vectors_ND, dtype=np.float32).reshape(-1).view(np.uint8).data
    write_index_file(path, file, in_parts={"vectors": [rows]})


def read_rows(path: Path, *, kind: str, encoder: str, record_version: int | None) -> RowFile:
    """Read the file and check that its parts agree.

    :param path: The file.
    :param kind: The name of the index.
    :param encoder: The fingerprint of the encoder in use now.
    :param record_version: The version of the record that the index must be of; ``None`` takes any.
    :returns: What it holds.
    :raises VectorIndexError: If the file is missing, damaged, stale, or of another encoder or kind.
    """
    file = read_index_file(path, kind=kind, built_with=encoder, record_version=record_version, mapped=True)
    ids, dimension = json.loads(bytes(file.sections["ids"])), int(file.details["dimension"])
    numbers = np.frombuffer(file.sections["vectors"], dtype=np.float32)
    if numbers.size != len(ids) * dimension or len(set(ids)) != len(ids):
        raise VectorIndexError(
            f"Index file {path}: {numbers.size} numbers of {dimension} a vector for {len(set(ids))} different ids of "
            f"{len(ids)}. Build the index again."
        )
    return RowFile(ids=ids, vectors=numbers.reshape(len(ids), dimension), record_version=file.record_version)
