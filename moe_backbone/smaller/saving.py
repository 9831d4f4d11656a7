"""Save a smaller mixture of experts: as a stock checkpoint where it is one, else with a layout that says what it is.

Layer: ``moe_backbone``; imports torch, safetensors and transformers.
Stock: every layer has the same number of experts, no map, no packed weights; ``AutoModelForCausalLM.from_pretrained``
loads the folder. Otherwise the folder holds the source's ``config.json``, the weights as ``mmkg_experts.safetensors``
(a name that stock loaders do not take for theirs) and ``mmkg_moe.json``: per block the experts kept, the ids that were
mapped and the bits; :func:`load_shrunk` builds the stock model, gives its blocks that shape, and loads the weights. A
policy of skipping changes no weights: its folder holds ``mmkg_moe.json`` alone. Folders are written by
:func:`~moe_backbone.checkpoint.checkpoint_folder`, whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks
from moe_backbone.checkpoint import CheckpointError, checkpoint_folder, copy_side_files, is_complete, read_manifest
from moe_backbone.smaller.merging import MAP_BUFFER, install_map
from moe_backbone.smaller.packed_experts import PackedExperts, empty_packed
from moe_backbone.smaller.skipping import SkipPolicy
from moe_backbone.smaller.surgery import ShrinkError, keep_experts, replaced, require_blocks, shared_copy

__all__ = ["LAYOUT_NAME", "load_policy", "load_shrunk", "save_policy", "save_shrunk", "stored_bytes"]

LAYOUT_NAME = "mmkg_moe.json"
_WEIGHTS_NAME = "mmkg_experts.safetensors"
_VERSION = 1
_COUNT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def stored_bytes(folder: Path) -> int:
    """Return the bytes of the weight files of a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def save_shrunk(
    model: Any, out: Path, *, source: Path, recipe: Mapping[str, Any], dtype: torch.dtype | None = None
) -> bool:
    """Write a model that was made smaller.

    :param model: What :mod:`~moe_backbone.smaller.pruning`, ``merging`` or ``mixed`` returned.
    :param out: Folder to make; complete or absent.
    :param source: Folder of the model it was made from, for its configuration and tokenizer.
    :param recipe: What was done, as JSON values; kept in the folder's manifest.
    :param dtype: Of the floating-point weights on disk; ``None`` for that of the model.
    :returns: Whether the folder is a stock checkpoint.
    :raises ShrinkError: If the model holds what cannot be saved.
    """
    stored = _cast(model, dtype) if dtype is not None else model
    stock = _stock_counts(stored)
    size = sum(tensor.numel() * tensor.element_size() for tensor in _unique(stored.state_dict()).values())
    with checkpoint_folder(out, recipe=recipe, size_bytes=size) as folder:
        if stock is not None:
            copied = shared_copy(stored)
            _set_config_count(copied.config, stock[0], stock[1])
            copied.save_pretrained(folder)
        else:
            _save_own(stored, folder, source=source, recipe=recipe)
        copy_side_files(source, folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors writes files that only their owner can read
    return stock is not None


def _cast(model: nn.Module, dtype: torch.dtype) -> Any:
    cast = shared_copy(model)
    for module in cast.modules():
        own = {name: value for name, value in module._parameters.items() if value is not None}
        replaced(module, {name: value.detach().to(dtype) for name, value in own.items() if value.is_floating_point()})
    cast.tie_weights()
    cast.config.dtype = dtype
    return cast


def _stock_counts(model: Any) -> tuple[int, int] | None:
    """Return the experts of each block as configured and as they are, or ``None`` if no stock model is like this."""
    if any(isinstance(module, PackedExperts) or MAP_BUFFER in module._buffers for module in model.modules()):
        return None
    counts = {block.n_experts for block in find_blocks(model)}
    if len(counts) != 1:
        return None
    for config in (model.config, model.config.get_text_config()):
        for key in _COUNT_KEYS:
            if isinstance(getattr(config, key, None), int):
                return getattr(config, key), counts.pop()
    return None


def _set_config_count(config: Any, old: int, new: int) -> None:
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for key in _COUNT_KEYS:
            if getattr(part, key, None) == old:
                setattr(part, key, new)


def _key(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    return (tensor.data_ptr() if tensor.numel() else id(tensor), tuple(tensor.shape))


def _unique(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without those that are another's (tied embeddings), which safetensors cannot hold twice."""
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, tensor in state.items():
        seen.setdefault(_key(tensor), name)
    return {name: state[name] for name in seen.values()}


def _save_own(model: Any, folder: Path, *, source: Path, recipe: Mapping[str, Any]) -> None:
    state = model.state_dict()
    kept = _unique(state)
    owner = {_key(tensor): name for name, tensor in kept.items()}
    layout = {
        "version": _VERSION,
        "kind": "experts",
        "recipe": dict(recipe),
        "blocks": [_describe_block(name, module) for name, module in _holders(model)],
        "same": {name: owner[_key(tensor)] for name, tensor in state.items() if name not in kept},
    }
    save_file({name: tensor.detach().contiguous() for name, tensor in kept.items()}, folder / _WEIGHTS_NAME)
    (folder / LAYOUT_NAME).write_text(json.dumps(layout, indent=1), encoding="utf-8")
    shutil.copyfile(source / "config.json", folder / "config.json")


def _holders(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold experts, stock or packed, in the order of the model."""
    stock = {block.name for block in find_blocks(model)}
    return [
        (name, module)
        for name, module in model.named_modules()
        if name in stock or isinstance(getattr(module, "experts", None), PackedExperts)
    ]


def _describe_block(name: str, holder: Any) -> dict[str, Any]:
    experts = holder.experts
    if isinstance(experts, PackedExperts):
        return {"name": name, "n_experts": len(experts.bits), "bits": list(experts.bits)}
    entry: dict[str, Any] = {"name": name, "n_experts": len(experts.down_proj)}
    if MAP_BUFFER in experts._buffers:
        entry["n_mapped"] = len(experts.get_buffer(MAP_BUFFER))
    return entry


def _read_layout(folder: Path) -> dict[str, Any]:
    try:
        layout = json.loads((folder / LAYOUT_NAME).read_text(encoding="utf-8"))
        version = layout["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no readable {LAYOUT_NAME}: {error}. Make the model again.") from error
    if version != _VERSION:
        raise CheckpointError(f"{folder / LAYOUT_NAME} has version {version}; this program reads version {_VERSION}.")
    if not is_complete(folder):
        raise CheckpointError(f"{folder} lacks files or parts of files. Remove it and make the model again.")
    return dict(layout)


def load_shrunk(folder: Path, *, dtype: torch.dtype | str = "auto") -> Any:
    """Load a folder that :func:`save_shrunk` wrote, stock or not.

    :param folder: The folder.
    :param dtype: Of the floating-point weights; ``"auto"`` for that on disk.
    :returns: The model, in evaluation mode.
    :raises CheckpointError: If the folder is half-written, damaged, or holds a policy only.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    if not (folder / LAYOUT_NAME).is_file():
        if read_manifest(folder) is not None and not is_complete(folder):
            raise CheckpointError(f"{folder} lacks files or parts of files. Remove it and make the model again.")
        return loader.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
    layout = _read_layout(folder)
    if layout["kind"] != "experts":
        raise CheckpointError(
            f"{folder} holds a policy of skipping, no weights: use load_policy with its source model."
        )
    try:
        state = load_file(folder / _WEIGHTS_NAME)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / _WEIGHTS_NAME} cannot be read: {error}. Make the model again.") from error
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    chosen = dtype if isinstance(dtype, torch.dtype) else _float_dtype(state)
    model = loader.from_config(config, dtype=chosen).eval()
    _apply_layout(model, layout["blocks"])
    state.update({name: state[owner] for name, owner in layout["same"].items()})
    state = {name: _as(tensor, chosen, name) for name, tensor in state.items()}
    problems = model.load_state_dict(state, strict=False, assign=True)
    if problems.missing_keys or problems.unexpected_keys:
        raise CheckpointError(
            f"{folder / _WEIGHTS_NAME} does not fit {LAYOUT_NAME}: missing {problems.missing_keys[:3]}, unknown "
            f"{problems.unexpected_keys[:3]}. Make the model again."
        )
    model.tie_weights()
    return model


def _float_dtype(state: Mapping[str, Tensor]) -> torch.dtype:
    return next(
        (tensor.dtype for name, tensor in state.items() if tensor.is_floating_point() and "norm" in name),
        torch.float32,
    )


def _as(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    packed = any(part in name for part in ("_scale_", "_least_"))
    return tensor.to(dtype) if tensor.is_floating_point() and not packed else tensor


def _apply_layout(model: nn.Module, entries: list[dict[str, Any]]) -> None:
    blocks = {block.name: block for block in require_blocks(model)}
    if sorted(blocks) != sorted(entry["name"] for entry in entries):
        raise ShrinkError(f"{LAYOUT_NAME} describes other blocks than the model has.")
    for entry in entries:
        block: MoEBlock = blocks[entry["name"]]
        first = range(entry["n_experts"])
        keep_experts(block, list(first), router="n_mapped" not in entry)
        if "n_mapped" in entry:
            install_map(block.experts, torch.zeros(entry["n_mapped"], dtype=torch.long))
        if "bits" in entry:
            block.block.experts = empty_packed(block.experts, entry["bits"])


def save_policy(policy: SkipPolicy, out: Path, *, recipe: Mapping[str, Any]) -> None:
    """Write a policy of skipping as a folder with ``mmkg_moe.json``.

    :param policy: The policy.
    :param out: Folder to make; complete or absent.
    :param recipe: What it was found with, and the hash of its model, as JSON values.
    """
    layout = {"version": _VERSION, "kind": "skip", "recipe": dict(recipe), "policy": policy.to_mapping()}
    with checkpoint_folder(out, recipe=recipe, size_bytes=10_000) as folder:
        (folder / LAYOUT_NAME).write_text(json.dumps(layout, indent=1), encoding="utf-8")


def load_policy(folder: Path) -> SkipPolicy:
    """Read what :func:`save_policy` wrote.

    :param folder: The folder.
    :returns: The policy, for :func:`~moe_backbone.smaller.skipping.skipping` with the model it was found for.
    :raises CheckpointError: If the folder is damaged or holds no policy.
    """
    layout = _read_layout(folder)
    if layout["kind"] != "skip":
        raise CheckpointError(f"{folder} holds a model, not a policy of skipping: use load_shrunk.")
    return SkipPolicy.from_mapping(layout["policy"])
