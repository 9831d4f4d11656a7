"""Write and read checkpoint folders tensor by tensor, so that a half-written one never looks complete.

Layer: ``moe_backbone``; imports torch and safetensors.
A folder is written beside its final place under a hidden name, hashed, given its manifest (``mmkg_checkpoint.json``),
and renamed in one step. The weights are streamed: memory holds one tensor, never the model.
Source of the file layout: the safetensors format (8-byte little-endian header length, JSON header, raw data) and
transformers' shard index.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = [
    "INDEX_NAME",
    "MANIFEST_NAME",
    "SINGLE_NAME",
    "CheckpointError",
    "PlannedTensor",
    "TensorReader",
    "checkpoint_folder",
    "copy_side_files",
    "is_complete",
    "read_manifest",
    "source_sha256",
    "verify",
    "write_safetensors",
]

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
MANIFEST_NAME = "mmkg_checkpoint.json"
_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_STALE_AFTER_S = 3600.0  # a conversion that wrote nothing for an hour is dead
_SIDE_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
               "generation_config.json", "chat_template*", "preprocessor_config.json", "LICENSE*")  # fmt: skip
_SHARD_BYTES = 5_000_000_000  # the shard size of transformers' save_pretrained before version 5


class CheckpointError(ValueError):
    """A checkpoint folder cannot be read, converted or written; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """A tensor to be written: its name, shape and dtype are known now, its values are made when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def size_bytes(self) -> int:
        """How many bytes the values take."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class TensorReader:
    """Read single tensors of a checkpoint folder in one file or in shards; files stay mapped, not loaded.

    :param folder: A folder with ``model.safetensors`` or with a shard index.
    :raises CheckpointError: If neither is there, or a shard is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Any] = {}
        self._where: dict[str, str] = {}
        for path in _weight_files(folder):
            try:
                handle = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} cannot be read as safetensors: {error}.") from error
            self._open[path.name] = handle
            names: list[str] = handle.keys()  # type: ignore[no-untyped-call]
            self._where.update(dict.fromkeys(names, path.name))

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(self._where)

    def planned(self, name: str) -> tuple[tuple[int, ...], torch.dtype]:
        """Return the shape and dtype of a tensor without reading its values."""
        part = self._open[self._where[name]].get_slice(name)
        codes = {code: dtype for dtype, code in _DTYPE_NAMES.items()}
        if part.get_dtype() not in codes:
            raise CheckpointError(
                f"{name} of {self.folder} is stored as {part.get_dtype()}; only {', '.join(codes)} can be converted. "
                "Convert the unquantised checkpoint."
            )
        return tuple(part.get_shape()), codes[part.get_dtype()]

    def read(self, name: str, *, rows: slice | None = None, columns: slice | None = None) -> Tensor:
        """Read a tensor, or of a matrix only some rows or columns.

        :param name: One of :attr:`names`.
        :param rows: Span of the first dimension; ``None`` reads all.
        :param columns: Span of the second dimension; ``None`` reads all.
        :returns: The values, in memory of their own.
        """
        handle = self._open[self._where[name]]
        part: Tensor
        if columns is not None:
            part = handle.get_slice(name)[rows or slice(None), columns]
        elif rows is not None:
            part = handle.get_slice(name)[rows]
        else:
            part = handle.get_tensor(name)
        return part


def write_safetensors(
    folder: Path,
    plan: Iterable[PlannedTensor],
    *,
    shard_bytes: int = _SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write tensors one by one into ``model.safetensors``, or into numbered shards with an index.

    :param folder: An existing folder.
    :param plan: What to write, in order.
    :param shard_bytes: The most bytes of values in a file; a larger tensor has a file of its own.
    :param on_progress: Called as ``on_progress(done_bytes, total_bytes)`` after each tensor.
    :raises CheckpointError: If a made tensor is not as planned.
    """
    shards: list[list[PlannedTensor]] = [[]]
    for tensor in plan:
        used = sum(item.size_bytes for item in shards[-1])
        if shards[-1] and used + tensor.size_bytes > shard_bytes:
            shards.append([])
        shards[-1].append(tensor)
    total = sum(item.size_bytes for shard in shards for item in shard)
    done = 0

    def count(item: PlannedTensor) -> None:
        nonlocal done
        done += item.size_bytes
        if on_progress is not None:
            on_progress(done, total)

    if len(shards) == 1:
        _write_file(folder / SINGLE_NAME, shards[0], count)
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / name, shard, count)
        where.update(dict.fromkeys((item.name for item in shard), name))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _write_file(path: Path, tensors: list[PlannedTensor], written: Callable[[PlannedTensor], None]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for item in tensors:
        end = offset + item.size_bytes
        header[item.name] = {
            "dtype": _DTYPE_NAMES[item.dtype],
            "shape": list(item.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for item in tensors:
            tensor = item.make()
            if tuple(tensor.shape) != item.shape or tensor.dtype != item.dtype:
                raise CheckpointError(
                    f"{item.name} was planned as {item.dtype} {item.shape} and made as {tensor.dtype} "
                    f"{tuple(tensor.shape)}."
                )
            file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
            written(item)


@contextmanager
def checkpoint_folder(out: Path, *, recipe: Mapping[str, Any], size_bytes: int) -> Iterator[Path]:
    """Yield a hidden folder to write into; on success it gets its manifest and becomes ``out`` in one rename.

    If the block fails nothing is left behind. If another process finished the same recipe meanwhile, its folder stays.

    :param out: The folder to make. A folder of another recipe that stands there is replaced.
    :param recipe: What was done to what: JSON values. Two conversions with equal recipes are interchangeable.
    :param size_bytes: About how much will be written; refused beforehand if the disk has less.
    :yields: The folder to write into.
    :raises CheckpointError: If the disk has too little room.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(out)
    free = shutil.disk_usage(out.parent).free
    if free < size_bytes * 1.05:
        raise CheckpointError(
            f"{out} needs {size_bytes / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free. Free some space, or "
            "choose another cache folder."
        )
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
    try:
        part.chmod(0o755)
        yield part
        manifest = {"recipe": dict(recipe), "files": {path.name: _describe(path) for path in sorted(part.iterdir())}}
        (part / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2, sort_keys=True), encoding="utf-8")
        _move_into_place(part, out, recipe=recipe)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_into_place(part: Path, out: Path, *, recipe: Mapping[str, Any]) -> None:
    try:
        part.rename(out)
        return
    except OSError:
        if not out.exists():
            raise
    if is_complete(out, recipe=recipe):
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
    out.rename(old / out.name)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(out: Path) -> None:
    """Remove what killed conversions of ``out`` left behind."""
    for path in out.parent.glob(f".{out.name}.part-*"):
        with suppress(FileNotFoundError):
            newest = max(item.stat().st_mtime for item in (path, *path.iterdir()))
            if time.time() - newest > _STALE_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, or ``None`` if it has none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and {"recipe", "files"} <= manifest.keys() else None


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy tokenizer, chat template, generation settings and licence of a checkpoint; what is there already stays.

    :param source: The checkpoint folder to copy from.
    :param folder: The folder that is being made.
    """
    for pattern in _SIDE_FILES:
        for path in source.glob(pattern):
            if not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)


def is_complete(folder: Path, *, recipe: Mapping[str, Any] | None = None) -> bool:
    """Tell whether ``folder`` holds every file of its manifest in full size and was made by ``recipe``.

    :param folder: A checkpoint folder, which may not exist.
    :param recipe: The recipe that must have made it; ``None`` accepts any.
    :returns: Whether it can be used.
    """
    manifest = read_manifest(folder)
    if manifest is None or (recipe is not None and manifest["recipe"] != json.loads(json.dumps(dict(recipe)))):
        return False
    sizes = {name: entry["size_bytes"] for name, entry in manifest["files"].items()}
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def verify(folder: Path) -> tuple[str, ...]:
    """Hash every file of a folder and name those that are missing or differ from the manifest.

    :param folder: A folder with a manifest.
    :returns: File names, empty if all is well.
    :raises CheckpointError: If the folder has no manifest.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise CheckpointError(f"{folder} has no readable {MANIFEST_NAME}: remove the folder and convert again.")
    return tuple(
        name
        for name, entry in sorted(manifest["files"].items())
        if not (folder / name).is_file() or _describe(folder / name) != entry
    )


def source_sha256(folder: Path) -> str:
    """Return one hash over the weights and ``config.json`` of a checkpoint, from its manifest where it has one."""
    manifest = read_manifest(folder)
    digest = hashlib.sha256()
    for path in (folder / "config.json", *_weight_files(folder)):
        entry = manifest["files"].get(path.name) if manifest else None
        if entry is None or path.stat().st_size != entry["size_bytes"]:
            entry = _describe(path)
        digest.update(f"{path.name}:{entry['sha256']}\n".encode())
    return digest.hexdigest()


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": path.stat().st_size}


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_NAME
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    elif (folder / SINGLE_NAME).is_file():
        names = [SINGLE_NAME]
    else:
        raise CheckpointError(f"{folder} holds no {SINGLE_NAME} and no {INDEX_NAME}: it is no checkpoint folder.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which its index names. Fetch it again.")
    return [folder / name for name in names]
