"""One file for one derived index: written whole or not at all, and refused unless every byte is as it was written.

Layer: ``retrieval``; imports ``kg.errors`` and the standard library.

Layout: ``MMKGIDX1`` · 32 bytes SHA-256 of the header · 8 bytes header length, little-endian · header (JSON) · sections.
The header says what the index is, which encoder (or analyser) it was built with, at which version of the record, and
each section's name, length and SHA-256. An index is derived from the record, so every complaint about the file is a
:class:`~kg.errors.VectorIndexError` and the answer to it is always the same: build the index again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kg.errors import VectorIndexError

__all__ = ["IndexFile", "read_index_file", "write_index_file"]

_MAGIC = b"MMKGIDX1"
_PREFIX = len(_MAGIC) + 32 + 8


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """What an index file says and holds."""

    kind: str
    built_with: str
    """The fingerprint of the encoder or analyser that made its contents."""
    record_version: int
    details: Mapping[str, Any]
    """What this kind of index needs besides (dimension, count, parameters); plain JSON."""
    sections: Mapping[str, bytes | memoryview]


def write_index_file(path: Path, file: IndexFile) -> None:
    """Write an index file beside its final name, flush it to the disk, and rename it into place.

    :param path: Where the file shall be; its folder must exist. An older file there is replaced in one step.
    :param file: What to write.
    :raises VectorIndexError: If the disk refuses; the older file is then still there, untouched.
    """
    header = {
        "kind": file.kind,
        "built_with": file.built_with,
        "record_version": file.record_version,
        "details": dict(file.details),
        "sections": [
            {"name": name, "n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in file.sections.items()
        ],
    }
    encoded = json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    prefix = _MAGIC + hashlib.sha256(encoded).digest() + len(encoded).to_bytes(8, "little")
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
            temporary = Path(out.name)
            out.write(prefix + encoded)
            for data in file.sections.values():
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise VectorIndexError(
            f"Index file {path}: cannot be written ({error}). Searching goes on from memory; free space or fix the "
            "permissions, or the index is built again at the next start."
        ) from error


def read_index_file(path: Path, *, kind: str, built_with: str, record_version: int | None = None) -> IndexFile:
    """Read an index file and check every byte of it.

    :param path: The file.
    :param kind: The kind of index that is expected.
    :param built_with: The fingerprint of the encoder or analyser in use now.
    :param record_version: The version of the record that the index must be of; ``None`` takes any, for a caller that
        catches up by itself.
    :returns: The file's contents.
    :raises VectorIndexError: If the file is missing, damaged, cut short, stale, or was made by another encoder.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise VectorIndexError(f"Index file {path}: cannot be read ({error}). Build the index again.") from error
    header, start = _read_header(path, data)
    for name, expected in (("kind", kind), ("built_with", built_with), ("record_version", record_version)):
        if expected is not None and header[name] != expected:
            raise VectorIndexError(
                f"Index file {path}: it is stale: {name} is {header[name]!r}, now it must be {expected!r}. "
                "Build the index again."
            )
    return IndexFile(
        kind=header["kind"],
        built_with=header["built_with"],
        record_version=header["record_version"],
        details=header["details"],
        sections=_read_sections(path, data[start:], header["sections"]),
    )


def _read_header(path: Path, data: memoryview) -> tuple[dict[str, Any], int]:
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise VectorIndexError(f"Index file {path}: it is not an index file of this version. Build the index again.")
    digest = bytes(data[len(_MAGIC) : len(_MAGIC) + 32])
    end = _PREFIX + int.from_bytes(data[_PREFIX - 8 : _PREFIX], "little")
    encoded = bytes(data[_PREFIX:end])
    if hashlib.sha256(encoded).digest() != digest:
        raise VectorIndexError(f"Index file {path}: its header is damaged. Build the index again.")
    header: dict[str, Any] = json.loads(encoded.decode("utf-8", "surrogatepass"))
    return header, end


def _read_sections(path: Path, data: memoryview, listed: list[dict[str, Any]]) -> dict[str, bytes | memoryview]:
    sections: dict[str, bytes | memoryview] = {}
    start = 0
    for entry in listed:
        part = data[start : start + entry["n_bytes"]]
        if len(part) != entry["n_bytes"] or hashlib.sha256(part).hexdigest() != entry["sha256"]:
            raise VectorIndexError(
                f"Index file {path}: its section {entry['name']!r} is damaged or cut short. Build the index again."
            )
        sections[entry["name"]] = part
        start += entry["n_bytes"]
    if start != len(data):
        raise VectorIndexError(f"Index file {path}: {len(data) - start} bytes too many. Build the index again.")
    return sections
