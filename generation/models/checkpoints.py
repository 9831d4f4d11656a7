"""Make the checkpoint folders that the packaged language model needs, each once.

Layer: ``generation``; light to import: torch, transformers and gguf are loaded only when there is something to convert.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from kg.errors import ModelCorruptError, ModelError, ModelMissingError

__all__ = ["ensure_dense", "ensure_moe", "verify_checkpoint"]


def ensure_dense(gguf_path: Path, out_dir: Path) -> Path:
    """Convert a GGUF to a float32 checkpoint folder, unless ``out_dir`` is already that.

    :param gguf_path: A GGUF of the Llama architecture. It may be gone once ``out_dir`` is complete.
    :param out_dir: Folder to make; complete or absent, never half-written. Safe to call from several processes.
    :returns: ``out_dir``.
    :raises ModelMissingError: If neither the GGUF nor a complete folder is there.
    :raises ModelCorruptError: If the GGUF cannot be parsed.
    :raises ModelError: If it is of a kind that is not converted, or the disk is too small.
    """
    from moe_backbone.checkpoint import CheckpointError, is_complete, read_manifest

    if not gguf_path.is_file():
        manifest = read_manifest(out_dir)
        if manifest is not None and manifest["recipe"].get("kind") == "gguf" and is_complete(out_dir):
            return out_dir
        raise ModelMissingError(f"the language model {gguf_path} is not there. Run `mmkg models pull`.")
    with gguf_path.open("rb") as file:
        recipe = {"kind": "gguf", "version": 1, "source_sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    if is_complete(out_dir, recipe=recipe):
        return out_dir
    from generation.models.gguf import convert_gguf

    try:
        convert_gguf(gguf_path, out_dir, recipe=recipe)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    return out_dir


def ensure_moe(dense_dir: Path, out_dir: Path, *, slices: int = 4, groups: int = 2, seed: int = 0) -> Path:
    """Upcycle a dense checkpoint to a stock Mixtral that computes the same, unless ``out_dir`` is already that.

    :param dense_dir: A Llama or Mistral checkpoint folder, as :func:`ensure_dense` makes it.
    :param out_dir: Folder to make; complete or absent, never half-written. Safe to call from several processes.
    :param slices: Parts of each feed-forward network; also the experts per token.
    :param groups: Times the slices are laid out; there are ``slices · groups`` experts.
    :param seed: Seed of the router.
    :returns: ``out_dir``.
    :raises ModelError: If the checkpoint cannot be upcycled exactly, or the disk is too small.
    """
    from moe_backbone.checkpoint import CheckpointError
    from moe_backbone.upcycle import UpcycleRecipe, upcycle

    try:
        return upcycle(dense_dir, out_dir, UpcycleRecipe(slices=slices, groups=groups, seed=seed))
    except CheckpointError as error:
        raise ModelError(str(error)) from error


def verify_checkpoint(folder: Path) -> None:
    """Hash every file of a converted folder against its manifest.

    :param folder: A folder that :func:`ensure_dense` or :func:`ensure_moe` made.
    :raises ModelCorruptError: If a file is missing or differs, or there is no manifest.
    """
    from moe_backbone.checkpoint import CheckpointError, verify

    try:
        wrong = verify(folder)
    except CheckpointError as error:
        raise ModelCorruptError(str(error)) from error
    if wrong:
        raise ModelCorruptError(
            f"{folder}: {', '.join(wrong)} changed since the conversion. Remove the folder and rerun."
        )
