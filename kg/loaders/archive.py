"""Zip archives, expanded in memory with every byte counted.

Layer: ``kg``; the standard library only. Headers of an archive are claims: sizes are counted while expanding, so an
archive that lies, or whose members overlap (Fifield 2019, "A better zip bomb"), costs no more than the limits say.
"""

from __future__ import annotations

import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from kg.errors import (
    CorruptFileError,
    EncryptedFileError,
    LimitExceededError,
    LoadError,
    UnsafePathError,
    UnsupportedFileError,
)
from kg.limits import LoadLimits
from kg.loaders.raw import FileFailure, raw_from_bytes
from kg.types import RawFile

__all__ = ["Budget", "MemberReader", "expand_archive", "is_hidden", "member_path"]

_STEP_BYTES = 256 * 1024
_ENCRYPTED_FLAG = 0x1


class Budget:
    """What one outermost file may expand to, nested files included.

    :param limits: ``max_archive_members`` and ``max_archive_bytes``.
    """

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits
        self._n_members = 0
        self._n_bytes = 0

    def add_member(self, *, where: str) -> None:
        """Count one more member.

        :param where: What to call the archive in messages.
        :raises LimitExceededError: If that is too many.
        """
        self._n_members += 1
        if self._n_members > self._limits.max_archive_members:
            raise LimitExceededError(
                f"{where}: more members than the limit max_archive_members = {self._limits.max_archive_members}. "
                "Unpack it and ingest the folder, or raise the limit."
            )

    def add_bytes(self, n_bytes: int, *, where: str) -> None:
        """Count bytes that were expanded.

        :param n_bytes: How many.
        :param where: What to call the member in messages.
        :raises LimitExceededError: If that is too many in all.
        """
        self._n_bytes += n_bytes
        if self._n_bytes > self._limits.max_archive_bytes:
            raise LimitExceededError(
                f"{where}: the archive expands beyond the limit max_archive_bytes = {self._limits.max_archive_bytes}. "
                "Unpack it and ingest the folder, or raise the limit."
            )


class MemberReader:
    """Reads the members of one archive against one budget of bytes.

    :param data: The archive.
    :param name: What to call it in messages.
    :param limits: ``max_archive_members``, ``max_archive_bytes``, ``max_compression_ratio`` and ``max_bytes`` apply.
    :param budget: Counts with others; a budget of its own by default.
    :raises CorruptFileError: If there is no readable list of members.
    :raises LimitExceededError: If there are too many members.
    """

    def __init__(self, data: bytes, *, name: str, limits: LoadLimits, budget: Budget | None = None) -> None:
        self._name = name
        self._limits = limits
        self._n_data = len(data)
        self._budget = budget or Budget(limits)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
            raise CorruptFileError(
                f"{name}: the zip archive cannot be opened ({error}); truncated or damaged."
            ) from error
        if len(self.members) > limits.max_archive_members:
            raise LimitExceededError(
                f"{name}: {len(self.members)} members, more than the limit max_archive_members = "
                f"{limits.max_archive_members}. Unpack it and ingest the folder, or raise the limit."
            )

    @property
    def members(self) -> list[zipfile.ZipInfo]:
        """List all members, folders included, in the archive's order."""
        return self._archive.infolist()

    def read(self, member: zipfile.ZipInfo, *, max_bytes: int | None = None) -> bytes:
        """Expand one member.

        :param member: One of :attr:`members`.
        :param max_bytes: The most bytes it may have; ``limits.max_bytes`` by default.
        :returns: Its bytes.
        :raises EncryptedFileError: If it needs a password.
        :raises LimitExceededError: If it, or the archive with it, expands beyond a limit.
        :raises UnsupportedFileError: If it is compressed in a way that Python does not know.
        :raises CorruptFileError: If it cannot be expanded or its checksum is wrong.
        """
        return b"".join(self.pieces(member, max_bytes=max_bytes))

    def pieces(self, member: zipfile.ZipInfo, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Expand one member piece by piece; parameters and errors are those of :meth:`read`."""
        where = f"{self._name}!/{member.filename}"
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise EncryptedFileError(f"{where}: needs a password. Unpack the archive and ingest the folder.")
        try:
            with self._archive.open(member) as stream:
                yield from self._count(stream, member, where=where, max_bytes=max_bytes or self._limits.max_bytes)
        except NotImplementedError as error:
            raise UnsupportedFileError(f"{where}: {error}. Pack it again with deflate.") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError) as error:
            raise CorruptFileError(f"{where}: cannot be expanded ({error}); the archive is damaged.") from error

    def _count(self, stream: IO[bytes], member: zipfile.ZipInfo, *, where: str, max_bytes: int) -> Iterator[bytes]:
        limits = self._limits
        n_packed = max(1, min(member.compress_size, self._n_data))
        n_bytes = 0
        while part := stream.read(_STEP_BYTES):
            n_bytes += len(part)
            if n_bytes > max_bytes:
                raise LimitExceededError(f"{where}: expands beyond {max_bytes} bytes, the limit for one such file.")
            self._budget.add_bytes(len(part), where=where)
            if n_bytes > limits.ratio_free_bytes and n_bytes > limits.max_compression_ratio * n_packed:
                raise LimitExceededError(
                    f"{where}: expands more than max_compression_ratio = {limits.max_compression_ratio:g} fold, as a "
                    "zip bomb does. Unpack it yourself if you trust it."
                )
            yield part


def member_path(filename: str, *, where: str) -> str:
    """Return a member's path with ``/``; raise :class:`UnsafePathError` for one that would leave the archive."""
    path = filename.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0].endswith(":")):
        raise UnsafePathError(f"{where}: the member's path leads outside the archive. It was not read.")
    return "/".join(part for part in parts if part not in ("", "."))


def is_hidden(filename: str) -> bool:
    """Return whether a member is hidden: its name, or that of a folder around it, begins with a dot."""
    parts = [part for part in filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _read_file(reader: MemberReader, member: zipfile.ZipInfo, *, archive: RawFile, seen: set[str]) -> RawFile:
    where = f"{archive.name}!/{member.filename}"
    path = member_path(member.filename, where=where)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnsafePathError(f"{where}: a symbolic link inside an archive is not followed.")
    if path in seen or not path:
        raise CorruptFileError(f"{where}: a second member of the same name, or of none; the first one was taken.")
    seen.add(path)
    return raw_from_bytes(path, reader.read(member), source=f"{archive.source}!/{path}")


def expand_archive(
    archive: RawFile, *, limits: LoadLimits, budget: Budget | None = None
) -> Iterator[RawFile | FileFailure]:
    """Yield the files of a zip archive one by one, in its order; one bad member fails only itself.

    Folders and hidden members are skipped. When the budget of the whole archive is spent, every member from there on
    fails, without being expanded.

    :param archive: A file of type ``application/zip``.
    :param limits: See :class:`MemberReader`.
    :param budget: See :class:`MemberReader`.
    :yields: A raw file with ``source = "ARCHIVE!/member"``, or the failure of that member.
    """
    budget = budget or Budget(limits)
    try:
        reader = MemberReader(archive.data, name=archive.name, limits=limits, budget=budget)
    except LoadError as error:
        yield FileFailure(source=archive.source, name=archive.name, error=error)
        return
    seen: set[str] = set()
    n_files = 0
    for member in reader.members:
        if member.filename.endswith("/") or is_hidden(member.filename):  # ``is_dir()`` fails on an empty name
            continue
        n_files += 1
        try:
            budget.add_member(where=archive.name)
            yield _read_file(reader, member, archive=archive, seen=seen)
        except LoadError as error:
            yield FileFailure(
                source=f"{archive.source}!/{member.filename}", name=member.filename or archive.name, error=error
            )
    if n_files == 0:
        empty = UnsupportedFileError(f"{archive.name}: the archive holds no files (hidden ones are skipped).")
        yield FileFailure(source=archive.source, name=archive.name, error=empty)
