"""Zip and tar archives that are the same whenever they are made: no times of day in them."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping

__all__ = ["dateless", "dateless_zip", "tar_bytes"]

_STATED_TIME = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def dateless_zip(members: Mapping[str, bytes]) -> bytes:
    """Return a zip archive that is the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_bytes(members: Mapping[str, bytes], *, links: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """Return a tar archive; ``links`` are names and types of members that point out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return buffer.getvalue()


def dateless(package: bytes) -> bytes:
    """Return an Office package, and those embedded in it, without the times at which they were made."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return dateless_zip({name: _member(archive.read(name)) for name in archive.namelist()})


def _member(data: bytes) -> bytes:
    if data.startswith(b"PK\x03\x04"):
        return dateless(data)
    return _STATED_TIME.sub(rb"\g<1>2024-01-01T10:00:00Z", data)
