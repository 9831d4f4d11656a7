"""Read tensors of a safetensors file into NumPy, bfloat16 included, which NumPy itself does not know.

Layer: ``retrieval``; NumPy and safetensors only.
Source: the safetensors format: eight bytes of length, a JSON header with offsets, then the bytes of all tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

__all__ = ["read_float32"]


def read_float32(file: Path, *, is_wanted: Callable[[str], bool] = lambda _: True) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a file as float32.

    :param file: A safetensors file.
    :param is_wanted: Told a tensor's name, says whether to read it.
    :returns: Tensors by name, each of its own shape.
    """
    found: dict[str, NDArray[np.float32]] = {}
    with safe_open(file, framework="numpy") as opened:
        for name in opened.keys():  # noqa: SIM118 - safe_open is not a mapping
            if not is_wanted(name):
                continue
            is_bfloat16 = opened.get_slice(name).get_dtype() == "BF16"
            tensor = _bfloat16(file, name) if is_bfloat16 else opened.get_tensor(name)
            found[name] = tensor.astype(np.float32, copy=False)
    return found


def _bfloat16(file: Path, name: str) -> NDArray[np.float32]:
    """Read the upper halves of float32 numbers, which is what bfloat16 is."""
    with file.open("rb") as stream:
        n_header = int.from_bytes(stream.read(8), "little")
        entry: dict[str, Any] = json.loads(stream.read(n_header))[name]
        start, end = entry["data_offsets"]
        stream.seek(8 + n_header + start)
        halves = np.frombuffer(stream.read(end - start), dtype="<u2").reshape(entry["shape"])
    return (halves.astype(np.uint32) << 16).view(np.float32)
