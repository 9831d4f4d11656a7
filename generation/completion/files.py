"""Write files so that a reader, or a crash, never meets half of one.

Layer: ``generation``; safetensors with torch tensors. A file is written under a temporary name beside its place,
flushed to the disk, and renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from kg.errors import CompletionError

__all__ = ["write_bytes_atomically", "write_json_atomically", "write_tensors_atomically"]


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    :param path: Where; its folder must exist.
    :param data: The bytes.
    :raises CompletionError: If the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CompletionError(f"{path}: cannot be written ({error.strerror}). Check space and permissions.") from error


def write_json_atomically(path: Path, value: Mapping[str, object]) -> None:
    """Write a mapping as indented JSON, whole or not at all."""
    write_bytes_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def write_tensors_atomically(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one safetensors file, whole or not at all."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes_atomically(path, save(contiguous))
