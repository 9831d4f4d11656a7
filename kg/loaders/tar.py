"""Tar archives and single compressed files, read as a stream with every byte counted.

Layer: ``kg``; the standard library only. Nothing is written to disk; links, devices and paths that lead outside are
refused one by one, and the files between them come in.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from kg.errors import CorruptFileError, LimitExceededError, LoadError, UnsafePathError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.archive import Budget, is_hidden, member_path
from kg.loaders.raw import FileFailure, raw_from_bytes
from kg.types import RawFile

__all__ = ["COMPRESSED", "expand_compressed", "expand_tar"]

COMPRESSED = ("application/gzip", "application/x-bzip2", "application/x-xz")
_TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
_INNER_SUFFIX = {".svgz": ".svg", ".emlz": ".eml"}
_STEP_BYTES = 256 * 1024
_XZ_MEMORY = 128 * 1024 * 1024  # what `xz -9` needs to expand is 65 MiB
_MAGIC_AT, _MAGIC = 257, b"ustar"
_ERRORS = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError, IndexError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _XzReader:
    """Expands xz within a limit of memory, which :class:`lzma.LZMAFile` does not have."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._place = 0
        self._expander = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while not self._expander.eof:
            piece = b""
            if self._expander.needs_input:
                piece = bytes(self._data[self._place : self._place + _STEP_BYTES])
                self._place += len(piece)
                if not piece:
                    raise EOFError("the compressed data end early")
            if found := self._expander.decompress(piece, max_length=size):
                return found
        return b""


class _Counted:
    """Reads from another stream against the budget and the ratio of compression."""

    def __init__(self, stream: _Readable, *, n_packed: int, where: str, limits: LoadLimits, budget: Budget) -> None:
        self._stream = stream
        self._n_packed = max(1, n_packed)
        self._where = where
        self._limits = limits
        self._budget = budget
        self._n_bytes = 0
        self._ahead = b""
        self.is_spent = False

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (part := self._next(size)):
            self._ahead += part
        return self._ahead

    def read(self, size: int = _STEP_BYTES, /) -> bytes:
        if self._ahead:
            part, self._ahead = self._ahead[:size], self._ahead[size:]
            return part
        return self._next(size)

    def _next(self, size: int) -> bytes:
        self.is_spent = True  # until the limits have been found to hold
        part = self._stream.read(size)
        self._n_bytes += len(part)
        self._budget.add_bytes(len(part), where=self._where)
        limits = self._limits
        if self._n_bytes > limits.ratio_free_bytes and self._n_bytes > limits.max_compression_ratio * self._n_packed:
            raise LimitExceededError(
                f"{self._where}: expands more than max_compression_ratio = {limits.max_compression_ratio:g} fold, as a "
                "bomb does. Unpack it yourself if you trust it."
            )
        self.is_spent = False
        return part


def _opened(raw: RawFile) -> _Readable:
    if raw.media_type == "application/gzip":
        return gzip.GzipFile(fileobj=io.BytesIO(raw.data), mode="rb")
    if raw.media_type == "application/x-bzip2":
        return bz2.BZ2File(io.BytesIO(raw.data), mode="rb")
    if raw.media_type == "application/x-xz":
        return _XzReader(raw.data)
    return io.BytesIO(raw.data)


def expand_compressed(raw: RawFile, *, limits: LoadLimits, budget: Budget) -> Iterator[RawFile | FileFailure]:
    """Yield the files of a compressed tar archive, or the one file that was compressed.

    :param raw: A gzip, bzip2 or xz file.
    :param limits: Those on archives apply.
    :param budget: Counts all that one outermost file expands to.
    :yields: A file with ``source = "ARCHIVE!/member"``, or its failure.
    """
    counted = _Counted(_opened(raw), n_packed=len(raw.data), where=raw.name, limits=limits, budget=budget)
    try:
        head = counted.peek(_MAGIC_AT + len(_MAGIC))
        is_tar = head[_MAGIC_AT:].startswith(_MAGIC) or raw.name.lower().endswith(_TAR_SUFFIXES)
        if is_tar:
            yield from _members(raw, counted, limits=limits, budget=budget)
            return
        budget.add_member(where=raw.name)
        name = _inner_name(raw.name)
        data = _all_of(counted, where=f"{raw.name}!/{name}", max_bytes=limits.max_bytes)
        yield raw_from_bytes(name, data, source=f"{raw.source}!/{name}")
    except LoadError as error:
        yield FileFailure(source=raw.source, name=raw.name, error=error)
    except _ERRORS as error:
        yield FileFailure(source=raw.source, name=raw.name, error=_damaged(raw.name, error))


def _inner_name(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    inner = _INNER_SUFFIX.get(f".{suffix.lower()}")
    return (stem + (inner or "")) if dot and stem else f"{name}.content"


def _damaged(name: str, error: Exception) -> CorruptFileError:
    return CorruptFileError(f"{name}: cannot be expanded ({error}); the archive is truncated or damaged.")


def _all_of(stream: _Readable, *, where: str, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    n_bytes = 0
    while part := stream.read(_STEP_BYTES):
        n_bytes += len(part)
        if n_bytes > max_bytes:
            raise LimitExceededError(f"{where}: expands beyond {max_bytes} bytes, the limit for one such file.")
        parts.append(part)
    return b"".join(parts)


def expand_tar(raw: RawFile, *, limits: LoadLimits, budget: Budget) -> Iterator[RawFile | FileFailure]:
    """Yield the files of a tar archive; folders and hidden members are skipped.

    :param raw: A file of type ``application/x-tar``.
    :param limits: Those on archives apply.
    :param budget: Counts all that one outermost file expands to.
    :yields: A file with ``source = "ARCHIVE!/member"``, or its failure.
    """
    counted = _Counted(io.BytesIO(raw.data), n_packed=len(raw.data), where=raw.name, limits=limits, budget=budget)
    try:
        yield from _members(raw, counted, limits=limits, budget=budget)
    except LoadError as error:
        yield FileFailure(source=raw.source, name=raw.name, error=error)
    except _ERRORS as error:
        yield FileFailure(source=raw.source, name=raw.name, error=_damaged(raw.name, error))


def _members(raw: RawFile, stream: _Counted, *, limits: LoadLimits, budget: Budget) -> Iterator[RawFile | FileFailure]:
    seen: set[str] = set()
    n_files = 0
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=1) as archive:  # type: ignore[call-overload]  # read() is all that it needs
        for member in archive:
            if member.isdir() or is_hidden(member.name):
                continue
            n_files += 1
            budget.add_member(where=raw.name)
            try:
                yield _file(archive, member, raw=raw, seen=seen, limits=limits)
            except LoadError as error:
                if stream.is_spent:
                    raise
                yield FileFailure(source=f"{raw.source}!/{member.name}", name=member.name or raw.name, error=error)
    if n_files == 0:
        raise UnsupportedFileError(f"{raw.name}: the archive holds no files (hidden ones are skipped).")


def _file(
    archive: tarfile.TarFile, member: tarfile.TarInfo, *, raw: RawFile, seen: set[str], limits: LoadLimits
) -> RawFile:
    where = f"{raw.name}!/{member.name}"
    path = member_path(member.name, where=where)
    if member.issym() or member.islnk():
        raise UnsafePathError(f"{where}: a link inside an archive is not followed.")
    if not member.isfile():
        raise UnsafePathError(f"{where}: a device or pipe inside an archive is not read.")
    if path in seen or not path:
        raise CorruptFileError(f"{where}: a second member of the same name, or of none; the first one was taken.")
    seen.add(path)
    content = archive.extractfile(member)
    if content is None:
        raise CorruptFileError(f"{where}: the member has no content.")
    return raw_from_bytes(
        path, _all_of(content, where=where, max_bytes=limits.max_bytes), source=f"{raw.source}!/{path}"
    )
