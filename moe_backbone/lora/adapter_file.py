"""Files of learnt tensors beside a frozen model: written whole or not at all, and known by their format.

Layer: ``moe_backbone``; safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["AdapterError", "read_adapter_file", "write_adapter_file"]


class AdapterError(ValueError):
    """Adapters cannot be put into a model, saved or loaded; the message says where and why."""


def write_adapter_file(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, str]) -> None:
    """Write tensors to a file, which appears complete or not at all.

    :param path: A ``.safetensors`` file to make; its folder must exist.
    :param tensors: Contiguous tensors by name.
    :param about: What the file says of itself; ``format`` is what :func:`read_adapter_file` asks for.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), unfinished, metadata=dict(about))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_adapter_file(
    path: Path, *, wanted: str, kind: str, kind_of_file: str
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read what :func:`write_adapter_file` wrote.

    :param path: The file.
    :param wanted: The format that it must have.
    :param kind: What it shall be read as, in words: ``an adapter``.
    :param kind_of_file: What a file of another format is none of: ``adapter file``.
    :returns: What it says of itself, and the tensors.
    :raises AdapterError: If it cannot be read or has another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != wanted:
                raise AdapterError(f"{path} is no {kind_of_file} of this library.")
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{path} cannot be read as {kind}: {error}.") from error
