"""Write the checkpoint of an upcycled model, tensor by tensor, into a folder that is complete or absent.

Layer: ``moe_backbone``; imports torch.

Shape suffixes: H model width, R groups, E experts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_backbone.checkpoint import (
    MANIFEST_NAME,
    CheckpointError,
    PlannedTensor,
    checkpoint_folder,
    copy_side_files,
    write_safetensors,
)
from moe_backbone.upcycle.layouts import Layout, layout_of
from moe_backbone.upcycle.pieces import Pieces
from moe_backbone.upcycle.recipe import UpcycleRecipe
from moe_backbone.upcycle.sources import MLP, DenseSource

__all__ = ["OnProgress", "check_destination", "write_experts"]

OnProgress = Callable[[int, int], None]
"""Called as ``on_progress(done_bytes, total_bytes)`` after each tensor."""

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def write_experts(
    sources: Sequence[DenseSource],
    out: Path,
    recipe: UpcycleRecipe,
    *,
    stamp: Mapping[str, Any],
    others: Callable[[str], Tensor] | None = None,
    shared: Callable[[int, str], Tensor] | None = None,
    routers: Mapping[int, Tensor] | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Write the experts of ``sources`` and everything else of a stock checkpoint.

    :param sources: The dense model of each group; the first gives settings, tokenizer and shapes.
    :param out: Folder to make.
    :param recipe: How the feed-forward networks become experts; ``recipe.groups`` is the number of sources.
    :param stamp: Identity of the result, for its manifest.
    :param others: Makes what is no feed-forward weight, by name; ``None`` reads it from the first source.
    :param shared: Makes a projection of the shared expert, by layer and part; ``None`` takes it from the first source.
    :param routers: One router row per group for each layer, ``(R, H)``; ``None`` draws them from N(0, router_std).
    :param on_progress: Told how many bytes are written, of how many.
    :raises CheckpointError: If the sources cannot be written as the target, or the disk is too small.
    """
    check_destination(out, *(source.folder for source in sources))
    layout = layout_of(recipe.target)
    for source in sources:
        layout.refuse(source)
    pieces = Pieces(sources, recipe)
    read = others or sources[0].reader.read
    plan = list(_plan(sources[0], layout, pieces, recipe, read=read, shared=shared or pieces.shared, routers=routers))
    total = sum(item.size_bytes for item in plan)
    _, dtype = sources[0].reader.planned(_EMBEDDING)
    settings = {**layout.settings(sources[0], recipe), "dtype": str(dtype).removeprefix("torch.")}
    with checkpoint_folder(out, recipe=stamp, size_bytes=total) as folder:
        write_safetensors(folder, plan, on_progress=on_progress)
        (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
        copy_side_files(sources[0].folder, folder)


def check_destination(out: Path, *sources: Path) -> None:
    """Refuse to write over a source, or over a folder that no conversion made.

    :param out: Folder to make.
    :param *sources: Folders to read.
    :raises CheckpointError: If something stands there that must not be replaced.
    """
    if any(out.resolve() == source.resolve() for source in sources):
        raise CheckpointError(f"{out} is the source itself. Choose another folder for the result.")
    empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not empty and not (out / MANIFEST_NAME).is_file():
        raise CheckpointError(
            f"{out} is there and was not made by a conversion (it has no {MANIFEST_NAME}). Choose another folder."
        )


def _plan(
    base: DenseSource,
    layout: Layout,
    pieces: Pieces,
    recipe: UpcycleRecipe,
    *,
    read: Callable[[str], Tensor],
    shared: Callable[[int, str], Tensor],
    routers: Mapping[int, Tensor] | None,
) -> Iterator[PlannedTensor]:
    draw = torch.Generator().manual_seed(recipe.seed)
    for name in base.tensor_names:
        mlp = MLP.fullmatch(name)
        if mlp is None:
            shape, dtype = base.reader.planned(name)
            yield PlannedTensor(name=name, shape=shape, dtype=dtype, make=partial(read, name))
            continue
        layer, part = int(mlp[1]), mlp[2]
        if part == "gate_proj":
            rows_RH = torch.randn(recipe.groups, base.width, generator=draw) * recipe.router_std
            yield from _router(base, layout, recipe, layer, rows_RH if routers is None else routers[layer])
        yield from _experts(layout, pieces, recipe, layer, part)
        if layout.shared:
            shape, dtype = pieces.planned(layer, part)
            name = layout.shared_expert(layer, part)
            yield PlannedTensor(name=name, shape=shape, dtype=dtype, make=partial(shared, layer, part))
    if base.tied and layout.unties_head:
        shape, dtype = base.reader.planned(_EMBEDDING)
        yield PlannedTensor(name=_HEAD, shape=shape, dtype=dtype, make=partial(read, _EMBEDDING))


def _router(
    base: DenseSource, layout: Layout, recipe: UpcycleRecipe, layer: int, rows_RH: Tensor
) -> Iterator[PlannedTensor]:
    _, dtype = base.reader.planned(f"model.layers.{layer}.mlp.gate_proj.weight")
    rows_EH = rows_RH.repeat_interleave(recipe.routed_slices, dim=0).to(dtype)
    yield PlannedTensor(name=layout.router(layer), shape=tuple(rows_EH.shape), dtype=dtype, make=lambda: rows_EH)
    if layout.bias:
        zeros_E = torch.zeros(recipe.n_experts)  # float32 in every precision, as transformers keeps it
        yield PlannedTensor(
            name=layout.choice_bias(layer), shape=(recipe.n_experts,), dtype=zeros_E.dtype, make=lambda: zeros_E
        )


def _experts(layout: Layout, pieces: Pieces, recipe: UpcycleRecipe, layer: int, part: str) -> Iterator[PlannedTensor]:
    shape, dtype = pieces.planned(layer, part)
    for expert in range(recipe.n_experts):
        group, piece = divmod(expert, recipe.routed_slices)
        yield PlannedTensor(
            name=layout.expert(layer, expert, part),
            shape=shape,
            dtype=dtype,
            make=partial(pieces.expert, layer, part, group=group, piece=piece),
        )
