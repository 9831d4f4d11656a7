"""Pictures that come along with a question: read from a file or from base64, never larger than the setting allows.

Layer: ``api``.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from kg.errors import InputError, LimitExceededError

__all__ = ["picture_from_base64", "picture_from_file", "require_picture_fits"]


def require_picture_fits(data: bytes | None, *, limit: int) -> None:
    """Refuse a picture of more bytes than the setting ``max_picture_bytes``.

    :param data: The bytes of an image file, or none.
    :param limit: The setting.
    :raises LimitExceededError: If there are more.
    """
    if data is not None:
        _require(len(data), limit=limit)


def picture_from_base64(text: str | None, *, limit: int) -> bytes | None:
    """Decode a picture of a JSON request; a ``data:`` URI is taken too.

    :param text: Base64 with or without ``data:…;base64,`` before it; ``None`` is no picture.
    :param limit: The setting ``max_picture_bytes``, judged before anything is decoded.
    :returns: The bytes of an image file.
    :raises InputError: If it is not base64, or empty.
    :raises LimitExceededError: If it is too large.
    """
    if text is None:
        return None
    payload = text.partition(",")[2] if text.startswith("data:") else text
    _require(len(payload) // 4 * 3 - payload[-2:].count("="), limit=limit)
    try:
        data = base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"image: this is not base64 ({error}). Send the bytes of an image file as base64.") from error
    if not data:
        raise InputError("image: there are no bytes. Send the bytes of an image file as base64, or leave it out.")
    return data


def picture_from_file(file: Path | None, *, limit: int) -> bytes | None:
    """Read a picture that is named on the command line.

    :param file: The file; ``None`` is no picture.
    :param limit: The setting ``max_picture_bytes``, judged before anything is read.
    :returns: Its bytes.
    :raises InputError: If there is no such file, or it cannot be read.
    :raises LimitExceededError: If it is too large.
    """
    if file is None:
        return None
    if not file.is_file():
        raise InputError(f"--image: there is no file {file}.")
    try:
        _require(file.stat().st_size, limit=limit)
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"--image: {file} cannot be read ({error.strerror}).") from error


def _require(n_bytes: int, *, limit: int) -> None:
    if n_bytes > limit:
        raise LimitExceededError(
            f"The picture of the question has {n_bytes} bytes, more than max_picture_bytes = {limit}. "
            "Scale it down, or raise MMKG_MAX_PICTURE_BYTES."
        )
