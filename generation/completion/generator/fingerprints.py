"""Tell one model folder from another without reading gigabytes.

Layer: ``generation``; the standard library only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from kg.errors import ModelError

__all__ = ["folder_fingerprint"]

_BLOCKS, _BLOCK_BYTES = 64, 64 * 1024
_READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def folder_fingerprint(folder: Path) -> str:
    """Digest a model folder: small files whole, of large ones size and 64 blocks of 64 KiB spread evenly.

    :param folder: A folder with configuration, weights and tokenizer.
    :returns: 16 hexadecimal digits.
    :raises ModelError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    paths = sorted({path for pattern in _READ for path in folder.glob(pattern)})
    try:
        for path in paths:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as stream:
                if size <= _BLOCKS * _BLOCK_BYTES:
                    digest.update(stream.read())
                    continue
                for number in range(_BLOCKS):
                    stream.seek(number * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
                    digest.update(stream.read(_BLOCK_BYTES))
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror}).") from error
    return digest.hexdigest()[:16]
