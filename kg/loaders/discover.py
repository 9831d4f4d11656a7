"""From the paths of a command line to raw files, one failure per file that does not come in.

Layer: ``kg``; the standard library only. Two passes: :func:`discover` lists candidates without opening them, so that a
progress bar has its total; :meth:`Candidate.read` opens one and yields its raw file, or the files of an archive one
by one, so that at most one archive and one of its members are in memory.

    candidates = discover(["papers/", "scans/*.png"], limits=limits)
    for candidate in candidates:
        for item in candidate.read():        # RawFile | FileFailure
            ...
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kg.errors import EmptyFileError, InputError, LimitExceededError, LoadError, UnreadableFileError
from kg.limits import FetchLimits, LoadLimits
from kg.loaders.expand import expand
from kg.loaders.fetch import Fetcher, is_url
from kg.loaders.raw import FileFailure, raw_from_bytes
from kg.loaders.walk import Found, find_files
from kg.types import RawFile

__all__ = ["Candidate", "FileFailure", "discover", "expand", "raw_from_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One path that will be read, or the reason why it cannot be.

    ``source`` is the real, absolute path with ``/``; ``root`` the folder that pictures named by the file may be read
    from. An archive is one candidate, however many files are in it. Where ``error`` is set nothing will be opened.
    Where ``fetcher`` is set, ``source`` is an address, and reading fetches it.
    """

    source: str
    name: str
    root: str
    limits: LoadLimits
    error: LoadError | None = None
    fetcher: Fetcher | None = None

    def read(self) -> Iterator[RawFile | FileFailure]:
        """Open the file and yield it, or the members of the archive that it is; what fails is yielded, not raised."""
        try:
            if self.error is not None:
                raise self.error
            if self.fetcher is not None:
                raw = self.fetcher.raw(self.source)
            else:
                data = _read_bytes(Path(self.source), max_bytes=self.limits.max_bytes)
                raw = raw_from_bytes(self.name, data, source=self.source, root=self.root)
        except LoadError as error:
            yield FileFailure(source=self.source, name=self.name, error=error)
            return
        yield from expand(raw, limits=self.limits)


def _read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file; ``O_NONBLOCK`` keeps a pipe that took its place from hanging the open."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError(f"{path}: not a regular file but a {_kind(status.st_mode)}. Skip it.")
            _require_size(path, status.st_size, max_bytes=max_bytes)
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror}).") from error
    _require_size(path, len(data), max_bytes=max_bytes)
    if not data:
        raise EmptyFileError(f"{path.name}: the file is empty (0 bytes).")
    return data


def _require_size(path: Path, size_bytes: int, *, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise LimitExceededError(
            f"{path.name}: {size_bytes} bytes, more than the limit max_bytes = {max_bytes}. "
            "Split the file or raise the limit."
        )


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))
    return next((name for test, name in kinds if test(mode)), "folder")


def _candidate(found: Found, *, limits: LoadLimits) -> Candidate:
    error = found.error
    if error is None:
        try:
            mode = found.path.stat().st_mode
            if not stat.S_ISREG(mode):
                error = UnreadableFileError(f"{found.path}: not a regular file but a {_kind(mode)}. It was not opened.")
        except OSError as failure:
            error = UnreadableFileError(f"{found.path}: cannot be read ({failure.strerror}).")
    return Candidate(
        source=found.path.absolute().as_posix(),
        name=found.path.name or found.path.as_posix(),
        root=found.root.absolute().as_posix(),
        limits=limits,
        error=error,
    )


def discover(paths: Sequence[str | Path], *, limits: LoadLimits, fetch: FetchLimits | None = None) -> list[Candidate]:
    """List the files that the arguments of a command line mean; see :mod:`kg.loaders.walk` for the rules.

    :param paths: Files, folders, globs, and ``http`` or ``https`` addresses.
    :param limits: Applied when a candidate is read.
    :param fetch: Applied when an address is fetched; the defaults where it is ``None``.
    :returns: Candidates in the order of the arguments, each real file once: the first time it is met.
    :raises InputError: If there are no paths at all.
    """
    if isinstance(paths, str) or not paths:
        raise InputError("discover: give at least one file, folder or glob, as a list.")
    candidates: dict[str, Candidate] = {}
    fetcher = Fetcher(fetch or FetchLimits())
    for argument in paths:
        if isinstance(argument, str) and is_url(argument):
            candidate = Candidate(source=argument, name=argument, root="", limits=limits, fetcher=fetcher)
            candidates.setdefault(argument, candidate)
            continue
        for found in find_files(argument):
            candidate = _candidate(found, limits=limits)
            candidates.setdefault(candidate.source, candidate)
    return list(candidates.values())
