"""Zip archives that are the same whenever they are made: no times of day in them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

__all__ = ["dateless", "dateless_zip"]

_STATED_TIME = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def dateless_zip(members: Mapping[str, bytes]) -> bytes:
    """Return a zip archive that is the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def dateless(package: bytes) -> bytes:
    """Return an Office package, and those embedded in it, without the times at which they were made."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return dateless_zip({name: _member(archive.read(name)) for name in archive.namelist()})


def _member(data: bytes) -> bytes:
    if data.startswith(b"PK\x03\x04"):
        return dateless(data)
    return _STATED_TIME.sub(rb"\g<1>2024-01-01T10:00:00Z", data)
