"""One file for one derived index: written whole or not at all, and refused unless every byte is as it was written.

Layer: ``retrieval``; imports ``kg.errors`` and the standard library.

Layout: ``MMKGIDX1`` · 32 bytes SHA-256 of the header · 8 bytes header length, little-endian · header (JSON) · sections.
The header is padded with spaces so that the first section starts at a multiple of 64 bytes, where a memory map of it
serves as an array.
The header says what the index is, which encoder (or analyser) it was built with, at which version of the record, and
each section's name, length and SHA-256. An index is derived from the record, so every complaint about the file is a
:class:`~kg.errors.VectorIndexError` and the answer to it is always the same: build the index again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kg.errors import VectorIndexError

__all__ = ["IndexFile", "read_index_file", "read_index_kind", "write_index_file"]

_MAGIC = b"MMKGIDX1"
_PREFIX = len(_MAGIC) + 32 + 8
_ALIGNMENT = 64
_MOST_HEADER_BYTES = 1 << 20
_MAP_FROM_BYTES = 64 << 20
"""Smaller files are read into memory: a map saves little there, and it ties the process to the file."""


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


def write_index_file(
    path: Path, file: IndexFile, *, in_parts: Mapping[str, Sequence[memoryview]] | None = None
) -> None:
    """Write an index file beside its final name, flush it to the disk, and rename it into place.

    :param path: Where the file shall be; its folder must exist. An older file there is replaced in one step.
    :param file: What to write.
    :param in_parts: Sections before the file's own, each in parts that need not be joined in memory first.
    :raises VectorIndexError: If the disk refuses; the older file is then still there, untouched.
    """
    sections: dict[str, Sequence[bytes | memoryview]] = dict(in_parts or {})
    sections |= {name: (data,) for name, data in file.sections.items()}
    header = {
        "kind": file.kind,
        "built_with": file.built_with,
        "record_version": file.record_version,
        "details": dict(file.details),
        "sections": [
            {"name": name, "n_bytes": sum(map(len, parts)), "sha256": _digest(parts)}
            for name, parts in sections.items()
        ],
    }
    encoded = json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    encoded += b" " * (-(_PREFIX + len(encoded)) % _ALIGNMENT)
    prefix = _MAGIC + hashlib.sha256(encoded).digest() + len(encoded).to_bytes(8, "little")
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
            temporary = Path(out.name)
            out.write(prefix + encoded)
            for parts in sections.values():
                out.writelines(parts)
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


def _digest(parts: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def read_index_file(
    path: Path, *, kind: str | None, built_with: str, record_version: int | None = None, mapped: bool = False
) -> IndexFile:
    """Read an index file and check every byte of it.

    :param path: The file.
    :param kind: The kind of index that is expected; ``None`` takes any.
    :param built_with: The fingerprint of the encoder or analyser in use now.
    :param record_version: The version of the record that the index must be of; ``None`` takes any, for a caller that
        catches up by itself.
    :param mapped: Map a large file into memory rather than read it: its pages then come when they are needed and go
        when memory is short. Its sections hold the map; the file may be renamed or unlinked, but not cut short.
    :returns: The file's contents.
    :raises VectorIndexError: If the file is missing, damaged, cut short, stale, or was made by another encoder.
    """
    try:
        data = _mapped(path) if mapped and path.stat().st_size >= _MAP_FROM_BYTES else memoryview(path.read_bytes())
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


def read_index_kind(path: Path) -> str | None:
    """Return which kind of index a file says it holds, ``None`` where there is no file or its header is damaged.

    :param path: The file. Only its header is read, so its contents may still be refused.
    :returns: The kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PREFIX)
            length = int.from_bytes(start[_PREFIX - 8 :], "little")
            data = memoryview(start + file.read(min(length, _MOST_HEADER_BYTES)))
        kind = _read_header(path, data)[0]["kind"]
    except (OSError, VectorIndexError):
        return None
    return str(kind)


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


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
