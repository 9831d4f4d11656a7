"""Files as they come in, and the failures of those that do not.

Layer: ``kg``.
"""

from __future__ import annotations

from dataclasses import dataclass

from kg import ids
from kg.errors import InputError, LoadError
from kg.loaders.sniff import sniff
from kg.types import FileOutcome, IngestStatus, RawFile

__all__ = ["FileFailure", "raw_from_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFailure:
    """Why one file did not come in. The others did: failures are handed on, not raised."""

    source: str
    name: str
    error: LoadError

    @property
    def error_code(self) -> str:
        """Return the stable name of the error."""
        return self.error.code

    @property
    def message(self) -> str:
        """Return what to show to the user."""
        return str(self.error)

    def outcome(self, *, seconds: float = 0.0) -> FileOutcome:
        """Return the failure as a line of an ingest report."""
        return FileOutcome(
            source=self.source,
            name=self.name,
            status=IngestStatus.FAILED,
            seconds=seconds,
            error_code=self.error_code,
            message=self.message,
        )


def raw_from_bytes(name: str, data: bytes, *, source: str | None = None, root: str = "") -> RawFile:
    r"""Make a raw file of bytes that came without a path, such as an upload.

    :param name: What people call the file; folders before the last ``/`` or ``\\`` are dropped from it.
    :param data: All of its bytes.
    :param source: The identity of the place it came from; ``upload:NAME`` by default.
    :param root: The folder that pictures named by the file may be read from; empty for an upload, which has none.
    :returns: The file with its type, sniffed, and its checksum.
    :raises InputError: If no name is left.
    :raises EmptyFileError: If there are no bytes, or only white space.
    :raises UnsupportedFileError: If the bytes are neither a known type nor text.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if not last:
        raise InputError(f"raw_from_bytes: {name!r} is not a file name. Give one such as 'report.pdf'.")
    return RawFile(
        source=source if source is not None else f"upload:{last}",
        name=last,
        media_type=sniff(data, name=last),
        data=data,
        sha256=ids.sha256_hex(data),
        root=root,
    )
